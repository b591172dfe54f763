package manifest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// Document is one object: a source of its own, or an item of a List.
type Document struct {
	Source           *Source
	APIVersion, Kind string
	// Object is the typed object, with its namespace filled in, for the kinds that
	// decisions read: ServiceEntry, VirtualService, DestinationRule, Gateway,
	// Service and Namespace. It is nil for all others.
	Object metav1.Object

	path  string // within the source: "", or items[2]
	json  []byte
	moved []move
}

// Name returns "Kind namespace/name", or the kind alone where the object is
// opaque, as it may be printed.
func (d *Document) Name() string {
	name := d.Kind
	if d.Object != nil {
		k := KeyOf(d.Kind, d.Object)
		name = k.Kind + " " + strings.TrimPrefix(k.Namespace+"/"+k.Name, "/")
	}
	return finding.Printable(name)
}

// Place returns "file:line" of the field at path within the object, "" being the
// object itself, as it may be printed. It is "" for what stands in no file.
func (d *Document) Place(path string) string {
	if d.Source.File == "" {
		return ""
	}
	return finding.Printable(d.Source.File) + ":" + strconv.Itoa(d.Region(path).Line)
}

// Prefix is what a message about the field at path starts with.
func (d *Document) Prefix(path string) string {
	if place := d.Place(path); place != "" {
		return place + ": "
	}
	return ""
}

// Region returns where the field at path within the object stands, or the deepest
// field on the way that is written.
func (d *Document) Region(path string) Region {
	return d.Source.regionOf(join(d.path, d.written(path)))
}

// Focus returns where what the field at path comes down to stands: of a field that
// holds nothing but one other, that one.
func (d *Document) Focus(path string) Region {
	return d.Source.focusOf(join(d.path, d.written(path)))
}

// Tree decodes the raw object anew, as encoding/json reads it into a map.
func (d *Document) Tree() map[string]any {
	var tree map[string]any
	if json.Unmarshal(d.json, &tree) != nil {
		return nil // No document: it was valid when it was read.
	}
	return tree
}

// Exact decodes the raw object anew, with numbers as json.Number, so that none
// loses a digit when it is printed again.
func (d *Document) Exact() map[string]any { return decodeExact(d.json) }

// In returns the raw object within tree, a decoded Source.
func (d *Document) In(tree map[string]any) (map[string]any, error) {
	var at any = tree
	for _, step := range steps(d.path) {
		switch node := at.(type) {
		case map[string]any:
			at = node[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(node) {
				return nil, fmt.Errorf("%s has no %s", d.Source.File, d.path)
			}
			at = node[i]
		}
	}
	object, ok := at.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s has no object at %s", d.Source.File, d.path)
	}
	return object, nil
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "." + b
}
