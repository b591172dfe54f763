package cli

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// corpus calls do with the arguments that name the input of each scenario and seed.
func corpus(t *testing.T, do func(name string, args []string)) {
	t.Helper()
	seeds, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	for _, file := range seeds {
		if !strings.Contains(file, ".render.") {
			do(file, []string{"-f", file})
		}
	}
	scenarios, err := filepath.Glob("../../test/scenarios/*")
	require.NoError(t, err)
	require.Greater(t, len(scenarios), 100)
	for _, dir := range scenarios {
		args := []string{"-f", dir + "/request.yaml"}
		for flag, name := range map[string]string{"--background": "/mesh.yaml", "--policy": "/policy.yaml"} {
			if _, err := os.Stat(dir + name); err == nil {
				args = append(args, flag, dir+name)
			}
		}
		do(filepath.Base(dir), args)
	}
}

// Whatever the format: with errors the exit code is 1, and each finding is there.
func TestExitCodeInEachFormat(t *testing.T) {
	found := 0
	corpus(t, func(name string, args []string) {
		check := func(format string) result { return run("", append([]string{"check", "-o", format}, args...)...) }
		first := check("json")
		var all struct {
			Findings []placed
			Summary  summary
		}
		require.NoError(t, json.Unmarshal([]byte(first.out), &all), name)
		want := OK
		if all.Summary.Errors > 0 {
			want = Found
		}
		assert.Equal(t, want, first.code, name)
		for _, format := range formatsOf(newCheck(Streams{}).Flags().Lookup("output").Usage) {
			if format == "json" || format != "text" && len(all.Findings) == 0 {
				continue
			}
			got := check(format)
			assert.Equal(t, want, got.code, "%s as %s", name, format)
			assert.Equal(t, first.err, got.err, "%s as %s", name, format)
			for _, f := range all.Findings {
				found++
				assert.Contains(t, got.out, string(f.Code), "%s as %s", name, format)
				if format != "html" { // It is about objects.
					assert.Contains(t, got.out, filepath.Base(f.File), "%s as %s", name, format)
				}
			}
		}
	})
	assert.Greater(t, found, 100)
}

func TestCheckFormats(t *testing.T) {
	for format, file := range map[string]string{"junit": "junit.xml", "github": "github.txt"} {
		got := run("", "check", "-f", "testdata/ingress-author.yaml", "-o", format)
		assert.Equal(t, Found, got.code, format)
		assert.Empty(t, got.err, format)
		golden(t, "testdata/ingress-author.check."+file, got.out)
	}

	results := sarif(t, "", "-f", "testdata/ingress-author.yaml")
	text, err := json.MarshalIndent(results, "", "  ")
	require.NoError(t, err)
	golden(t, "testdata/ingress-author.check.sarif.json", string(text)+"\n")
}

// sarif returns the results of check.
func sarif(t *testing.T, stdin string, args ...string) []sarifResult {
	t.Helper()
	got := run(stdin, append([]string{"check", "-o", "sarif"}, args...)...)
	var log sarifLog
	require.NoError(t, json.Unmarshal([]byte(got.out), &log), got.err)
	return log.Runs[0].Results
}

// An editor that applies the fix of any of the findings mends them all, in every layout.
func TestSARIFFixMends(t *testing.T) {
	author := read(t, "testdata/ingress-author.yaml")
	for name, text := range map[string]string{
		"as written":   author,
		"line ends":    "\uFEFF# c\r\n" + strings.ReplaceAll(author, "\n", "\r\n"),
		"flow":         vsOf("  http: [{route: [{destination: {host: ü}}]}, {match: [{uri: {prefix: /c}}], route: [{destination: {host: c}}]}]\n"),
		"in a List":    "kind: List\napiVersion: v1\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(vsOf(deadRoute)), "\n", "\n  ") + "\n",
		"JSON":         `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"a"},"spec":{"http":[{"route":[{"destination":{"host":"b"}}]},` + "\n\t" + `{"match":[{"uri":{"prefix":"/c"}}],"route":[{"destination":{"host":"c"}}]}]}}`,
		"no last line": strings.TrimSpace(vsOf(deadRoute)),
	} {
		results := sarif(t, text, "-f", "-")
		require.NotEmpty(t, results, name)
		for _, r := range results {
			require.Len(t, r.Fixes, 1, name)
			require.Len(t, r.Fixes[0].Changes, 1, name)
			assert.Equal(t, "stdin", r.Fixes[0].Changes[0].Artifact.URI, name)
			fixed := apply(text, r.Fixes[0].Changes[0].Replacements)
			assert.NotEqual(t, text, fixed, name)
			after := run(fixed, "check", "-f", "-")
			assert.Equal(t, OK, after.code, "%s\n%s\n%s", name, fixed, after.out)
			assert.Equal(t, strings.Count(text, "\n"), strings.Count(fixed, "\n"), name)
		}
	}
	got := sarif(t, vsOf("  http: &x\n  - route: [{destination: {host: b}}]\n  - match: [{uri: {prefix: /c}}]\n    route: [{destination: {host: c}}]\n  tls: *x\n"), "-f", "-")
	assert.Empty(t, got[0].Fixes, "the list is that of others too")
}

// In a List that is too long to be read for each object, the first ones have a fix.
func TestSARIFFixesInALongList(t *testing.T) {
	item := "- " + strings.ReplaceAll(strings.TrimSpace(vsOf(deadRoute)), "\n", "\n  ") + "\n"
	text := "kind: List\napiVersion: v1\nitems:\n"
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		text += strings.NewReplacer("name: a", "name: "+name, "a.example", name+".example").Replace(item)
	}
	text += strings.Repeat("#"+strings.Repeat("-", 1<<10)+"\n", 1<<10)
	var fixes []int
	for _, r := range sarif(t, text, "-f", "-") {
		fixes = append(fixes, len(r.Fixes))
	}
	assert.Equal(t, []int{1, 1, 1, 0, 0}, fixes)
}

// apply carries out replacements as the specification says: lines and columns count from
// 1, columns in characters, and a region ends before its end.
func apply(text string, rs []sarifReplacement) string {
	const mark = "\uFEFF"
	lines := strings.SplitAfter(strings.TrimPrefix(text, mark), "\n")
	at := func(line, column int) int {
		return len(strings.Join(lines[:line-1], "")) + len(string([]rune(lines[line-1])[:column-1]))
	}
	body := strings.Join(lines, "")
	var out strings.Builder
	done := 0
	for _, r := range rs {
		out.WriteString(body[done:at(r.Deleted.StartLine, r.Deleted.StartColumn)] + r.Inserted.Text)
		done = at(r.Deleted.EndLine, r.Deleted.EndColumn)
	}
	return strings.TrimSuffix(text, strings.TrimPrefix(text, mark)) + out.String() + body[done:]
}

// Nothing to say is said validly.
func TestCheckFormatsWithoutFindings(t *testing.T) {
	assert.Equal(t, result{OK, "", ""}, run(vsOf(""), "check", "-f", "-", "-o", "github"))
	assert.Equal(t, result{OK, xml.Header + `<testsuites tests="1" failures="0">
  <testsuite name="egress-tls check" tests="1" failures="0" errors="0">
    <testcase classname="egress-tls.default.VirtualService" name="VirtualService default/a" file="stdin" line="1"></testcase>
  </testsuite>
</testsuites>
`, ""}, run(vsOf(""), "check", "-f", "-", "-o", "junit"))
	assert.Contains(t, run(vsOf(""), "check", "-f", "-", "-o", "sarif").out, `"results": []`)
}

// What objects and names of files hold cannot break out of a format.
func TestCheckFormatsEscape(t *testing.T) {
	file := write(t, "a, b%:<c>&.yaml", vsOf(`  http:
  - route:
    - destination: {host: b}
  - name: "[b](https://evil.example)\e[2J::error::<x>&\n::stop-commands::x\r%0A"
    match:
    - uri: {prefix: "/c\u0007"}
    route:
    - destination: {host: c}
`))
	const dead = `spec.http[1] \"[b](https://evil.example)\x1b[2J::error::<x>&\n::stop-commands::x\r%0A\" (uri prefix \"/c\a\", to c)`

	got := run("", "check", "-f", file, "-o", "github")
	assert.Equal(t, 1, strings.Count(got.out, "\n"), "one command in one line")
	assert.Contains(t, got.out, "::error file="+filepath.Dir(file)+"/a%2C b%25%3A<c>&.yaml,line=10,endLine=14,title=CatchAllNotLast%3A Route behind a catch-all::")
	assert.Contains(t, got.out, strings.NewReplacer(`\"`, `"`, "%", "%25").Replace(dead))

	var suites junitSuites
	got = run("", "check", "-f", file, "-o", "junit")
	require.NoError(t, xml.Unmarshal([]byte(got.out), &suites))
	assert.Equal(t, file, suites.Suites[0].Cases[0].File)
	assert.Contains(t, strings.Join(strings.Fields(suites.Suites[0].Cases[0].Failure.Text), " "), strings.ReplaceAll(dead, `\"`, `"`))

	r := sarif(t, "", "-f", file)[0]
	assert.Equal(t, "file://"+filepath.Dir(file)+"/a,%20b%25:%3Cc%3E&.yaml", r.Locations[0].Physical.Artifact.URI)
	assert.Contains(t, r.Message.Text, strings.NewReplacer(`\"`, `"`, "](", "] (").Replace(dead), "no link")

	got = run("", "check", "-f", file)
	assert.NotRegexp(t, `[\x00-\x09\x0b-\x1f]`, got.out)

	wildcard := write(t, "e\x1b[2J.yaml", "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: \"e\\e[2J\"}\nspec: {hosts: ['*.cnn.com']}\n")
	got = run(vsOf("  http:\n  - route: [{destination: {host: edition.cnn.com}}]\n"), "check", "-f", "-", "--background", wildcard)
	assert.Contains(t, got.out, `ServiceEntry default/e\x1b[2J`)
	assert.Contains(t, got.out, "\n  ::: ")
	assert.NotContains(t, got.out, "\x1b")
}

// A name that a terminal would obey, or a workflow take for a command, is printed as Go
// would quote it, in notes and errors too.
func TestHostileNames(t *testing.T) {
	t.Chdir(t.TempDir())
	vs := strings.Replace(vsOf(deadRoute), "name: a", `name: "v\e[31m\n::error::x"`, 1)
	require.NoError(t, os.WriteFile("a\x1b.yaml", []byte(vs), 0o600))
	require.NoError(t, os.WriteFile("rule.yaml", []byte(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: "d\e"}
spec: {host: s.example, trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: "s\e"}
spec: {hosts: [s.example], ports: [{name: https, number: 443, protocol: HTTPS}], resolution: DNS}
`), 0o600))
	require.NoError(t, os.WriteFile("route\x1b.yaml", []byte(strings.Replace(vsOf("  http: [{route: [{destination: {host: s.example, port: {number: 443}}}]}]\n"), "name: a", `name: "r\e"`, 1)), 0o600))

	assert.Equal(t, "egress-tls: note: a\\x1b.yaml:7: VirtualService default/v\\x1b[31m\\n::error::x: put spec.http into the order that works: 1, 0 (as numbered in the file)\n",
		run("", "render", "-f", "a\x1b.yaml", "--fix-order").err)
	assert.Equal(t, result{Unusable, "", "egress-tls: stdin:1: VirtualService default/v\\x1b[31m\\n::error::x is defined already at a\\x1b.yaml:1\n"},
		run(vs, "check", "-f", "a\x1b.yaml", "-f", "-"))
	assert.Equal(t, result{Unusable, "", "egress-tls: failed to read none\\x1b: no such file or directory\n"}, run("", "check", "-f", "none\x1b"))
	assert.Equal(t, "wrote a\\x1b.yaml\n", run("", "render", "-f", "a\x1b.yaml", "--fix-order", "--in-place").out)

	// The rule's error shows the route that it is about, in its file.
	for _, format := range []string{"text", "junit"} {
		got := run("", "check", "-f", "rule.yaml", "-f", "route\x1b.yaml", "-o", format)
		assert.Contains(t, got.out, "::: route\\x1b.yaml:7: VirtualService default/r\\x1b\n")
		assert.NotContains(t, got.out+got.err, "\x1b")
	}
}

// A fingerprint names a finding wherever it stands, and each of several that are alike.
func TestSARIFFingerprints(t *testing.T) {
	fingerprints := func(text string) []string {
		var out []string
		for _, r := range sarif(t, text, "-f", "-") {
			out = append(out, r.Fingerprints["egressTLS/v1"])
		}
		return out
	}
	before := fingerprints(vsOf(deadRoute))
	require.Len(t, before, 1)
	assert.Equal(t, before, fingerprints("# moved\n\n"+vsOf(deadRoute)))
	assert.Equal(t, before, fingerprints(vsOf(strings.Replace(deadRoute, "  - route:", "  - match: [{uri: {prefix: /new}}]\n    route: [{destination: {host: new}}]\n  - route:", 1))))
	_, again, _ := strings.Cut(deadRoute, "host: b}\n")
	twice := fingerprints(vsOf(deadRoute + again))
	require.Len(t, twice, 2)
	assert.Equal(t, before[0], twice[0])
	assert.NotEqual(t, twice[0], twice[1])
	assert.NotEqual(t, before, fingerprints(strings.Replace(vsOf(deadRoute), "name: a", "name: b", 1)))
}
