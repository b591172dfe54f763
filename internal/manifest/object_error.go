package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// decodeError says which field cannot be decoded. The decoders of Istio's types do
// not, so each field is tried by itself, down to the one that fails. Cost is
// linear in the object's size at each level.
func decodeError(d *Document, namespace string, fresh func() object) error {
	var at fieldPath
	tree := d.Tree()
	var value any = tree
	err := at.try(fresh, value)
	for {
		step, next, childErr := at.failing(fresh, value)
		if childErr == nil {
			break
		}
		at, value, err = append(at, step), next, childErr
	}
	meta, _ := tree["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if ns, ok := meta["namespace"].(string); ok && ns != "" {
		namespace = ns
	}
	return fmt.Errorf("%s%s %s/%s: %s: %s", d.Prefix(at.String()), d.Kind, namespace, name, at, reason(value, err))
}

// fieldPath leads to a field through maps and lists.
type fieldPath []fieldStep

type fieldStep struct {
	key   string
	index int // in a list; -1: key counts
}

// failing returns the first child of value, which stands at p, that cannot be
// decoded by itself.
func (p fieldPath) failing(fresh func() object, value any) (step fieldStep, child any, err error) {
	try := func(s fieldStep, v any) bool {
		step, child = s, v
		err = append(slices.Clip(p), s).try(fresh, v)
		return err != nil
	}
	switch v := value.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if try(fieldStep{k, -1}, v[k]) {
				return step, child, err
			}
		}
	case []any:
		for i, e := range v {
			if try(fieldStep{"", i}, e) {
				return step, child, err
			}
		}
	}
	return fieldStep{}, nil, nil
}

// try decodes an object that holds nothing but value at p.
func (p fieldPath) try(fresh func() object, value any) error {
	for _, s := range slices.Backward(p) {
		if s.index >= 0 {
			value = []any{value}
		} else {
			value = map[string]any{s.key: value}
		}
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return unmarshal(raw, fresh())
}

func (p fieldPath) String() string {
	var out strings.Builder
	for _, s := range p {
		switch {
		case s.index >= 0:
			fmt.Fprintf(&out, "[%d]", s.index)
		case s.key == "" || strings.ContainsAny(s.key, ".[] "):
			fmt.Fprintf(&out, "[%s]", s.key)
		case out.Len() > 0:
			out.WriteString("." + s.key)
		default:
			out.WriteString(s.key)
		}
	}
	return out.String()
}

// reason says what is wrong with value in the words of a manifest, not of Go.
func reason(value any, err error) string {
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) && typeErr.Type != nil {
		if want := typeName(typeErr.Type); want != "" {
			return fmt.Sprintf("expected %s, got %s", want, valueName(value))
		}
	}
	return fmt.Sprintf("failed to decode %s: %v", valueName(value), err)
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a map"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "an integer"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return ""
}

func valueName(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	case string:
		return fmt.Sprintf("the string %s", short(fmt.Sprintf("%q", v)))
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return "a value"
	}
	return short(string(raw))
}
