// Package security tries to do harm through the product, as those who would: a tenant with
// rights in one namespace, a pod that reaches a port of the server, a client that is slow
// or sends nonsense. The real server, with the rights of deploy/, answers the real API
// server, which presents a client certificate. docs/security.md names the test of each threat.
package security

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const (
	patience = time.Minute
	tick     = 20 * time.Millisecond
	// grace is short: what nothing needs goes while a test waits.
	grace = 200 * time.Millisecond
)

var (
	plane *controlplane.ControlPlane
	admin client.Client
	// webhook answers whoever has a certificate of clients for apiServerName.
	webhook *controlplane.Webhook
	clients struct {
		*controlplane.Authority
		file string // --client-ca-file
	}
	// anonymous leads to webhook too; there the API server presents no certificate.
	anonymous *controlplane.Front
)

// apiServerName is the name in the certificate that the API server presents.
const apiServerName = "kube-apiserver-to-webhooks"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (exitCode int) {
	fail := func(err error) bool {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			exitCode = 1
		}
		return err != nil
	}
	dir, err := os.MkdirTemp("", "egress-tls-security-")
	if fail(err) {
		return exitCode
	}
	defer func() { fail(os.RemoveAll(dir)) }()
	if anonymous, err = controlplane.NewFront(); fail(err) {
		return exitCode
	}
	defer func() { fail(anonymous.Close()) }()
	configuration, err := admissionConfiguration(dir)
	if fail(err) {
		return exitCode
	}
	plane, err = controlplane.Start(context.Background(), controlplane.Options{
		APIServerArgs: map[string][]string{"admission-control-config-file": {configuration}},
	})
	if fail(err) {
		return exitCode
	}
	defer func() { fail(plane.Stop()) }()
	if fail(connect()) {
		return exitCode
	}
	webhook, err = controlplane.StartWebhook(context.Background(), plane, controlplane.WebhookOptions{Args: []string{
		"--client-ca-file=" + clients.file, "--client-names=" + apiServerName,
		"--grace-period=" + grace.String(), "--log-level=debug",
	}})
	if fail(err) {
		return exitCode
	}
	// An API server that stops waits for those who watch.
	defer func() { fail(webhook.Stop()) }()
	anonymous.Add(webhook.Address())
	return m.Run()
}

// admissionConfiguration is what docs/security.md gives to kube-apiserver: it presents a
// certificate to every webhook but at anonymous.
func admissionConfiguration(dir string) (path string, err error) {
	if clients.Authority, err = controlplane.NewAuthority(time.Now().Add(time.Hour)); err != nil {
		return "", err
	}
	cert, err := clientCertificate(clients.Authority, apiServerName)
	if err != nil {
		return "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return "", err
	}
	clients.file = filepath.Join(dir, "client-ca.crt")
	kubeconfig := filepath.Join(dir, "webhooks.kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{AuthInfos: map[string]*clientcmdapi.AuthInfo{
		"*": {
			ClientCertificateData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
			ClientKeyData:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		},
		strings.TrimPrefix(anonymous.URL(), "https://"): {},
	}}, kubeconfig); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "admission.yaml")
	plugin := func(name string) string {
		return fmt.Sprintf(`- name: %s
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: WebhookAdmissionConfiguration
    kubeConfigFile: %s
`, name, kubeconfig)
	}
	if err := os.WriteFile(path, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"+
		plugin("MutatingAdmissionWebhook")+plugin("ValidatingAdmissionWebhook")), 0o600); err != nil {
		return "", err
	}
	return path, os.WriteFile(clients.file, clients.CertPEM, 0o600)
}

// clientCertificate issues one for a client of the name.
func clientCertificate(ca *controlplane.Authority, name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, key.Public(), ca.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func connect() error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		networkingv1.AddToScheme, corev1.AddToScheme, admissionregistrationv1.AddToScheme, authorizationv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	plane.Config.QPS = -1 // The API server limits by itself.
	var err error
	admin, err = client.New(plane.Config, client.Options{Scheme: scheme})
	return err
}

// tenants are two teams with a namespace each, and all rights on Istio's objects and on
// Services there. Names differ in each test.
type tenants struct {
	mallory, victim string // namespaces
	host            string // of nobody yet
}

func newTenants(t *testing.T) tenants {
	t.Helper()
	name := controlplane.Name(t)
	// Of two objects of the same second Istio takes the one that comes first by name for the older one:
	// the victim's.
	s := tenants{mallory: name + "-m", victim: name + "-a", host: name + ".example.com"}
	var b strings.Builder
	for _, ns := range []string{s.mallory, s.victim} {
		b.WriteString(strings.ReplaceAll(`---
apiVersion: v1
kind: Namespace
metadata: {name: NS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: tenant, namespace: NS}
rules:
- {apiGroups: [networking.istio.io], resources: ["*"], verbs: ["*"]}
- {apiGroups: [""], resources: [services], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tenant, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tenant}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: NS}]
`, "NS", ns))
	}
	does(t, "", b.String(), "apply", "-f", "-")
	webhook.LogOnFailure(t)
	return s
}

// as runs kubectl as the tenant of the namespace, "" is the administrator. MALLORY, VICTIM
// and HOST in the manifest are replaced.
func (s tenants) as(t *testing.T, tenant, manifest string, args ...string) controlplane.Result {
	t.Helper()
	manifest = strings.NewReplacer("MALLORY", s.mallory, "VICTIM", s.victim, "HOST", s.host).Replace(manifest)
	return as(t, tenant, manifest, args...)
}

// apply is as with apply, which must succeed. It returns the warnings.
func (s tenants) apply(t *testing.T, tenant, manifest string) (warnings []string) {
	t.Helper()
	result := s.as(t, tenant, manifest, "apply", "-f", "-")
	require.Zero(t, result.ExitCode, result.Stderr)
	warnings, rest := result.Warnings()
	require.Empty(t, rest)
	return warnings
}

func as(t *testing.T, tenant, stdin string, args ...string) controlplane.Result {
	t.Helper()
	if tenant != "" {
		args = append(args, "--as="+tenant)
	}
	return plane.Kubectl(t.Context(), stdin, args...)
}

func does(t *testing.T, tenant, stdin string, args ...string) controlplane.Result {
	t.Helper()
	result := as(t, tenant, stdin, args...)
	require.Zero(t, result.ExitCode, result.Stderr)
	return result
}

// denied is what follows the webhook's name in a refusal.
func denied(t *testing.T, result controlplane.Result) string {
	t.Helper()
	require.Equal(t, 1, result.ExitCode, result.Stdout+result.Stderr)
	_, reason, ok := strings.Cut(result.Stderr, `admission webhook "validate.egress-tls.dev" denied the request: `)
	require.True(t, ok, result.Stderr)
	return strings.TrimSuffix(reason, "\n")
}

// rules lists the DestinationRules of a namespace.
func rules(t *testing.T, namespace string) []*networkingv1.DestinationRule {
	t.Helper()
	var list networkingv1.DestinationRuleList
	require.NoError(t, admin.List(t.Context(), &list, client.InNamespace(namespace)))
	return list.Items
}

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, patience, tick, what)
}
