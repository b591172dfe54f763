package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// result is what a process leaves.
type result struct {
	code     int
	out, err string
}

func run(stdin string, args ...string) result {
	var out, errOut bytes.Buffer
	code := Run(args, Streams{In: strings.NewReader(stdin), Out: &out, Err: &errOut}, "test")
	return result{code, out.String(), errOut.String()}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no command":       {nil, "no command given\nsee 'egress-tls --help'"},
		"unknown command":  {[]string{"chekc"}, "unknown command \"chekc\"\nsee 'egress-tls --help'"},
		"unknown flag":     {[]string{"check", "--nope"}, "unknown flag: --nope\nsee 'egress-tls check --help'"},
		"flag of none":     {[]string{"--nope"}, "unknown flag: --nope\nsee 'egress-tls --help'"},
		"no file":          {[]string{"check"}, "no input: give at least one -f FILE\nsee 'egress-tls check --help'"},
		"no value":         {[]string{"render", "-f"}, "flag needs an argument: 'f' in -f\nsee 'egress-tls render --help'"},
		"argument":         {[]string{"check", "a.yaml"}, "unexpected argument \"a.yaml\"; files are given as -f FILE\nsee 'egress-tls check --help'"},
		"check format":     {[]string{"check", "-f", "-", "-o", "yaml"}, "unknown output format \"yaml\" for -o; it is one of text, json, sarif, junit, github, html\nsee 'egress-tls check --help'"},
		"render format":    {[]string{"render", "-f", "-", "-o", ""}, "unknown output format \"\" for -o; it is one of yaml, json, diff\nsee 'egress-tls render --help'"},
		"in place, stdin":  {[]string{"render", "-f", "-", "--in-place"}, "--in-place writes files, and stdin is none: give -f FILE\nsee 'egress-tls render --help'"},
		"in place, format": {[]string{"render", "-f", "a", "--in-place", "-o", "yaml"}, "--in-place writes files and prints no objects: it excludes -o\nsee 'egress-tls render --help'"},
		"rules, stream":    {[]string{"render", "-f", "a", "--rules-file", "b"}, "--rules-file needs --in-place or -o diff: all else is printed in one stream\nsee 'egress-tls render --help'"},
		"rules, stdin":     {[]string{"render", "-f", "a", "--rules-file", "-", "--in-place"}, "--rules-file names a file to write, and stdin is none\nsee 'egress-tls render --help'"},
		"rules, no file":   {[]string{"render", "--rules-file", "testdata/sidecar.yaml", "--in-place"}, "no input: give at least one -f FILE\nsee 'egress-tls render --help'"},
		"rules, directory": {[]string{"render", "-f", "a", "--rules-file", "testdata", "--in-place"}, "--rules-file testdata is a directory: name a file in it\nsee 'egress-tls render --help'"},
		"stdin twice":      {[]string{"check", "-f", "-", "--background", "-"}, "stdin can be read only once: -f - and --background - exclude each other\nsee 'egress-tls check --help'"},
		"two backgrounds":  {[]string{"check", "-f", "-", "--background", "b", "--kubeconfig="}, "the background is either --background or the cluster (--kubeconfig, --context)\nsee 'egress-tls check --help'"},
		"mode":             {[]string{"render", "-f", "-", "--mode", "off"}, "unknown mode \"off\" for --mode; it is one of enforce, warn, audit\nsee 'egress-tls render --help'"},
		"no shell":         {[]string{"completion"}, "no shell given; it is one of bash, fish, powershell, zsh\nsee 'egress-tls completion --help'"},
		"unknown shell":    {[]string{"completion", "tcsh"}, "unknown shell \"tcsh\"; it is one of bash, fish, powershell, zsh\nsee 'egress-tls completion --help'"},
		"version argument": {[]string{"version", "x"}, "unexpected argument \"x\"\nsee 'egress-tls version --help'"},
	} {
		t.Run(name, func(t *testing.T) {
			want := "egress-tls: " + strings.ReplaceAll(tc.want, "\n", "\negress-tls: ") + "\n"
			assert.Equal(t, result{Unusable, "", want}, run("", tc.args...))
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"check", "--help"}, {"render", "-h"}, {"help", "check"}} {
		got := run("", args...)
		assert.Equal(t, OK, got.code, args)
		assert.Empty(t, got.err, args)
		assert.Contains(t, got.out, "Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.", args)
		assert.Contains(t, got.out, "Examples:", args)
	}
}

func TestVersion(t *testing.T) {
	assert.Equal(t, result{OK, "egress-tls test\n", ""}, run("", "version"))
	assert.Regexp(t, `^v1 \(commit abc, go1\.\S+, \w+/\w+\)$`, Version("v1", "abc"))
	assert.NotContains(t, Version("", ""), "()")
}

func TestUnusableInput(t *testing.T) {
	dir := t.TempDir()
	empty := write(t, "kubeconfig", "apiVersion: v1\nkind: Config\n")
	nobody := write(t, "kubeconfig", `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]}`)
	policy := write(t, "policy.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nmode: strict\n")
	for name, tc := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"missing file":     {"", []string{"-f", dir + "/none.yaml"}, "failed to read " + dir + "/none.yaml: no such file or directory"},
		"empty input":      {"# nothing\n---\n", []string{"-f", "-"}, "the input holds no objects"},
		"empty directory":  {"", []string{"-f", dir}, "the input holds no objects"},
		"YAML":             {"a: [", []string{"-f", "-"}, "stdin:1: invalid YAML: did not find expected node content"},
		"field":            {vsOf("  http:\n  - match: x\n"), []string{"-f", "-"}, `stdin:8: VirtualService default/a: spec.http[0].match: expected a list, got the string "x"`},
		"too many hosts":   {vsOf("  http:\n" + routesTo(2001)), []string{"-f", "-"}, "stdin:1: VirtualService default/a routes HTTP to 2001 hosts, so it cannot be checked for plaintext; at most 2000 are looked at. Split it"},
		"twice":            {vsOf("") + "---\n" + vsOf(""), []string{"-f", "-"}, "stdin:8: VirtualService default/a is defined already at stdin:1"},
		"policy":           {vsOf(""), []string{"-f", "-", "--policy", policy}, policy + `:3: mode: unknown value "strict"; it takes: enforce, warn, audit, off`},
		"no policy":        {vsOf(""), []string{"-f", "-", "--policy", dir + "/p"}, "failed to read the policy: open " + dir + "/p: no such file or directory"},
		"no background":    {vsOf(""), []string{"-f", "-", "--background", dir + "/b"}, "failed to read " + dir + "/b: no such file or directory"},
		"all errors":       {"a: [", []string{"-f", "-", "--background", dir + "/b"}, "stdin:1: invalid YAML: did not find expected node content\nfailed to read " + dir + "/b: no such file or directory"},
		"no kubeconfig":    {vsOf(""), []string{"-f", "-", "--kubeconfig", dir + "/k"}, "failed to find the cluster: stat " + dir + "/k: no such file or directory"},
		"no context":       {vsOf(""), []string{"-f", "-", "--kubeconfig", empty, "--context", "k"}, `failed to find the cluster: context "k" does not exist`},
		"no cluster":       {vsOf(""), []string{"-f", "-", "--kubeconfig", empty}, "there is no cluster: no kubeconfig was found in $KUBECONFIG or ~/.kube/config, and this is no Pod; name one with --kubeconfig FILE"},
		"no answer":        {vsOf(""), []string{"-f", "-", "--kubeconfig", nobody}, "failed to ask the cluster for the versions of networking.istio.io: Get \"http://127.0.0.1:1/apis/networking.istio.io\": dial tcp 127.0.0.1:1: connect: connection refused"},
		"bounded messages": {strings.Repeat("5\n---\n", 25), []string{"-f", "-"}, scalarErrors(20) + "and 5 more"},
	} {
		for _, verb := range []string{"check", "render"} {
			t.Run(name+"/"+verb, func(t *testing.T) {
				want := "egress-tls: " + strings.ReplaceAll(tc.want, "\n", "\negress-tls: ") + "\n"
				assert.Equal(t, result{Unusable, "", want}, run(tc.stdin, append([]string{verb}, tc.args...)...))
			})
		}
	}
}

// routesTo returns routes to n hosts.
func routesTo(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - route: [{destination: {host: h%d.example}}]\n    match: [{uri: {exact: /%d}}]\n", i, i)
	}
	return b.String()
}

// What is over the limit already may stay so.
func TestTooManyHostsBefore(t *testing.T) {
	text := vsOf("  http:\n" + routesTo(2001))
	got := run(text, "check", "-f", "-", "--background", write(t, "stored.yaml", text))
	assert.Equal(t, result{OK, "0 errors, 0 warnings in 1 object: 1 VirtualService.\n", ""}, got)
}

func scalarErrors(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("stdin:" + string("0123456789"[(2*i+1)/10%10]) + string("0123456789"[(2*i+1)%10]) + ": expected a Kubernetes object, got a scalar\n")
	}
	return strings.ReplaceAll(b.String(), "stdin:0", "stdin:")
}

// vsOf returns a VirtualService with further spec.
func vsOf(spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: a\nspec:\n  hosts: [a.example.com]\n" + spec
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestOutputThatCannotBeWritten(t *testing.T) {
	var errOut bytes.Buffer
	code := Run([]string{"version"}, Streams{In: strings.NewReader(""), Out: brokenPipe{}, Err: &errOut}, "test")
	assert.Equal(t, Unusable, code)
	assert.Equal(t, "egress-tls: failed to write the output: broken pipe\n", errOut.String())
}
