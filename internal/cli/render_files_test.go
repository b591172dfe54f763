package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// copies writes testdata files into a directory, which becomes the current one.
func copies(t *testing.T, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range names {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(read(t, "testdata/"+name)), 0o640))
	}
	t.Chdir(dir)
	return dir
}

const (
	createdDiff = `+# Created by egress-tls for TLS to edition.cnn.com
+apiVersion: networking.istio.io/v1
+kind: DestinationRule
+metadata:
+  name: egress-tls-edition-cnn-com-3198e25ac27f46c8
+  namespace: default
+  labels:
+    app.kubernetes.io/managed-by: egress-tls-webhook
+spec:
+  host: edition.cnn.com
+  trafficPolicy:
+    portLevelSettings:
+    - port:
+        number: 443
+      tls:
+        mode: SIMPLE
+        sni: edition.cnn.com
+        subjectAltNames:
+        - edition.cnn.com
`
	headersDiff = `         host: edition.cnn.com
         port:
           number: 443
+    headers:
+      request:
+        set:
+          Host: edition.cnn.com
+          X-Forwarded-Proto: https
`
	sidecarDiff = "--- a/sidecar.yaml\n+++ b/sidecar.yaml\n@@ -1,3 +1,23 @@\n" + createdDiff +
		"+---\n apiVersion: networking.istio.io/v1alpha3\n kind: ServiceEntry\n metadata:\n@@ -29,3 +49,8 @@\n" + headersDiff
)

func TestRenderDiff(t *testing.T) {
	copies(t, "sidecar.yaml")
	assert.Equal(t, result{OK, sidecarDiff, ""}, run("", "render", "-f", "sidecar.yaml", "-o", "diff"))
	assert.Equal(t, strings.ReplaceAll(sidecarDiff, "/sidecar.yaml", "/stdin"), run(read(t, "sidecar.yaml"), "render", "-f", "-", "-o", "diff").out)

	want := "--- a/sidecar.yaml\n+++ b/sidecar.yaml\n@@ -29,3 +29,8 @@\n" + headersDiff + "--- /dev/null\n+++ b/tls rules.yaml\t\n@@ -0,0 +1,19 @@\n" + createdDiff
	assert.Equal(t, result{OK, want, ""}, run("", "render", "-f", "sidecar.yaml", "-o", "diff", "--rules-file", "tls rules.yaml"))

	coloured := run("", "render", "-f", "sidecar.yaml", "-o", "diff", "--color", "always").out
	assert.True(t, strings.HasPrefix(coloured, "\x1b[1m--- a/sidecar.yaml\x1b[0m\n\x1b[1m+++ b/sidecar.yaml\x1b[0m\n\x1b[36m@@ -1,3 +1,23 @@\x1b[0m\n\x1b[32m+# Created"), coloured)
	assert.Contains(t, coloured, "\n\x1b[32m+    headers:\x1b[0m\n")

	require.Equal(t, OK, run("", "render", "-f", "sidecar.yaml", "--in-place").code)
	assert.Equal(t, result{OK, "", ""}, run("", "render", "-f", "sidecar.yaml", "-o", "diff"))
}

func TestDiffLabel(t *testing.T) {
	for name, want := range map[string]string{
		"a/ü.yaml":                 "a/ü.yaml",
		"a/b c":                    "a/b c\t",
		"a/\x1b\n\u2028\"\\\x7f é": `"a/\033\012` + "\u2028" + `\"\\\177 é"`,
	} {
		assert.Equal(t, want, diffLabel(name))
	}
}

// git and patch come to what --in-place writes.
func TestRenderDiffApplies(t *testing.T) {
	copies(t, "sidecar.yaml", "ingress-author.yaml")
	crlf := strings.ReplaceAll(read(t, "sidecar.yaml"), "\n", "\r\n")
	require.NoError(t, os.Remove("sidecar.yaml"))
	require.NoError(t, os.WriteFile("side car.yaml", []byte(strings.TrimSuffix(crlf, "\r\n")), 0o600))
	require.NoError(t, os.Mkdir("more", 0o700))
	args := []string{"render", "-f", ".", "--fix-order", "--rules-file", "more/tls.yaml"}
	diff := run("", append(args, "-o", "diff")...)
	require.Equal(t, OK, diff.code, diff.err)
	files := []string{"side car.yaml", "ingress-author.yaml", "more/tls.yaml"}
	before := contents(t, files...)

	git := exec.CommandContext(t.Context(), "git", "apply", "-")
	git.Env = append(os.Environ(), "GIT_DIR=/nowhere")
	git.Stdin = strings.NewReader(diff.out)
	out, err := git.CombinedOutput()
	require.NoError(t, err, string(out))
	patched := contents(t, files...)
	assert.NotEqual(t, before, patched)

	for i, text := range before {
		if text == "" {
			require.NoError(t, os.Remove(files[i]))
			continue
		}
		require.NoError(t, os.WriteFile(files[i], []byte(text), 0o600))
	}
	assert.Equal(t, "wrote ingress-author.yaml\nwrote side car.yaml\nwrote more/tls.yaml\n", run("", append(args, "--in-place")...).out)
	assert.Equal(t, contents(t, files...), patched)
}

func contents(t *testing.T, files ...string) (out []string) {
	t.Helper()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		out = append(out, string(data))
	}
	return out
}

// A second run finds nothing to write; nor does one that reads the rules it wrote.
func TestRenderInPlace(t *testing.T) {
	dir := copies(t, "sidecar.yaml", "ingress.yaml", "inject.yaml")
	require.NoError(t, os.Rename("inject.yaml", "elsewhere"))
	require.NoError(t, os.Symlink("elsewhere", "inject.yaml"))
	require.NoError(t, os.WriteFile("untouched.yaml", []byte("kind: A"), 0o600))

	got := run("", "render", "-f", dir, "--in-place")
	assert.Equal(t, result{OK, "wrote " + dir + "/ingress.yaml\nwrote " + dir + "/inject.yaml\nwrote " + dir + "/sidecar.yaml\n", ""}, got)
	link, err := os.Readlink("inject.yaml")
	require.NoError(t, err)
	assert.Equal(t, "elsewhere", link)
	for _, name := range []string{"sidecar", "ingress", "inject"} {
		assert.Contains(t, contents(t, name+".yaml")[0], "mode: SIMPLE")
		info, err := os.Stat(name + ".yaml")
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o640), info.Mode())
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 5, "no temporary file is left")
	assert.Equal(t, result{OK, "", ""}, run("", "render", "-f", dir, "--in-place"))
	assert.Equal(t, Found, run("", "render", "-f", "sidecar.yaml", "-f", write(t, "dead.yaml", vsOf(deadRoute)), "--in-place").code)
}

func TestRenderInPlaceIsAllOrNothing(t *testing.T) {
	copies(t, "sidecar.yaml")
	require.NoError(t, os.WriteFile("dead.yaml", []byte(vsOf(deadRoute)), 0o600))
	got := run("", "render", "-f", ".", "--in-place")
	assert.Equal(t, Found, got.code)
	assert.Empty(t, got.out)
	assert.NotContains(t, contents(t, "sidecar.yaml")[0], "SIMPLE")

	require.NoError(t, os.Remove("dead.yaml"))
	got = run("", "render", "-f", "sidecar.yaml", "--in-place", "--rules-file", "none/tls.yaml")
	assert.Equal(t, Unusable, got.code)
	assert.Contains(t, got.err, "egress-tls: nothing is written: failed to write none/tls.yaml: ")
	assert.NotContains(t, contents(t, "sidecar.yaml")[0], "SIMPLE")
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file is left")
}

// What others write meanwhile is not lost, and what cannot be written is not replaced.
func TestReplaceFilesKeepsWhatIsNew(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"a", "b", "locked"} {
		require.NoError(t, os.WriteFile(name, []byte("old"), 0o600))
	}
	require.NoError(t, os.Chmod("locked", 0o400))
	first := fileChange{path: "a", before: "old", after: "new"}
	for _, c := range []struct {
		second fileChange
		want   string
	}{
		{fileChange{path: "b", before: "older", after: "new"}, "nothing is written: b has changed since it was read"},
		{fileChange{path: "b", after: "new", isNew: true}, "nothing is written: b is there by now"},
		{fileChange{path: ".", after: "new"}, "nothing is written: . is no regular file"},
		{fileChange{path: "locked", before: "old", after: "new"}, "nothing is written: open locked: permission denied"},
	} {
		if c.second.path == "locked" && os.Getuid() == 0 {
			continue // Root may write anything.
		}
		require.EqualError(t, replaceFiles([]fileChange{first, c.second}), c.want)
		assert.Equal(t, []string{"old", "old", "old"}, contents(t, "a", "b", "locked"))
	}
	require.NoError(t, replaceFiles([]fileChange{first}))
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	assert.Len(t, entries, 3, "no temporary file is left")
	assert.Equal(t, []string{"new", "old", "old"}, contents(t, "a", "b", "locked"))
}

func TestRenderRulesFile(t *testing.T) {
	copies(t, "sidecar.yaml", "ingress.yaml")
	args := []string{"render", "--in-place", "--rules-file", "tls.yaml", "-f"}
	assert.Equal(t, result{OK, "wrote sidecar.yaml\nwrote tls.yaml\n", ""}, run("", append(args, "sidecar.yaml")...))
	first := contents(t, "tls.yaml")[0]
	assert.True(t, strings.HasPrefix(first, "# Created by egress-tls for TLS to edition.cnn.com\napiVersion: "), first)

	// What is there stays, and is known.
	assert.Equal(t, result{OK, "", ""}, run("", append(args, "sidecar.yaml")...))
	assert.Equal(t, result{OK, "wrote ingress.yaml\nwrote tls.yaml\n", ""}, run("", append(args, "ingress.yaml")...))
	both := contents(t, "tls.yaml")[0]
	assert.True(t, strings.HasPrefix(both, first+"---\n# Created by egress-tls for TLS to samplebucket1234"), both)

	json := run("", "render", "-f", "ingress.yaml", "-o", "json").out
	require.NoError(t, os.WriteFile("a.json", []byte(strings.Replace(json, `"kind": "DestinationRule"`, `"kind": "Other"`, 1)), 0o600))
	assert.Equal(t, result{Unusable, "", "egress-tls: a.json is JSON, so DestinationRule istio-system/egress-tls-samplebucket1234-s3-ap-southeast-2-amazonaws-com-a5f187688c879bb0 cannot be added to it: say where it goes with --rules-file FILE\n"},
		run("", "render", "-f", "a.json", "-o", "diff"))
	assert.Equal(t, result{Unusable, "", "egress-tls: --rules-file a.json holds JSON, and DestinationRules are added as YAML: name another file\n"},
		run("", "render", "-f", "a.json", "-o", "diff", "--rules-file", "a.json"))
}

// A licence stays at the top of its file, and a comment with what it is about.
func TestRenderPutsRulesBehindALicence(t *testing.T) {
	text := read(t, "testdata/sidecar.yaml")
	for licence, file := range map[string]string{
		"":                           "# about it\n" + text,
		"# Licence.\n#\n# More.\n\n": "# about it\n" + text,
		"# Licence.\n---\n":          text,
	} {
		path := write(t, "a.yaml", licence+file)
		assert.Equal(t, result{OK, "wrote " + path + "\n", ""}, run("", "render", "-f", path, "--in-place"))
		got, behind, _ := strings.Cut(read(t, path), "# Created by egress-tls")
		assert.Equal(t, licence, got)
		_, behind, _ = strings.Cut(behind, "---\n")
		assert.True(t, strings.HasPrefix(behind, file[:100]), behind)
	}
}

func TestRenderInPlaceJSON(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("a.json", []byte(`{
	"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"},
	"spec": {"hosts": ["a"], "http": [
		{"route": [{"destination": {"host": "b"}}]},
		{"match": [{"uri": {"prefix": "/c"}}], "route": [{"destination": {"host": "c"}}]}
	]}
}`), 0o600))
	got := run("", "render", "-f", "a.json", "--in-place", "--fix-order")
	assert.Equal(t, result{OK, "wrote a.json\n", "egress-tls: note: a.json:3: VirtualService default/a: put spec.http into the order that works: 1, 0 (as numbered in the file)\n"}, got)
	want := `{
	"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"},
	"spec": {"hosts": ["a"], "http": [
		{"match": [{"uri": {"prefix": "/c"}}], "route": [{"destination": {"host": "c"}}]},
		{"route": [{"destination": {"host": "b"}}]}
	]}
}`
	assert.Equal(t, want, contents(t, "a.json")[0])
}

// Where the text cannot be changed it is written anew, and why is said.
func TestRenderNotesWhatItWritesAnew(t *testing.T) {
	text := strings.Replace(vsOf(deadRoute), "spec:\n", "x: &x [{route: [{destination: {host: b}}]}, {match: [{uri: {prefix: /c}}]}]\nspec:\n  # all\n", 1)
	text, _, _ = strings.Cut(text, "  http:\n")
	text += "  http: *x\n"
	got := run(text, "render", "-f", "-", "--fix-order")
	assert.Equal(t, result{OK, `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: a
spec:
  hosts:
  - a.example.com
  http:
  - match:
    - uri:
        prefix: /c
  - route:
    - destination:
        host: b
x:
- route:
  - destination:
      host: b
- match:
  - uri:
      prefix: /c
`, `egress-tls: note: stdin:9: VirtualService default/a: put spec.http into the order that works: 1, 0 (as numbered in the file)
egress-tls: note: stdin:9: the alias *x stands for other text, which others may use too; so the document is written anew, without its comments
`}, got)
}

// Findings that remain name the line at which the route stands in the file.
func TestRenderFixOrder(t *testing.T) {
	text := vsOf(`  http:
  - route: [{destination: {host: a}}]
  # Another catch-all, which no order saves.
  - match: [{uri: {regex: .*}}]
    route: [{destination: {host: b}}]

  - match: [{uri: {prefix: /c}}, {uri: {prefix: /c/d}}] # The second adds nothing.
    route: [{destination: {host: c}}]
`)
	got := run(text, "render", "-f", "-", "--fix-order")
	assert.Equal(t, Found, got.code)
	assert.Empty(t, got.out)
	assert.Contains(t, got.err, "egress-tls: note: stdin:7: VirtualService default/a: put spec.http into the order that works: 2, 0, 1 (as numbered in the file)\n")
	assert.Contains(t, got.err, "  --> stdin:10: VirtualService default/a, spec.http[2]\n")
	assert.Contains(t, got.err, "10 |   - match: [{uri: {regex: .*}}]\n   |                    ^^^^^^^^^ spec.http[2]: no request gets here\n")
	assert.Contains(t, got.err, "fix: spec.http[2] matches the same requests as spec.http[1]: no order makes both live.")

	policy := write(t, "policy.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nrouteOrder: Warn\n")
	got = run(text, "render", "-f", "-", "--fix-order", "--policy", policy)
	assert.Equal(t, OK, got.code)
	assert.Equal(t, vsOf(`  http:
  - match: [{uri: {prefix: /c}}, {uri: {prefix: /c/d}}] # The second adds nothing.
    route: [{destination: {host: c}}]
  - route: [{destination: {host: a}}]

  # Another catch-all, which no order saves.
  - match: [{uri: {regex: .*}}]
    route: [{destination: {host: b}}]
`), got.out)
	assert.Contains(t, got.err, "  --> stdin:13: VirtualService default/a, spec.http[0].match[1]\n")

	off := text + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {egress-tls.dev/mode: \"off\"}}\n"
	assert.Equal(t, result{OK, off, ""}, run(off, "render", "-f", "-", "--fix-order"))
}

// Where an order that works sends requests of live routes elsewhere, that is said.
func TestRenderFixOrderSaysWhatOvertakes(t *testing.T) {
	got := run(vsOf(`  gateways: [g, mesh]
  http:
  - match: [{uri: {prefix: /}, gateways: [g]}]
    route: [{destination: {host: a}}]
  - match: [{uri: {prefix: /b}}]
    route: [{destination: {host: b}}]
  - match: [{uri: {prefix: /b}, gateways: [mesh]}]
    route: [{destination: {host: c}}]
`), "render", "-f", "-", "--fix-order")
	assert.Equal(t, OK, got.code)
	assert.Equal(t, "egress-tls: note: stdin:8: VirtualService default/a: put spec.http into the order that works: 2, 1, 0 (as numbered in the file)\n"+
		"egress-tls: note: stdin:8: VirtualService default/a: for that order, routes of spec.http get in front of others that can match already, and may take requests of theirs: 1\n", got.err)
}

func TestOrderText(t *testing.T) {
	assert.Equal(t, "3-5, 0, 1, 7, 6", orderText([]int{3, 4, 5, 0, 1, 7, 6}))
}

// The documentation shows what is printed.
func TestRenderPage(t *testing.T) {
	const path, command = "../../docs/render.md", "$ egress-tls render -f shop.yaml --fix-order -o diff\n"
	page := read(t, path)
	_, rest, ok := strings.Cut(page, "```yaml\n# shop.yaml\n")
	require.True(t, ok)
	shop, _, _ := strings.Cut(rest, "```\n")
	head, rest, ok := strings.Cut(page, command)
	require.True(t, ok)
	_, tail, ok := strings.Cut(rest, "```\n")
	require.True(t, ok)

	here, err := os.Getwd()
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("shop.yaml", []byte(shop), 0o600))
	got := run("", strings.Fields(command)[2:]...)
	t.Chdir(here)
	assert.Equal(t, OK, got.code)
	golden(t, path, head+command+got.err+got.out+"```\n"+tail)
}
