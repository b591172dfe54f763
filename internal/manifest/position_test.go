package manifest

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// marked returns "line: text" of the region, as an editor would mark it in the file.
func marked(text string, r Region) string {
	line := strings.TrimSuffix(strings.Split(strings.TrimPrefix(text, "\uFEFF"), "\n")[r.Line-1], "\r")
	out := strconv.Itoa(r.Line)
	if r.LastLine != r.Line {
		out += "-" + strconv.Itoa(r.LastLine)
	}
	if part := string([]rune(line)[r.Column-1 : r.EndColumn-1]); part != r.Text {
		return out + ": " + part + " is not " + r.Text
	}
	return out + ": " + r.Text
}

func TestRegion(t *testing.T) {
	const head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, annotations: {\"é: #\": 'it''s' , b: c}} # c\n"
	for name, tc := range map[string]struct {
		text string
		want map[string]string // by path, of the last document
	}{
		"block": {head + `spec:
  # c
  http:
  - match:   # a "comment
    - uri: {prefix: "/a#b, c"} # c
      name: a b # c
    # c
    -
      uri:
        prefix: /b
  - # c
    route: []
    name: |
      x
      y
`, map[string]string{
			"metadata.name":                     "3: name: a",
			"metadata.annotations":              `3: annotations: {"é: #": 'it''s' , b: c}`,
			"metadata.annotations[é: #]":        `3: "é: #": 'it''s'`,
			"metadata.annotations[b]":           "3: b: c",
			"spec":                              "4-18: spec",
			"spec.http":                         "6-18: http",
			"spec.http[0]":                      "7-13: match",
			"spec.http[0].match":                "7-13: match",
			"spec.http[0].match[0]":             `8-9: uri: {prefix: "/a#b, c"}`,
			"spec.http[0].match[0].uri":         `8: uri: {prefix: "/a#b, c"}`,
			"spec.http[0].match[0].uri.prefix":  `8: prefix: "/a#b, c"`,
			"spec.http[0].match[0].name":        "9: name: a b",
			"spec.http[0].match[1]":             "12-13: uri",
			"spec.http[0].match[1].uri":         "12-13: uri",
			"spec.http[1]":                      "15-18: route: []",
			"spec.http[1].name":                 "16-18: name: |",
			"spec.http[1].route[0].destination": "15: route: []",
			"spec.http[5]":                      "6-18: http",
			"":                                  "1: apiVersion: networking.istio.io/v1",
			"nothing":                           "1: apiVersion: networking.istio.io/v1",
		}},
		"behind others": {"# c\n---\nkind: A\n--- # c\n\n" + head + "spec:\n  http: []\n", map[string]string{
			"":          "6: apiVersion: networking.istio.io/v1",
			"spec.http": "10: http: []",
		}},
		"byte order mark and CRLF": {"\uFEFF# c\r\n# c\r\n" + strings.ReplaceAll(head, "\n", "\r\n") + "spec: # c\r\n  http: # c\r\n  - name: b # c\r\n", map[string]string{
			"":                  "3: apiVersion: networking.istio.io/v1",
			"spec.http":         "7-8: http",
			"spec.http[0]":      "8: name: b",
			"spec.http[0].name": "8: name: b",
		}},
		"line ends of YAML alone": {head + "spec:\n  hosts: [\"a\u2028b\u0085\rc\",\n    b]\n  http: []\n", map[string]string{"spec.hosts[1]": "6: b", "spec.http": "7: http: []"}},
		"flow": {"{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a},\n spec: {http: [{name: b, match: [{uri: {exact: /}},\n  {name: c}]}, {}]}}\n", map[string]string{
			"spec":                  "2-3: spec: {http: [{name: b, match: [{uri: {exact: /}},",
			"spec.http[0]":          "2-3: {name: b, match: [{uri: {exact: /}},",
			"spec.http[0].name":     "2: name: b",
			"spec.http[0].match[0]": "2: {uri: {exact: /}}",
			"spec.http[0].match[1]": "3: {name: c}",
			"spec.http[1]":          "3: {}",
		}},
		"JSON": {"\n{\n\t\"apiVersion\": \"networking.istio.io/v1\",\n\t\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"a\"},\n\t\"spec\": {\"http\":[\n\t\t{\"name\":\"\\\"b\"},\n\t\t{}]}}", map[string]string{
			"":                  "2: {",
			"kind":              `4: "kind":"VirtualService"`,
			"spec.http":         `5-7: "http":[`,
			"spec.http[0].name": `6: "name":"\"b"`,
			"spec.http[1]":      "7: {}",
		}},
		"anchors": {head + `spec:
  hosts: &h [a]
  http:
  - &one
    name: b
    match: &m
    - name: c
  - *one
  - <<: *one
    rewrite: {uri: /}
  - <<: [{rewrite: {uri: /}}, *one]
    name: d
  tls: *m
`, map[string]string{
			"spec.hosts":            "5: hosts: &h [a]",
			"spec.http[0]":          "8-10: name: b",
			"spec.http[1]":          "11: *one",
			"spec.http[1].name":     "8: name: b",
			"spec.http[2].name":     "8: name: b",
			"spec.http[2].match":    "9-10: match: &m",
			"spec.http[3].rewrite":  "14: rewrite: {uri: /}",
			"spec.http[3].match[0]": "10: name: c",
			"spec.http[3].name":     "15: name: d",
			"spec.tls":              "16: tls: *m",
			"spec.tls[0].name":      "10: name: c",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			set := load(t, tc.text)
			d := set.Documents[len(set.Documents)-1]
			for path, want := range tc.want {
				assert.Equal(t, want, marked(tc.text, d.Region(path)), path)
			}
		})
	}
}

func TestRegionInAList(t *testing.T) {
	const text = "apiVersion: v1\nkind: List\nitems:\n- kind: VirtualService\n  apiVersion: networking.istio.io/v1\n  metadata: {name: a}\n  spec:\n    http:\n    - name: b\n"
	d := load(t, text).Documents[0]
	assert.Equal(t, "4-9: kind: VirtualService", marked(text, d.Region("")))
	assert.Equal(t, "9: name: b", marked(text, d.Region("spec.http[0]")))
}

// JSON knows escapes that YAML does not: the position is then that of the object.
func TestRegionOfWhatYAMLCannotRead(t *testing.T) {
	const text = "\n" + `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"a"},"spec":{"hosts":["\ud83d\ude00"]}}`
	assert.Equal(t, 2, load(t, text).Documents[0].Region("spec.hosts").Line)
}

func TestLines(t *testing.T) {
	set := load(t, "# a\n---\nkind: A\r\nb: c\n---\nkind: B")
	src := set.Documents[0].Source
	assert.Equal(t, []string{"kind: A", "b: c"}, src.Lines(1, 9))
	assert.Equal(t, []string{"b: c"}, src.Lines(4, 4))
	assert.Empty(t, src.Lines(5, 9))
	for range 2 {
		assert.Equal(t, "b: c", string(src.Row(4)))
		assert.Empty(t, src.Row(5))
	}
	assert.Equal(t, []string{"kind: B"}, set.Documents[1].Source.Lines(6, 6))
}

func TestRegionOfASeed(t *testing.T) {
	data, err := os.ReadFile("../cli/testdata/ingress-author.yaml")
	require.NoError(t, err)
	for _, breaks := range []string{"\n", "\r\n"} {
		text := strings.ReplaceAll(string(data), "\n", breaks)
		d := load(t, text).Documents[2]
		assert.Equal(t, "53: prefix: /.well-known/openid-configuration", marked(text, d.Region("spec.http[1].match[0].uri.prefix")))
	}
}

func TestFocus(t *testing.T) {
	const text = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  http:
  - match:
    - uri:
        prefix: /a # c
    route:
    - destination: {host: b}
  - match:
    - uri: {prefix: /a}
      port: 80
    - port: 81
  - {}
`
	d := load(t, text).Documents[0]
	for path, want := range map[string]string{
		"spec.http[0].match":                "8: prefix: /a",
		"spec.http[0].match[0]":             "8: prefix: /a",
		"spec.http[0]":                      "6-10: match",
		"spec.http[0].route[0].destination": "10: host: b",
		"spec.http[1].match":                "11-14: match",
		"spec.http[1].match[0]":             "12-13: uri: {prefix: /a}",
		"spec.http[2]":                      "15: {}",
		"spec":                              "5-15: http",
		"nothing":                           "1: apiVersion: networking.istio.io/v1",
	} {
		assert.Equal(t, want, marked(text, d.Focus(path)), path)
	}
}
