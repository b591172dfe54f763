package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// What the API server never sends, or not like this, posted to the serving port.

const (
	mutatePath   = "/mutate"
	validatePath = "/validate"
)

// caBundle is what the API server trusts the webhook by.
func caBundle(t *testing.T) []byte {
	t.Helper()
	var config admissionregistrationv1.ValidatingWebhookConfiguration
	require.NoError(t, reader.Get(t.Context(), client.ObjectKey{Name: "egress-tls-webhook"}, &config))
	return config.Webhooks[0].ClientConfig.CABundle
}

// dialer is a client that trusts the webhook as the API server does.
func dialer(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(caBundle(t)))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// review is an AdmissionReview of a VirtualService in namespace default.
func review(operation, object, old string) string {
	return fmt.Sprintf(`{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
		"uid": "posted", "operation": %q, "namespace": "default", "name": "posted",
		"kind": {"group": "networking.istio.io", "version": "v1", "kind": "VirtualService"},
		"resource": {"group": "networking.istio.io", "version": "v1", "resource": "virtualservices"},
		"object": %s, "oldObject": %s, "dryRun": true}}`, operation, object, old)
}

// withSpec is a VirtualService with the given spec.
func withSpec(spec string) string {
	return `{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "posted", "namespace": "default"}, "spec": ` + spec + `}`
}

// post sends a body and returns the response of the review that comes back.
func post(t *testing.T, webhook *controlplane.Webhook, path, body string) *admissionv1.AdmissionResponse {
	t.Helper()
	response, err := postTo(dialer(t), webhook.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	return response
}

func postTo(caller *http.Client, url string, body io.Reader) (*admissionv1.AdmissionResponse, error) {
	response, err := caller.Post(url, "application/json", body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	out := admissionv1.AdmissionReview{Response: &admissionv1.AdmissionResponse{}}
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("%s: %w", response.Status, err)
	}
	return out.Response, nil
}

func TestMalformedReviewIsAnsweredWithAReason(t *testing.T) {
	newestOnly(t)
	webhook := server(t)
	const noRequest = "the AdmissionReview holds no request with a uid"
	for _, test := range []struct {
		name, body, reason string
		code               int32
	}{
		{"no JSON", "hello", "couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value", 400},
		{"empty body", "", "request body is empty", 400},
		{"empty object", "{}", noRequest, 400},
		{"null", "null", noRequest, 400},
		{"list", "[]", "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value", 400},
		{"no request", `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}`, noRequest, 400},
		{"null request", `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": null}`, noRequest, 400},
		{"request of another type", `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": 7}`, "json: cannot unmarshal number into Go struct field unversionedAdmissionReview.AdmissionReview.request of type v1.AdmissionRequest", 400},
		{"another kind", `{"apiVersion": "v1", "kind": "Pod"}`, noRequest, 400},
		{"another version", `{"apiVersion": "admission.k8s.io/v7", "kind": "AdmissionReview"}`, noRequest, 400},
		{"9 MB", strings.Repeat(" ", 9<<20), "request entity is too large; limit is 7340032 bytes", 413},
		{"deeply nested", strings.Repeat(`{"a":`, 100_000), "couldn't get version/kind; json parse error: invalid character '{' exceeded max depth", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, path := range []string{mutatePath, validatePath} {
				got := post(t, webhook, path, test.body)
				assert.False(t, got.Allowed)
				assert.Equal(t, test.code, got.Result.Code, got.Result.Message)
				assert.Contains(t, got.Result.Message, test.reason)
				assert.NotEmpty(t, got.Result.Message)
			}
		})
	}
	assert.NotContains(t, webhook.Log(), "panic")
}

func TestOnlyPostOfJSONIsServed(t *testing.T) {
	webhook := server(t)
	for _, test := range []struct {
		method, path, contentType string
		status                    int
		body                      string
	}{
		{http.MethodGet, mutatePath, "", 405, "Method Not Allowed\n"},
		{http.MethodGet, validatePath, "", 405, "Method Not Allowed\n"},
		{http.MethodPut, validatePath, "application/json", 405, "Method Not Allowed\n"},
		{http.MethodPost, "/", "application/json", 404, "404 page not found\n"},
		{http.MethodPost, validatePath, "application/yaml", 200, `{"response":{"uid":"","allowed":false,"status":{"metadata":{},"message":"contentType=application/yaml, expected application/json","code":400}}}` + "\n"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, webhook.URL()+test.path, strings.NewReader("{}"))
		require.NoError(t, err)
		request.Header.Set("Content-Type", test.contentType)
		response, err := dialer(t).Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, test.status, response.StatusCode, test)
		assert.Equal(t, test.body, string(body))
	}
}

func TestOldTLSIsNotServed(t *testing.T) {
	webhook := server(t)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(caBundle(t)))
	_, err := tls.Dial("tcp", webhook.Address(), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}) //nolint:gosec // That it is refused is the test.
	assert.EqualError(t, err, "remote error: tls: protocol version not supported")
}

func TestReviewOfAnythingElseIsAllowedOrRefusedWithAReason(t *testing.T) {
	webhook := server(t)
	gateway := strings.Replace(review("CREATE", `{"kind": "Gateway"}`, "null"), `"kind": "VirtualService"`, `"kind": "Gateway"`, 1)
	pod := strings.NewReplacer(`"kind": "VirtualService"`, `"kind": "Pod"`, `"group": "networking.istio.io"`, `"group": ""`).
		Replace(review("CREATE", `{"kind": "Pod"}`, "null"))
	const cannot = "VirtualService default/posted cannot be read, so it cannot be checked for plaintext: "
	for _, test := range []struct {
		name, body string
		reason     string // why it is refused; "": it is allowed
		code       int32
	}{
		{"DELETE", review("DELETE", "null", withSpec("{}")), "", 200},
		{"CONNECT", review("CONNECT", "null", "null"), "", 200},
		{"a kind that is not decided about", gateway, "no decision is made about Gateway networking.istio.io/v1; the webhook configuration should not send it", 422},
		{"a kind of another group", pod, "no decision is made about Pod v1; the webhook configuration should not send it", 422},
		{"no object", review("CREATE", "null", "null"), "VirtualService default/posted: the request holds no object", 422},
		{"a list", review("CREATE", "[]", "null"), cannot + "json: cannot unmarshal array into Go value of type v1.VirtualService", 422},
		{"a string", review("CREATE", `"VirtualService"`, "null"), cannot + "json: cannot unmarshal string into Go value of type v1.VirtualService", 422},
		{"an empty object", review("CREATE", "{}", "null"), "", 200},
		{"no spec", review("CREATE", `{"metadata": {"name": "posted"}}`, "null"), "", 200},
		{"null spec", review("CREATE", withSpec("null"), "null"), "", 200},
		{"spec of another type", review("CREATE", withSpec("7"), "null"), cannot, 422},
		{"null http", review("CREATE", withSpec(`{"http": null}`), "null"), "", 200},
		{"http as a string", review("CREATE", withSpec(`{"http": "x"}`), "null"), cannot, 422},
		{"null route", review("CREATE", withSpec(`{"http": [{"route": null}]}`), "null"), "", 200},
		{"null destination", review("CREATE", withSpec(`{"http": [{"route": [{"destination": null}]}]}`), "null"), "", 200},
		{"null match", review("CREATE", withSpec(`{"http": [{"match": null, "route": [{"destination": {"host": "a.example"}}]}]}`), "null"), "", 200},
		{"port beyond all ports", review("CREATE", withSpec(`{"http": [{"route": [{"destination": {"host": "a.example", "port": {"number": 4294967295}}}]}]}`), "null"), "", 200},
		{"unicode host", review("CREATE", withSpec(`{"hosts": ["bücher.example", "\u202e\u0000"], "http": [{"route": [{"destination": {"host": "bücher.example"}}]}]}`), "null"), "", 200},
		{"broken regex", review("CREATE", withSpec(`{"http": [{"match": [{"uri": {"regex": "(["}}], "route": [{"destination": {"host": "a.example"}}]}]}`), "null"), "", 200},
		{"update of nothing", review("UPDATE", withSpec("{}"), "null"), "", 200},
		{"update from what cannot be read", review("UPDATE", withSpec("{}"), withSpec(`{"http": "x"}`)), "", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			mutated := post(t, webhook, mutatePath, test.body)
			assert.True(t, mutated.Allowed, mutated.Result)
			assert.Empty(t, mutated.Patch)

			validated := post(t, webhook, validatePath, test.body)
			assert.EqualValues(t, "posted", validated.UID)
			assert.Equal(t, test.reason == "", validated.Allowed, validated.Result)
			assert.Equal(t, test.code, validated.Result.Code)
			assert.True(t, strings.HasPrefix(validated.Result.Message, test.reason), validated.Result.Message)
		})
	}
	assert.NotContains(t, webhook.Log(), "panic")
}

// An API server lets a null through where a list or an object may be; none may end
// in a panic.
func TestNullsInListsAreReadWithoutAPanic(t *testing.T) {
	webhook := server(t)
	for _, test := range []struct{ kind, spec string }{
		{"VirtualService", `{"hosts": [null]}`},
		{"VirtualService", `{"http": [null]}`},
		{"VirtualService", `{"http": [null, {"route": [{"destination": {"host": "a.example"}}]}, null]}`},
		{"VirtualService", `{"http": [{"route": [null]}]}`},
		{"VirtualService", `{"http": [{"match": [null], "route": [{"destination": {"host": "a.example"}}]}]}`},
		{"VirtualService", `{"http": [{"match": [{"uri": null, "headers": {"x": null}, "gateways": [null]}], "route": [{}]}]}`},
		{"VirtualService", `{"http": [{"headers": null, "route": [{"headers": {"request": {"set": null}}}]}]}`},
		{"VirtualService", `{"tls": [null], "tcp": [null], "gateways": [null], "exportTo": [null]}`},
		{"VirtualService", `{"tls": [{"match": [null], "route": [null]}]}`},
		{"ServiceEntry", `{"hosts": null, "ports": null}`},
		{"ServiceEntry", `{"hosts": [null], "ports": [null], "exportTo": [null]}`},
		{"ServiceEntry", `{"hosts": ["null.example"], "ports": [null, {}], "endpoints": [null]}`},
		{"DestinationRule", `{"host": null, "trafficPolicy": null, "subsets": null}`},
		{"DestinationRule", `{"host": "null.example", "subsets": [null], "exportTo": [null]}`},
		{"DestinationRule", `{"host": "null.example", "trafficPolicy": {"portLevelSettings": [null, {"port": null}]}}`},
	} {
		body := strings.ReplaceAll(review("CREATE", withSpec(test.spec), "null"), "VirtualService", test.kind)
		for _, path := range []string{mutatePath, validatePath} {
			got := post(t, webhook, path, body)
			assert.Contains(t, []int32{200, 422}, got.Result.Code, "%s %s: %v", test.kind, test.spec, got.Result)
		}
	}
	assert.NotContains(t, webhook.Log(), "panic")
}

// A version of Istio newer than our types may store what they cannot read; that
// object must stay usable.
func TestUnreadableObjectMayBeUpdatedAsItWasStored(t *testing.T) {
	body := review("UPDATE", withSpec(`{"http": "y"}`), withSpec(`{"http": "x"}`))
	got := post(t, server(t), validatePath, body)
	assert.True(t, got.Allowed)
	require.Len(t, got.Warnings, 1)
	assert.True(t, strings.HasPrefix(got.Warnings[0], "egress-tls: VirtualService default/posted cannot be read, so it cannot be checked for plaintext: "), got.Warnings)
}

func TestPatchHoldsOnlyWhatIsInjectedAndUnknownFieldsSurvive(t *testing.T) {
	webhook := server(t)
	s := newSite(t)
	apply(t, s.entry()+s.gateway(), asSetup)
	waitCached(t, webhook)
	spec := s.fill(`{"hosts": ["www.HOST"], "gateways": ["gateway"], "inventedByANewerIstio": {"deep": [1.0, 12345678901234567890]}, "http": [
		{"route": [{"destination": {"host": "HOST", "port": {"number": 443}}, "invented": true}],
		 "headers": {"request": {"add": {"X-Own": "yes"}, "invented": null}}, "invented": [{}]}]}`)
	body := strings.NewReplacer(`"namespace": "default"`, `"namespace": "`+s.namespace+`"`).Replace(review("CREATE", withSpec(spec), "null"))
	got := post(t, webhook, mutatePath, body)
	require.True(t, got.Allowed, got.Result)
	assert.Equal(t, admissionv1.PatchTypeJSONPatch, *got.PatchType)
	assert.JSONEq(t, s.fill(`[
		{"op": "add", "path": "/spec/http/0/headers/request/set", "value": {"Host": "HOST"}},
		{"op": "add", "path": "/spec/http/0/headers/request/set/X-Forwarded-Proto", "value": "https"}]`), string(got.Patch))
	assert.Equal(t, []string{"egress-tls: " + s.headers(0)}, got.Warnings)
}
