package probe

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// What is promised may come after another warning, as in a namespace whose label is no mode.
func TestJudgeLooksAtAllWarnings(t *testing.T) {
	t.Parallel()
	for _, one := range trials(policy.Default(), policy.Warn) {
		other := "namespace default has the label egress-tls.dev/mode=\"strict\", which is no mode; warn applies"
		require.NoError(t, judge(policy.Warn, one, nil, []string{other, "it " + one.sign}), one.what)
		require.Error(t, judge(policy.Warn, one, nil, []string{other}), one.what)
	}
}

// A server that knows only the API server's certificate says so in its answer, not while it shakes hands,
// and may name x509, as the API server does when it does not trust the server.
func TestRemedyTellsCertificatesApart(t *testing.T) {
	t.Parallel()
	const (
		failed   = `Internal error occurred: failed calling webhook "mutate.egress-tls.dev": failed to call webhook: `
		turned   = failed + "egress-tls-webhook answers only known clients (--client-ca-file): "
		ofClient = "The server does not accept the API server's client certificate: see webhooks.clientVerification in the chart."
	)
	assert.Equal(t, ofClient, remedy(turned+"the request came without a client certificate; kube-apiserver presents the one of --admission-control-config-file"))
	assert.Equal(t, ofClient, remedy(turned+`the client certificate of "x" is not trusted: x509: certificate signed by unknown authority`))
	assert.Contains(t, remedy(failed+`Post "https://egress-tls-webhook.egress-tls-system.svc:443/mutate?timeout=10s": tls: failed to verify certificate: x509: certificate signed by unknown authority`), "caBundle")
}
