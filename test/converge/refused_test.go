package converge

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The rule is written before the route, and the route may never come: another webhook
// has the last word.
func TestRuleOfARouteThatAnotherWebhookRefusesIsRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	refuse(t, s.namespace)
	apply(t, s.entry(), s.gateway())
	entry := version(t, s.entryKey())

	// The API server takes a moment to see the configuration.
	probe := s.fill(`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: probe, namespace: NAMESPACE, labels: {refuse: NAMESPACE}}, spec: {hosts: [HOST]}}`)
	require.Eventually(t, func() bool {
		return kubectl(t, probe, "create", "--dry-run=server", "-f", "-").ExitCode != 0
	}, patience, 50*time.Millisecond)

	route := objects(t, s.route())[0]
	route.SetLabels(map[string]string{"refuse": s.namespace})
	text, err := json.Marshal(route)
	require.NoError(t, err)
	result := kubectl(t, string(text), "apply", "-f", "-")
	_, rest := result.Warnings()
	assert.Equal(t, "Error from server (Forbidden): error when creating \"STDIN\": admission webhook \"refuse.example.com\" denied the request: not today\n", rest)

	eventually(t, func() string {
		if len(cluster.history(s.ruleKey())) == 0 {
			return "no rule was written"
		}
		return ""
	})
	s.comes(t, s.entry(), s.gateway())
	assertRemovedAfterTheMark(t, s.ruleKey())
	stays(t, s.namespace)
	assert.Equal(t, entry, version(t, s.entryKey()))
}

// refuse starts a webhook that refuses what is labelled with refuse: value.
func refuse(t *testing.T, value string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Result: &metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "not today"},
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)

	scheme := runtime.NewScheme()
	require.NoError(t, admissionregistrationv1.AddToScheme(scheme))
	c, err := client.New(plane.Config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: value},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "refuse.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: new(server.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"networking.istio.io"}, APIVersions: []string{"*"}, Resources: []string{"virtualservices"}},
			}},
			ObjectSelector:          &metav1.LabelSelector{MatchLabels: map[string]string{"refuse": value}},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	require.NoError(t, c.Create(t.Context(), configuration))
	t.Cleanup(func() { assert.NoError(t, c.Delete(context.WithoutCancel(t.Context()), configuration)) })
}
