package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
	"istio.io/istio/pkg/config/resource"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/webhooks/validation/server"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// refusedByIstio are the scenarios with objects that Istio's own webhook refuses, as they were
// written, and why they are kept.
var refusedByIstio = map[string]string{
	"odd-hosts": "an API server without Istio's webhook stores them, and nothing may break on them",
}

// What we store passes Istio's own validating webhook, with no warning that what the user wrote did
// not get.
func TestStoredPassesIstiosWebhook(t *testing.T) {
	all, err := scenario.All(scenarios)
	require.NoError(t, err)
	webhook := http.NewServeMux()
	_, err = server.New(server.Options{Schemas: collections.Istio, DomainSuffix: mesh.ClusterDomain, Mux: webhook})
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, s := range all {
		if s.Want.Refused {
			continue
		}
		p := play(t, s)
		var before []string
		for _, o := range p.without {
			v := judge(t, webhook, o)
			before = append(before, v.warnings...)
			if v.refused != "" {
				seen[s.Name] = true
				assert.NotEmpty(t, refusedByIstio[s.Name], "%s: %s: Istio refuses what the user wrote: %s", s.Name, nameOf(o), v.refused)
			}
		}
		if seen[s.Name] {
			continue
		}
		for _, o := range p.stored {
			is := judge(t, webhook, o)
			assert.Empty(t, is.refused, "%s: %s", s.Name, nameOf(o))
			for _, w := range is.warnings {
				assert.Contains(t, before, w, "%s: %s", s.Name, nameOf(o))
			}
		}
	}
	assert.Equal(t, slices.Sorted(maps.Keys(refusedByIstio)), slices.Sorted(maps.Keys(seen)))
}

type verdict struct {
	refused  string
	warnings []string
}

// judge asks Istio's webhook about an object.
func judge(t *testing.T, webhook http.Handler, o scenario.Object) verdict {
	t.Helper()
	raw, err := json.Marshal(o.Raw)
	require.NoError(t, err)
	kind, _ := o.Raw["kind"].(string)
	group, version, ok := strings.Cut(o.Raw["apiVersion"].(string), "/")
	if !ok {
		return verdict{} // Not Istio's.
	}
	review, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "1", Operation: admissionv1.Create, Kind: metav1.GroupVersionKind{Group: group, Version: version, Kind: kind},
			Name: o.Typed.GetName(), Namespace: o.Typed.GetNamespace(), Object: runtime.RawExtension{Raw: raw},
		},
	})
	require.NoError(t, err)
	request := httptest.NewRequest(http.MethodPost, "/validate", bytes.NewReader(review))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	webhook.ServeHTTP(answer, request)
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	var got admissionv1.AdmissionReview
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
	out := verdict{warnings: got.Response.Warnings}
	if !got.Response.Allowed {
		out.refused = got.Response.Result.Message
	}
	return out
}

func nameOf(o scenario.Object) string { return mesh.ObjectOf(o.Typed).String() }

// newMessages are what Istio's analyzers say of what we store and not of what the user wrote, by
// code, and why they may.
var newMessages = map[string]string{
	"IST0174": "the rule's host is unknown: the analyzer does not know that a route leads to an unexported ServiceEntry of the same namespace",
	"IST0128": "TLS without caCertificates: a rule of ours has the tls of the user's rule for a wildcard, of which it is said too",
	"IST0133": "a rule of ours has the empty workloadSelector of the user's rule for a wildcard, of which it is said too",
	"IST0129": "TLS without caCertificates at a port: istiod verifies with the CAs of the proxy's system; policy tls.caCertificates: system says it in words",
}

// unsettled is a scenario in which two ServiceEntries share a host. The analyzer knows one of them,
// now this and now that, and misses the other's port (IST0101).
const unsettled = "serviceentry-second-adds-port"

func TestAnalyzersReportNothingNew(t *testing.T) {
	all, err := scenario.All(scenarios)
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, s := range all {
		if s.Want.Refused || refusedByIstio[s.Name] != "" || s.Name == unsettled {
			continue
		}
		p := play(t, s)
		before := analyze(t, p.without)
		for message, code := range analyze(t, p.with) {
			if _, was := before[message]; was {
				continue
			}
			seen[code] = true
			assert.NotEmpty(t, newMessages[code], "%s: %s", s.Name, message)
		}
	}
	assert.Equal(t, slices.Sorted(maps.Keys(newMessages)), slices.Sorted(maps.Keys(seen)))
}

// analyze returns what istioctl analyze says of objects, with its code.
func analyze(t *testing.T, objects []scenario.Object) map[string]string {
	t.Helper()
	var text bytes.Buffer
	for _, o := range objects {
		doc, err := yaml.Marshal(o.Raw)
		require.NoError(t, err)
		fmt.Fprintf(&text, "---\n%s", doc)
	}
	analyzer := local.NewIstiodAnalyzer(analyzers.AllCombined(), resource.Namespace(""), resource.Namespace("istio-system"), nil)
	require.NoError(t, analyzer.AddTestReaderKubeSource([]local.ReaderSource{{Name: "objects", Reader: &text}}))
	stop := make(chan struct{})
	defer close(stop)
	result, err := analyzer.Analyze(stop)
	require.NoError(t, err)
	out := map[string]string{}
	for _, m := range result.Messages {
		out[fmt.Sprintf("%s %s: %v", m.Type.Code(), m.Resource.Origin.FriendlyName(), m.Parameters)] = m.Type.Code()
	}
	return out
}
