package cli

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What the page looks like is tested in test/browser.
func TestScanHTML(t *testing.T) {
	site(t)
	got := egressTLS(t, "", "scan", "-o", "html", "-n", "shop")
	assert.Equal(t, 1, got.code)
	assert.Equal(t, noPolicy, got.stderr)
	for _, part := range []string{
		"<h1>1 host is reached in clear, 1 route is dead</h1>",
		"<div><dt>Namespace</dt><dd>shop</dd></div><div><dt>Policy</dt><dd>the defaults</dd></div>",
		`id="host-api.payments.example.com"`,
		"VirtualService shop/catalog",
		"Nothing needs it any more; a webhook that runs takes it away in a while.",
	} {
		assert.Contains(t, got.stdout, part)
	}
	assert.NotContains(t, got.stdout, "VirtualService legacy/old")
}
