package probe

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A server that knows only the API server's certificate says so in its answer, not while it shakes hands.
func TestRemedyOfAnAPIServerThatIsNotKnown(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "The server does not accept the API server's client certificate: see webhooks.clientVerification in the chart.",
		remedy(`Internal error occurred: failed calling webhook "mutate.egress-tls.dev": failed to call webhook: `+
			"egress-tls-webhook answers only known clients (--client-ca-file): the request came without a client certificate; "+
			"kube-apiserver presents the one of --admission-control-config-file"))
}
