// Package routegen draws random VirtualServices of few names and few values, so that match entries
// overlap, and often cover one only together. Only tests import it.
package routegen

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// A Generator draws numbers below n: from a random source, or from bytes that a
// fuzzer makes.
type Generator struct{ Draw func(n int) int }

// Random draws from a source of its own.
func Random(seed int64) Generator {
	return Generator{rand.New(rand.NewSource(seed)).Intn}
}

// Bytes draws one byte a number, and zeros behind the last.
func Bytes(data []byte) Generator {
	return Generator{func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b) % n
	}}
}

// Chance is true so often of a hundred times.
func (g Generator) Chance(percent int) bool { return g.Draw(100) >= 100-percent }

// Pick draws one of several.
func Pick[T any](g Generator, from ...T) T { return from[g.Draw(len(from))] }

func shuffle[T any](g Generator, s []T) {
	for i := len(s) - 1; i > 0; i-- {
		j := g.Draw(i + 1)
		s[i], s[j] = s[j], s[i]
	}
}

// Exact matches s alone.
func Exact(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: s}}
}

// Prefix matches what s begins.
func Prefix(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: s}}
}

// Regex matches as RE2 does.
func Regex(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: s}}
}

// URI draws what is asked of a path.
func (g Generator) URI() *networking.StringMatch {
	switch g.Draw(6) {
	case 0:
		return Exact(Pick(g, "/", "/a", "/A", "/ab", "/a/b", "/b", "a", "/a?b"))
	case 1, 2:
		return Prefix(Pick(g, "", "/", "/a", "/A", "/ab", "/a/", "/b", "b"))
	case 3:
		return &networking.StringMatch{}
	case 4:
		return Regex("/" + g.regex(1+g.Draw(3)))
	default:
		return Regex(Pick(g, ".*", "/.*", ".+", "/.+", "^/.*$", "(/.*)?", "/a.*", "/a.+", "/[ab].*", "/[ab]", "/a|/b", "/a(/.*)?", "/(?i)a.*",
			"/.", "/..*", ".*b", "/a$.*", "\\b.*", "/a/?", "/?a", "[^a]*", "[^?#]*", "/a{2}", "/a{1,2}.*", "(/a)+", "(/.*)*", "/(a|ab)b?", "a.*",
			"/(?:a|.*)", "(^/a$|^/b.*$)", "/a^b", "(?s)/.*", "/\\w*", "/a\\z", "/[^/]+", "/(a|)(b|.*)",
			"/[a-m].*", "/[n-z].*", "/[^a-m].*", "/\\b.*", "/\\B.*", "/a\\b.*", "(?i)/a\\b.*", "/((a|b){1,2}/?)*", "/(a{1,2}){2}b?", "(/[ab]*)+", "/([^/]|/a)*"))
	}
}

// regex composes one from a small grammar.
func (g Generator) regex(depth int) string {
	if depth == 0 {
		return Pick(g, "a", "b", "/", ".", "[ab]", "[^a]", "[a-m]", "[n-z]", "n", "", ".*", ".+", "^", "$", `\b`, `\B`, `\w`, "(?i:a)", "(?i:k)", `[^/]`)
	}
	x := g.regex(depth - 1)
	switch g.Draw(7) {
	case 0:
		return "(" + x + "|" + g.regex(depth-1) + ")"
	case 1:
		return "(?:" + x + ")" + Pick(g, "*", "+", "?", "{2}", "{1,2}", "{2,}", "{0,1}", "{0}", "*?")
	case 2:
		return "^" + x + "$"
	case 3:
		return "(?:" + x + "|" + g.regex(depth-1) + ")" + Pick(g, "", "*", "{1,3}")
	default:
		return x + g.regex(depth-1)
	}
}

// value draws what is asked of a header or a query parameter; nil is only that it is there.
func (g Generator) value() *networking.StringMatch {
	switch g.Draw(7) {
	case 0, 1:
		return Exact(Pick(g, "a", "", "ab", "b", "n"))
	case 2:
		return Prefix(Pick(g, "a", "ab", "b"))
	case 3:
		return Pick(g, nil, &networking.StringMatch{}, Regex("*"))
	case 4:
		return Regex(g.regex(1 + g.Draw(2)))
	default:
		return Regex(Pick(g, ".*", ".+", "a.*", "a|b", "a?", "[ab]*", "b+", "(a|ab)", "", "x", "[a-m].*", "[n-z].*", "[^a].*"))
	}
}

// Method draws what is asked of the method.
func (g Generator) Method() *networking.StringMatch {
	return Pick(g, Exact("GET"), Exact("POST"), Regex("GET|POST"), Regex(".*"), Prefix("G"), &networking.StringMatch{},
		Regex("[A-F].*"), Regex("[G-Z].*"), Regex("[^P].*"))
}

// Authority draws what is asked of the authority.
func (g Generator) Authority() *networking.StringMatch {
	return Pick(g, Exact("a"), Exact("b"), Prefix("a"), Regex("a|b"), Regex("[^a].*"), Regex("*"))
}

// Scheme draws what is asked of the scheme.
func (g Generator) Scheme() *networking.StringMatch {
	return Pick(g, Exact("http"), Exact("https"), Prefix("http"), Regex("https?"))
}

// headers fills one map of conditions; now and then by a pseudo-header's name.
func (g Generator) headers(null bool) map[string]*networking.StringMatch {
	out := map[string]*networking.StringMatch{}
	for range 1 + g.Draw(5)/4 {
		name, m := Pick(g, "x", "X", "y", "x", "y", "x", "y", "host", ":authority", ":method"), g.value()
		switch {
		case strings.HasPrefix(name, ":m"):
			m = g.Method()
		case name == "host" || name == ":authority":
			m = g.Authority()
		case m == nil && !null:
			m = &networking.StringMatch{} // Istio refuses null
		}
		out[name] = m
	}
	return out
}

func (g Generator) entry(delegate bool) *networking.HTTPMatchRequest {
	m := &networking.HTTPMatchRequest{}
	if g.Chance(75) {
		m.Uri = g.URI()
	}
	m.IgnoreUriCase = g.Chance(15)
	if g.Chance(15) {
		m.Method = g.Method()
	}
	if g.Chance(8) {
		m.Authority = g.Authority()
	}
	if g.Chance(6) {
		m.Scheme = g.Scheme()
	}
	if g.Chance(25) {
		m.Headers = g.headers(false)
	}
	if g.Chance(20) {
		m.WithoutHeaders = g.headers(true)
	}
	if g.Chance(12) {
		m.QueryParams = map[string]*networking.StringMatch{"q": g.value()}
	}
	if g.Chance(10) {
		m.Port = Pick(g, uint32(80), 81)
	}
	if g.Chance(15) {
		m.Gateways = Pick(g, []string{"g"}, []string{"mesh"}, []string{"g", "mesh"})
	}
	if g.Chance(8) {
		m.SourceLabels = Pick(g, map[string]string{"app": "x"}, map[string]string{"app": "y"}, map[string]string{"app": "x", "v": "1"})
	}
	if g.Chance(6) {
		m.SourceNamespace = Pick(g, "n1", "n2")
	}
	if delegate && g.Chance(60) {
		// Roots and delegates agree more often.
		m.IgnoreUriCase, m.SourceNamespace, m.Gateways = false, "", nil
	}
	return m
}

// A split is what users write to divide requests: cells that together take all that
// whole takes, on one dimension of a request.
type split struct {
	on    string
	cells []func(*networking.HTTPMatchRequest)
	whole func(*networking.HTTPMatchRequest)
}

type entryEdit = func(*networking.HTTPMatchRequest)

func (g Generator) split() split {
	anything := func(*networking.HTTPMatchRequest) {}
	uri := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.Uri = s }
	}
	fold := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.Uri, m.IgnoreUriCase = s, true }
	}
	x := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) {
			m.Headers = joined(m.Headers, map[string]*networking.StringMatch{"x": s})
		}
	}
	withoutX := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) {
			m.WithoutHeaders = joined(m.WithoutHeaders, map[string]*networking.StringMatch{"X": s})
		}
	}
	method := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.Method = s }
	}
	authority := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.Authority = s }
	}
	host := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) {
			m.Headers = joined(m.Headers, map[string]*networking.StringMatch{"host": s})
		}
	}
	scheme := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.Scheme = s }
	}
	query := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.QueryParams = map[string]*networking.StringMatch{"q": s} }
	}
	gateway := func(names ...string) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.Gateways = names }
	}
	port := func(p uint32) entryEdit { return func(m *networking.HTTPMatchRequest) { m.Port = p } }
	of := func(on string, whole entryEdit, cells ...entryEdit) split { return split{on, cells, whole} }

	p, r, e := Prefix, Regex, Exact
	present := &networking.StringMatch{}
	return Pick(g,
		of("x", anything, x(e("a")), withoutX(e("a"))),
		of("x", anything, x(present), withoutX(r("*"))),
		of("x", anything, x(p("a")), withoutX(p("a"))),
		of("x", x(r("[ab].*")), x(r("a.*")), x(r("b.*"))),
		of("x", x(present), x(r("[a-m].*")), x(r("[^a-m].*")), x(e(""))),
		of("x", x(r("a{1,3}")), x(e("a")), x(r("a{2,3}"))),
		of("x", withoutX(present), withoutX(e("a")), withoutX(e("b"))),
		of("x", anything, withoutX(e("a")), withoutX(e("b"))),
		of("method", anything, method(e("GET")), method(e("POST")), method(r("[^GP].*|G[^E].*|P[^O].*|GE[^T].*|PO[^S].*|GET.+|POS[^T].*|POST.+|G|P|GE|PO|POS"))),
		of("method", method(r("GET|POST")), method(e("GET")), method(e("POST"))),
		of("method", method(r("[A-Z]+")), method(r("[A-M][A-Z]*")), method(r("[N-Z][A-Z]*"))),
		of("path", uri(p("/")), uri(p("/a")), uri(r("/[^a].*|/"))),
		of("path", uri(r("/[a-z].*")), uri(r("/[a-m].*")), uri(r("/[n-z].*"))),
		of("path", uri(p("/a")), uri(e("/a")), uri(r("/a[^/].*")), uri(p("/a/"))),
		of("path", uri(r("/a(/.*)?")), uri(e("/a")), uri(p("/a/"))),
		of("path", uri(r("/(a|b|ab)")), uri(r("/[ab]")), uri(e("/ab"))),
		of("path", uri(r("/a{1,3}")), uri(e("/a")), uri(e("/aa")), uri(r("/a{3}"))),
		of("path", uri(r("/(?i:ab)")), uri(r("/a[bB]")), uri(r("/A[Bb]"))),
		of("path", fold(e("/ab")), uri(r("/[aA]b")), uri(r("/[aA]B"))),
		of("path", uri(p("/A")), fold(p("/ab")), uri(r("/A[^bB].*|/A"))),
		of("path", uri(p("/a")), uri(r(`/a\b.*`)), uri(r(`/a\B.*`))),
		of("path", uri(r("/((a|b)+/?)*")), uri(r("/")), uri(r("/a((a|b)*/?)*")), uri(r("/b((a|b)*/?)*"))),
		of("authority", authority(r("a|b")), authority(e("a")), authority(e("b"))),
		of("authority", anything, authority(p("a")), host(r("[^a].*"))),
		of("authority", host(r("a.*")), authority(e("a")), authority(r("a.+"))),
		of("scheme", scheme(r("https?")), scheme(e("http")), scheme(e("https"))),
		of("q", anything, query(present)),
		of("q", query(present), query(r("a.*")), query(r("[^a].*")), query(e(""))),
		of("gateway", gateway("g", "mesh"), gateway("g"), gateway("mesh")),
		of("port", anything, port(80), port(81)),
	)
}

// divided lists entries of which the last is often covered by the others only
// together: those of one split or of two crossed, some left out, in some order.
func (g Generator) divided() []*networking.HTTPMatchRequest {
	a, b := g.split(), g.split()
	base := &networking.HTTPMatchRequest{}
	if a.on != "path" && b.on != "path" && g.Chance(70) {
		base.Uri = Pick(g, Prefix("/a"), Exact("/a"), Regex("/[ab].*"))
	}
	if g.Chance(10) {
		base.Port = 80
	}
	with := func(edits ...entryEdit) *networking.HTTPMatchRequest {
		m := base.DeepCopy()
		for _, edit := range edits {
			edit(m)
		}
		return m
	}
	var out []*networking.HTTPMatchRequest
	crossed := a.on != b.on && g.Chance(40)
	for _, cell := range a.cells {
		if !crossed || g.Chance(50) {
			out = append(out, with(cell))
			continue
		}
		for _, other := range b.cells {
			out = append(out, with(cell, other))
		}
	}
	if g.Chance(20) {
		i := g.Draw(len(out))
		out = slices.Delete(out, i, i+1)
	}
	if g.Chance(15) {
		out = append(out, g.entry(false))
	}
	if g.Chance(60) {
		shuffle(g, out)
	}
	if crossed {
		return append(out, with(a.whole, b.whole))
	}
	return append(out, with(a.whole))
}

// VirtualService draws one of at most so many routes, and with a few more of entries that divide
// requests among them; delegate says that its routes are for a delegate.
func (g Generator) VirtualService(routes int, delegate bool) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{}
	vs.Namespace, vs.Name = "shop", "web"
	vs.Spec.Hosts = []string{"example.com"}
	vs.Spec.Gateways = Pick(g, nil, []string{"g"}, []string{"g", "mesh"})
	add := func(entries ...*networking.HTTPMatchRequest) {
		to := &networking.Destination{Host: fmt.Sprintf("d%d", len(vs.Spec.Http))}
		vs.Spec.Http = append(vs.Spec.Http, &networking.HTTPRoute{Match: entries, Route: []*networking.HTTPRouteDestination{{Destination: to}}})
	}
	if !delegate && g.Chance(50) {
		all := g.divided()
		for len(all) > 0 {
			n := 1
			if g.Chance(30) {
				n = min(len(all), 2)
			}
			add(all[:n]...)
			all = all[n:]
		}
		return vs
	}
	for range 1 + g.Draw(routes) {
		var entries []*networking.HTTPMatchRequest
		if g.Chance(93) {
			for range 1 + g.Draw(2)*g.Draw(3) {
				entries = append(entries, g.entry(delegate))
			}
		}
		add(entries...)
	}
	return vs
}

// Delegated lets some routes of vs delegate to the VirtualService it returns.
func (g Generator) Delegated(vs *networkingv1.VirtualService) *networkingv1.VirtualService {
	d := g.VirtualService(3, true)
	d.Name, d.Spec.Hosts, d.Spec.Gateways = "d", nil, nil
	for _, r := range vs.Spec.Http {
		if g.Chance(40) {
			r.Delegate, r.Route = &networking.Delegate{Name: Pick(g, "d", "d", "nobody")}, nil
		}
	}
	return d
}

func joined(a, b map[string]*networking.StringMatch) map[string]*networking.StringMatch {
	out := map[string]*networking.StringMatch{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// Paths has each path of up to three letters, and some longer ones.
func Paths() []string {
	const letters = "abA/"
	out := []string{"/"}
	for from, round := 0, 0; round < 3; round++ {
		to := len(out)
		for _, p := range out[from:to] {
			for _, c := range letters {
				out = append(out, p+string(c))
			}
		}
		from = to
	}
	return append(out, "/aaaa", "/abab", "/abba", "/a/bb", "/n", "/nb", "/z", "/k", "/K", "/\u212a", "/1", "/a1", "/_", "/a-b", "/ABC", "/aB",
		"/AbA/b", "/é", "/%61", "/a%2Fb", "/a b")
}
