package yamltext_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/manifest/yamltext"
)

func read(text string) map[string]any {
	raw, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var tree map[string]any
	if dec.Decode(&tree) != nil {
		return nil
	}
	return tree
}

func syntax(text string) *yamlv3.Node {
	var doc yamlv3.Node
	if yamlv3.Unmarshal([]byte(text), &doc) != nil || len(doc.Content) == 0 {
		return nil
	}
	return doc.Content[0]
}

type tree = map[string]any

// at walks to a map or list, and ends the test where there is none.
func at[T any](t tree, path ...any) T {
	var v any = t
	for _, step := range path {
		switch step := step.(type) {
		case string:
			v = v.(tree)[step]
		case int:
			v = v.([]any)[step]
		}
	}
	return v.(T)
}

// reorder brings the list l in an order.
func reorder(order ...int) func(tree) {
	return func(t tree) {
		old := at[[]any](t, "l")
		out := make([]any, len(order))
		for i, from := range order {
			out[i] = old[from]
		}
		t["l"] = out
	}
}

func set(value any, path ...any) func(tree) {
	return func(t tree) {
		last := len(path) - 1
		at[tree](t, path[:last]...)[path[last].(string)] = value
	}
}

func remove(path ...any) func(tree) {
	return func(t tree) {
		last := len(path) - 1
		delete(at[tree](t, path[:last]...), path[last].(string))
	}
}

func add(value any, path ...any) func(tree) {
	return func(t tree) {
		last := len(path) - 1
		parent := at[tree](t, path[:last]...)
		list, _ := parent[path[last].(string)].([]any)
		parent[path[last].(string)] = append(list, value)
	}
}

var headers = tree{"request": tree{"set": tree{"Host": "a.b", "X-Forwarded-Proto": "https"}}}

func TestRewrite(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		change func(tree)
		want   string
	}{
		"a key behind the last, before what follows": {
			"a:\n  b: 1   # one\n\n# about c\nc: 2\n", set("x", "a", "d"),
			"a:\n  b: 1   # one\n  d: x\n\n# about c\nc: 2\n",
		},
		"maps that are missing": {
			"a:\n    b: 1\nc: 2", set(headers, "a", "headers"),
			"a:\n    b: 1\n    headers:\n        request:\n            set:\n                Host: a.b\n                X-Forwarded-Proto: https\nc: 2",
		},
		"at the end without a line break": {
			"a: 1", set("x", "b"), "a: 1\nb: x",
		},
		"CRLF": {
			"a:\r\n- b: 1\r\n  # c\r\nd: \"é\r\n  x\"\r\n", set(tree{"x": tree{"y": "z"}}, "a", 0, "k"),
			"a:\r\n- b: 1\r\n  # c\r\n  k:\r\n    x:\r\n      \"y\": z\r\nd: \"é\r\n  x\"\r\n",
		},
		"behind a literal text": {
			"a:\n  b: |\n    x\n\n    # text\n\nc: 1\n", set("x", "a", "d"),
			"a:\n  b: |\n    x\n\n    # text\n  d: x\n\nc: 1\n",
		},
		"behind a literal text that keeps its blank lines": {
			"a:\n  b: |+\n    x\n\nc: 1\n", set("x", "a", "d"),
			"a:\n  b: |+\n    x\n\n  d: x\nc: 1\n",
		},
		"behind an empty literal text": {
			"a:\n  b: |\n  c: >-\nd: 1\n", set("x", "a", "e"),
			"a:\n  b: |\n  c: >-\n  e: x\nd: 1\n",
		},
		"behind plain text of several lines": {
			"a:\n  b: one\n    two # c\n  # foot\n\nc: 1\n", set("x", "a", "d"),
			"a:\n  b: one\n    two # c\n  # foot\n  d: x\n\nc: 1\n",
		},
		"a comment that is commented-out code stays below its map": {
			"a:\n  b: 1\n  # e: 1\nc: 2\n", set("x", "a", "d"),
			"a:\n  b: 1\n  # e: 1\n  d: x\nc: 2\n",
		},
		"flow style": {
			"a: {b: 1, c: {}}  # c\n", func(t tree) { set("x y", "a", "d")(t); set(headers, "a", "c", "h")(t) },
			"a: {b: 1, c: {h: {request: {set: {Host: a.b, X-Forwarded-Proto: https}}}}, d: x y}  # c\n",
		},
		"flow style with a comma at the end": {
			"a: {b: 1, }\nl: [1, 2,]\n", func(t tree) { set("x", "a", "d")(t); add("y", "l")(t) },
			"a: {b: 1, d: x, }\nl: [1, 2, \"y\",]\n",
		},
		"flow style on several lines": {
			"a: {\n  b: 1, # one\n  c: 2 # two\n}\n", set("x", "a", "d"),
			"a: {\n  b: 1, # one\n  c: 2, # two\n  d: x\n}\n",
		},
		"what goes in flow style": {
			"a: {b: 1,  c: 2, d: 3}\nl: [ {x: 1} ] # c\n", func(t tree) { remove("a", "b")(t); t["l"] = []any{} },
			"a: {c: 2, d: 3}\nl: [] # c\n",
		},
		"text that would end in flow style": {
			"a: {b: 1}\nc: x\n", func(t tree) { set("x, y: #", "a", "d, e")(t); set("no", "c")(t) },
			"a: {b: 1, 'd, e': 'x, y: #'}\nc: \"no\"\n",
		},
		"a null": {
			"a:\nb: ~ # c\nc: null\n", func(t tree) { set(headers, "a")(t); set(tree{"x": "z"}, "b")(t); set("z", "c")(t) },
			"a: {request: {set: {Host: a.b, X-Forwarded-Proto: https}}}\nb: {x: z} # c\nc: z\n",
		},
		"a scalar": {
			"a: \"x\"  # c\nb: 'y''z'\nc: &k x\n", func(t tree) { set("443", "a")(t); set(json.Number("443"), "b")(t); set("z", "c")(t) },
			"a: \"443\"  # c\nb: 443\nc: &k z\n",
		},
		"a new item as the others are written": {
			"l:\n  - a: 1\n\n  - a: 2\n\nm: 1\n", add(tree{"port": tree{"number": 443.0}, "a": []any{"x"}, "tls": nil}, "l"),
			"l:\n  - a: 1\n\n  - a: 2\n\n  - port:\n      number: 443\n    tls: null\n    a:\n      - x\n\nm: 1\n",
		},
		"a new item of a list that is not indented": {
			"l:\n- a: 1\nm: 1\n", add(tree{"a": []any{"x"}}, "l"),
			"l:\n- a: 1\n- a:\n  - x\nm: 1\n",
		},
		"a list that is missing": {
			"m:\n  a: 1\n", add(tree{"a": "x"}, "m", "l"),
			"m:\n  a: 1\n  l:\n  - a: x\n",
		},
		"a key that goes": {
			"m:\n  a: 1\n  # about b\n  b: 2\n\n  c: 3\n", remove("m", "b"),
			"m:\n  a: 1\n\n  c: 3\n",
		},
		"the first key of an item that goes": {
			"l:\n- a: 1\n  b: 2\n", remove("l", 0, "a"),
			"l:\n- b: 2\n",
		},
		"the last key of a map that goes": {
			"m:\n  a: 1 # c\no: 1\n", remove("m", "a"),
			"m: {} # c\no: 1\n",
		},
		"an item that goes": {
			"l:\n- a: 1\n\n# two\n- a: 2\n# three\n- a: 3\n", func(t tree) { t["l"] = append(at[[]any](t, "l")[:1:1], at[[]any](t, "l")[2]) },
			"l:\n- a: 1\n# three\n- a: 3\n",
		},
		"an order": {
			"l:\n# one\n- a: 1 # 1\n  # in one\n\n# two\n- a: 2\n  b: |\n    # x\n# foot of two\n\n- a: 3\nm: 1\n", reorder(2, 0, 1),
			"l:\n- a: 3\n\n# one\n- a: 1 # 1\n  # in one\n\n# two\n- a: 2\n  b: |\n    # x\n# foot of two\nm: 1\n",
		},
		"an order, and more": {
			"l:\n  - a: 1\n  - a: 2\n", func(t tree) { reorder(1, 0)(t); set("x", "l", 1, "b")(t) },
			"l:\n  - a: 2\n  - a: 1\n    b: x\n",
		},
		"an order in flow style": {
			"l: [{a: 1},  {a: 2}, {a: 3}] # c\n", reorder(2, 0, 1),
			"l: [{a: 3},  {a: 1}, {a: 2}] # c\n",
		},
		"an order of items with comments further left": {
			"l:\n  - a: 1\n#  - a: 0\n  - a: 2\n\n # three\n  - a: 3\n# foot\nm: 1\n", reorder(2, 0, 1),
			"l:\n # three\n  - a: 3\n  - a: 1\n\n#  - a: 0\n  - a: 2\n# foot\nm: 1\n",
		},
		"an order of items of which the first has a comment further left": {
			"m:\n  k: 1\nl:\n#  - a: 0\n  - a: 1\n  - a: 2\n", reorder(1, 0),
			"m:\n  k: 1\nl:\n  - a: 2\n#  - a: 0\n  - a: 1\n",
		},
		"an order of items with comments of two indentations": {
			"l:\n  - a: 1\n  # two\n#  - a: 0\n  - a: 2\n  # foot\n# m\nm: 1\n", reorder(1, 0),
			"l:\n  # two\n#  - a: 0\n  - a: 2\n  # foot\n  - a: 1\n# m\nm: 1\n",
		},
		"a new item behind comments further left": {
			"l:\n  - a: 1\n#  - a: 0\n  - a: 2\n", add(tree{"a": "3"}, "l"),
			"l:\n  - a: 1\n#  - a: 0\n  - a: 2\n  - a: \"3\"\n",
		},
		"a comment above the list stays": {
			"l:\n# all\n\n- a: 1\n- a: 2\n", reorder(1, 0),
			"l:\n# all\n\n- a: 2\n- a: 1\n",
		},
		"items that begin below their dash": {
			"l:\n-\n  a: 1\n- # c\n  a: 2\n", reorder(1, 0),
			"l:\n- # c\n  a: 2\n-\n  a: 1\n",
		},
		"JSON": {
			"{\n    \"a\": {\"b\": 1},\n    \"l\": [\n        {\"c\": 1}\n    ]\n}\n", func(t tree) { set("<", "a", "d")(t); add(tree{"c": json.Number("2")}, "l")(t) },
			"{\n    \"a\": {\"b\": 1, \"d\": \"<\"},\n    \"l\": [\n        {\"c\": 1},\n        {\n            \"c\": 2\n        }\n    ]\n}\n",
		},
		"JSON on one line": {
			`{"a":{"b":1}}`, set(tree{"e": true}, "a", "d"),
			`{"a":{"b":1, "d": {"e":true}}}`,
		},
		"the last key of an item that goes": {
			"l:\n- a: 1\n- b\n", remove("l", 0, "a"),
			"l:\n- {}\n- b\n",
		},
		"another item for a null": {
			"l:\n-\n- a\n", func(t tree) { at[[]any](t, "l")[0] = "x" },
			"l:\n- x\n- a\n",
		},
		"behind a key without a value": {
			"a:\n  b:\n  c:\n", set("x", "a", "d"),
			"a:\n  b:\n  c:\n  d: x\n",
		},
		"flow style that begins behind its bracket": {
			"a: {b: 1, # one\n    c: 2 # two\n  }\n", set("x", "a", "d"),
			"a: {b: 1, # one\n    c: 2, # two\n    d: x\n  }\n",
		},
		"merged keys": {
			"x: &x {k: 1}\na:\n  <<: *x\n  b: 2\n", set("z", "a", "c"),
			"x: &x {k: 1}\na:\n  <<: *x\n  b: 2\n  c: z\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			rs, err := yamltext.Rewrite(c.in, syntax(c.in), read, func(t tree) error { c.change(t); return nil })
			require.NoError(t, err)
			assert.Equal(t, c.want, yamltext.Apply(c.in, rs))
		})
	}
}

func TestRewriteFails(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		change func(tree)
		want   string
	}{
		"within what is merged": {"x: &x {k: {z: 1}}\na:\n  <<: *x\n", set("y", "a", "k", "z"), "line 3: k comes from elsewhere by <<"},
		"what is merged goes":   {"x: &x {k: {z: 1}}\na:\n  <<: *x\n  l: 1\n", remove("a", "k"), "line 3: k comes from elsewhere by <<"},
		"another kind":          {"a: 1\nx: {b: 1}\n", set([]any{"x"}, "x"), "line 2: the value becomes one of another kind"},
		"an anchor that goes":   {"a: &a {b: 1}\nc: *a\n", remove("a", "b"), "line 1: what the anchor &a names is removed"},
		"what an alias repeats": {"a: &a {b: 1}\nc: *a\n", set("x", "a", "b"), "something else in it depends on what changes, such as an alias"},
		"a key that is no text": {"yes: x\nb: {}\n", set("z", "b", "c"), "line 1: a key is no plain text"},
		"no object":             {"[]", func(tree) {}, "it holds no object"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := yamltext.Rewrite(c.in, syntax(c.in), read, func(t tree) error { c.change(t); return nil })
			require.EqualError(t, err, c.want)
		})
	}
}

func TestEncode(t *testing.T) {
	object := tree{"spec": tree{"host": "a", "exportTo": []any{"."}, "b": json.Number("1.10")}, "kind": "K", "metadata": tree{"labels": tree{"y": "443"}, "name": "m"}}
	text, err := yamltext.Encode(object)
	require.NoError(t, err)
	assert.Equal(t, "kind: K\nmetadata:\n  name: m\n  labels:\n    \"y\": \"443\"\nspec:\n  host: a\n  exportTo:\n  - .\n  b: 1.10\n", text)

	for like, want := range map[string]string{
		"{\n\t\"a\": 1\n}": "{\n\t\"a\": {\n\t\t\"b\": \"<\"\n\t}\n}\n",
		"{}":               "{\"a\":{\"b\":\"<\"}}\n",
	} {
		text, err = yamltext.EncodeJSON(tree{"a": tree{"b": "<"}}, like)
		require.NoError(t, err)
		assert.Equal(t, want, text)
	}
}
