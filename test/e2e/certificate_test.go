package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

func TestWipedCABundleIsRestored(t *testing.T) {
	newestOnly(t)
	server(t)
	want := caBundle(t)
	assert.NotEmpty(t, want)
	for _, kind := range []string{"mutatingwebhookconfiguration", "validatingwebhookconfiguration"} {
		does(t, "", "patch", kind, "egress-tls-webhook", "--type=json", `-p=[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]`)
		eventually(t, func() bool {
			got := kubectl(t, "", "get", kind, "egress-tls-webhook", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}")
			return got.Stdout == base64.StdEncoding.EncodeToString(want)
		}, "the caBundle of the %s is back", kind)
	}
	// And the API server takes it up.
	s := newSite(t)
	eventually(t, func() bool {
		return kubectl(t, s.entry(), "create", "--dry-run=server", "-f", "-").ExitCode == 0
	}, "the webhook is called again")
}

func TestCertificateOfADirectoryIsReloadedWithoutALostRequest(t *testing.T) {
	newestOnly(t)
	ca := newAuthority(t)
	dir := t.TempDir()
	ca.issue(t, dir, "first")
	webhook := ownServer(t, controlplane.WebhookOptions{
		Args:      []string{"--cert-dir=" + dir},
		Manifests: withCABundle(t, ca.CertPEM),
	})
	assert.Equal(t, "first", servedBy(t, webhook, ca))
	assert.Equal(t, ca.CertPEM, caBundle(t), "the server leaves the configurations alone")

	s := newSite(t)
	ca.issue(t, dir, "second")
	for deadline := time.Now().Add(patience); servedBy(t, webhook, ca) != "second"; {
		require.True(t, time.Now().Before(deadline), "the new certificate is served")
		does(t, s.entry(), "create", "--dry-run=server", "-f", "-")
	}
	does(t, s.entry(), "create", "--dry-run=server", "-f", "-")
	require.NoError(t, webhook.WaitReady(t.Context()))

	// Who knows another authority does not trust it.
	does(t, "", "patch", "mutatingwebhookconfiguration", "egress-tls-webhook", "--type=json",
		"-p", fmt.Sprintf(`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": %q}]`, base64.StdEncoding.EncodeToString(newAuthority(t).CertPEM)))
	eventually(t, func() bool {
		_, said, _ := command(t, "probe", "--kubeconfig="+plane.Kubeconfig, "--namespace="+s.namespace)
		return strings.Contains(said, ": tls: failed to verify certificate: x509: ") && strings.HasSuffix(said, `
The API server does not trust the server's certificate: look into the server's log whether it can write the caBundle of the webhook configurations; `+
			"with cert-manager, whether its cainjector runs and the Certificate is ready.\n")
	}, "the probe says so")
}

// withCABundle returns the manifests of deploy/ with the caBundle that somebody
// else, cert-manager for example, put into the configurations.
func withCABundle(t *testing.T, bundle []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	base, err := filepath.Abs("../../deploy/kustomize/base")
	require.NoError(t, err)
	base, err = filepath.Rel(dir, base)
	require.NoError(t, err)
	kustomization := fmt.Sprintf(`resources: [%s]
patches:
- target: {kind: (Mutating|Validating)WebhookConfiguration}
  patch: '[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": %[2]q}]'
- target: {kind: ValidatingWebhookConfiguration}
  patch: '[{"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": %[2]q}]'
`, base, base64.StdEncoding.EncodeToString(bundle))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600))
	return dir
}

// authority issues serving certificates for the loopback address.
type authority struct{ *controlplane.Authority }

func newAuthority(t *testing.T) authority {
	t.Helper()
	ca, err := controlplane.NewAuthority(time.Now().Add(time.Hour))
	require.NoError(t, err)
	return authority{ca}
}

// issue puts a certificate into dir as the kubelet does: all of it at once.
func (a authority) issue(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, key.Public(), a.Key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)

	require.NoError(t, controlplane.Project(dir, map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}))
}

// servedBy returns the name in the certificate that is served.
func servedBy(t *testing.T, webhook *controlplane.Webhook, ca authority) string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	conn, err := dialer.DialContext(context.WithoutCancel(t.Context()), "tcp", webhook.Address())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
}
