package cli

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Without files explain reads the cluster, and with them as much more of it as they leave.
func TestExplain(t *testing.T) {
	site(t)
	got := egressTLS(t, "", "explain", "api.payments.example.com")
	assert.Equal(t, 0, got.code)
	assert.Equal(t, noPolicy, got.stderr)
	golden(t, "explain.txt", got.stdout)

	const rule = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments, namespace: shop}
spec:
  host: api.payments.example.com
  trafficPolicy:
    tls: {mode: SIMPLE, sni: api.payments.example.com, subjectAltNames: [api.payments.example.com]}
`
	got = egressTLS(t, rule, "explain", "api.payments.example.com", "-f", "-", "--kubeconfig", plane.Kubeconfig)
	assert.Equal(t, 0, got.code)
	assert.Contains(t, got.stdout, "\nTLS to port 443 from all sidecars (VirtualService shop/payments")
	assert.NotContains(t, got.stdout, "PLAINTEXT")
}
