package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckIngressSeedAsWritten(t *testing.T) {
	got := run("", "check", "-f", "testdata/ingress-author.yaml", "-o", "json")
	assert.Equal(t, Found, got.code)
	assert.Empty(t, got.err)
	assert.Equal(t, read(t, "testdata/ingress-author.check.json"), got.out)

	got = run("", "check", "-f", "testdata/ingress-author.yaml")
	assert.Equal(t, Found, got.code)
	assert.Empty(t, got.err)
	golden(t, "testdata/ingress-author.check.txt", got.out)
}

func TestCheckSaysWhatIsAdded(t *testing.T) {
	for _, seed := range []string{"ingress", "sidecar", "inject"} {
		got := run("", "check", "-f", "testdata/"+seed+".yaml")
		assert.Equal(t, OK, got.code)
		assert.Empty(t, got.err)
		golden(t, "testdata/"+seed+".check.txt", got.out)
	}
}

// Several causes and several places of one, long lines, tabs, objects that have a part in
// what is found about another.
func TestCheckTextOfMany(t *testing.T) {
	got := run("", "check", "-f", "testdata/many.yaml")
	assert.Equal(t, Found, got.code)
	golden(t, "testdata/many.check.txt", got.out)

	t.Setenv("NO_COLOR", "1")
	colored := run("", "check", "-f", "testdata/many.yaml", "--color", "always")
	assert.Equal(t, got.out, withoutColor(colored.out))
	assert.Contains(t, colored.out, "\x1b[1;31merror[CatchAllNotLast]\x1b[0m\x1b[1m: Route behind a catch-all\x1b[0m\n  \x1b[1;34m-->\x1b[0m testdata/many.yaml:48:")
	assert.Contains(t, colored.out, "\x1b[1;33m^^^^^^^^^^^^^^^^^^^^^\x1b[0m\n")
	for line := range strings.Lines(got.out) {
		if !strings.Contains(line, "-->") {
			assert.LessOrEqual(t, len([]rune(line)), defaultWidth+1, line)
		}
	}
}

// The fields of the output, also where there is nothing to say.
func TestCheckJSONShape(t *testing.T) {
	got := run(vsOf(""), "check", "-f", "-", "-o", "json")
	assert.Equal(t, result{OK, `{
  "findings": [],
  "summary": {
    "errors": 0,
    "warnings": 0,
    "objects": 1
  }
}
`, ""}, got)

	got = run(vsOf(selfContradiction), "check", "-f", "-", "-o", "json")
	assert.Equal(t, Found, got.code)
	var report struct {
		Findings []map[string]any
		Summary  map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &report))
	require.Len(t, report.Findings, 1)
	f := report.Findings[0]
	for _, field := range []string{"code", "severity", "object", "path", "message", "remedy"} {
		assert.Contains(t, f, field)
	}
	assert.NotContains(t, f, "coveredBy", "nothing covers a route that contradicts itself")
}

// selfContradiction is a route that can never match.
const selfContradiction = `  http:
  - match:
    - withoutHeaders: {x: {regex: ".*"}}
    route:
    - destination: {host: b}
`

const deadRoute = `  http:
  - route:
    - destination: {host: b}
  - match:
    - uri: {prefix: /c}
    route:
    - destination: {host: c}
`

func TestModes(t *testing.T) {
	namespace := func(label string) string {
		return "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels: {egress-tls.dev/mode: " + label + "}\n"
	}
	policyOf := func(text string) []string {
		return []string{"--policy", write(t, "policy.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\n"+text)}
	}
	const nothing = "0 errors, 0 warnings in 0 objects: no ServiceEntry, VirtualService or DestinationRule of a namespace that is looked at."
	for name, tc := range map[string]struct {
		input   string
		args    []string
		code    int
		summary string
		stderr  string
	}{
		"default":            {"", nil, Found, "1 error, 0 warnings in 1 object.", ""},
		"enforce":            {namespace("enforce"), policyOf("mode: \"off\"\n"), Found, "1 error, 0 warnings in 1 object.", ""},
		"warn":               {namespace("warn"), nil, OK, "0 errors, 1 warning in 1 object.", ""},
		"audit":              {namespace("audit"), nil, OK, "0 errors, 1 warning in 1 object.", ""},
		"off":                {namespace(`"off"`), nil, OK, nothing, ""},
		"policy":             {"", policyOf("mode: warn\n"), OK, "0 errors, 1 warning in 1 object.", ""},
		"exempt":             {namespace("enforce"), policyOf("exemptions: {namespaces: [default]}\n"), OK, nothing, ""},
		"other namespace":    {namespace("warn"), []string{"-n", "x"}, Found, "1 error, 0 warnings in 1 object.", ""},
		"in the background":  {"", []string{"--background", write(t, "ns.yaml", namespace("warn"))}, OK, "0 errors, 1 warning in 1 object.", ""},
		"file before":        {namespace("enforce"), []string{"--background", write(t, "ns.yaml", namespace("warn"))}, Found, "1 error, 0 warnings in 1 object.", ""},
		"unknown":            {namespace("strict"), nil, Found, "1 error, 0 warnings in 1 object.", "egress-tls: warning: Namespace default: label egress-tls.dev/mode is \"strict\", which is no mode; the policy's mode enforce applies\n"},
		"all in one mode":    {namespace(`"off"`), append(policyOf("mode: audit\n"), "--mode", "enforce"), Found, "1 error, 0 warnings in 1 object.", ""},
		"mode for no label":  {namespace("strict"), []string{"--mode", "warn"}, OK, "0 errors, 1 warning in 1 object.", ""},
		"exempt in any mode": {"", append(policyOf("exemptions: {namespaces: [default]}\n"), "--mode", "enforce"), OK, nothing, ""},
		"route order: Warn":  {"", policyOf("routeOrder: Warn\n"), OK, "0 errors, 1 warning in 1 object.", ""},
		"route order: none":  {"", policyOf("routeOrder: Ignore\n"), OK, "0 errors, 0 warnings in 1 object: 1 VirtualService.", ""},
		"a list of anything": {"---\nkind: List\nitems: [null]\n", nil, Found, "1 error, 0 warnings in 1 object.", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(vsOf(deadRoute)+tc.input, append([]string{"check", "-f", "-"}, tc.args...)...)
			lines := strings.Split(strings.TrimSpace(got.out), "\n")
			assert.Equal(t, tc.summary, lines[len(lines)-1])
			assert.Equal(t, tc.code, got.code)
			assert.Equal(t, tc.stderr, got.err)
		})
	}
}

func TestBackground(t *testing.T) {
	all := read(t, "testdata/sidecar.yaml")
	serviceEntry, virtualService, _ := strings.Cut(all, "---\n")

	got := run(virtualService, "check", "-f", "-")
	assert.Equal(t, result{OK, "0 errors, 0 warnings in 1 object: 1 VirtualService.\n", ""}, got, "without the ServiceEntry nothing is external")

	background := write(t, "se.yaml", serviceEntry)
	got = run(virtualService, "check", "-f", "-", "--background", background)
	assert.Equal(t, result{OK, `note: Admission adds what is missing to 1 object
  --> stdin:1: VirtualService default/rewrite-port-for-edition-cnn-com
   + would add: spec.http[0]: set request headers Host: edition.cnn.com, X-Forwarded-Proto:
     https
   + would add: DestinationRule default/egress-tls-edition-cnn-com-3198e25ac27f46c8 with TLS to
     edition.cnn.com on port 443
   = why: without it requests reach a TLS port in plaintext (protocol error, or read on the
     way), or a server with a Host that it does not know (404).
   = fix: the webhook adds it when you apply, in mode enforce.
   = or run: egress-tls render -f - --background ` + background + `

0 errors, 0 warnings in 1 object: 1 VirtualService.
`, ""}, got)

	// An object of the input takes the place of the stored one.
	stored := write(t, "all.yaml", strings.Replace(all, "port: 80", "port: 81", 1))
	got = run(all, "check", "-f", "-", "--background", stored)
	assert.Equal(t, run(all, "check", "-f", "-").out, strings.ReplaceAll(got.out, " --background "+stored, ""))
}

// A finding about an object of the background names its file.
func TestFindingInBackground(t *testing.T) {
	serviceEntry, virtualService, _ := strings.Cut(read(t, "testdata/sidecar.yaml"), "---\n")
	background := write(t, "cluster.yaml", serviceEntry+`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: cnn
spec:
  host: edition.cnn.com
  trafficPolicy:
    tls:
      mode: DISABLE
`)
	got := run(virtualService, "check", "-f", "-", "--background", background)
	assert.Equal(t, Found, got.code)
	assert.Equal(t, `error[TLSDisabled]: TLS switched off towards a TLS port
  --> `+background+`:24: DestinationRule default/cnn, spec.trafficPolicy.tls
   |
23 |   trafficPolicy:
24 |     tls:
25 |       mode: DISABLE
   |       ^^^^^^^^^^^^^ spec.trafficPolicy.tls: TLS is off
   |
  ::: stdin:12: VirtualService default/rewrite-port-for-edition-cnn-com
   |
12 |     - destination:
   |       -----------
   |       spec.http[0].route[0].destination: sends plaintext HTTP to edition.cnn.com:443
13 |         host: edition.cnn.com
14 |         port:
15 |           number: 443
   |
   = DestinationRule default/cnn switches TLS off (mode DISABLE), so the HTTP requests that
     VirtualService default/rewrite-port-for-edition-cnn-com sends to edition.cnn.com:443 leave
     the mesh in clear.
   = fix: Set mode: SIMPLE and sni: edition.cnn.com there, or remove that tls and it is added.

1 error, 0 warnings in 1 object.
`, got.out)
}

// What the work budget leaves open is noted, and no finding.
func TestCheckNotesWhatIsUndecided(t *testing.T) {
	got := run(vsOf(`  http:
  - match: [{uri: {regex: "/(a|b)*a(a|b){40}"}}]
  - match: [{uri: {regex: "/(a|b)*a(a|b){41}"}}]
`), "check", "-f", "-")
	assert.Equal(t, OK, got.code)
	assert.Equal(t, "egress-tls: note: VirtualService default/a: it is left undecided "+
		"whether a request reaches spec.http[1].match[0]; nothing is refused for it\n", got.err)
	assert.NotContains(t, got.out, "spec.http")
}
