package mutate_test

import (
	"encoding/json"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/egress-tls/egress-tls-webhook/mutate"
)

func tree(t require.TestingT, text string) map[string]any {
	var out map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &out))
	return out
}

func TestPatch(t *testing.T) {
	for _, c := range []struct {
		name, in  string
		edits     []mutate.Edit
		ops, want string
	}{
		{
			"nothing to do", `{"a":1}`, nil,
			`null`, `{"a":1}`,
		},
		{
			"a field", `{"a":{"b":1}}`,
			[]mutate.Edit{{Path: []string{"a", "c"}, Value: "x"}},
			`[{"op":"add","path":"/a/c","value":"x"}]`, `{"a":{"b":1,"c":"x"}}`,
		},
		{
			"missing maps on the way, in one operation", `{}`,
			[]mutate.Edit{{Path: []string{"a", "b", "c"}, Value: "x"}},
			`[{"op":"add","path":"/a","value":{"b":{"c":"x"}}}]`, `{"a":{"b":{"c":"x"}}}`,
		},
		{
			"a null on the way counts as missing", `{"a":{"b":null,"d":null}}`,
			[]mutate.Edit{{Path: []string{"a", "b", "c"}, Value: "x"}},
			`[{"op":"add","path":"/a/b","value":{"c":"x"}}]`, `{"a":{"b":{"c":"x"},"d":null}}`,
		},
		{
			"a null at the end counts as missing", `{"a":null}`,
			[]mutate.Edit{{Path: []string{"a"}, Value: "x"}},
			`[{"op":"add","path":"/a","value":"x"}]`, `{"a":"x"}`,
		},
		{
			"the second edit walks where the first one went, and leaves its operation alone", `{}`,
			[]mutate.Edit{{Path: []string{"a", "b", "x"}, Value: "1"}, {Path: []string{"a", "b", "y"}, Value: "2"}},
			`[{"op":"add","path":"/a","value":{"b":{"x":"1"}}},{"op":"add","path":"/a/b/y","value":"2"}]`, `{"a":{"b":{"x":"1","y":"2"}}}`,
		},
		{
			"slashes and tildes are escaped", `{"metadata":{}}`,
			[]mutate.Edit{{Path: []string{"metadata", "annotations", "egress-tls.dev/a~b"}, Value: "x"}, {Path: []string{"metadata", "annotations", "~1/~0"}, Value: "y"}},
			`[{"op":"add","path":"/metadata/annotations","value":{"egress-tls.dev/a~b":"x"}},{"op":"add","path":"/metadata/annotations/~01~1~00","value":"y"}]`,
			`{"metadata":{"annotations":{"egress-tls.dev/a~b":"x","~1/~0":"y"}}}`,
		},
		{
			"into an element", `{"l":[{"a":1},{"a":2}]}`,
			[]mutate.Edit{{Path: []string{"l", "1", "b", "c"}, Value: "x"}},
			`[{"op":"add","path":"/l/1/b","value":{"c":"x"}}]`, `{"l":[{"a":1},{"a":2,"b":{"c":"x"}}]}`,
		},
		{
			"at the end of a list", `{"l":[1]}`,
			[]mutate.Edit{{Path: []string{"l", "-"}, Value: map[string]any{"a": "x"}}, {Path: []string{"l", "-"}, Value: "y"}},
			`[{"op":"add","path":"/l/-","value":{"a":"x"}},{"op":"add","path":"/l/-","value":"y"}]`, `{"l":[1,{"a":"x"},"y"]}`,
		},
		{
			"at the end of a list that is missing", `{}`,
			[]mutate.Edit{{Path: []string{"s", "l", "-"}, Value: "x"}, {Path: []string{"s", "l", "-"}, Value: "y"}},
			`[{"op":"add","path":"/s","value":{"l":["x"]}},{"op":"add","path":"/s/l/-","value":"y"}]`, `{"s":{"l":["x","y"]}}`,
		},
		{
			"at the end of a list in a list", `{"l":[[1]]}`,
			[]mutate.Edit{{Path: []string{"l", "0", "-"}, Value: "x"}},
			`[{"op":"add","path":"/l/0/-","value":"x"}]`, `{"l":[[1,"x"]]}`,
		},
		{
			"what stands there makes no operation", `{"a":{"b":{"x":[1,{"y":null}]}}}`,
			[]mutate.Edit{{Path: []string{"a", "b"}, Value: map[string]any{"x": []any{1, map[string]any{"y": nil}}}}},
			`null`, `{"a":{"b":{"x":[1,{"y":null}]}}}`,
		},
		{
			"another value is replaced", `{"a":"old"}`,
			[]mutate.Edit{{Path: []string{"a"}, Value: "new"}},
			`[{"op":"add","path":"/a","value":"new"}]`, `{"a":"new"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := tree(t, c.in)
			ops, err := mutate.Patch(at, c.edits)
			require.NoError(t, err)
			got, err := json.Marshal(ops)
			require.NoError(t, err)
			assert.JSONEq(t, c.ops, string(got))
			done, err := json.Marshal(at)
			require.NoError(t, err)
			assert.JSONEq(t, c.want, string(done), "the tree is changed along")

			// The API server comes to the same.
			patch, err := jsonpatch.DecodePatch(got)
			require.NoError(t, err)
			applied, err := patch.Apply([]byte(c.in))
			require.NoError(t, err)
			assert.JSONEq(t, c.want, string(applied))
		})
	}
}

func TestPatchRefusesWhatLeadsNowhere(t *testing.T) {
	for _, c := range []struct {
		name, in string
		path     []string
		want     string
	}{
		{"a string on the way", `{"a":"x"}`, []string{"a", "b"}, "failed to add a.b: a is neither a map nor a list"},
		{"a number on the way", `{"a":{"b":7}}`, []string{"a", "b", "c", "d"}, "failed to add a.b.c.d: a.b is neither a map nor a list"},
		{"false on the way", `{"a":false}`, []string{"a", "b"}, "failed to add a.b: a is neither a map nor a list"},
		{"a list for a map", `{"a":[]}`, []string{"a", "b"}, "failed to add a.b: b is no element of a list of 0"},
		{"beyond the list", `{"a":[1]}`, []string{"a", "1", "b"}, "failed to add a.1.b: 1 is no element of a list of 1"},
		{"a negative index", `{"a":[1]}`, []string{"a", "-1", "b"}, "failed to add a.-1.b: -1 is no element of a list of 1"},
		{"behind the end", `{"a":[1]}`, []string{"a", "-", "b"}, "failed to add a.-.b: - is no element of a list of 1"},
		{"a whole element", `{"a":[1]}`, []string{"a", "0"}, "failed to add a.0: /a/0 would replace an element"},
		{"no path", `{}`, nil, "failed to add : the path is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := mutate.Patch(tree(t, c.in), []mutate.Edit{{Path: c.path, Value: "x"}})
			require.EqualError(t, err, c.want)
		})
	}
}

// Random edits on a random tree: the operations, carried out by a JSON patch
// library on the bytes, come to the tree; and the second time to nothing, but for
// what is appended.
func TestPatchIsItsOperations(t *testing.T) {
	keys := rapid.SampledFrom([]string{"a", "b/c", "d~e"})
	value := rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return "x"
		case 2:
			return []any{map[string]any{keys.Draw(t, "key"): "y"}}
		case 3:
			return map[string]any{keys.Draw(t, "key"): map[string]any{keys.Draw(t, "key"): nil}}
		}
		return map[string]any{}
	})
	rapid.Check(t, func(t *rapid.T) {
		in, err := json.Marshal(rapid.MapOfN(keys, value, 0, 3).Draw(t, "tree"))
		require.NoError(t, err)
		edits := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) mutate.Edit {
			path := rapid.SliceOfN(keys, 1, 3).Draw(t, "path")
			return mutate.Edit{Path: path, Value: "new"}
		}), 0, 3).Draw(t, "edits")
		at := tree(t, string(in))
		var ops []mutate.Operation
		for _, e := range edits {
			if more, err := mutate.Patch(at, []mutate.Edit{e}); err == nil {
				ops = append(ops, more...)
			}
		}
		raw, err := json.Marshal(ops)
		require.NoError(t, err)
		patch, err := jsonpatch.DecodePatch(raw)
		require.NoError(t, err)
		applied, err := patch.Apply(in)
		require.NoError(t, err)
		want, err := json.Marshal(at)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(applied))
	})
}
