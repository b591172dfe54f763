package manifest

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
)

func load(t *testing.T, text string) *Set {
	t.Helper()
	set, err := loadText(text)
	require.NoError(t, err)
	return set
}

func loadText(text string) (*Set, error) {
	return Load([]string{Stdin}, Options{Stdin: strings.NewReader(text)})
}

// names returns "file:line name" of each document.
func names(set *Set) []string {
	out := []string{}
	for _, d := range set.Documents {
		out = append(out, d.Place("")+" "+d.Name())
	}
	return out
}

func TestLoadDocuments(t *testing.T) {
	const vs = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"nothing":             {"", []string{}},
		"only separators":     {"---\n---\n\n--- \n...\n", []string{}},
		"only null":           {"null\n---\n~\n", []string{}},
		"only comments":       {"# a\n---\n# b\n", []string{}},
		"one":                 {vs, []string{"stdin:1 VirtualService default/a"}},
		"behind a separator":  {"---\n" + vs, []string{"stdin:2 VirtualService default/a"}},
		"behind a comment":    {"# licence\n\n" + vs, []string{"stdin:3 VirtualService default/a"}},
		"byte order mark":     {"\uFEFF" + vs, []string{"stdin:1 VirtualService default/a"}},
		"CRLF":                {strings.ReplaceAll("---\n"+vs+"---\n"+strings.Replace(vs, "a}", "b}", 1), "\n", "\r\n"), []string{"stdin:2 VirtualService default/a", "stdin:6 VirtualService default/b"}},
		"directive":           {"%YAML 1.1\n---\n" + vs, []string{"stdin:3 VirtualService default/a"}},
		"document end":        {vs + "...\n---\nkind: Other\n", []string{"stdin:1 VirtualService default/a", "stdin:6 Other"}},
		"separator, comment":  {"--- # one\n" + vs, []string{"stdin:2 VirtualService default/a"}},
		"separator, document": {"--- {apiVersion: v1, kind: Service, metadata: {name: a}}\n", []string{"stdin:1 Service default/a"}},
		"dashes in a block":   {"kind: ConfigMap\ndata:\n  a: |\n    x\n    ---\n    y\n", []string{"stdin:1 ConfigMap"}},
		"no kind":             {"a: b\n", []string{"stdin:1 "}},
		"v1beta1":             {strings.Replace(vs, "v1", "v1beta1", 1), []string{"stdin:1 VirtualService default/a"}},
		"v1alpha3":            {strings.Replace(vs, "v1", "v1alpha3", 1), []string{"stdin:1 VirtualService default/a"}},
		"own namespace":       {strings.Replace(vs, "name: a", "name: a, namespace: b", 1), []string{"stdin:1 VirtualService b/a"}},
		"generated name":      {strings.Replace(vs, "name: a", "generateName: a-", 1) + "---\n" + strings.Replace(vs, "name: a", "generateName: a-", 1), []string{"stdin:1 VirtualService default/a-", "stdin:5 VirtualService default/a-"}},
		"namespace":           {"apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", []string{"stdin:1 Namespace x"}},
		"other projects":      {"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n---\napiVersion: serving.knative.dev/v1\nkind: Service\nspec: 5\n", []string{"stdin:1 Gateway", "stdin:4 Service"}},
		"list": {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: networking.istio.io/v1\n  kind: VirtualService\n  metadata: {name: a}\n- null\n- kind: Other\n", []string{
			"stdin:4 VirtualService default/a", "stdin:8 Other",
		}},
		"list in a list": {"kind: List\nitems:\n- kind: List\n  items:\n  - {apiVersion: v1, kind: Service, metadata: {name: a}}\n", []string{"stdin:5 Service default/a"}},
		"typed list":     {"apiVersion: networking.istio.io/v1\nkind: VirtualServiceList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n", []string{"stdin:4 VirtualService default/a", "stdin:5 VirtualService default/b"}},
		"no list":        {"apiVersion: example.com/v1\nkind: AllowList\nitems: [a, b]\n", []string{"stdin:1 AllowList"}},
		"list of none":   {"kind: List\n---\nkind: List\nitems: null\n---\nkind: List\nitems: []\n", []string{}},
		"JSON":           {"{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\", \"metadata\": {\"name\": \"a\\/b\\ud83d\\ude00\"}}", []string{"stdin:1 Service default/a/b😀"}},
		"JSON stream":    {"{\"kind\":\n\"A\"}\n\n{\"kind\":\"B\"}{\"kind\":\"C\"}\n", []string{"stdin:1 A", "stdin:4 B", "stdin:4 C"}},
		"flow YAML":      {"{kind: A}\n", []string{"stdin:1 A"}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, names(load(t, tc.text)))
		})
	}
}

// What Istio's own decoders take is taken, and nothing panics on it.
func TestLoadOddObjects(t *testing.T) {
	for _, spec := range []string{
		"spec: null", "spec: {}", "spec: {http: null}", "spec: {http: [null]}", "spec: {http: [{match: [null], route: [null]}]}",
		"spec: {hosts: [null]}", "spec: {unknown: 5, http: [{headers: {request: {set: {a: null}}}}]}", "status: null",
	} {
		set := load(t, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"+spec+"\n")
		require.Len(t, set.Documents, 1, spec)
		assert.IsType(t, &networkingv1.VirtualService{}, set.Documents[0].Object, spec)
	}
}

func TestLoadErrors(t *testing.T) {
	const head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: a\n  namespace: b\nspec:\n"
	for name, tc := range map[string]struct{ text, want string }{
		"syntax":        {"a: b\n---\na: b\n c: d\n", "stdin:4: invalid YAML: mapping values are not allowed in this context"},
		"no line":       {"---\n\ta: b\n", "stdin:2: invalid YAML: found character that cannot start any token"},
		"template":      {"a: {{ .Values.x }}\n", `stdin:1: invalid YAML: invalid map key: map[interface {}]interface {}{".Values.x":interface {}(nil)}`},
		"key twice":     {"# c\na: 1\nb: 2\na: 3\n", `stdin:4: invalid YAML: key "a" already set in map`},
		"merged key":    {"a: &a {b: 1}\nc:\n  <<: *a\n  d: 1\n  d: 2\n", `stdin:5: invalid YAML: key "d" already set in map`},
		"odd marker":    {"# a\na: 1\r---\rb: 1\n", "stdin:2: invalid YAML: a document begins or ends behind a line break that is no line feed, where kubectl ignores the rest"},
		"odd comment":   {"# a\ra: 1\ra: 2\r", `stdin:3: invalid YAML: key "a" already set in map`},
		"UTF-16":        {"\xFF\xFEa\x00:\x00 \x001\x00", "failed to read stdin: it is UTF-16: convert it to UTF-8"},
		"not a number":  {"a: .nan\n", "stdin:1: invalid YAML: json: unsupported value: NaN"},
		"alias":         {"a: &a [*a]\n", "stdin:1: invalid YAML: anchor 'a' value contains itself"},
		"scalar":        {"---\n\nhello\n", "stdin:3: expected a Kubernetes object, got a scalar"},
		"list":          {"- a\n- b\n", "stdin:1: expected a Kubernetes object, got a list"},
		"JSON":          {"{\"a\": 1}\n{\"b\": }\n", "stdin:2: invalid JSON: invalid character '}' looking for beginning of value"},
		"JSON scalar":   {"{\"a\": 1}\n5", "stdin:2: expected a Kubernetes object, got a scalar"},
		"JSON twice":    {"{\"a\": 1,\n\"a\": 2}", `stdin:1: invalid JSON: duplicate field "a"`},
		"item":          {"kind: List\nitems:\n- 5\n- [a]\n", "stdin:3: items[0]: expected a Kubernetes object\nstdin:4: items[1]: expected a Kubernetes object"},
		"items":         {"kind: List\nitems: {a: b}\n", "stdin:2: items: expected a list of Kubernetes objects"},
		"Lists":         {strings.Repeat("{kind: List, items: [", 21) + strings.Repeat("]}", 21), "stdin:1: " + strings.Repeat("items[0].", 19) + "items[0]: more than 20 Lists are in each other"},
		"version":       {strings.Replace(head, "/v1", "/v2", 1) + "  hosts: [a]\n", `stdin:1: VirtualService has apiVersion "networking.istio.io/v2"; Istio serves networking.istio.io/v1, v1beta1 and v1alpha3`},
		"no version":    {"kind: DestinationRule\n", "stdin:1: DestinationRule has no apiVersion"},
		"no kind":       {"apiVersion: networking.istio.io/v1\n", "stdin:1: an object of networking.istio.io/v1 has no kind"},
		"no metadata":   {"apiVersion: networking.istio.io/v1\nkind: VirtualService\n", "stdin:1: VirtualService has no metadata.name"},
		"null metadata": {"apiVersion: v1\nkind: Service\nmetadata: null\n", "stdin:1: Service has no metadata.name"},
		"spec":          {strings.TrimSuffix(head, "\n") + " []\n", "stdin:6: VirtualService b/a: spec: expected a map, got a list"},
		"http":          {head + "  http: x\n", `stdin:7: VirtualService b/a: spec.http: expected a list, got the string "x"`},
		"number":        {head + "  http:\n  - match: [{uri: {prefix: /}}]\n  - match:\n    - uri:\n        prefix: 5\n", "stdin:11: VirtualService b/a: spec.http[1].match[0].uri.prefix: expected a string, got 5"},
		"port":          {head + "  http:\n  - route:\n    - destination:\n        host: x\n        port:\n          number: abc\n", `stdin:12: VirtualService b/a: spec.http[0].route[0].destination.port.number: failed to decode the string "abc": invalid character 'a' looking for beginning of value`},
		"duration":      {head + "  http:\n  - timeout: long\n", `stdin:8: VirtualService b/a: spec.http[0].timeout: failed to decode the string "long": bad Duration: time: invalid duration "long"`},
		"name":          {"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: 5\n", "stdin:4: ServiceEntry default/: metadata.name: expected a string, got 5"},
		"enum":          {"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec:\n  location: OUTSIDE\n", `stdin:5: ServiceEntry default/a: spec.location: failed to decode the string "OUTSIDE": unknown value "\"OUTSIDE\"" for enum istio.networking.v1alpha3.ServiceEntry.Location`},
		"service":       {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: http\n", `stdin:6: Service default/a: spec.ports[0].port: expected an integer, got the string "http"`},
		"in a list":     {"kind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: a\n    labels: x\n", `stdin:8: Service default/a: metadata.labels: expected a map, got the string "x"`},
		"twice":         {head + "---\n" + strings.Replace(head, "/v1", "/v1beta1", 1), "stdin:8: VirtualService b/a is defined already at stdin:1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadText(tc.text)
			require.Error(t, err)
			assert.Equal(t, tc.want, err.Error())
		})
	}
}

// One broken document hides no other error and no other object.
func TestLoadReadsOnBehindErrors(t *testing.T) {
	set, err := loadText("a: [\n---\nkind: Good\n---\n5\n")
	require.EqualError(t, err, "stdin:1: invalid YAML: did not find expected node content\nstdin:5: expected a Kubernetes object, got a scalar")
	assert.Equal(t, []string{"stdin:3 Good"}, names(set))
}

func TestLoadNamespace(t *testing.T) {
	text := "{apiVersion: v1, kind: Service, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Service, metadata: {name: a, namespace: b}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: c}}\n"
	set, err := Load([]string{Stdin}, Options{Namespace: "x", Stdin: strings.NewReader(text)})
	require.NoError(t, err)
	assert.Equal(t, []string{"stdin:1 Service x/a", "stdin:3 Service b/a", "stdin:5 Namespace c"}, names(set))
	assert.IsType(t, &corev1.Namespace{}, set.Documents[2].Object)
	assert.NotContains(t, set.Documents[0].Tree()["metadata"], "namespace", "the raw object stays as it was written")
	assert.Same(t, set.Documents[1], set.Find(Key{"Service", "b", "a"}))
	assert.Nil(t, set.Find(Key{"Service", "b", "b"}))
}

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("b.yaml", "kind: B\n")
	write("a/z.yml", "kind: Z\n")
	write("a/y.JSON", `{"kind": "Y"}`)
	write("a/notes.txt", "no: [")
	write(".git/x.yaml", "no: [")
	write("empty.yaml", "")
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "loop.yaml")))
	require.NoError(t, os.Symlink("../b.yaml", filepath.Join(dir, "a", "link.yaml")))
	other := filepath.Join(t.TempDir(), "other.txt")
	require.NoError(t, os.WriteFile(other, []byte("kind: Other"), 0o600))

	set, err := Load([]string{other, dir, filepath.Join(dir, "b.yaml"), Stdin, Stdin}, Options{Stdin: strings.NewReader("kind: In")})
	require.NoError(t, err)
	got := names(set)
	for i := range got {
		got[i] = strings.ReplaceAll(strings.TrimPrefix(got[i], dir+"/"), filepath.Dir(other)+"/", "")
	}
	assert.Equal(t, []string{"other.txt:1 Other", "a/link.yaml:1 B", "a/y.JSON:1 Y", "a/z.yml:1 Z", "b.yaml:1 B", "stdin:1 In"}, got)
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	_, err := Load([]string{"", dir + "/none.yaml", dir + "/a b"}, Options{})
	require.EqualError(t, err, `failed to read "": no such file or directory
failed to read `+dir+`/none.yaml: no such file or directory
failed to read "`+dir+`/a b": no such file or directory`)

	_, err = Load([]string{Stdin}, Options{Stdin: io.LimitReader(zeros{}, MaxFile+1)})
	require.EqualError(t, err, "failed to read stdin: it is larger than 64 MiB")

	set, err := Load([]string{Stdin}, Options{})
	require.NoError(t, err)
	assert.Empty(t, set.Documents)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestSourcesKeepTheirText(t *testing.T) {
	set := load(t, "# licence\n--- # first\n# c\nkind: A # a\n\n---\n{\"kind\": \"B\"}\n---\nkind: List\nitems: [{kind: C}, {kind: D}]")
	type source struct {
		separator, text string
		json            bool
		documents       int
	}
	var got []source
	for _, s := range set.Sources {
		got = append(got, source{s.Separator, s.Text, s.JSON, len(s.Documents())})
	}
	assert.Equal(t, []source{
		{"", "# licence\n", false, 0},
		{"--- # first\n", "# c\nkind: A # a\n\n", false, 1},
		{"---\n", "{\"kind\": \"B\"}\n", true, 1},
		{"---\n", "kind: List\nitems: [{kind: C}, {kind: D}]", false, 2},
	}, got)
}

func TestTrees(t *testing.T) {
	set := load(t, `{"kind": "A", "big": 12345678901234567890123, "n": 443}`+"\n---\nkind: List\nitems: [{kind: B, id: 9007199254740993}]\n")
	a, b := set.Documents[0], set.Documents[1]
	assert.InDelta(t, 443.0, a.Tree()["n"], 0)
	assert.Equal(t, "12345678901234567890123", a.Exact()["big"].(interface{ String() string }).String())
	assert.Equal(t, "9007199254740993", b.Exact()["id"].(interface{ String() string }).String())

	tree := b.Source.Tree()
	inner, err := b.In(tree)
	require.NoError(t, err)
	inner["new"] = true
	assert.Equal(t, true, tree["items"].([]any)[0].(map[string]any)["new"], "In returns a part of the tree")
	assert.NotContains(t, b.Exact(), "new")
}

func TestPlace(t *testing.T) {
	set := load(t, `# c
---
# c

apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: a
  annotations:
    egress-tls.dev/originate: x
spec:
  http: &r
  - match:
    # c
    - uri: {prefix: /}
    - name: x

  - route: []
`)
	d := set.Documents[0]
	for path, line := range map[string]string{
		"": "5", "metadata.name": "8", "metadata.annotations[egress-tls.dev/originate]": "10", "spec": "11",
		"spec.http": "12", "spec.http[0]": "13", "spec.http[0].match[0]": "15", "spec.http[0].match[1]": "16", "spec.http[1]": "18",
		"spec.http[1].route[0].destination": "18", "spec.http[9]": "12", "nothing": "5", "spec.http[x": "12", "[": "5", "..": "5",
	} {
		assert.Equal(t, "stdin:"+line, d.Place(path), path)
	}
}

func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		"", "---\n", "a: b\n---\n- c\n", "%YAML 1.1\n---\nkind: List\nitems: [null, 5, {kind: A}]\n",
		"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {http: [null, {route: [{destination: {port: {number: x}}}]}]}\n",
		"apiVersion: networking.istio.io/v1\nkind: ServiceEntryList\nitems:\n- metadata: &m {name: a}\n- metadata: *m\n",
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"selector":{"a":1}}}{"kind":`,
		"\uFEFF---\t{a: !!binary x, ? [b] : c}\r\n...\r\n", "a: |\n  x\n--- >\nfoo\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := loadText(text)
		if err != nil {
			assert.NotEmpty(t, err.Error())
		}
		for _, d := range set.Documents {
			assert.NotNil(t, d.Tree())
			assert.NotNil(t, d.Exact())
			_, err := d.In(d.Source.Tree())
			require.NoError(t, err)
			assert.NotEmpty(t, d.Place("spec.http[0].match[1]"))
		}
		// What was read can be read again.
		var again strings.Builder
		for _, s := range set.Sources {
			if s.JSON {
				return
			}
			again.WriteString("---\n" + s.Text)
			if !strings.HasSuffix(s.Text, "\n") {
				again.WriteString("\n")
			}
		}
		if err == nil {
			second, err := loadText(again.String())
			require.NoError(t, err, again.String())
			assert.Len(t, second.Documents, len(set.Documents))
		}
	})
}
