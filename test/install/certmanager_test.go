package install

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// With cert-manager, its certificate and its authority are renewed without an apply that fails,
// although the kubelet brings a certificate later than the CA injector the authority.
func TestCertManager(t *testing.T) {
	runCertManager(t)
	s := openShell(t)
	install(t, s, "install with cert-manager")
	trusted := func() bool { // Beside the one before, which the CA injector keeps as long as it is valid.
		return bytes.Contains(caBundle(t), secret(t, "egress-tls-webhook-authority").Data["tls.crt"])
	}
	eventually(t, trusted, "the authority is in the caBundle")

	l := startLoad(t, "enforce")
	before := serving(t)
	renew(t, "egress-tls-webhook")
	waitServed(t, before)

	authority := secret(t, "egress-tls-webhook-authority")
	renew(t, "egress-tls-webhook-authority")
	eventually(t, func() bool {
		return !bytes.Equal(secret(t, "egress-tls-webhook-authority").Data["tls.crt"], authority.Data["tls.crt"])
	}, "the authority has a new certificate")
	// The first one after it may still come from the old certificate: the issuer has a cache.
	eventually(t, func() bool {
		before := serving(t)
		renew(t, "egress-tls-webhook")
		waitServed(t, before)
		return trusted()
	}, "the new certificate of the authority is in the caBundle")
	assert.Equal(t, authority.Data["tls.key"], secret(t, "egress-tls-webhook-authority").Data["tls.key"], "the key of the authority stays")

	s.succeeds(t, "kubectl -n egress-tls-system rollout restart deployment egress-tls-webhook",
		"kubectl -n egress-tls-system rollout status deployment egress-tls-webhook")
	l.stop(t)
	s.succeeds(t, "helm uninstall egress-tls-webhook --namespace egress-tls-system --wait", "kubectl delete namespace egress-tls-system")
}

// runCertManager installs cert-manager's CRDs and runs its controllers.
func runCertManager(t *testing.T) {
	t.Helper()
	dir, err := tools.CertManager().Install(t.Context(), os.Stderr)
	require.NoError(t, err)
	root, err := tools.RepoRoot()
	require.NoError(t, err)
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "github.com/cert-manager/cert-manager")
	download.Dir = filepath.Join(root, "test", "tools", "certmanager")
	out, err := download.Output()
	require.NoError(t, err)
	var module struct{ Dir string }
	require.NoError(t, json.Unmarshal(out, &module))
	crds := plane.Kubectl(t.Context(), "", "apply", "--server-side", "-f", filepath.Join(module.Dir, "deploy", "crds"))
	require.Zero(t, crds.ExitCode, crds.Stderr)
	crds = plane.Kubectl(t.Context(), "", "wait", "crds", "--all", "--for=condition=Established")
	require.Zero(t, crds.ExitCode, crds.Stderr)
	process, err := plane.Run(filepath.Join(dir, "cert-manager"), "--kubeconfig="+plane.Kubeconfig)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of cert-manager:\n%s", process.Log())
		}
		assert.NoError(t, process.Stop())
	})
}

// renew asks for a new certificate, as cmctl renew does.
func renew(t *testing.T, certificate string) {
	t.Helper()
	o := object(`{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: ` + certificate + `, namespace: ` + system + `}}`)
	eventually(t, func() bool {
		require.NoError(t, admin.Get(t.Context(), client.ObjectKeyFromObject(o), o))
		status, _ := o.Object["status"].(map[string]any)
		conditions, _ := status["conditions"].([]any)
		status["conditions"] = append(conditions, map[string]any{
			"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "renewed by a test",
			"lastTransitionTime": metav1.Now().UTC().Format(time.RFC3339),
		})
		return admin.Status().Update(t.Context(), o) == nil
	}, "a new certificate is asked for")
}

func secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	var s corev1.Secret
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Namespace: system, Name: name}, &s))
	return &s
}

// serving returns the certificate that each replica serves.
func serving(t *testing.T) map[string][]byte {
	t.Helper()
	served := map[string][]byte{}
	for _, p := range plane.Pods(system) {
		if p.Address("webhook") == "" || p.Ending() {
			continue // That of helm test has none.
		}
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // It looks, and sends nothing.
		conn, err := dialer.DialContext(context.WithoutCancel(t.Context()), "tcp", p.Address("webhook"))
		require.NoError(t, err)
		served[p.Name()] = conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
		require.NoError(t, conn.Close())
	}
	return served
}

// waitServed waits until each replica serves another certificate than before.
func waitServed(t *testing.T, before map[string][]byte) {
	t.Helper()
	eventually(t, func() bool {
		for pod, certificate := range serving(t) {
			if bytes.Equal(before[pod], certificate) {
				return false
			}
		}
		return true
	}, "each replica serves a new certificate")
}
