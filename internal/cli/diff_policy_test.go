package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	comparedObjects = "testdata/diff-policy.yaml"
	stricterPolicy  = "testdata/diff-policy.policy.yaml"
)

func TestDiffPolicy(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		got := run("", "diff-policy", "default", stricterPolicy, "-f", comparedObjects, "-o", format)
		assert.Equal(t, Found, got.code)
		assert.Empty(t, got.err)
		golden(t, "testdata/diff-policy."+format, got.out)
	}
}

// The other way round nothing is refused newly, but what was no longer refused.
func TestDiffPolicyBackwards(t *testing.T) {
	got := run("", "diff-policy", stricterPolicy, "default", "-f", comparedObjects)
	assert.Equal(t, Found, got.code)
	assert.Contains(t, got.out, `
testdata/diff-policy.yaml:54: VirtualService ops/status
    - mode off
    + mode enforce
    + error CatchAllNotLast at spec.http[1]: Istio silently drops every route after a catch-all:
`)
	assert.Contains(t, got.out, `
testdata/diff-policy.yaml:36: VirtualService shop/pay
    - error HeadersMissing at spec.http[0]
    + adds spec.http[0]: set request headers Host: api.payments.example.com, X-Forwarded-Proto:
      https
`)
	assert.Contains(t, got.out, "\n8 objects: 2 newly refused, 1 no longer refused, 4 answered otherwise.\n")
}

func TestDiffPolicyWithoutDifference(t *testing.T) {
	same := result{OK, "8 objects: 0 newly refused, 0 no longer refused, 0 answered otherwise.\n", ""}
	assert.Equal(t, same, run("", "diff-policy", stricterPolicy, stricterPolicy, "-f", comparedObjects))

	// Another mode is no other answer where there is nothing to say.
	audit := write(t, "audit.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nmode: audit\n")
	assert.Equal(t, result{OK, `NAMESPACE  MODE              OBJECTS  NEWLY REFUSED  NO LONGER REFUSED  ANSWERED OTHERWISE
default    enforce -> audit  1        0              0                  0

1 object: 0 newly refused, 0 no longer refused, 0 answered otherwise.
`, ""}, run(vsOf(""), "diff-policy", "default", audit, "-f", "-"))

	// The flag --mode is stronger than both policies.
	assert.Equal(t, OK, run(vsOf(deadRoute), "diff-policy", audit, "default", "-f", "-", "--mode", "warn").code)
	assert.Equal(t, Found, run(vsOf(deadRoute), "diff-policy", audit, "default", "-f", "-").code)

	json := run("", "diff-policy", "default", "default", "-f", comparedObjects, "-o", "json")
	assert.Equal(t, OK, json.code)
	assert.Contains(t, json.out, `"objects": [],`)
}

// Several objects that need one rule do not each add it.
func TestDiffPolicyCountsARuleOnce(t *testing.T) {
	policy := write(t, "ignore.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\ndestinationRules: Ignore\nheaders: Ignore\n")
	got := run(read(t, "testdata/ingress.yaml"), "diff-policy", policy, "default", "-f", "-")
	assert.Equal(t, OK, got.code)
	assert.Contains(t, got.out, "\n2 objects: 0 newly refused, 0 no longer refused, 2 answered otherwise.\n")
	assert.Equal(t, 1, strings.Count(got.out, "+ adds DestinationRule"), got.out)
}

// That another object no longer asks for a rule is no other answer to this one.
func TestDiffPolicyLeavesARuleWithTheFirst(t *testing.T) {
	policy := write(t, "off.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nexemptions: {namespaces: [one]}\nheaders: Ignore\n")
	old := write(t, "on.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nheaders: Ignore\n")
	route := func(namespace string) string {
		return "---\n{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: pay, namespace: " + namespace + "}, spec: {hosts: [pay.shop.svc.cluster.local], " +
			"http: [{route: [{destination: {host: a.example.com, port: {number: 443}}}]}]}}\n"
	}
	manifests := route("one") + route("two") + `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: shop}
spec: {hosts: [a.example.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: HTTPS}]}
`
	got := run(manifests, "diff-policy", old, policy, "-f", "-")
	assert.Equal(t, OK, got.code)
	assert.Contains(t, got.out, "VirtualService one/pay\n")
	assert.Contains(t, got.out, "    - adds DestinationRule shop/")
	assert.NotContains(t, got.out, "two/pay")
	assert.NotContains(t, got.out, "+ adds")
}

// What one addition to an object is made of is not taken for part of another one.
func TestDiffPolicyTellsAdditionsApart(t *testing.T) {
	file := write(t, "two.yaml", `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: both, namespace: shop}
spec:
  hosts: [a.example.com, b.example.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two, namespace: shop}
spec:
  hosts: [two.shop.svc.cluster.local]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: a.example.com}}]
  - route: [{destination: {host: b.example.com}}]
`)
	exempt := write(t, "exempt.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nexemptions: {hosts: [a.example.com]}\n")
	got := run("", "diff-policy", "default", exempt, "-f", file)
	assert.Contains(t, got.out, file+`:9: VirtualService shop/two
    - adds spec.http[0]: set request headers Host: a.example.com, X-Forwarded-Proto: https

`)
}

func TestDiffPolicyUnusable(t *testing.T) {
	wrong := write(t, "policy.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nmode: strict\n")
	const two = "egress-tls: two policies are compared: give OLD and NEW, each a file or the word default\negress-tls: see 'egress-tls diff-policy --help'\n"
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"one policy":       {[]string{"default", "-f", "-"}, two},
		"three policies":   {[]string{"default", wrong, wrong, "-f", "-"}, two},
		"no such policy":   {[]string{"none.yaml", "default", "-f", "-"}, "egress-tls: failed to read the policy: open none.yaml: no such file or directory\n"},
		"both are wrong":   {[]string{"none.yaml", wrong, "-f", "-"}, "egress-tls: failed to read the policy: open none.yaml: no such file or directory\negress-tls: " + wrong + ":3: mode: unknown value \"strict\"; it takes: enforce, warn, audit, off\n"},
		"a flag of check":  {[]string{"default", "default", "-f", "-", "--policy", wrong}, "egress-tls: unknown flag: --policy\negress-tls: see 'egress-tls diff-policy --help'\n"},
		"nothing to judge": {[]string{"default", "default", "-f", "-"}, "egress-tls: the input holds no objects\n"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, result{Unusable, "", tc.want}, run("", append([]string{"diff-policy"}, tc.args...)...))
		})
	}
}

// Who writes an object is not in it.
func TestDiffPolicyNotesWhatIsNotCompared(t *testing.T) {
	exempt := write(t, "exempt.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nexemptions: {usernames: [ops]}\n")
	got := run(vsOf(""), "diff-policy", "default", exempt, "-f", "-")
	assert.Equal(t, result{
		OK, "1 object: 0 newly refused, 0 no longer refused, 0 answered otherwise.\n",
		"egress-tls: note: exemptions.usernames differ; that is not compared, since objects do not tell who writes them\n",
	}, got)
}

// The example of the documentation prints what it says.
func TestDiffPolicyPage(t *testing.T) {
	page := read(t, "../../docs/diff-policy.md")
	file, err := filepath.Abs("../../docs/diff-policy.md")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("manifests", 0o750))
	for _, block := range regexp.MustCompile("(?s)```yaml\n# (\\S+)\n.*?```\n").FindAllStringSubmatch(page, -1) {
		text := strings.TrimSuffix(strings.TrimPrefix(block[0], "```yaml\n"), "```\n")
		require.NoError(t, os.WriteFile(block[1], []byte(text), 0o600))
	}
	console := regexp.MustCompile("(?s)```console\n\\$ egress-tls (.*?)\n(.*?)```\n").FindStringSubmatch(page)
	require.NotNil(t, console)
	got := run("", strings.Fields(console[1])...)
	assert.Equal(t, result{Found, got.out, ""}, got)
	if *update {
		page = strings.Replace(page, console[0], "```console\n$ egress-tls "+console[1]+"\n"+got.out+"```\n", 1)
		require.NoError(t, os.WriteFile(file, []byte(page), 0o600))
		return
	}
	assert.Equal(t, console[2], got.out)
}
