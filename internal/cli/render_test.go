package cli

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRender(t *testing.T) {
	for _, seed := range []string{"ingress", "sidecar", "inject"} {
		got := run("", "render", "-f", "testdata/"+seed+".yaml")
		assert.Equal(t, OK, got.code, seed)
		assert.Equal(t, read(t, "testdata/"+seed+".render.yaml"), got.out, seed)

		got = run("", "render", "-f", "testdata/"+seed+".yaml", "-o", "json")
		assert.Equal(t, OK, got.code, seed)
		assert.Equal(t, read(t, "testdata/"+seed+".render.json"), got.out, seed)
	}
}

// scenarioInputs are manifests, each with the further arguments that it needs.
func scenarioInputs(t *testing.T) (inputs [][]string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	scenarios, err := filepath.Glob("../../test/scenarios/*/request.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, scenarios)
	for _, file := range append(files, scenarios...) {
		in := []string{file}
		if strings.HasSuffix(file, "request.yaml") {
			for _, more := range [][2]string{{"--background", "mesh.yaml"}, {"--policy", "policy.yaml"}} {
				path := filepath.Join(filepath.Dir(file), more[1])
				if found, _ := filepath.Glob(path); len(found) > 0 {
					in = append(in, more[0], path)
				}
			}
		}
		inputs = append(inputs, in)
	}
	return inputs
}

// Whatever is added, in all scenarios, the comments stay, and the ends of lines.
func TestRenderKeepsComments(t *testing.T) {
	for _, in := range scenarioInputs(t) {
		var text strings.Builder
		var comments []string
		for line := range strings.Lines(read(t, in[0])) {
			comment := fmt.Sprintf("# comment %d\r\n", len(comments))
			comments = append(comments, comment)
			line = strings.TrimRight(line, "\n")
			text.WriteString(line[:len(line)-len(strings.TrimLeft(line, " "))] + comment + line + "\r\n")
		}
		args := append([]string{"--fix-order", "-f", "-"}, in[1:]...)
		got := run(text.String(), append([]string{"render"}, args...)...)
		if got.code == Found {
			continue
		}
		require.Equal(t, OK, got.code, "%s: %s", in[0], got.err)
		assert.NotContains(t, got.err, "written anew", in[0])
		for _, c := range comments {
			if takenBack := strings.Contains(in[0], "rule-injected-"); !takenBack { // with the comments about it
				assert.Equal(t, 1, strings.Count(got.out, c), "%s: %s", in[0], c)
			}
		}
		_, written, _ := strings.Cut(got.out, comments[0]) // Created rules stand before.
		assert.NotRegexp(t, `[^\r-]\n`, written, in[0])

		// The same objects; the created rules are input now, and stand first.
		items := func(stdin string) (list struct{ Items []map[string]any }) {
			out := run(stdin, append([]string{"render", "-o", "json"}, args...)...).out
			require.NoError(t, json.Unmarshal([]byte(out), &list), in[0])
			return list
		}
		assert.ElementsMatch(t, items(text.String()).Items, items(got.out).Items, in[0])
	}
}

// What render prints, it prints again byte for byte, in either format, and check
// finds nothing to add.
func TestRenderIsIdempotent(t *testing.T) {
	rendered := 0
	for _, in := range scenarioInputs(t) {
		file, args := in[0], in[1:]
		for _, format := range []string{"yaml", "json"} {
			first := run("", append([]string{"render", "-o", format, "-f", file}, args...)...)
			if first.code == Found {
				assert.Empty(t, first.out, file)
				continue
			}
			require.Equal(t, OK, first.code, "%s: %s", file, first.err)
			rendered++
			second := run(first.out, append([]string{"render", "-o", format, "-f", "-"}, args...)...)
			assert.Equal(t, first.out, second.out, file)
			if !strings.Contains(file, "mode-warn") && !strings.Contains(file, "mode-audit") { // There nothing is added, and check says what would be.
				assert.NotContains(t, run(first.out, append([]string{"check", "-f", "-"}, args...)...).out, "would add", file)
			}

			other := map[string]string{"yaml": "json", "json": "yaml"}[format]
			crossed := run(first.out, append([]string{"render", "-o", other, "-f", "-"}, args...)...)
			back := run(crossed.out, append([]string{"render", "-o", other, "-f", "-"}, args...)...)
			assert.Equal(t, crossed.out, back.out, file)
		}
	}
	assert.Greater(t, rendered, 6)
}

func TestRenderKeepsWhatDoesNotChange(t *testing.T) {
	const text = `# licence
---
# what render does not know
apiVersion: example.com/v1
kind: Other
data:   {a: 1.10, big: 123456789012345678901234567890}   # odd spacing

--- # second
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}} # kept
- null
---
just: values
`
	assert.Equal(t, result{OK, text, ""}, run(text, "render", "-f", "-"))
	assert.Equal(t, result{OK, "kind: A\n---\nkind: B\n", ""}, run("", "render", "-f", write(t, "a.yaml", "kind: A"), "-f", write(t, "b.yaml", "kind: B")))
	assert.Equal(t, result{OK, "kind: A\na: 1\n---\nkind: B\n", ""}, run("{\"kind\":\"A\",\n\t\"a\":1}{\"kind\":\"B\"}", "render", "-f", "-"), "JSON becomes YAML")
}

func TestRenderRefuses(t *testing.T) {
	got := run(vsOf(deadRoute), "render", "-f", "-")
	assert.Equal(t, Found, got.code)
	assert.Empty(t, got.out)
	assert.Equal(t, run(vsOf(deadRoute), "check", "-f", "-").out,
		strings.Replace(got.err, "egress-tls: nothing is rendered: admission would refuse the input (1 error)\n", "1 error, 0 warnings in 1 object.\n", 1),
		"what check prints, and why nothing else is")
}

// In mode warn admission changes nothing, so nothing changes here.
func TestRenderInModeWarn(t *testing.T) {
	text := read(t, "testdata/sidecar.yaml") + "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels:\n    egress-tls.dev/mode: warn\n"
	got := run(text, "render", "-f", "-")
	assert.Equal(t, OK, got.code)
	assert.Equal(t, text, got.out)
	assert.Contains(t, run(text, "check", "-f", "-").out, "would add: DestinationRule")
}

// Require refuses and names render as the way out, so render brings what lacks.
func TestRenderUnderRequire(t *testing.T) {
	policy := write(t, "policy.yaml", "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nheaders: Require\ndestinationRules: Require\n")
	assert.Equal(t, Found, run("", "check", "-f", "testdata/sidecar.yaml", "--policy", policy).code)

	got := run("", "render", "-f", "testdata/sidecar.yaml", "--policy", policy)
	assert.Equal(t, OK, got.code)
	assert.Equal(t, read(t, "testdata/sidecar.render.yaml"), got.out)
	assert.Equal(t, result{OK, "0 errors, 0 warnings in 3 objects: 1 DestinationRule, 1 ServiceEntry, 1 VirtualService.\n", ""}, run(got.out, "check", "-f", "-", "--policy", policy))
}

const bareRule = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: cnn
  namespace: default
  uid: 1b2c
  resourceVersion: "7"
  creationTimestamp: "2020-01-01T00:00:00Z"
  managedFields: []
  annotations: {team: web}
spec:
  host: edition.cnn.com
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
`

// A user's rule that is only in the background is printed whole, ready to apply.
func TestRenderInjectsIntoBackground(t *testing.T) {
	_, virtualService, _ := strings.Cut(read(t, "testdata/sidecar.yaml"), "---\n")
	serviceEntry, _, _ := strings.Cut(read(t, "testdata/sidecar.yaml"), "---\n")
	for _, background := range []string{
		serviceEntry + "---\n" + bareRule,
		serviceEntry + "---\napiVersion: networking.istio.io/v1\nkind: DestinationRuleList\nitems:\n- " +
			strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(bareRule, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n")), "\n", "\n  ") + "\n",
	} {
		got := run(virtualService, "render", "-f", "-", "--background", write(t, "cluster.yaml", background))
		require.Equal(t, OK, got.code, got.err)
		rule, _, _ := strings.Cut(got.out, "---\n")
		assert.Equal(t, `# As it is stored, with what egress-tls added for TLS to edition.cnn.com
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: cnn
  namespace: default
  annotations:
    egress-tls.dev/injected: port/443=fbf57920
    team: web
spec:
  host: edition.cnn.com
  trafficPolicy:
    loadBalancer:
      simple: RANDOM
    portLevelSettings:
    - port:
        number: 443
      tls:
        mode: SIMPLE
        sni: edition.cnn.com
        subjectAltNames:
        - edition.cnn.com
      loadBalancer:
        simple: RANDOM
`, rule)
	}
}

// A user's rule in a namespace that is not looked at gets TLS for others' sake,
// once.
func TestRenderInjectsForOthers(t *testing.T) {
	text := strings.ReplaceAll(read(t, "testdata/sidecar.yaml"), "  name: cnn\n", "  name: cnn\n  namespace: outside\n") +
		"---\n" + strings.Replace(bareRule, "namespace: default", "namespace: outside", 1) +
		"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: outside, labels: {egress-tls.dev/mode: warn}}\n"
	got := run(text, "render", "-f", "-")
	require.Equal(t, OK, got.code, got.err)
	assert.Equal(t, 1, strings.Count(got.out, "mode: SIMPLE"))
	assert.Equal(t, 1, strings.Count(got.out, "egress-tls.dev/injected: port/443=fbf57920"))
	assert.Equal(t, got.out, run(got.out, "render", "-f", "-").out)
}

// A managed rule of the input that is out of line is restored in its place.
func TestRenderRestoresManagedRule(t *testing.T) {
	want := read(t, "testdata/sidecar.render.yaml")
	edited := strings.Replace(want, "        mode: SIMPLE\n        sni: edition.cnn.com\n        subjectAltNames:\n        - edition.cnn.com\n", "        mode: SIMPLE\n", 1)
	require.NotEqual(t, want, edited)
	got := run(edited, "render", "-f", "-")
	assert.Equal(t, OK, got.code)
	assert.Equal(t, want, got.out)
}
