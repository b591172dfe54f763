package observability

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A route may set a header that is a credential. It is told nowhere: whether the route is
// admitted or refused, and at log level debug too.
func TestCredentialsAreToldNowhere(t *testing.T) {
	const credential = "Bearer-hunter2"
	s := newSite(t, "enforce")
	sets := func(route string) string {
		return strings.ReplaceAll(route, "    route:", "    headers: {request: {set: {Authorization: "+credential+"}}}\n    route:")
	}
	apply(t, sets(s.route("web", "/keys", "/")))
	refused := plane.Kubectl(t.Context(), sets(s.route("dead", "/", "/keys")), "apply", "-f", "-")
	require.Equal(t, 1, refused.ExitCode)
	assert.Contains(t, refused.Stderr, "CatchAllNotLast")
	eventually(t, "spans of both", func() bool {
		return len(spans.find(func(x span) bool {
			return x.GetName() == "POST /validate" && x.attribute("k8s.namespace.name") == s.namespace && x.attribute("egress_tls.kind") == "VirtualService"
		})) == 2
	})
	for _, x := range spans.find(func(x span) bool { return x.service == ours }) {
		assert.NotContains(t, x.String(), credential)
	}
	for line := range strings.Lines(webhook.Log() + refused.Stderr) {
		assert.NotContains(t, line, credential)
	}
	assert.Contains(t, webhook.Log(), `"level":"DEBUG"`)
}
