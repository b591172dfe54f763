package yamltext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"go.yaml.in/yaml/v3"
)

// A Replacement puts Text in the place of the bytes from Start to End.
type Replacement struct {
	Start, End int
	Text       string
}

// Apply carries out replacements, which are sorted and do not overlap.
func Apply(text string, rs []Replacement) string {
	if len(rs) == 0 {
		return text
	}
	var out strings.Builder
	at := 0
	for _, r := range rs {
		out.WriteString(text[at:r.Start])
		out.WriteString(r.Text)
		at = r.End
	}
	out.WriteString(text[at:])
	return out.String()
}

// Reader decodes a document; nil says that it holds none.
type Reader func(text string) map[string]any

// Rewrite returns what to replace in text, so that it reads as change leaves the
// tree that read makes of it. root is its syntax, nil if there is none. Maps that
// change moves about in a list must stay the same Go maps: by these their text is
// found again, and moves with its comments.
//
// It fails where the text cannot say it without being written anew, such as within
// an alias; the error, often an *Error, says why.
func Rewrite(text string, root *yaml.Node, read Reader, change func(tree map[string]any) error) ([]Replacement, error) {
	before, after := read(text), read(text)
	if before == nil {
		return nil, errors.New("it holds no object")
	}
	r := &rewriter{origin: map[unsafe.Pointer]int{}}
	r.remember(after)
	if err := change(after); err != nil {
		return nil, err
	}
	if equal(before, after) {
		return nil, nil
	}
	if root == nil {
		return nil, errors.New("it is written in a way that YAML does not know")
	}
	r.layout = newLayout(text)
	r.style = styleOf(text, root)
	rs, err := r.value(root, before, after)
	if err != nil {
		return nil, err
	}
	if !equal(read(Apply(text, rs)), after) {
		return nil, errors.New("something else in it depends on what changes, such as an alias")
	}
	return rs, nil
}

// An Error says at which line of the text something stands that keeps it from being
// changed.
type Error struct {
	Line   int
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

func errAt(n *yaml.Node, format string, args ...any) error {
	return &Error{n.Line, fmt.Sprintf(format, args...)}
}

type rewriter struct {
	*layout
	style style
	// origin is the index that a map had in its list.
	origin map[unsafe.Pointer]int
}

func identity(m map[string]any) unsafe.Pointer { return reflect.ValueOf(m).UnsafePointer() }

func (r *rewriter) remember(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			r.remember(e)
		}
	case []any:
		for i, e := range v {
			if m, ok := e.(map[string]any); ok {
				r.origin[identity(m)] = i
			}
			r.remember(e)
		}
	}
}

// value returns what makes node, which reads as before, read as after.
func (r *rewriter) value(node *yaml.Node, before, after any) ([]Replacement, error) {
	if equal(before, after) {
		return nil, nil
	}
	switch node.Kind {
	case yaml.MappingNode:
		was, _ := before.(map[string]any)
		if now, ok := after.(map[string]any); ok {
			return r.mapping(node, was, now)
		}
	case yaml.SequenceNode:
		was, _ := before.([]any)
		if now, ok := after.([]any); ok && len(was) == len(node.Content) {
			return r.sequence(node, was, now)
		}
	case yaml.ScalarNode:
		return r.scalar(node, after)
	case yaml.AliasNode:
		return nil, errAt(node, "the alias *%s stands for other text, which others may use too", node.Value)
	}
	return nil, errAt(node, "the value becomes one of another kind")
}

// scalar puts a value in the place of a scalar, or of a null.
func (r *rewriter) scalar(node *yaml.Node, after any) ([]Replacement, error) {
	start, end, err := r.span(node)
	if err != nil {
		return nil, err
	}
	text, err := r.style.flow(after, r.indentAt(start))
	if err != nil {
		return nil, err
	}
	if start == end { // A null that is not written stands right behind its ":" or "-".
		text = " " + text
	}
	return []Replacement{{start, end, text}}, nil
}

func (r *rewriter) mapping(node *yaml.Node, before, after map[string]any) ([]Replacement, error) {
	written := make(map[string]bool, len(node.Content)/2)
	var out []element
	var nested [][]Replacement
	same := true
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Tag == "!!merge" {
			out, nested = append(out, element{old: i / 2}), append(nested, nil)
			continue
		}
		name := key.Value
		was, known := before[name]
		if key.Kind != yaml.ScalarNode || !known {
			return nil, errAt(key, "a key is no plain text")
		}
		written[name] = true
		now, stays := after[name]
		if !stays {
			same = false
			nested = append(nested, nil)
			continue
		}
		rs, err := r.entry(key, value, was, now)
		if err != nil {
			return nil, err
		}
		out, nested = append(out, element{old: i / 2}), append(nested, rs)
	}
	for _, name := range keysInOrder(after) {
		if was, inherited := before[name]; written[name] || inherited && equal(was, after[name]) {
			continue
		} else if inherited {
			return nil, errAt(node, "%s comes from elsewhere by <<", name)
		}
		same = false
		out = append(out, element{old: isNew, key: name, value: after[name]})
	}
	for name := range before {
		if _, stays := after[name]; !stays && !written[name] {
			return nil, errAt(node, "%s comes from elsewhere by <<", name)
		}
	}
	if same {
		return slices.Concat(nested...), nil
	}
	return r.rebuild(node, out, nested)
}

// entry is value for the value of a map's key: one that becomes empty is written
// behind the key.
func (r *rewriter) entry(key, value *yaml.Node, before, after any) ([]Replacement, error) {
	if isEmptied(after) && len(value.Content) > 0 {
		start, err := r.keyEnd(key)
		if err != nil {
			return nil, err
		}
		end, err := r.end(value)
		if err != nil {
			return nil, err
		}
		if value.Anchor != "" {
			return nil, errAt(value, "what the anchor &%s names is removed", value.Anchor)
		}
		return []Replacement{{start, end, " " + emptyOf(value.Kind)}}, nil
	}
	if isEmpty(value) && value.Anchor == "" && !equal(before, after) {
		end, err := r.keyEnd(key)
		if err != nil {
			return nil, err
		}
		text, err := r.style.flow(after, r.indentAt(end))
		return []Replacement{{end, end, " " + text}}, err
	}
	return r.value(value, before, after)
}

func isEmptied(v any) bool {
	m, isMap := v.(map[string]any)
	list, isList := v.([]any)
	return isMap && len(m) == 0 || isList && len(list) == 0
}

func emptyOf(kind yaml.Kind) string {
	if kind == yaml.MappingNode {
		return "{}"
	}
	return "[]"
}

func (r *rewriter) sequence(node *yaml.Node, before, after []any) ([]Replacement, error) {
	out := r.match(before, after)
	nested := make([][]Replacement, len(before))
	same := len(before) == len(after)
	for i, e := range out {
		same = same && e.old == i
		if e.old == isNew {
			continue
		}
		rs, err := r.value(node.Content[e.old], before[e.old], after[i])
		if err != nil {
			return nil, err
		}
		nested[e.old] = rs
	}
	if same {
		return slices.Concat(nested...), nil
	}
	return r.rebuild(node, out, nested)
}

// match finds each item of after among those of before: maps by their identity, all
// else, and maps that were taken out and put back, by their value.
func (r *rewriter) match(before, after []any) []element {
	out := make([]element, len(after))
	taken := make([]bool, len(before))
	for i, v := range after {
		out[i] = element{old: isNew, value: v}
		if m, ok := v.(map[string]any); ok {
			if old, known := r.origin[identity(m)]; known && old < len(before) && !taken[old] {
				out[i].old, taken[old] = old, true
			}
		}
	}
	left := map[string][]int{}
	for i, v := range before {
		if !taken[i] {
			text := canonical(v)
			left[text] = append(left[text], i)
		}
	}
	for i := range out {
		if out[i].old != isNew || len(left) == 0 {
			continue
		}
		text := canonical(after[i])
		if same := left[text]; len(same) > 0 {
			out[i].old, left[text] = same[0], same[1:]
		}
	}
	return out
}

// canonical is one text for each JSON value.
func canonical(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%#v", v) // No JSON value; equal to itself.
	}
	return string(raw)
}

// equal compares JSON values. Numbers are equal when they are written alike.
func equal(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) || (x == nil) != (y == nil) {
			return false
		}
		for k, v := range x {
			if w, ok := y[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equal)
	case string, bool, nil:
		return a == b
	}
	switch b.(type) {
	case map[string]any, []any, string, bool, nil:
		return false
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
