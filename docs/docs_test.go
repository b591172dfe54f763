package docs

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

func TestFinding(t *testing.T) {
	for _, r := range finding.Rules() {
		what, more := Finding(string(r.Code))
		assert.NotEmpty(t, what, r.Code)
		assert.Contains(t, more, "**Why.** ", r.Code)
		assert.Contains(t, more, "**Remedy.** ", r.Code)
		assert.NotContains(t, what+more, "](", r.Code)
		assert.NotContains(t, what+more, "\n#", r.Code)
		assert.NotContains(t, Plain(what+more), "`", r.Code)
	}
	what, more := Finding("WaitsForRoute")
	assert.Equal(t, "A ServiceEntry has a port of protocol HTTPS or TLS, and no HTTP route leads to it yet.", what)
	assert.Equal(t, "**Why.** Applications that speak HTTPS themselves to that port would get TLS inside TLS, so the rule waits for the first HTTP route.\n\n"+
		"**Remedy.** Nothing to do. If all clients send plaintext, annotate the ServiceEntry with `egress-tls.dev/originate: always`, or name the ports.", more)
	what, more = Finding("Unknown")
	assert.Empty(t, what+more)
}
