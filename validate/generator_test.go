package validate

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// Random VirtualServices of few names and few values, so that entries overlap and
// often cover one only together; and the requests that can tell their entries apart.

// A generator draws numbers below n: from a random source, or from bytes that a
// fuzzer makes.
type generator struct{ draw func(n int) int }

func randomGenerator(seed int64) generator {
	return generator{rand.New(rand.NewSource(seed)).Intn}
}

// byteGenerator draws one byte a number, and zeros behind the last.
func byteGenerator(data []byte) generator {
	return generator{func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b) % n
	}}
}

func (g generator) chance(percent int) bool { return g.draw(100) >= 100-percent }

func pick[T any](g generator, from ...T) T { return from[g.draw(len(from))] }

func shuffle[T any](g generator, s []T) {
	for i := len(s) - 1; i > 0; i-- {
		j := g.draw(i + 1)
		s[i], s[j] = s[j], s[i]
	}
}

func exactMatch(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: s}}
}

func prefixMatch(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: s}}
}

func regexMatch(s string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: s}}
}

func (g generator) uri() *networking.StringMatch {
	switch g.draw(6) {
	case 0:
		return exactMatch(pick(g, "/", "/a", "/A", "/ab", "/a/b", "/b", "a", "/a?b"))
	case 1, 2:
		return prefixMatch(pick(g, "", "/", "/a", "/A", "/ab", "/a/", "/b", "b"))
	case 3:
		return &networking.StringMatch{}
	case 4:
		return regexMatch("/" + g.regex(1+g.draw(3)))
	default:
		return regexMatch(pick(g, ".*", "/.*", ".+", "/.+", "^/.*$", "(/.*)?", "/a.*", "/a.+", "/[ab].*", "/[ab]", "/a|/b", "/a(/.*)?", "/(?i)a.*",
			"/.", "/..*", ".*b", "/a$.*", "\\b.*", "/a/?", "/?a", "[^a]*", "[^?#]*", "/a{2}", "/a{1,2}.*", "(/a)+", "(/.*)*", "/(a|ab)b?", "a.*",
			"/(?:a|.*)", "(^/a$|^/b.*$)", "/a^b", "(?s)/.*", "/\\w*", "/a\\z", "/[^/]+", "/(a|)(b|.*)",
			"/[a-m].*", "/[n-z].*", "/[^a-m].*", "/\\b.*", "/\\B.*", "/a\\b.*", "(?i)/a\\b.*", "/((a|b){1,2}/?)*", "/(a{1,2}){2}b?", "(/[ab]*)+", "/([^/]|/a)*"))
	}
}

// regex composes one from a small grammar.
func (g generator) regex(depth int) string {
	if depth == 0 {
		return pick(g, "a", "b", "/", ".", "[ab]", "[^a]", "[a-m]", "[n-z]", "n", "", ".*", ".+", "^", "$", `\b`, `\B`, `\w`, "(?i:a)", "(?i:k)", `[^/]`)
	}
	x := g.regex(depth - 1)
	switch g.draw(7) {
	case 0:
		return "(" + x + "|" + g.regex(depth-1) + ")"
	case 1:
		return "(?:" + x + ")" + pick(g, "*", "+", "?", "{2}", "{1,2}", "{2,}", "{0,1}", "{0}", "*?")
	case 2:
		return "^" + x + "$"
	case 3:
		return "(?:" + x + "|" + g.regex(depth-1) + ")" + pick(g, "", "*", "{1,3}")
	default:
		return x + g.regex(depth-1)
	}
}

func (g generator) value() *networking.StringMatch {
	switch g.draw(7) {
	case 0, 1:
		return exactMatch(pick(g, "a", "", "ab", "b", "n"))
	case 2:
		return prefixMatch(pick(g, "a", "ab", "b"))
	case 3:
		return pick(g, nil, &networking.StringMatch{}, regexMatch("*"))
	case 4:
		return regexMatch(g.regex(1 + g.draw(2)))
	default:
		return regexMatch(pick(g, ".*", ".+", "a.*", "a|b", "a?", "[ab]*", "b+", "(a|ab)", "", "x", "[a-m].*", "[n-z].*", "[^a].*"))
	}
}

func (g generator) method() *networking.StringMatch {
	return pick(g, exactMatch("GET"), exactMatch("POST"), regexMatch("GET|POST"), regexMatch(".*"), prefixMatch("G"), &networking.StringMatch{},
		regexMatch("[A-F].*"), regexMatch("[G-Z].*"), regexMatch("[^P].*"))
}

func (g generator) authority() *networking.StringMatch {
	return pick(g, exactMatch("a"), exactMatch("b"), prefixMatch("a"), regexMatch("a|b"), regexMatch("[^a].*"), regexMatch("*"))
}

func (g generator) scheme() *networking.StringMatch {
	return pick(g, exactMatch("http"), exactMatch("https"), prefixMatch("http"), regexMatch("https?"))
}

// headers fills one map of conditions; now and then by a pseudo-header's name.
func (g generator) headers(null bool) map[string]*networking.StringMatch {
	out := map[string]*networking.StringMatch{}
	for range 1 + g.draw(5)/4 {
		name, m := pick(g, "x", "X", "y", "x", "y", "x", "y", "host", ":authority", ":method"), g.value()
		switch {
		case strings.HasPrefix(name, ":m"):
			m = g.method()
		case name == "host" || name == ":authority":
			m = g.authority()
		case m == nil && !null:
			m = &networking.StringMatch{} // Istio refuses null
		}
		out[name] = m
	}
	return out
}

func (g generator) entry(delegate bool) *networking.HTTPMatchRequest {
	m := &networking.HTTPMatchRequest{}
	if g.chance(75) {
		m.Uri = g.uri()
	}
	m.IgnoreUriCase = g.chance(15)
	if g.chance(15) {
		m.Method = g.method()
	}
	if g.chance(8) {
		m.Authority = g.authority()
	}
	if g.chance(6) {
		m.Scheme = g.scheme()
	}
	if g.chance(25) {
		m.Headers = g.headers(false)
	}
	if g.chance(20) {
		m.WithoutHeaders = g.headers(true)
	}
	if g.chance(12) {
		m.QueryParams = map[string]*networking.StringMatch{"q": g.value()}
	}
	if g.chance(10) {
		m.Port = pick(g, uint32(80), 81)
	}
	if g.chance(15) {
		m.Gateways = pick(g, []string{"g"}, []string{"mesh"}, []string{"g", "mesh"})
	}
	if g.chance(8) {
		m.SourceLabels = pick(g, map[string]string{"app": "x"}, map[string]string{"app": "y"}, map[string]string{"app": "x", "v": "1"})
	}
	if g.chance(6) {
		m.SourceNamespace = pick(g, "n1", "n2")
	}
	if delegate && g.chance(60) {
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

func (g generator) split() split {
	anything := func(*networking.HTTPMatchRequest) {}
	uri := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.Uri = s }
	}
	fold := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) { m.Uri, m.IgnoreUriCase = s, true }
	}
	x := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) {
			m.Headers = naiveUnion(m.Headers, map[string]*networking.StringMatch{"x": s})
		}
	}
	withoutX := func(s *networking.StringMatch) entryEdit {
		return func(m *networking.HTTPMatchRequest) {
			m.WithoutHeaders = naiveUnion(m.WithoutHeaders, map[string]*networking.StringMatch{"X": s})
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
			m.Headers = naiveUnion(m.Headers, map[string]*networking.StringMatch{"host": s})
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

	p, r, e := prefixMatch, regexMatch, exactMatch
	present := &networking.StringMatch{}
	return pick(g,
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
func (g generator) divided() []*networking.HTTPMatchRequest {
	a, b := g.split(), g.split()
	base := &networking.HTTPMatchRequest{}
	if a.on != "path" && b.on != "path" && g.chance(70) {
		base.Uri = pick(g, prefixMatch("/a"), exactMatch("/a"), regexMatch("/[ab].*"))
	}
	if g.chance(10) {
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
	crossed := a.on != b.on && g.chance(40)
	for _, cell := range a.cells {
		if !crossed || g.chance(50) {
			out = append(out, with(cell))
			continue
		}
		for _, other := range b.cells {
			out = append(out, with(cell, other))
		}
	}
	if g.chance(20) {
		i := g.draw(len(out))
		out = slices.Delete(out, i, i+1)
	}
	if g.chance(15) {
		out = append(out, g.entry(false))
	}
	if g.chance(60) {
		shuffle(g, out)
	}
	if crossed {
		return append(out, with(a.whole, b.whole))
	}
	return append(out, with(a.whole))
}

func (g generator) virtualService(routes int, delegate bool) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{}
	vs.Namespace, vs.Name = "shop", "web"
	vs.Spec.Hosts = []string{"example.com"}
	vs.Spec.Gateways = pick(g, nil, []string{"g"}, []string{"g", "mesh"})
	add := func(entries ...*networking.HTTPMatchRequest) {
		to := &networking.Destination{Host: fmt.Sprintf("d%d", len(vs.Spec.Http))}
		vs.Spec.Http = append(vs.Spec.Http, &networking.HTTPRoute{Match: entries, Route: []*networking.HTTPRouteDestination{{Destination: to}}})
	}
	if !delegate && g.chance(50) {
		all := g.divided()
		for len(all) > 0 {
			n := 1
			if g.chance(30) {
				n = min(len(all), 2)
			}
			add(all[:n]...)
			all = all[n:]
		}
		return vs
	}
	for range 1 + g.draw(routes) {
		var entries []*networking.HTTPMatchRequest
		if g.chance(93) {
			for range 1 + g.draw(2)*g.draw(3) {
				entries = append(entries, g.entry(delegate))
			}
		}
		add(entries...)
	}
	return vs
}

// delegated lets some routes of vs delegate to the VirtualService it returns.
func (g generator) delegated(vs *networkingv1.VirtualService) *networkingv1.VirtualService {
	d := g.virtualService(3, true)
	d.Name, d.Spec.Hosts, d.Spec.Gateways = "d", nil, nil
	for _, r := range vs.Spec.Http {
		if g.chance(40) {
			r.Delegate, r.Route = &networking.Delegate{Name: pick(g, "d", "d", "nobody")}, nil
		}
	}
	return d
}

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
	somePaths       = allPaths()
	someValues      = []string{"", "a", "ab", "aa", "aaa", "b", "n", "c", "/", "A"}
	someMethods     = []string{"GET", "POST", "PUT", "get", "ETAG", "G"}
	someAuthorities = []string{"example.com", "a", "b", "ab", "c"}
)

// allPaths has each path of up to three letters, and some longer ones.
func allPaths() []string {
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
	return append(out, "/aaaa", "/abab", "/abba", "/a/bb", "/n", "/nb", "/z", "/k", "/K", "/1", "/a1", "/_", "/a-b", "/ABC", "/aB", "/AbA/b", "/é")
}

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
				fmt.Fprintf(&b, "    %v\n", entryText(m, func(s string) string { return fmt.Sprintf("%q", s) }))
			}
		}
	}
	return b.String()
}
