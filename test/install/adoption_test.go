package install

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The commands of docs/adoption.md do what it says, and nothing that is applied meanwhile fails, where
// it says so.
func TestAdoption(t *testing.T) {
	g := openGuide(t, "adoption.md")
	defer g.close(t)
	g.play(t, "Before you install")
	observed := startLoad(t, "warn")
	g.play(t, "The first hour")
	enforced := startLoad(t, "enforce")
	g.play(t, "Warn")
	g.play(t, "Enforce, namespace by namespace")
	g.play(t, "Enforce everywhere")
	g.play(t, "Change the policy")
	g.play(t, "Upgrade and roll back")
	replaceAuthority(t)
	enforced.stop(t)

	g.play(t, "When no replica runs")
	enforced = startLoad(t, "enforce")
	g.play(t, "Uninstall")
	enforced.stop(t)
	observed.stop(t)
}

// replaceAuthority deletes the authority of the servers, and waits until they serve with a new one.
func replaceAuthority(t *testing.T) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "egress-tls-webhook-ca"}}
	old, served := caBundle(t), serving(t)
	require.NoError(t, admin.Delete(t.Context(), secret))
	eventually(t, func() bool { return !bytes.Equal(caBundle(t), old) }, "a new authority is in the caBundle")
	waitServed(t, served)
}

// caBundle is what kube-apiserver trusts.
func caBundle(t *testing.T) []byte {
	t.Helper()
	var configuration admissionregistrationv1.ValidatingWebhookConfiguration
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Name: "egress-tls-webhook"}, &configuration))
	return configuration.Webhooks[0].ClientConfig.CABundle
}
