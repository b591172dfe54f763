package security

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

func metrics(t *testing.T, w *controlplane.Webhook) string {
	t.Helper()
	response, err := http.Get("http://" + w.MetricsAddress() + "/metrics")
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(data)
}

// metric returns the value of one series, 0 if there is none.
func metric(t *testing.T, w *controlplane.Webhook, series string) float64 {
	t.Helper()
	for line := range strings.Lines(metrics(t, w)) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			require.NoError(t, err)
			return value
		}
	}
	return 0
}

// Each value of a label stays in memory: whoever reaches the port chooses none of them. And
// a scrape tells no object and no host.
func TestMetricsAreBoundedAndNameNoObject(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	w := second(t)
	for i := range 20 {
		kind := "Kind" + strconv.Itoa(i)
		status, _ := post(t, caller(t, nil), w.URL()+"/validate", strings.NewReplacer(`"CREATE"`, `"OP`+kind+`"`).Replace(review(kind, harmless)))
		assert.Equal(t, http.StatusOK, status)
		status, _ = post(t, caller(t, nil), w.URL()+"/validate", review(kind, harmless))
		assert.Equal(t, http.StatusOK, status)
	}
	s.apply(t, s.mallory, entry)
	for _, w := range []*controlplane.Webhook{w, webhook} {
		text := metrics(t, w)
		for _, name := range []string{"Kind1", "OPKind", s.host, `"external"`} {
			assert.NotContains(t, text, name)
		}
	}
	assert.InDelta(t, 20, metric(t, w, `egress_tls_admission_requests_total{dry_run="true",kind="other",mode="off",operation="other",phase="validate",verdict="ignored"}`), 0)
}
