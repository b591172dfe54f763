package yamltext_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/manifest/yamltext"
)

// somewhere walks to a map or list that the numbers choose, and changes it: a new
// key or item, or another order. Nothing is taken away.
func somewhere(t tree, numbers []byte) {
	next := func(n int) int {
		if len(numbers) == 0 || n == 0 {
			return 0
		}
		b := numbers[0]
		numbers = numbers[1:]
		return int(b) % n
	}
	var at any = t
	for {
		switch node := at.(type) {
		case tree:
			keys := make([]string, 0, len(node))
			for k := range node {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			i := next(len(keys) + 2)
			if i >= len(keys) {
				node["added"] = []any{tree{"x": "y: z", "n": nil}}[0]
				return
			}
			switch below := node[keys[i]].(type) {
			case tree:
				at = below
			case []any:
				switch n := len(below); {
				case n > 0 && next(2) == 0 && below[0] != nil:
					at = below[next(n)]
				case next(2) == 0:
					node[keys[i]] = append(below, tree{"x": []any{"- y"}})
					return
				default:
					turn := next(n)
					node[keys[i]] = slices.Concat(below[turn:], below[:turn])
					return
				}
			default:
				node["other"] = "#"
				return
			}
		default:
			t["last"] = true
			return
		}
	}
}

// comments are the lines that are nothing else, or look so, sorted.
func comments(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

// Whatever the YAML, what Rewrite returns reads as the change, which it sees to
// itself; all comments are there, and a second run finds nothing to do.
func FuzzRewrite(f *testing.F) {
	files, err := filepath.Glob("../../../test/scenarios/*/request.yaml")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for i, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		first, _, _ := strings.Cut(string(data), "\n---\n")
		f.Add(first, []byte{byte(3 + i%2), 1, byte(i), 0, 1, 2})
	}
	f.Add("a: {\n  b: [1, # one\n    {c: d}]\n} # end\n", []byte{0, 0, 1})
	f.Add("l:\n  # h\n  - a: |+\n      x\n\n  # f\n\n  -\n    b: 'x''\n      # y'\n", []byte{0, 1, 1, 1})
	f.Add("{\n\t\"a\": {\"b\": []}\n}", []byte{0, 0})
	f.Add("? a\n: - b\n  - &x c\n# e\nd: *x\n", []byte{0, 1, 1, 1})
	f.Fuzz(func(t *testing.T, text string, numbers []byte) {
		if read(text) == nil {
			t.Skip()
		}
		root := syntax(text)
		rs, err := yamltext.Rewrite(text, root, read, func(t tree) error { somewhere(t, numbers); return nil })
		if err != nil {
			return
		}
		out := yamltext.Apply(text, rs)
		require.Equal(t, comments(text), comments(out), "%q", out)
		want := read(out)
		again, err := yamltext.Rewrite(out, syntax(out), read, func(t tree) error {
			clear(t)
			maps.Copy(t, want)
			return nil
		})
		require.NoError(t, err)
		require.Empty(t, again)
	})
}
