package validate

import (
	"flag"
	"fmt"
	"maps"
	"math/rand"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// A naive model of Istio and Envoy, written from their sources and sharing nothing
// with the package: it generates the routes for one proxy, port and gateway, and
// takes the first that fits a request. Dead must mean that no request of the whole
// enumeration reaches the route.

var (
	rounds = flag.Int("rounds", 500, "random VirtualServices per property")
	sample = flag.Int("sample", 300, "requests per VirtualService at most, some more; 0 for all")
	random = flag.Int64("random", 1, "seed of the random VirtualServices")
)

type naiveRequest struct {
	path, method string
	headers      map[string]string
	query        map[string]string
	port         uint32
	gateway      string
	labels       map[string]string
	namespace    string
}

type naiveRoute struct {
	match           *networking.HTTPMatchRequest // nil: everything
	route, delegate int                          // indices in the root and in the delegate, else -1
	entry           int
}

func naiveResolve(g, ns string) string {
	if g == "mesh" {
		return g
	}
	return ns + "/" + g // the generator uses short names only
}

// naiveMerged lists the routes of vs in order, delegates merged in.
func naiveMerged(vs, delegate *networkingv1.VirtualService) []naiveRoute {
	var out []naiveRoute
	add := func(route, delegate int, matches []*networking.HTTPMatchRequest) {
		if len(matches) == 0 {
			out = append(out, naiveRoute{nil, route, delegate, -1})
		}
		for j, m := range matches {
			out = append(out, naiveRoute{m, route, delegate, j})
		}
	}
	for i, r := range vs.Spec.Http {
		if r.Delegate == nil {
			add(i, -1, r.Match)
			continue
		}
		if delegate == nil || r.Delegate.Name != delegate.Name {
			continue
		}
		for k, sub := range delegate.Spec.Http {
			if merged, ok := naiveMerge(r.Match, sub.Match); ok {
				add(i, k, merged)
			}
		}
	}
	return out
}

func naiveMerge(root, leaf []*networking.HTTPMatchRequest) ([]*networking.HTTPMatchRequest, bool) {
	if len(root) == 0 {
		return leaf, true
	}
	if len(leaf) == 0 {
		return root, true
	}
	var out []*networking.HTTPMatchRequest
	for _, l := range leaf {
		found := false
		for _, r := range root {
			if naiveConflict(r, l) {
				continue
			}
			found = true
			m := l.DeepCopy()
			if m.Uri == nil {
				m.Uri = r.Uri
			}
			if m.Method == nil {
				m.Method = r.Method
			}
			m.Headers = naiveUnion(r.Headers, l.Headers)
			m.WithoutHeaders = naiveUnion(r.WithoutHeaders, l.WithoutHeaders)
			m.QueryParams = naiveUnion(r.QueryParams, l.QueryParams)
			m.SourceLabels = naiveUnion(r.SourceLabels, l.SourceLabels)
			if m.Port == 0 {
				m.Port = r.Port
			}
			if m.SourceNamespace == "" {
				m.SourceNamespace = r.SourceNamespace
			}
			if len(m.Gateways) == 0 {
				m.Gateways = r.Gateways
			}
			out = append(out, m)
		}
		if !found {
			return nil, false
		}
	}
	return out, true
}

func naiveUnion[V any](a, b map[string]V) map[string]V {
	out := map[string]V{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

func naiveConflict(r, l *networking.HTTPMatchRequest) bool {
	one := func(a, b *networking.StringMatch) bool {
		if a == nil || b == nil {
			return false
		}
		if a.GetRegex() != "" && (b.GetRegex() != "" || b.GetPrefix() != "" || b.GetExact() != "") {
			return true
		}
		if b.GetRegex() != "" && (a.GetRegex() != "" || a.GetPrefix() != "" || a.GetExact() != "") {
			return true
		}
		if a.GetExact() != "" {
			return b.GetPrefix() != "" || b.GetExact() != a.GetExact()
		}
		if a.GetPrefix() != "" {
			if b.GetPrefix() != "" {
				return !strings.HasPrefix(b.GetPrefix(), a.GetPrefix())
			}
			if b.GetExact() != "" {
				return !strings.HasPrefix(b.GetExact(), a.GetPrefix())
			}
		}
		return true
	}
	if one(r.Uri, l.Uri) || one(r.Method, l.Method) || r.IgnoreUriCase != l.IgnoreUriCase {
		return true
	}
	for _, p := range [][2]map[string]*networking.StringMatch{{r.Headers, l.Headers}, {r.WithoutHeaders, l.WithoutHeaders}, {r.QueryParams, l.QueryParams}} {
		for k, v := range p[1] {
			if one(p[0][k], v) {
				return true
			}
		}
	}
	if r.Port > 0 && l.Port > 0 && r.Port != l.Port || r.SourceNamespace != "" && r.SourceNamespace != l.SourceNamespace {
		return true
	}
	for k, v := range l.SourceLabels {
		if w, ok := r.SourceLabels[k]; ok && v != w {
			return true
		}
	}
	if len(r.Gateways) > 0 && len(l.Gateways) > 0 {
		if len(r.Gateways) < len(l.Gateways) {
			return true
		}
		for _, g := range l.Gateways {
			if !slices.Contains(r.Gateways, g) {
				return true
			}
		}
	}
	return false
}

// naiveReach returns the route that takes the request, nil for none.
func naiveReach(routes []naiveRoute, ns string, r *naiveRequest) *naiveRoute {
	for i := range routes {
		m := routes[i].match
		if !naiveInForce(m, ns, r) {
			continue
		}
		if naiveMatches(m, r) {
			return &routes[i]
		}
		if naiveCatchAll(m) {
			return nil // Istio emits nothing more
		}
	}
	return nil
}

func naiveInForce(m *networking.HTTPMatchRequest, ns string, r *naiveRequest) bool {
	if m == nil {
		return true
	}
	if m.Port != 0 && m.Port != r.port {
		return false
	}
	if len(m.Gateways) > 0 {
		return slices.ContainsFunc(m.Gateways, func(g string) bool { return naiveResolve(g, ns) == r.gateway })
	}
	for k, v := range m.SourceLabels {
		if r.labels[k] != v {
			return false
		}
	}
	return m.SourceNamespace == "" || m.SourceNamespace == r.namespace
}

func naiveCatchAll(m *networking.HTTPMatchRequest) bool {
	if m == nil {
		return true
	}
	path := m.Uri == nil || m.Uri.MatchType == nil
	if p, ok := m.Uri.GetMatchType().(*networking.StringMatch_Prefix); ok && p.Prefix == "/" {
		path = true
	}
	return (path || m.Uri.GetRegex() == ".*") && len(m.Headers)+len(m.WithoutHeaders)+len(m.QueryParams) == 0 && m.Method == nil
}

var naiveRegexes = map[string]*regexp.Regexp{}

func naiveString(m *networking.StringMatch, s string, fold bool) bool {
	switch t := m.MatchType.(type) {
	case *networking.StringMatch_Exact:
		return s == t.Exact || fold && strings.EqualFold(s, t.Exact)
	case *networking.StringMatch_Prefix:
		return strings.HasPrefix(s, t.Prefix) || fold && strings.HasPrefix(strings.ToLower(s), strings.ToLower(t.Prefix))
	case *networking.StringMatch_Regex:
		if naiveRegexes[t.Regex] == nil {
			naiveRegexes[t.Regex] = regexp.MustCompile("^(?:" + t.Regex + ")$")
		}
		return naiveRegexes[t.Regex].MatchString(s)
	}
	return true
}

func naivePresent(m *networking.StringMatch) bool {
	return m == nil || m.MatchType == nil || m.GetRegex() == "*"
}

func naiveMatches(m *networking.HTTPMatchRequest, r *naiveRequest) bool {
	if m == nil {
		return true
	}
	if m.Uri != nil && !naiveString(m.Uri, r.path, m.IgnoreUriCase) {
		return false
	}
	if m.Method != nil && !naivePresent(m.Method) && !naiveString(m.Method, r.method, false) {
		return false
	}
	for k, h := range m.Headers {
		v, there := r.headers[strings.ToLower(k)]
		if !there || !naivePresent(h) && !naiveString(h, v, false) {
			return false
		}
	}
	for k, h := range m.WithoutHeaders {
		v, there := r.headers[strings.ToLower(k)]
		if naivePresent(h) {
			if there {
				return false
			}
		} else if naiveString(h, v, false) { // missing counts as empty
			return false
		}
	}
	for k, q := range m.QueryParams {
		v, there := r.query[k]
		if !there || !naivePresent(q) && !naiveString(q, v, false) {
			return false
		}
	}
	return true
}

// The generator: few names, few values, so that entries often overlap.

type generator struct{ *rand.Rand }

func (g generator) chance(percent int) bool { return g.Intn(100) < percent }

func pick[T any](g generator, from ...T) T { return from[g.Intn(len(from))] }

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
	switch g.Intn(5) {
	case 0:
		return exactMatch(pick(g, "/", "/a", "/A", "/ab", "/a/b", "/b", "a", "/a?b"))
	case 1, 2:
		return prefixMatch(pick(g, "", "/", "/a", "/A", "/ab", "/a/", "/b", "b"))
	case 3:
		return &networking.StringMatch{}
	default:
		return regexMatch(pick(g, ".*", "/.*", ".+", "/.+", "^/.*$", "(/.*)?", "/a.*", "/a.+", "/[ab].*", "/[ab]", "/a|/b", "/a(/.*)?", "/(?i)a.*",
			"/.", "/..*", ".*b", "/a$.*", "\\b.*", "/a/?", "/?a", "[^a]*", "[^?#]*", "/a{2}", "/a{1,2}.*", "(/a)+", "(/.*)*", "/(a|ab)b?", "a.*",
			"/(?:a|.*)", "(^/a$|^/b.*$)", "/a^b", "(?s)/.*", "/\\w*", "/a\\z", "/[^/]+", "/(a|)(b|.*)"))
	}
}

func (g generator) value() *networking.StringMatch {
	switch g.Intn(6) {
	case 0, 1:
		return exactMatch(pick(g, "", "a", "ab", "b"))
	case 2:
		return prefixMatch(pick(g, "a", "ab", "b"))
	case 3:
		return pick(g, nil, &networking.StringMatch{}, regexMatch("*"))
	default:
		return regexMatch(pick(g, ".*", ".+", "a.*", "a|b", "a?", "[ab]*", "b+", "(a|ab)", "", "x"))
	}
}

func (g generator) entry(delegate bool) *networking.HTTPMatchRequest {
	m := &networking.HTTPMatchRequest{}
	if g.chance(75) {
		m.Uri = g.uri()
	}
	m.IgnoreUriCase = g.chance(12)
	if g.chance(15) {
		m.Method = pick(g, exactMatch("GET"), exactMatch("POST"), regexMatch("GET|POST"), regexMatch(".*"), prefixMatch("G"), &networking.StringMatch{})
	}
	if g.chance(25) {
		m.Headers = map[string]*networking.StringMatch{pick(g, "x", "X", "y"): g.value()}
	}
	if g.chance(20) {
		m.WithoutHeaders = map[string]*networking.StringMatch{pick(g, "x", "X", "y"): g.value()}
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
	for k, h := range m.Headers {
		if h == nil {
			m.Headers[k] = &networking.StringMatch{} // Istio refuses null
		}
	}
	if delegate && g.chance(60) {
		// Roots and delegates agree more often.
		m.IgnoreUriCase, m.SourceNamespace, m.Gateways = false, "", nil
	}
	return m
}

func (g generator) virtualService(routes int, delegate bool) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{}
	vs.Namespace, vs.Name = "shop", "web"
	vs.Spec.Hosts = []string{"example.com"}
	vs.Spec.Gateways = pick(g, nil, []string{"g"}, []string{"g", "mesh"})
	for range 1 + g.Intn(routes) {
		r := &networking.HTTPRoute{}
		if g.chance(93) {
			for range 1 + g.Intn(2)*g.Intn(3) {
				r.Match = append(r.Match, g.entry(delegate))
			}
		}
		vs.Spec.Http = append(vs.Spec.Http, r)
	}
	return vs
}

// requests enumerates what the routes can tell apart.
func requests(vs *networkingv1.VirtualService, routes []naiveRoute) []*naiveRequest {
	uses := map[string]bool{}
	for _, r := range routes {
		m := r.match
		if m == nil {
			continue
		}
		uses["method"] = uses["method"] || m.Method != nil
		for _, of := range []map[string]*networking.StringMatch{m.Headers, m.WithoutHeaders} {
			for k := range of {
				uses[strings.ToLower(k)] = true
			}
		}
		uses["q"] = uses["q"] || len(m.QueryParams) > 0
		uses["port"] = uses["port"] || m.Port > 0
		uses["labels"] = uses["labels"] || len(m.SourceLabels) > 0
		uses["namespace"] = uses["namespace"] || m.SourceNamespace != ""
	}
	gateways := []string{"mesh"}
	if len(vs.Spec.Gateways) > 0 {
		gateways = nil
		for _, g := range vs.Spec.Gateways {
			gateways = append(gateways, naiveResolve(g, vs.Namespace))
		}
	}
	// One digit a dimension: the enumeration is a counter, and a sample of it takes
	// every n-th.
	values := []string{"", "a", "ab", "aa", "b", "c"}
	paths := allPaths()
	type digit struct {
		n   int
		set func(r *naiveRequest, i int)
	}
	digits := []digit{
		{len(paths), func(r *naiveRequest, i int) { r.path = paths[i] }},
		{len(gateways), func(r *naiveRequest, i int) { r.gateway = gateways[i] }},
	}
	optional := func(name string, n int, set func(r *naiveRequest, i int)) {
		if uses[name] {
			digits = append(digits, digit{n, set})
		}
	}
	optional("method", 3, func(r *naiveRequest, i int) { r.method = []string{"GET", "POST", "PUT"}[i] })
	for _, h := range []string{"x", "y"} {
		optional(h, len(values)+1, func(r *naiveRequest, i int) {
			if i > 0 {
				r.headers[h] = values[i-1]
			}
		})
	}
	optional("q", 4, func(r *naiveRequest, i int) {
		if i > 0 {
			r.query["q"] = values[i-1]
		}
	})
	optional("port", 3, func(r *naiveRequest, i int) { r.port = uint32(80 + i) })
	optional("labels", 3, func(r *naiveRequest, i int) {
		r.labels = []map[string]string{{}, {"app": "x"}, {"app": "x", "v": "1"}}[i]
	})
	optional("namespace", 2, func(r *naiveRequest, i int) { r.namespace = []string{"n1", "n3"}[i] })
	total := 1
	for _, d := range digits {
		total *= d.n
	}
	step := 1
	if *sample > 0 {
		step = max(1, total / *sample) | 1
	}
	var out []*naiveRequest
	for n := 0; n < total; n += step {
		r := &naiveRequest{method: "GET", port: 80, headers: map[string]string{}, query: map[string]string{}}
		rest := n
		for _, d := range digits {
			d.set(r, rest%d.n)
			rest /= d.n
		}
		out = append(out, r)
	}
	return out
}

func allPaths() []string {
	out := []string{"/", "/abba", "/a/bb", "/aaa", "/A/b", "/c", "/abc"}
	for _, a := range []string{"a", "A", "b", "/", "1"} {
		out = append(out, "/"+a)
		for _, b := range []string{"a", "b", "B", "/"} {
			out = append(out, "/"+a+b)
		}
	}
	return out
}

func TestDeadMeansThatNoRequestReachesIt(t *testing.T) {
	g := generator{rand.New(rand.NewSource(*random))}
	var stats struct{ vs, dead, unreached, requests, examples, orders, orderless int }
	for n := range *rounds {
		vs := g.virtualService(4, false)
		var d *networkingv1.VirtualService
		if g.chance(30) {
			d = g.virtualService(3, true)
			d.Name, d.Spec.Hosts, d.Spec.Gateways = "d", nil, nil
			for _, r := range vs.Spec.Http {
				if g.chance(40) {
					r.Delegate = &networking.Delegate{Name: pick(g, "d", "d", "nobody")}
				}
			}
		}
		delegates := func(_, name string) *networkingv1.VirtualService {
			if d != nil && name == "d" {
				return d
			}
			return nil
		}
		fs := RouteOrder(vs, delegates)
		routes := naiveMerged(vs, d)
		all := requests(vs, routes)
		stats.vs++
		stats.requests += len(all)
		reached := map[string]bool{}
		for _, r := range all {
			if to := naiveReach(routes, vs.Namespace, r); to != nil {
				reached[httpPath(to.route)] = true
				if to.delegate < 0 {
					reached[matchPath(to.route, to.entry)] = true
				}
			}
		}
		for i, r := range vs.Spec.Http {
			if !reached[httpPath(i)] && r.Delegate == nil {
				stats.unreached++
			}
		}
		for _, f := range fs {
			if strings.Contains(f.Path, "match") && vs.Spec.Http[routeOf(f.Path)].Delegate != nil {
				continue // an entry of a root: its routes are the delegate's
			}
			if strings.Contains(f.Message, " adds nothing: ") {
				continue // reached, but a later sibling would be too
			}
			require.False(t, reached[f.Path], "round %d: %s\n%s", n, f.Text(), dump(vs, d))
			if f.Severity == finding.Error && vs.Spec.Http[routeOf(f.Path)].Delegate == nil {
				stats.dead++
			}
		}
		stats.examples += checkExamples(t, vs, delegates, routes)
		if hasError := finding.HasErrors(fs); hasError {
			order, ok := WorkingOrder(vs, delegates)
			if !ok {
				stats.orderless++
				continue
			}
			stats.orders++
			sorted := vs.DeepCopy()
			for i, o := range order {
				sorted.Spec.Http[i] = vs.Spec.Http[o]
			}
			require.False(t, finding.HasErrors(RouteOrder(sorted, delegates)), "round %d: %v\n%s", n, order, dump(vs, d))
		}
	}
	t.Logf("%+v", stats)
	require.Greater(t, stats.dead*2, stats.unreached, "most of what is unreached is found")
}

// checkExamples: a witness reaches its entry.
func checkExamples(t *testing.T, vs *networkingv1.VirtualService, delegates Delegates, routes []naiveRoute) (n int) {
	t.Helper()
	for _, v := range Verdicts(vs, delegates) {
		if v.State == Unknown {
			t.Logf("unknown %d %d\n%s", v.Route, v.Entry, dump(vs, nil))
		}
		if v.State != Live || vs.Spec.Http[v.Route].Delegate != nil {
			continue
		}
		w := v.Witness
		r := &naiveRequest{path: w.Path, method: w.Method, headers: w.Headers, query: w.Query, labels: w.SourceLabels,
			namespace: w.SourceNamespace, gateway: w.Gateway, port: w.Port}
		n++
		got := naiveReach(routes, vs.Namespace, r)
		require.NotNil(t, got, "%v\n%s", w, dump(vs, nil))
		require.Equal(t, []int{v.Route, v.Entry}, []int{got.route, got.entry}, "%+v\n%s", w, dump(vs, nil))
	}
	return n
}

// Whatever root a delegate comes under, what is an error in it is never reached.
func TestDeadInADelegateIsDeadUnderEveryRoot(t *testing.T) {
	g := generator{rand.New(rand.NewSource(*random + 1))}
	deadRoutes, reachedWarned := 0, 0
	for n := range *rounds {
		d := g.virtualService(4, true)
		d.Name, d.Spec.Hosts, d.Spec.Gateways = "d", nil, nil
		fs := RouteOrder(d, nil)
		if len(fs) == 0 {
			continue
		}
		for range 3 {
			root := g.virtualService(2, true)
			for _, r := range root.Spec.Http {
				r.Delegate = &networking.Delegate{Name: "d"}
			}
			routes := naiveMerged(root, d)
			reached := map[string]bool{}
			for _, r := range requests(root, routes) {
				if to := naiveReach(routes, "shop", r); to != nil {
					reached[httpPath(to.delegate)] = true
				}
			}
			for _, f := range fs {
				if f.Severity == finding.Error {
					deadRoutes++
					require.False(t, reached[f.Path], "round %d: %s\n%s", n, f.Text(), dump(root, d))
				} else if reached[f.Path] {
					reachedWarned++
				}
			}
		}
	}
	t.Logf("%d dead under a root; %d warned of and reached under one", deadRoutes, reachedWarned)
	require.Positive(t, deadRoutes)
	require.Positive(t, reachedWarned, "the warning is not idle")
}

func routeOf(path string) (i int) {
	_, _ = fmt.Sscanf(path, "spec.http[%d]", &i)
	return i
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
