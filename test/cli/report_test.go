package cli

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Modules that hold the CRDs of reports. They are only read, so they are no dependency; the
// sums are those that go.sum would have.
const (
	openReports = "github.com/openreports/reports-api@v0.2.1"
	openSum     = "h1:g9KS3yle9Y1elmww4TK9EkD1rl6inIaiIJPX6e+u680="
	kyverno     = "github.com/kyverno/kyverno@v1.19.1"
	kyvernoSum  = "h1:/MkgFii3/VlQfKR1JpC9tVwNNVNQTt2S4U6qCsafsTU="
)

// installCRD installs the CRD in a file of a module, and removes it after the test.
func installCRD(t *testing.T, module, sum, file, name string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	require.NoError(t, err, string(out))
	var found struct{ Dir, Sum string }
	require.NoError(t, json.Unmarshal(out, &found))
	require.Equal(t, sum, found.Sum)
	kubectl(t, "", "apply", "-f", filepath.Join(found.Dir, file))
	kubectl(t, "", "wait", "--for=condition=Established", "crd/"+name)
	after(t, "", "delete", "crd", name)
}

func installOpenReports(t *testing.T) {
	t.Helper()
	installCRD(t, openReports, openSum, "config/crd/openreports.io_reports.yaml", "reports.openreports.io")
}

func installPolicyReports(t *testing.T) {
	t.Helper()
	installCRD(t, kyverno, kyvernoSum, "config/crds/policyreport/wgpolicyk8s.io_policyreports.yaml", "policyreports.wgpolicyk8s.io")
}

// versions are the resource versions of all reports of a kind, by namespace and name.
func versions(t *testing.T, kind string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(kubectl(t, "", "get", kind, "-A", "--no-headers", "-o",
		"custom-columns=:.metadata.namespace,:.metadata.name,:.metadata.resourceVersion")) {
		f := strings.Fields(line)
		out[f[0]+"/"+f[1]] = f[2]
	}
	return out
}

// report scans and returns what it says about its reports.
func report(t *testing.T, args ...string) string {
	t.Helper()
	got := egressTLS(t, "", append([]string{"scan", "--summary", "--report"}, args...)...)
	require.Contains(t, []int{0, 1}, got.code, got.stderr)
	return strings.TrimPrefix(got.stderr, noPolicy)
}

func TestReportsWithoutTheirKind(t *testing.T) {
	site(t)
	assert.Equal(t, result{2, egressTLS(t, "", "scan").stdout, noPolicy + "egress-tls: reports cannot be written: the cluster serves neither reports.openreports.io v1alpha1 nor policyreports.wgpolicyk8s.io v1alpha2; install the CRDs of OpenReports, or those that Kyverno brings\n"},
		egressTLS(t, "", "scan", "--report"))
}

func testReports(t *testing.T, as string) {
	report := func(t *testing.T, args ...string) string { return report(t, append(args, as)...) }
	installPolicyReports(t)
	assert.Equal(t, "egress-tls: note: PolicyReport: 2 created\n", report(t))
	assert.Equal(t, "egress-tls: note: PolicyReport: 2 unchanged\n", report(t))

	kubectl(t, "", "patch", "policyreports", "-n", "shop", "egress-tls", "--type=merge", "-p", `{"summary": {"fail": 7}}`)
	assert.Equal(t, "egress-tls: note: PolicyReport: 1 updated, 1 unchanged\n", report(t))

	// Where both are served, the newer kind is written in place of the older one.
	installOpenReports(t)
	assert.Equal(t, "egress-tls: note: Report: 2 created, 2 deleted\n", report(t))
	assert.Empty(t, versions(t, "policyreports"))
	golden(t, "report.yaml", normal(kubectl(t, "", "get", "reports", "-n", "shop", "egress-tls", "-o", "yaml")))
	table := regexp.MustCompile(`(?m) +\S+$`).ReplaceAllString(kubectl(t, "", "get", "reports", "-A"), "") // without AGE
	documented(t, "reports", "kubectl get reports -A", table)
	before := versions(t, "reports")
	assert.Equal(t, "egress-tls: note: Report: 2 unchanged\n", report(t))
	assert.Equal(t, before, versions(t, "reports"))

	// A namespace that goes takes no report any more. Nobody here finishes that.
	leaving := strings.ReplaceAll(anotherDead, "shop", "leaving")
	kubectl(t, "", "create", "namespace", "leaving")
	kubectl(t, leaving, "apply", "-f", "-")
	kubectl(t, "", "delete", "namespace", "leaving", "--wait=false")
	assert.Equal(t, "egress-tls: note: Report: 2 unchanged\n", report(t))
	kubectl(t, leaving, "delete", "-f", "-")

	// What was found before keeps its time.
	time := func() string {
		return kubectl(t, "", "get", "reports", "-n", "shop", "egress-tls", "-o", "jsonpath={.results[?(@.policy=='CatchAllNotLast')].timestamp}")
	}
	kubectl(t, "", "patch", "reports", "-n", "shop", "egress-tls", "--type=json", "-p", `[{"op": "replace", "path": "/results/0/timestamp/seconds", "value": 1}]`)
	kubectl(t, anotherDead, "apply", "-f", "-")
	after(t, anotherDead, "delete", "-f", "-")
	assert.Equal(t, "egress-tls: note: Report: 1 updated, 1 unchanged\n", report(t))
	assert.Regexp(t, `^\{"nanos":0,"seconds":1\} \{"nanos":0,"seconds":\d{10}\}$`, time())

	// One namespace alone; then legacy goes off.
	assert.Equal(t, "egress-tls: note: Report: 1 unchanged\n", report(t, "-n", "legacy"))
	kubectl(t, "", "label", "namespace", "legacy", "--overwrite", "egress-tls.dev/mode=off")
	after(t, "", "label", "namespace", "legacy", "--overwrite", "egress-tls.dev/mode=audit")
	assert.Equal(t, "egress-tls: note: Report: none\n", report(t, "-n", "idle"))
	assert.Equal(t, "egress-tls: note: Report: 1 unchanged, 1 deleted\n", report(t))

	// Another's report is left alone, and keeps no other from being written, nor what was found
	// from being printed.
	kubectl(t, "", "label", "reports", "-n", "shop", "egress-tls", "app.kubernetes.io/managed-by=someone", "--overwrite")
	before = versions(t, "reports")
	kubectl(t, "", "label", "namespace", "legacy", "--overwrite", "egress-tls.dev/mode=audit")
	got := egressTLS(t, "", "scan", "--report", as)
	assert.Equal(t, result{2, egressTLS(t, "", "scan", as).stdout, noPolicy +
		"egress-tls: note: Report: 1 created\n" +
		"egress-tls: Report shop/egress-tls is not touched: it lacks the label app.kubernetes.io/managed-by=egress-tls, so it is none of ours\n"}, got)
	now := versions(t, "reports")
	assert.Equal(t, before["shop/egress-tls"], now["shop/egress-tls"])
	assert.Contains(t, now, "legacy/egress-tls")
}

const anotherDead = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: zeta, namespace: shop}
spec:
  hosts: [zeta.example.com]
  http:
  - route: [{destination: {host: a}}]
  - route: [{destination: {host: b}}]
`
