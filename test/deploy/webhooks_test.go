package deploy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/deploy"
)

// Which namespaces and users are called for is what the policy says about them.
func TestWebhooksAreCalledForTheirModes(t *testing.T) {
	t.Parallel()
	for _, byDefault := range []policy.Mode{policy.Enforce, policy.Warn, policy.Audit, policy.Off} {
		values := "policy: {mode: " + string(byDefault) + ", exemptions: {namespaces: [legacy]}}"
		pol := policy.Default()
		pol.Mode = byDefault
		pol.Exemptions.Namespaces = []string{"kube-system", "legacy", deploy.Namespace}
		mutating, validating := configurations(t, values)
		for _, label := range []string{"", "enforce", "warn", "audit", "off", "Enforced"} {
			for _, namespace := range append(pol.Exemptions.Namespaces, "shop") {
				mode, _ := pol.ModeFor(namespace, label)
				set := labels.Set{corev1.LabelMetadataName: namespace}
				if label != "" {
					set[policy.ModeLabel] = label
				}
				var want []string
				switch mode {
				case policy.Enforce:
					want = []string{"mutate.egress-tls.dev", "validate.egress-tls.dev"}
				case policy.Warn, policy.Audit:
					want = []string{"observe.egress-tls.dev"}
				}
				var got []string
				for _, w := range mutating.Webhooks {
					if selects(t, w.NamespaceSelector, set) {
						got = append(got, w.Name)
					}
				}
				for _, w := range validating.Webhooks {
					if selects(t, w.NamespaceSelector, set) {
						got = append(got, w.Name)
					}
				}
				assert.Equal(t, want, got, "default %s, namespace %s, label %q", byDefault, namespace, label)
			}
		}
	}
}

func configurations(t *testing.T, values string) (*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration) {
	t.Helper()
	objects := render(t, values, "--show-only=templates/webhooks.yaml")
	return as[admissionregistrationv1.MutatingWebhookConfiguration](t, objects, "MutatingWebhookConfiguration egress-tls-webhook"),
		as[admissionregistrationv1.ValidatingWebhookConfiguration](t, objects, "ValidatingWebhookConfiguration egress-tls-webhook")
}

func selects(t *testing.T, selector *metav1.LabelSelector, set labels.Set) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return s.Matches(set)
}

func TestWebhooksTakeTheirValues(t *testing.T) {
	t.Parallel()
	mutating, validating := configurations(t, everything)
	assert.Equal(t, map[string]string{"example.com/owner": "platform", "cert-manager.io/inject-ca-from": "egress-tls-system/egress-tls-webhook"}, mutating.Annotations)
	assert.Equal(t, mutating.Annotations, validating.Annotations)
	assert.Equal(t, admissionregistrationv1.Ignore, *mutating.Webhooks[0].FailurePolicy)
	for _, w := range validating.Webhooks {
		assert.Equal(t, admissionregistrationv1.Ignore, *w.FailurePolicy)
		assert.Equal(t, int32(5), *w.TimeoutSeconds)
		assert.Equal(t, map[string]string{"team": "shop"}, w.NamespaceSelector.MatchLabels)
		assert.Equal(t, metav1.LabelSelectorRequirement{Key: "stage", Operator: metav1.LabelSelectorOpExists}, w.NamespaceSelector.MatchExpressions[2])
		assert.Equal(t, map[string]string{"checked": "yes"}, w.ObjectSelector.MatchLabels)
		assert.Equal(t, []admissionregistrationv1.MatchCondition{
			{Name: "not-our-own", Expression: `request.userInfo.username != "system:serviceaccount:egress-tls-system:egress-tls-webhook"`},
			{Name: "not-exempt", Expression: `!(request.userInfo.username in ["system:serviceaccount:ci:deploy","o'neil \"<x>\" \\"])`},
			{Name: "not-a-robot", Expression: `request.userInfo.username != "robot"`},
		}, w.MatchConditions)
		assert.Empty(t, w.ClientConfig.CABundle, "or an upgrade would take it away")
	}
	_, validating = configurations(t, "")
	assert.Equal(t, admissionregistrationv1.Fail, *validating.Webhooks[0].FailurePolicy)
	assert.Equal(t, admissionregistrationv1.Ignore, *validating.Webhooks[1].FailurePolicy, "what only observes never blocks")
}
