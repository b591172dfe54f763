package conformance

import (
	"iter"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
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

// smallerVirtualServices are vs without a route, a match entry, a condition, a host or a gateway.
func smallerVirtualServices(vs *networkingv1.VirtualService) iter.Seq[*networkingv1.VirtualService] {
	return func(yield func(*networkingv1.VirtualService) bool) {
		try := func(edit func(*networking.VirtualService)) bool {
			out := vs.DeepCopy()
			edit(&out.Spec)
			return yield(out)
		}
		for i, r := range vs.Spec.Http {
			if len(vs.Spec.Http) > 1 && !try(func(s *networking.VirtualService) { s.Http = without(s.Http, i) }) {
				return
			}
			for j := range r.Match {
				if !try(func(s *networking.VirtualService) { s.Http[i].Match = without(s.Http[i].Match, j) }) {
					return
				}
			}
		}
		for i := range vs.Spec.Hosts {
			if len(vs.Spec.Hosts) > 1 && !try(func(s *networking.VirtualService) { s.Hosts = without(s.Hosts, i) }) {
				return
			}
		}
		for i := range vs.Spec.Gateways {
			if !try(func(s *networking.VirtualService) { s.Gateways = without(s.Gateways, i) }) {
				return
			}
		}
		if len(vs.Spec.ExportTo) > 0 && !try(func(s *networking.VirtualService) { s.ExportTo = nil }) {
			return
		}
		for i, r := range vs.Spec.Http {
			for j, m := range r.Match {
				more := true
				m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
					more = try(func(s *networking.VirtualService) { s.Http[i].Match[j].ProtoReflect().Clear(f) })
					return more
				})
				if !more {
					return
				}
			}
		}
	}
}

// toYAML writes objects out, for a failure.
func toYAML[T metav1.Object](t testing.TB, objects ...T) string {
	t.Helper()
	var out []string
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return strings.Join(out, "---\n")
}
