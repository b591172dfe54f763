package observability

import (
	"io"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Profiles are served where they were asked for, and nowhere else.
func TestProfilesHaveAListenerOfTheirOwn(t *testing.T) {
	listening := regexp.MustCompile(`"msg":"listening","server":"pprof","address":"([^"]+)"`).FindStringSubmatch(webhook.Log())
	require.NotNil(t, listening, webhook.Log())
	get := func(base string) (status int, body string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/debug/pprof/goroutine?debug=1", http.NoBody)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(data)
	}
	status, body := get("http://" + listening[1])
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "goroutine profile: total ")
	for _, other := range []string{"http://" + webhook.MetricsAddress(), webhook.HealthURL()} {
		status, _ = get(other)
		assert.Equal(t, http.StatusNotFound, status, other)
	}
}
