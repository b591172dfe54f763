package observability

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"
)

// The metrics tell when the certificate ends that clients get to see, and when the
// authority that they trust.
func TestMetricsTellWhenCertificatesEnd(t *testing.T) {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // To look at it.
	conn, err := dialer.DialContext(t.Context(), "tcp", webhook.Address())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	tlsConn, ok := conn.(*tls.Conn)
	require.True(t, ok)
	client, err := kubernetes.NewForConfig(plane.Config)
	require.NoError(t, err)
	secret, err := client.CoreV1().Secrets("egress-tls-system").Get(t.Context(), "egress-tls-webhook-ca", metav1.GetOptions{})
	require.NoError(t, err)
	authority, err := cert.ParseCertsPEM(secret.Data["ca.crt"])
	require.NoError(t, err)
	assert.Equal(t, map[string]float64{
		"serving":   float64(tlsConn.ConnectionState().PeerCertificates[0].NotAfter.Unix()),
		"authority": float64(authority[0].NotAfter.Unix()),
	}, values(scrape(t), "egress_tls_certificate_expiry_timestamp_seconds"))
}
