package manifest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const routes = `kind: Other
metadata:
  name: ä
spec:
  http:
  # the first
  - name: one   # 1

  - {name: two}
`

// The positions are the file's, whatever stands before the document.
func TestReordering(t *testing.T) {
	const before, after = "  # the first\n  - name: one   # 1\n\n  - {name: two}\n", "  - {name: two}\n\n  # the first\n  - name: one   # 1\n"
	in := func(lines, text string) string { return strings.ReplaceAll(text, "\n", lines) }
	for name, c := range map[string]struct {
		text, before, after string
	}{
		"a document":    {routes, before, after},
		"behind others": {"\uFEFF# c\n--- # c\nkind: A\n...\n---\n" + routes + "---\nkind: B\n", before, after},
		"CRLF":          {in("\r\n", routes), in("\r\n", before), in("\r\n", after)},
		"in a list":     {"kind: List\nitems:\n- " + in("\n  ", routes), in("\n  ", before), in("\n  ", after)},
		"JSON":          {"{\"kind\": \"A\"}\n\n {\"ä\": 1, \"spec\": {\"http\": [{\"a\": \"ä\"}, {\"b\": 1}]}}\n", `{"a": "ä"}, {"b": 1}`, `{"b": 1}, {"a": "ä"}`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, c.text, c.before)
			for _, d := range load(t, c.text).Documents {
				if d.Tree()["spec"] == nil {
					continue
				}
				got, err := d.Reordering("spec.http", []int{1, 0})
				require.NoError(t, err)
				require.Len(t, got, 1)
				start, end := got[0].Start, got[0].End
				assert.Equal(t, strings.Replace(c.text, c.before, c.after, 1), c.text[:start.Offset]+got[0].Text+c.text[end.Offset:])
				for _, p := range []Position{start, end} {
					lines := strings.Split(strings.TrimPrefix(c.text[:p.Offset], "\uFEFF"), "\n")
					assert.Equal(t, []int{len(lines), len([]rune(lines[len(lines)-1])) + 1}, []int{p.Line, p.Column})
				}

				same, err := d.Reordering("spec.http", []int{0, 1})
				require.NoError(t, err)
				assert.Empty(t, same)
			}
		})
	}
}

func TestReorderingFails(t *testing.T) {
	for text, want := range map[string]string{
		"kind: A\n---\nkind: B\nspec:\n  http: {}\n":                           "stdin:3: spec.http is no list of 2",
		"kind: A\nspec:\n":                                                     "stdin:1: spec.http does not exist",
		"# c\nkind: A\nx: &x [{a: 1}, {a: 2}]\nspec:\n  http: *x\n":            "stdin:5: the alias *x stands for other text, which others may use too",
		"kind: A\nspec:\n  http: [{a: 1}, # one\n    {a: 2}]\n":                "stdin:3: comments may stand between what changes places in flow style",
		"kind: A\nspec:\n  http:\n  - &x {a: 1}\n  - b: *x\n":                  "stdin:1: something else in it depends on what changes, such as an alias",
		"kind: A\nspec:\n  http:\n  - a: |2\n       x\n  - a: 2\n":             "stdin:4: it is written in a way that is not understood here",
		"kind: A\nspec:\n  http:\n  - ? a\n    : 2\n  - ? b\n    : 2\n  # c\n": "",
	} {
		documents := load(t, text).Documents
		_, err := documents[len(documents)-1].Reordering("spec.http", []int{1, 0})
		if want == "" {
			require.NoError(t, err)
			continue
		}
		assert.EqualError(t, err, want, text)
	}
}

// What is written anew ends its lines as the rest of the file does.
func TestChangedAnew(t *testing.T) {
	source := load(t, "kind: A\r\nx: &x 1 # one\r\nz: *x\r\n").Sources[0]
	text, anew, err := source.Changed(func(tree map[string]any) error { tree["z"] = "a\r\nb"; return nil })
	require.NoError(t, err)
	require.EqualError(t, anew, "stdin:3: the alias *x stands for other text, which others may use too")
	assert.Equal(t, "kind: A\r\nx: 1\r\nz: \"a\\r\\nb\"\r\n", text)
}
