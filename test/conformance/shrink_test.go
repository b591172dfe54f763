package conformance

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// maxShrinks bounds the worlds that are tried to make a failure small.
const maxShrinks = 600

// shrunk takes away from a world that fails whatever it fails without.
func shrunk[W comparable](world W, smaller func(W) iter.Seq[W], fails func(W) bool) W {
	for tries := 0; ; {
		was := world
		for w := range smaller(was) {
			tries++
			if tries > maxShrinks {
				return world
			}
			if fails(w) {
				world = w
				break
			}
		}
		if was == world {
			return world
		}
	}
}

// without returns s without its element i.
func without[T any](s []T, i int) []T { return slices.Delete(slices.Clone(s), i, i+1) }

// smaller are the objects that Istio takes and that are o without one of its fields or list elements,
// the outer ones first.
func smaller(t testing.TB, o metav1.Object) []metav1.Object {
	tree := written(t, o)
	var out []metav1.Object
	add := func() {
		raw, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if objects, err := scenario.Parse(raw); err == nil && valid(objects[0].Typed) == nil {
			out = append(out, objects[0].Typed)
		}
	}
	var inner func(node any, set func(any))
	inner = func(node any, set func(any)) {
		switch node := node.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(node)) {
				v := node[k]
				delete(node, k)
				add()
				node[k] = v
			}
			for _, k := range slices.Sorted(maps.Keys(node)) {
				inner(node[k], func(v any) { node[k] = v })
			}
		case []any:
			for i := range node {
				set(slices.Delete(slices.Clone(node), i, i+1))
				add()
			}
			set(node)
			for i := range node {
				inner(node[i], func(v any) { node[i] = v })
			}
		}
	}
	inner(tree["spec"], func(v any) { tree["spec"] = v })
	meta, _ := tree["metadata"].(map[string]any)
	for _, k := range []string{"creationTimestamp", "labels", "annotations"} {
		// A ServiceEntry without an age may get that of another.
		if v, ok := meta[k]; ok && (k != "creationTimestamp" || tree["kind"] != mesh.ServiceEntryKind) {
			delete(meta, k)
			add()
			meta[k] = v
		}
	}
	return out
}

// written is o as a user writes it.
func written(t testing.TB, o metav1.Object) map[string]any {
	t.Helper()
	tree, err := mutate.Tree(o)
	if err != nil {
		t.Fatal(err)
	}
	delete(tree, "status")
	switch o.(type) {
	case *corev1.Service:
		tree["apiVersion"], tree["kind"] = "v1", "Service"
	case *networkingv1.Gateway:
		tree["apiVersion"], tree["kind"] = mesh.APIVersion, "Gateway"
	default:
		tree["apiVersion"], tree["kind"] = mesh.APIVersion, mesh.ObjectOf(o).Kind
	}
	if meta, ok := tree["metadata"].(map[string]any); ok && meta["creationTimestamp"] == nil {
		delete(meta, "creationTimestamp")
	}
	return tree
}

// smallerObjects are lists without one of their objects, or with a smaller one.
func smallerObjects(t testing.TB, objects []metav1.Object) iter.Seq[[]metav1.Object] {
	return func(yield func([]metav1.Object) bool) {
		for i := range slices.Backward(objects) {
			if !yield(without(objects, i)) {
				return
			}
		}
		for i, o := range objects {
			for _, less := range smaller(t, o) {
				out := slices.Clone(objects)
				out[i] = less
				if !yield(out) {
					return
				}
			}
		}
	}
}

// toYAML writes objects out as a scenario holds them, for a failure.
func toYAML[T metav1.Object](t testing.TB, objects ...T) string {
	t.Helper()
	var out []string
	for _, o := range objects {
		text, err := yaml.Marshal(written(t, o))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return strings.Join(out, "---\n")
}
