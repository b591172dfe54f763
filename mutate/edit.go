package mutate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Edit adds one value to an object, or removes one.
type Edit struct {
	// Path are the unescaped steps from the object's root. A step into a list is
	// an index, or "-" as the last one to append.
	Path []string
	// Value is what is put there: a JSON value as encoding/json makes it.
	Value any
	// Remove takes away what is there, in place of putting Value.
	Remove bool
}

// Operation is one operation of an RFC 6902 patch.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Patch turns edits into the RFC 6902 operations that carry them out on tree, and
// carries them out. tree is the object as encoding/json reads it into any.
// Missing maps on the way are added, a null counts as missing; one operation
// adds all that is missing on one way. An edit whose value stands there already
// makes no operation, and neither does one that removes what is not there.
//
// It fails when a step leads into something that is no map or list.
func Patch(tree map[string]any, edits []Edit) ([]Operation, error) {
	var ops []Operation
	for _, e := range edits {
		op, err := apply(tree, e)
		if err != nil {
			return nil, fmt.Errorf("failed to add %s: %w", strings.Join(e.Path, "."), err)
		}
		if op != nil {
			ops = append(ops, *op)
		}
	}
	return ops, nil
}

func apply(tree map[string]any, e Edit) (*Operation, error) {
	var at any = tree
	// put replaces the value at the place that was walked to last.
	var put func(any)
	pointer := ""
	for i, step := range e.Path {
		last := i == len(e.Path)-1
		switch node := at.(type) {
		case map[string]any:
			pointer += "/" + escape(step)
			next, ok := node[step]
			switch {
			case e.Remove && (!ok || next == nil && !last):
				return nil, nil
			case e.Remove && last:
				delete(node, step)
				return &Operation{Op: "remove", Path: pointer}, nil
			case last && ok && next != nil && equalJSON(next, e.Value):
				return nil, nil
			case last || !ok || next == nil:
				node[step] = nest(e.Path[i+1:], e.Value)
				// A later edit may add to what is in the tree, not to this operation.
				return &Operation{"add", pointer, copied(node[step])}, nil
			}
			at, put = next, func(v any) { node[step] = v }
		case []any:
			pointer += "/" + step
			if step == "-" && last {
				put(append(node, copied(e.Value)))
				return &Operation{"add", pointer, copied(e.Value)}, nil
			}
			n, err := strconv.Atoi(step)
			if err != nil || n < 0 || n >= len(node) {
				return nil, fmt.Errorf("%s is no element of a list of %d", step, len(node))
			}
			if last && e.Remove {
				put(slices.Delete(slices.Clone(node), n, n+1))
				return &Operation{Op: "remove", Path: pointer}, nil
			}
			if last {
				return nil, fmt.Errorf("%s would replace an element", pointer)
			}
			at, put = node[n], func(v any) { node[n] = v }
		default:
			return nil, fmt.Errorf("%s is neither a map nor a list", strings.Join(e.Path[:i], "."))
		}
	}
	return nil, fmt.Errorf("the path is empty")
}

// nest wraps a copy of value in the maps (and for "-" the list) that path asks
// for.
func nest(path []string, value any) any {
	value = copied(value)
	for _, step := range slices.Backward(path) {
		if step == "-" {
			value = []any{value}
		} else {
			value = map[string]any{step: value}
		}
	}
	return value
}

// copied returns a deep copy of a JSON value.
func copied(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = copied(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = copied(e)
		}
		return out
	}
	return v
}

func equalJSON(a, b any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

func escape(step string) string { return pointerEscaper.Replace(step) }
