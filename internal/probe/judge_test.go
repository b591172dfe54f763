package probe

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// What is promised may come after another warning, as in a namespace whose label is no mode.
func TestJudgeLooksAtAllWarnings(t *testing.T) {
	for _, one := range trials(policy.Default(), policy.Warn) {
		other := "namespace default has the label egress-tls.dev/mode=\"strict\", which is no mode; warn applies"
		require.NoError(t, judge(policy.Warn, one, nil, []string{other, "it " + one.sign}), one.what)
		require.Error(t, judge(policy.Warn, one, nil, []string{other}), one.what)
	}
}

// What the server says of a client's certificate names x509 too, and has another remedy than
// what the API server says of the server's.
func TestRemedyTellsCertificatesApart(t *testing.T) {
	const failed = `failed calling webhook "mutate.egress-tls.dev": failed to call webhook: `
	assert.Contains(t, remedy(failed+`egress-tls-webhook answers only known clients (--client-ca-file): the client certificate of "x" is not trusted: x509: certificate signed by unknown authority`), "webhooks.clientVerification")
	assert.Contains(t, remedy(failed+`Post "https://egress-tls-webhook.egress-tls-system.svc:443/mutate?timeout=10s": tls: failed to verify certificate: x509: certificate signed by unknown authority`), "caBundle")
}
