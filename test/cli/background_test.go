package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Alone, the VirtualService leads nowhere: its ServiceEntry is in the cluster. The cluster's
// own payments has no say any more.
const payments = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: payments
  namespace: shop
spec:
  hosts: [api.payments.example.com]
  http:
  - route: # all of it
    - destination: {host: api.payments.example.com, port: {number: 443}}
    headers: {request: {set: {Host: other.example.com, X-Forwarded-Proto: https}}}
`

func TestClusterAsBackground(t *testing.T) {
	site(t)
	file := filepath.Join(t.TempDir(), "payments.yaml")
	require.NoError(t, os.WriteFile(file, []byte(payments), 0o600))
	const nothing = "0 errors, 0 warnings in 1 object: 1 VirtualService.\n"
	assert.Equal(t, result{0, nothing, ""}, egressTLS(t, "", "check", "-f", file), "no cluster is read unasked")

	got := egressTLS(t, payments, "check", "-o", "json", "-f", "-", "--kubeconfig", plane.Kubeconfig)
	assert.Zero(t, got.code)
	assert.Equal(t, noPolicy, got.stderr)
	golden(t, "check.json", got.stdout)
	assert.Equal(t, got, egressTLS(t, payments, "check", "-o", "json", "-f", "-", "--kubeconfig="), "the default kubeconfig")
	assert.Equal(t, result{2, "", "egress-tls: failed to find the cluster: context \"none\" does not exist\n"}, egressTLS(t, "", "check", "-f", file, "--context", "none"))

	got = egressTLS(t, "", "render", "-f", file, "--kubeconfig", plane.Kubeconfig)
	assert.Zero(t, got.code)
	uid := kubectl(t, "", "get", "serviceentries", "-n", "shop", "payments", "-o", "jsonpath={.metadata.uid}")
	assert.Contains(t, got.stdout, "uid: "+uid, "the rule that is created has its owner in the cluster")
	assert.NotContains(t, egressTLS(t, "", "render", "-f", file).stdout, "kind: DestinationRule")
}

// As kubectl, which would store them there.
func TestNamespaceOfTheContext(t *testing.T) {
	site(t)
	config, err := os.ReadFile(plane.Kubeconfig)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(file, config, 0o600))
	kubectl(t, "", "config", "set-context", "--current", "--namespace=legacy", "--kubeconfig="+file)
	const route = `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: r}, spec: {hosts: [r.example.com], http: [{route: [{destination: {host: a}}]}, {route: [{destination: {host: b}}]}]}}`
	check := func(args ...string) result {
		return egressTLS(t, route, append([]string{"check", "-f", "-", "-o", "github"}, args...)...)
	}
	assert.Contains(t, check("--kubeconfig="+file).stdout, "::VirtualService legacy/r spec.http[1]")
	assert.Contains(t, check("--kubeconfig="+file, "-n", "shop").stdout, "::VirtualService shop/r spec.http[1]")
	assert.Contains(t, check().stdout, "::VirtualService default/r spec.http[1]", "no cluster is read")
}

func TestNoSuchNamespace(t *testing.T) {
	site(t)
	assert.Equal(t, result{2, "", noPolicy + "egress-tls: there is no namespace \"shp\" in the cluster\n"}, egressTLS(t, "", "scan", "-n", "shp"))
}

// kubectl finds the binary by its name on the PATH.
func TestKubectlPlugin(t *testing.T) {
	binary, err := plane.Build(t.Context(), "./cmd/egress-tls")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(dir, "kubectl-egress_tls")))
	t.Setenv("PATH", dir)
	site(t)
	got := plane.Kubectl(t.Context(), "", "egress-tls", "scan", "-n", "legacy", "--summary")
	assert.Equal(t, noPolicy, got.Stderr)
	assert.Equal(t, `NAMESPACE  MODE     OBJECTS  ERRORS  WARNINGS  TO ADD  FINDINGS
legacy     audit          1       0         1       0  UnreachableRoute 1

0 errors, 1 warning in 1 object of 1 namespace.
`, got.Stdout)
	assert.Zero(t, got.ExitCode)
}

func TestCompletionOfNamespaces(t *testing.T) {
	site(t)
	var want strings.Builder
	for name := range strings.FieldsSeq(kubectl(t, "", "get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}")) {
		want.WriteString(name + "\n")
	}
	assert.Equal(t, want.String()+":4\n", egressTLS(t, "", "__complete", "scan", "-n", "").stdout)
}
