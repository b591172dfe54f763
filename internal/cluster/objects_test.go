package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a real API server answers only in rare moments; all else is tested with a real one.
func connect(t *testing.T, answer func(path, token string) (code int, body string)) *Cluster {
	t.Helper()
	return connectTo(t, func(r *http.Request) (int, string) { return answer(r.URL.Path, r.URL.Query().Get("continue")) })
}

func connectTo(t *testing.T, answer func(r *http.Request) (code int, body string)) *Cluster {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, body := answer(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, fmt.Appendf(nil,
		"{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: %q}}]}", server.URL), 0o600))
	c, err := Connect(Access{Kubeconfig: kubeconfig, ChunkSize: 1})
	require.NoError(t, err)
	return c
}

const (
	istioGroups = `{"kind":"APIGroup","apiVersion":"v1","versions":[{"version":"v1alpha3"},{"version":"v1beta1"}]}`
	empty       = `{"kind":"List","items":[]}`
)

func status(code int, reason, message string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":%q,"code":%d}`, reason, message, code)
}

func TestForgottenPagesAreReadAgain(t *testing.T) {
	asked := 0
	c := connect(t, func(path, token string) (int, string) {
		switch {
		case path == "/apis/networking.istio.io":
			return http.StatusOK, istioGroups
		case path != "/apis/networking.istio.io/v1beta1/virtualservices":
			return http.StatusOK, empty
		case token != "":
			return http.StatusGone, status(http.StatusGone, "Expired", "too old")
		}
		asked++
		if asked == 1 {
			return http.StatusOK, `{"metadata":{"continue":"x","remainingItemCount":1},"items":[{"metadata":{"name":"a"}}]}`
		}
		return http.StatusOK, `{"items":[{"metadata":{"name":"b"}},{"metadata":{"managedFields":[{"manager":"kubectl"}],"name":"c"}}]}`
	})
	var told []string
	got, err := c.Objects(t.Context(), func(resource string, read int, left int64) {
		if read > 0 {
			told = append(told, fmt.Sprint(resource, " ", read, " ", left))
		}
	})
	require.NoError(t, err)
	assert.Equal(t, []Object{
		{"networking.istio.io/v1beta1", "VirtualService", []byte(`{"metadata":{"name":"b"}}`)},
		{"networking.istio.io/v1beta1", "VirtualService", []byte(`{"metadata":{"name":"c"}}`)},
	}, got)
	assert.Equal(t, []string{"virtualservices 1 1", "virtualservices 2 0"}, told)
}

func TestClustersThatCannotBeRead(t *testing.T) {
	for name, tc := range map[string]struct {
		at, body string
		code     int
		want     string
	}{
		"no Istio": {
			"/apis/networking.istio.io", status(http.StatusNotFound, "NotFound", "no"), http.StatusNotFound,
			"the cluster does not serve networking.istio.io: is Istio installed there, with its CRDs?",
		},
		"versions to come": {
			"/apis/networking.istio.io", `{"versions":[{"version":"v2"}]}`, http.StatusOK,
			"the cluster does not serve networking.istio.io: is Istio installed there, with its CRDs?",
		},
		"half of Istio": {
			"/apis/networking.istio.io/v1beta1/gateways", status(http.StatusNotFound, "NotFound", "no"), http.StatusNotFound,
			"the cluster does not serve gateways.networking.istio.io in version v1beta1: install the CRDs of Istio 1.24 or later",
		},
		"nobody": {
			"/apis/networking.istio.io", status(http.StatusUnauthorized, "Unauthorized", "who are you?"), http.StatusUnauthorized,
			"failed to ask the cluster for the versions of networking.istio.io: who are you?",
		},
		"out of order": {
			"/api/v1/services", status(http.StatusInternalServerError, "InternalError", "etcd is away"), http.StatusInternalServerError,
			"failed to list services: etcd is away",
		},
		"no object": {
			"/api/v1/services", `{"items":[[]]}`, http.StatusOK,
			"failed to list services: the API server's answer cannot be read: json: cannot unmarshal array into Go value of type map[string]json.RawMessage",
		},
		"something else": {
			"/api/v1/services", "hello", http.StatusOK,
			"failed to list services: the API server's answer cannot be read: invalid character 'h' looking for beginning of value",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, func(path, _ string) (int, string) {
				switch path {
				case tc.at:
					return tc.code, tc.body
				case "/apis/networking.istio.io":
					return http.StatusOK, istioGroups
				}
				return http.StatusOK, empty
			})
			_, err := c.Objects(t.Context(), func(string, int, int64) {})
			assert.EqualError(t, err, tc.want)
		})
	}
}

// The defaults are no answer to a question that can be asked again.
func TestPolicyThatCannotBeReadNow(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		code   int
		unread bool
	}{
		"it is not for this user": {"Forbidden", http.StatusForbidden, true},
		"it is not there":         {"NotFound", http.StatusNotFound, true},
		"the API server is ill":   {"InternalError", http.StatusInternalServerError, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, func(path, _ string) (int, string) {
				if path == "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/egress-tls-webhook" {
					return http.StatusOK, `{"webhooks":[{"clientConfig":{"service":{"namespace":"system"}}}]}`
				}
				return tc.code, status(tc.code, tc.reason, "no")
			})
			_, _, err := c.Policy(t.Context())
			require.EqualError(t, err, "no")
			assert.Equal(t, tc.unread, errors.As(err, new(*UnreadError)))
		})
	}
}

// What a cluster is called is printed on pages that are passed on.
func TestNameWithoutPassword(t *testing.T) {
	for in, want := range map[string]string{"prod": "prod", `""`: "https://api.example.com:6443"} {
		kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
		require.NoError(t, os.WriteFile(kubeconfig, []byte("{apiVersion: v1, kind: Config, current-context: "+in+", contexts: [{name: "+in+", context: {cluster: c}}], "+
			"clusters: [{name: c, cluster: {server: 'https://user:secret@api.example.com:6443'}}]}"), 0o600))
		c, err := Connect(Access{Kubeconfig: kubeconfig})
		require.NoError(t, err)
		assert.Equal(t, want, c.Name)
	}
}
