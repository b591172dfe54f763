package validate

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
)

type (
	entryMatch = networking.HTTPMatchRequest
	stringMap  = map[string]*networking.StringMatch
)

func oneEntry(m *entryMatch) *networking.HTTPRoute {
	return &networking.HTTPRoute{
		Match: []*entryMatch{m},
		Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "a"}}},
	}
}

// each makes a VirtualService of n routes of one entry each.
func each(entry func(i int) *entryMatch) func(n int) *networkingv1.VirtualService {
	return func(n int) *networkingv1.VirtualService {
		return many(n, func(i int) *networking.HTTPRoute { return oneEntry(entry(i)) })
	}
}

func team(i int) string { return fmt.Sprintf("/team-%05d/service/", i) }

// alternatives is a regex of almost the 1024 bytes that Istio admits.
func alternatives(i int) string {
	r := rand.New(rand.NewSource(int64(i)))
	var b strings.Builder
	b.WriteString("/(")
	for b.Len() < 1000 {
		for range 2 + r.Intn(6) {
			b.WriteByte("abcd/"[r.Intn(5)])
		}
		b.WriteString([]string{"|", "*|", "+|", ".*|", "?|", "[a-m]|"}[r.Intn(6)])
	}
	return b.String() + "x)+"
}

// Each shape at each size. Unknown answers are reported beside the time: fast and
// silent is no merit.
func BenchmarkRouteOrder(b *testing.B) {
	all := []int{10, 100, 1000, 10_000}
	for _, bc := range []struct {
		shape string
		sizes []int
		make  func(n int) *networkingv1.VirtualService
	}{
		// What users have.
		{"disjoint", all, each(func(i int) *entryMatch { return &entryMatch{Uri: routegen.Prefix(team(i))} })},
		{"catchall-first", all, each(func(i int) *entryMatch {
			if i == 0 {
				return &entryMatch{Uri: routegen.Prefix("/")}
			}
			return &entryMatch{Uri: routegen.Prefix(team(i))}
		})},
		{"catchall-last", all, func(n int) *networkingv1.VirtualService {
			return each(func(i int) *entryMatch {
				if i == n-1 {
					return &entryMatch{Uri: routegen.Prefix("/")}
				}
				return &entryMatch{Uri: routegen.Prefix(team(i))}
			})(n)
		}},
		{"header-values", all, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Prefix("/api"), Headers: stringMap{"x": routegen.Exact(fmt.Sprint(i))}}
		})},
		{"header-names", all, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Prefix("/api"), Headers: stringMap{fmt.Sprintf("x-%d", i): routegen.Exact("1")}}
		})},
		{"without-headers", all, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Prefix("/api"), WithoutHeaders: stringMap{fmt.Sprintf("x-%d", i): routegen.Exact("1")}}
		})},
		{"nested-shortest-first", all, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Prefix("/" + strings.Repeat("a/", i%1000))}
		})},
		{"nested-longest-first", all, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Prefix("/" + strings.Repeat("a/", 999-i%1000))}
		})},
		{"exacts", all, each(func(i int) *entryMatch { return &entryMatch{Uri: routegen.Exact(team(i) + "health")} })},
		{"regexes", all, each(func(i int) *entryMatch { return &entryMatch{Uri: routegen.Regex(fmt.Sprintf("/api/v[0-9]+/%d", i))} })},
		{"regexes-catchall-last", all, func(n int) *networkingv1.VirtualService {
			return each(func(i int) *entryMatch {
				if i == n-1 {
					return &entryMatch{Uri: routegen.Prefix("/")}
				}
				return &entryMatch{Uri: routegen.Regex(fmt.Sprintf("/api/v[0-9]+/%d", i))}
			})(n)
		}},
		{"ignore-case", all, each(func(i int) *entryMatch {
			return &entryMatch{Uri: []*networking.StringMatch{routegen.Prefix(team(i / 2)), routegen.Exact(strings.ToUpper(team(i / 2)))}[i%2], IgnoreUriCase: i%3 == 0}
		})},
		{"one-route", all, func(n int) *networkingv1.VirtualService {
			r := &networking.HTTPRoute{}
			for i := range n {
				r.Match = append(r.Match, &entryMatch{Uri: routegen.Exact(team(i))})
			}
			return many(1, func(int) *networking.HTTPRoute { return r })
		}},
		{"covered-in-pairs", all, each(func(i int) *entryMatch {
			m := &entryMatch{Uri: routegen.Prefix(team(i / 3))}
			switch i % 3 {
			case 0:
				m.Headers = stringMap{"x": routegen.Exact("1")}
			case 1:
				m.WithoutHeaders = stringMap{"x": routegen.Exact("1")}
			default:
			}
			return m
		})},

		// What nobody has, unless to do harm.
		{"three-of-20-headers", all, func(n int) *networkingv1.VirtualService {
			r := rand.New(rand.NewSource(1))
			return each(func(int) *entryMatch {
				m := &entryMatch{Headers: stringMap{}}
				for len(m.Headers) < 3 {
					m.Headers[fmt.Sprintf("x-%d", r.Intn(20))] = []*networking.StringMatch{routegen.Exact("a"), routegen.Exact("b"), routegen.Prefix("a"), {}}[r.Intn(4)]
				}
				return m
			})(n)
		}},
		{"present-or-absent-of-20-headers", all, func(n int) *networkingv1.VirtualService {
			r := rand.New(rand.NewSource(1))
			return each(func(int) *entryMatch {
				m := &entryMatch{Headers: stringMap{}, WithoutHeaders: stringMap{}}
				for _, i := range r.Perm(20)[:3] {
					[]stringMap{m.Headers, m.WithoutHeaders}[r.Intn(2)][fmt.Sprintf("x-%d", i)] = &networking.StringMatch{}
				}
				return m
			})(n)
		}},
		{"1000-byte-regexes", []int{10, 100, 500}, each(func(i int) *entryMatch { return &entryMatch{Uri: routegen.Regex(alternatives(i))} })},
		{"1000-byte-regexes-of-a-header", []int{10, 100, 500}, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Prefix("/"), Headers: stringMap{"x": routegen.Regex(alternatives(i))}}
		})},
		{"backtrackers", []int{10, 100, 1000}, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Regex(fmt.Sprintf([]string{"/%d(a|aa)+$", "/%d(.*a){20}", "/%d(x+x+)+y", "/%d(([a-z])+.)+[A-Z]"}[i%4], i))}
		})},
		{"subset-blowup", []int{10, 100, 1000}, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Regex(fmt.Sprintf("/(a|b)*a(a|b){%d}", 1+i%300))}
		})},
		{"nested-repeats", []int{10, 100, 1000}, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Regex(fmt.Sprintf("/(((a{1,%d}){1,5}b?){1,5}c?){1,4}", 1+i%8))}
		})},
		{"50-gateways", []int{10, 100, 500}, func(n int) *networkingv1.VirtualService {
			vs := each(func(i int) *entryMatch {
				m := &entryMatch{Uri: routegen.Prefix(team(i))}
				if i%2 == 0 {
					m.Gateways = []string{fmt.Sprintf("g%d", i%50)}
				}
				return m
			})(n)
			for i := range 50 {
				vs.Spec.Gateways = append(vs.Spec.Gateways, fmt.Sprintf("g%d", i))
			}
			return vs
		}},
		{"3-MB", []int{3}, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Prefix("/" + strings.Repeat("é\"", 300_000)), Headers: stringMap{fmt.Sprint(i): routegen.Exact(strings.Repeat("y", 100_000))}}
		})},
		{"3-MB-of-entries", []int{12_000}, each(func(i int) *entryMatch {
			return &entryMatch{Uri: routegen.Prefix(team(i)), Headers: stringMap{"x-user-group": routegen.Exact(team(i))}, Method: routegen.Exact("GET")}
		})},
	} {
		for _, n := range bc.sizes {
			b.Run(fmt.Sprintf("%s/n=%d", bc.shape, n), func(b *testing.B) {
				vs := bc.make(n)
				unknown := 0
				for _, v := range Verdicts(vs, nil) {
					if v.State == Unknown {
						unknown++
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					RouteOrder(vs, nil)
				}
				b.ReportMetric(float64(unknown), "unknown/op")
			})
		}
	}
}
