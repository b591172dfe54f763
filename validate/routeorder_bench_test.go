package validate

import (
	"fmt"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1"
)

func BenchmarkRouteOrder(b *testing.B) {
	for shape, route := range map[string]func(i int) *networking.HTTPRoute{
		"disjoint": func(i int) *networking.HTTPRoute { return prefixRoute(fmt.Sprintf("/team-%05d/service/", i)) },
		"catchall": func(i int) *networking.HTTPRoute {
			if i == 0 {
				return prefixRoute("/")
			}
			return prefixRoute(fmt.Sprintf("/team-%05d/service/", i))
		},
		"headers": func(i int) *networking.HTTPRoute {
			r := prefixRoute("/api")
			r.Match[0].Headers = map[string]*networking.StringMatch{"x": {MatchType: &networking.StringMatch_Exact{Exact: fmt.Sprint(i)}}}
			return r
		},
		"nested": func(i int) *networking.HTTPRoute { return prefixRoute("/" + strings.Repeat("a/", i%1000)) },
	} {
		for _, n := range []int{10, 100, 1000, 10_000} {
			vs := many(n, route)
			b.Run(fmt.Sprintf("%s/n=%d", shape, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					RouteOrder(vs, nil)
				}
			})
		}
	}
}
