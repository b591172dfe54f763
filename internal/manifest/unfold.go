package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// unfold returns the objects of a source: itself, or the items of a v1 List or of
// a typed list of the groups that decisions read. Null items count as absent. The
// objects beside one with an error are returned with it.
func unfold(s *Source, namespace string) ([]*Document, error) {
	u := unfolder{source: s, namespace: namespace}
	u.object(s.json, "", "", "")
	return u.out, errors.Join(u.errs...)
}

type unfolder struct {
	source    *Source
	namespace string
	out       []*Document
	errs      []error
}

// object takes one object. The version and kind are what an item of a typed list
// may leave out.
func (u *unfolder) object(raw []byte, path, apiVersion, kind string) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		u.fail(path, "expected a Kubernetes object")
		return
	}
	d := &Document{
		Source: u.source, path: path, json: raw,
		APIVersion: text(fields["apiVersion"], apiVersion), Kind: text(fields["kind"], kind),
	}
	if itemKind, ok := listOf(d.APIVersion, d.Kind); ok {
		itemVersion := d.APIVersion
		if itemKind == "" {
			itemVersion = ""
		}
		u.items(fields["items"], path, itemVersion, itemKind)
		return
	}
	var err error
	if d.Object, err = decode(d, u.namespace); err != nil {
		u.errs = append(u.errs, err)
		return
	}
	u.out = append(u.out, d)
}

// maxNested bounds Lists in Lists: each is decoded with all that is in it.
const maxNested = 20

func (u *unfolder) items(raw []byte, path, apiVersion, kind string) {
	var items []json.RawMessage
	if strings.Count(path, "items[") >= maxNested {
		u.fail(path, fmt.Sprintf("more than %d Lists are in each other", maxNested))
		return
	}
	path = join(path, "items")
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &items); err != nil {
			u.fail(path, "expected a list of Kubernetes objects")
			return
		}
	}
	for i, item := range items {
		if string(item) != "null" {
			u.object(item, fmt.Sprintf("%s[%d]", path, i), apiVersion, kind)
		}
	}
}

func (u *unfolder) fail(path, msg string) {
	if path != "" {
		msg = path + ": " + msg
	}
	u.errs = append(u.errs, fmt.Errorf("%s:%d: %s", u.source.File, u.source.regionOf(path).Line, msg))
}

// listOf reports whether the kind is a list to unfold, and of what; "" is of
// anything. Other kinds may end in "List" without being one.
func listOf(apiVersion, kind string) (itemKind string, ok bool) {
	if kind == "List" {
		return "", true
	}
	item, ok := strings.CutSuffix(kind, "List")
	group, _, _ := strings.Cut(apiVersion, "/")
	return item, ok && (apiVersion == "v1" || group == istioGroup)
}

// text decodes a JSON string, other when it is none.
func text(raw json.RawMessage, other string) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil || s == "" {
		return other
	}
	return s
}
