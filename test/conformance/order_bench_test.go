package conformance

import (
	"fmt"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/validation"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// What each side made of the object last: a call whose result nobody reads may be left out.
var (
	orderFindings []finding.Finding
	errOrder      validation.Warning
)

// BenchmarkRouteOrder decides the route order of one object, and has Istio's own validation look
// at it, which warns of an earlier prefix that covers a later one. benchstat -col /of compares.
func BenchmarkRouteOrder(b *testing.B) {
	disjoint := func(_, i int) string { return fmt.Sprintf("/team-%05d/service/", i) }
	for _, bc := range []struct {
		shape string
		sizes []int
		path  func(n, i int) string
	}{
		{"disjoint", []int{20, 1000, 5000, 10_000}, disjoint},
		// All but the first are dead.
		{"nested-shortest-first", []int{1000}, func(_, i int) string { return "/" + strings.Repeat("a/", i) }},
		{"nested-longest-first", []int{1000}, func(n, i int) string { return "/" + strings.Repeat("a/", n-i) }},
	} {
		for _, n := range bc.sizes {
			vs := prefixes(n, bc.path)
			name := fmt.Sprintf("shape=%s/n=%d", bc.shape, n)
			b.Run("of=ours/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					orderFindings = validate.RouteOrder(vs, nil)
				}
			})
			b.Run("of=istio/"+name, func(b *testing.B) {
				c := config.Config{
					Meta: config.Meta{GroupVersionKind: gvk.VirtualService, Name: vs.Name, Namespace: vs.Namespace},
					Spec: &vs.Spec,
				}
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if errOrder, err = validation.ValidateVirtualService(c); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// prefixes makes a VirtualService of n routes, each for one prefix.
func prefixes(n int, path func(n, i int) string) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{}
	vs.Name, vs.Namespace = "routes", "default"
	vs.Spec.Hosts = []string{"example.com"}
	for i := range n {
		uri := &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: path(n, i)}}
		vs.Spec.Http = append(vs.Spec.Http, &networking.HTTPRoute{
			Match: []*networking.HTTPMatchRequest{{Uri: uri}},
			Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "a.default.svc.cluster.local"}}},
		})
	}
	return vs
}
