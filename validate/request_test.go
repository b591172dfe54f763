package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
)

// The requests that can tell the entries of a VirtualService of routegen apart.

// A varied is one thing that entries look at, with the values that they can tell
// apart; only reduces an entry to what it asks of it.
type varied struct {
	name string
	n    int
	set  func(r *Request, i int)
	only func(to, m *networking.HTTPMatchRequest)
}

// headerDimension says which dimension a condition on a header is of.
func headerDimension(name string) string {
	switch name = strings.ToLower(name); name {
	case ":authority", "host":
		return "authority"
	case ":method":
		return "method"
	default:
		return name
	}
}

func onlyHeaders(of map[string]*networking.StringMatch, dimension string) map[string]*networking.StringMatch {
	out := map[string]*networking.StringMatch{}
	for k, m := range of {
		if headerDimension(k) == dimension {
			out[k] = m
		}
	}
	return out
}

var (
	somePaths       = routegen.Paths()
	someValues      = []string{"", "a", "ab", "aa", "aaa", "b", "n", "c", "/", "A"}
	someMethods     = []string{"GET", "POST", "PUT", "get", "ETAG", "G"}
	someAuthorities = []string{"example.com", "a", "b", "ab", "c"}
)

// variedBy lists what the routes can tell apart.
func variedBy(vs *networkingv1.VirtualService, routes []naiveRoute) []varied {
	uses := map[string]bool{"path": true, "gateway": true}
	for _, r := range routes {
		m := r.match
		if m == nil {
			continue
		}
		for _, of := range []map[string]*networking.StringMatch{m.Headers, m.WithoutHeaders} {
			for k := range of {
				uses[headerDimension(k)] = true
			}
		}
		for name, is := range map[string]bool{
			"method": m.Method != nil, "authority": m.Authority != nil, "scheme": m.Scheme != nil, "q": len(m.QueryParams) > 0,
			"port": m.Port > 0, "labels": len(m.SourceLabels) > 0, "namespace": m.SourceNamespace != "",
		} {
			uses[name] = uses[name] || is
		}
	}
	gateways := []string{"mesh"}
	if len(vs.Spec.Gateways) > 0 {
		gateways = nil
		for _, g := range vs.Spec.Gateways {
			gateways = append(gateways, naiveResolve(g, vs.Namespace))
		}
	}
	header := func(name string) varied {
		return varied{name, 1 + len(someValues), func(r *Request, i int) {
			if i > 0 {
				r.Headers[name] = someValues[i-1]
			}
		}, func(*networking.HTTPMatchRequest, *networking.HTTPMatchRequest) {}}
	}
	type entry = networking.HTTPMatchRequest
	out := []varied{
		{"path", len(somePaths), func(r *Request, i int) { r.Path = somePaths[i] }, func(to, m *entry) { to.Uri, to.IgnoreUriCase = m.Uri, m.IgnoreUriCase }},
		{"gateway", len(gateways), func(r *Request, i int) { r.Gateway = gateways[i] }, func(to, m *entry) { to.Gateways = m.Gateways }},
		{"method", len(someMethods), func(r *Request, i int) { r.Method = someMethods[i] }, func(to, m *entry) { to.Method = m.Method }},
		{"authority", len(someAuthorities), func(r *Request, i int) { r.Authority = someAuthorities[i] }, func(to, m *entry) { to.Authority = m.Authority }},
		{"scheme", 2, func(r *Request, i int) { r.Scheme = []string{"http", "https"}[i] }, func(to, m *entry) { to.Scheme = m.Scheme }},
		header("x"), header("y"),
		{"q", 1 + len(someValues), func(r *Request, i int) {
			if i > 0 {
				r.Query["q"] = someValues[i-1]
			}
		}, func(to, m *entry) { to.QueryParams = m.QueryParams }},
		{"port", 3, func(r *Request, i int) { r.Port = uint32(80 + i) }, func(to, m *entry) { to.Port = m.Port }},
		{"labels", 4, func(r *Request, i int) {
			r.SourceLabels = []map[string]string{{}, {"app": "x"}, {"app": "x", "v": "1"}, {"app": "y"}}[i]
		}, func(to, m *entry) {
			if len(m.Gateways) == 0 {
				to.SourceLabels = m.SourceLabels
			}
		}},
		{"namespace", 3, func(r *Request, i int) { r.SourceNamespace = []string{"n1", "n2", "n3"}[i] }, func(to, m *entry) {
			if len(m.Gateways) == 0 {
				to.SourceNamespace = m.SourceNamespace
			}
		}},
	}
	return slices.DeleteFunc(out, func(d varied) bool { return !uses[d.name] })
}

func someRequest() *Request {
	return &Request{
		Method: "GET", Scheme: "http", Authority: someAuthorities[0], Path: "/", Port: 80, Gateway: "mesh",
		Headers: map[string]string{}, Query: map[string]string{}, SourceLabels: map[string]string{},
	}
}

// eachRequest calls visit for the requests that m takes by itself (nil: all), of
// every combination of the dimensions, or for at most so many of them, drawn at
// random, when most > 0.
func eachRequest(ds []varied, m *networking.HTTPMatchRequest, ns string, draw func(int) int, most int, visit func(*Request)) {
	fits := make([][]int, len(ds))
	total := 1
	for k, d := range ds {
		one := &networking.HTTPMatchRequest{}
		if m != nil {
			d.only(one, m)
			one.Headers, one.WithoutHeaders = onlyHeaders(m.Headers, d.name), onlyHeaders(m.WithoutHeaders, d.name)
		}
		for i := range d.n {
			r := someRequest()
			d.set(r, i)
			if naiveInForce(one, ns, r) && naiveMatches(one, r) {
				fits[k] = append(fits[k], i)
			}
		}
		total *= len(fits[k])
		if total == 0 {
			return
		}
		total = min(total, 1<<40)
	}
	count := total
	if most > 0 {
		count = min(total, most)
	}
	for n := range count {
		r := someRequest()
		rest := n
		for k, d := range ds {
			i := rest % len(fits[k])
			rest /= len(fits[k])
			if count < total {
				i = draw(len(fits[k]))
			}
			d.set(r, fits[k][i])
		}
		visit(r)
	}
}

// shownRequest writes a request out for a failure.
func shownRequest(r *Request) string {
	if r == nil {
		return "no request"
	}
	pairs := func(of map[string]string) (out []string) {
		for _, k := range slices.Sorted(maps.Keys(of)) {
			out = append(out, fmt.Sprintf("%s=%q", k, of[k]))
		}
		return out
	}
	return fmt.Sprintf("%q %s://%q%q query %v headers %v port %d gateway %s labels %v namespace %q", r.Method, r.Scheme, r.Authority, r.Path,
		pairs(r.Query), pairs(r.Headers), r.Port, r.Gateway, pairs(r.SourceLabels), r.SourceNamespace)
}

func dump(vss ...*networkingv1.VirtualService) string {
	var b strings.Builder
	for _, vs := range vss {
		if vs == nil {
			continue
		}
		fmt.Fprintf(&b, "%s gateways %v\n", vs.Name, vs.Spec.Gateways)
		for i, r := range vs.Spec.Http {
			fmt.Fprintf(&b, "  http[%d] delegate %v\n", i, r.Delegate)
			for _, m := range r.Match {
				fmt.Fprintf(&b, "    %v\n", entryText(m, quote, quote))
			}
		}
	}
	return b.String()
}
