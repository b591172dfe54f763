package validate

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// A naive model of Istio and Envoy, written from their sources and sharing nothing
// with the package but the form of a request: it generates the routes for one proxy,
// port and gateway, and takes the first that fits. What the package says is held
// against it.

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

// naiveMerged lists the routes of vs in order, delegates merged in
// (mergeVirtualServices).
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

// naiveMerge is mergeHTTPMatchRequests.
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
			for _, f := range []struct{ to, from **networking.StringMatch }{
				{&m.Uri, &r.Uri}, {&m.Scheme, &r.Scheme}, {&m.Method, &r.Method}, {&m.Authority, &r.Authority},
			} {
				if *f.to == nil {
					*f.to = *f.from
				}
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

// naiveConflict is hasConflict.
func naiveConflict(r, l *networking.HTTPMatchRequest) bool {
	if naiveStringConflict(r.Uri, l.Uri) || naiveStringConflict(r.Scheme, l.Scheme) || naiveStringConflict(r.Method, l.Method) ||
		naiveStringConflict(r.Authority, l.Authority) || r.IgnoreUriCase != l.IgnoreUriCase {
		return true
	}
	for _, p := range [][2]map[string]*networking.StringMatch{{r.Headers, l.Headers}, {r.WithoutHeaders, l.WithoutHeaders}, {r.QueryParams, l.QueryParams}} {
		for k, v := range p[1] {
			if naiveStringConflict(p[0][k], v) {
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

// naiveStringConflict is stringMatchConflict.
func naiveStringConflict(a, b *networking.StringMatch) bool {
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

// naiveReach returns the route that takes the request, nil for none
// (BuildHTTPRoutesForVirtualService).
func naiveReach(routes []naiveRoute, ns string, r *Request) *naiveRoute {
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

// naiveInForce is what TranslateRoute asks before it translates.
func naiveInForce(m *networking.HTTPMatchRequest, ns string, r *Request) bool {
	if m == nil {
		return true
	}
	if m.Port != 0 && m.Port != r.Port {
		return false
	}
	if len(m.Gateways) > 0 {
		return slices.ContainsFunc(m.Gateways, func(g string) bool { return naiveResolve(g, ns) == r.Gateway })
	}
	for k, v := range m.SourceLabels {
		if w, ok := r.SourceLabels[k]; !ok || w != v {
			return false
		}
	}
	return m.SourceNamespace == "" || m.SourceNamespace == r.SourceNamespace
}

// naiveCatchAll is IsCatchAllRoute of the route that TranslateRouteMatch makes, in
// which method, authority and scheme have become headers.
func naiveCatchAll(m *networking.HTTPMatchRequest) bool {
	if m == nil {
		return true
	}
	path := m.Uri == nil || m.Uri.MatchType == nil
	if p, ok := m.Uri.GetMatchType().(*networking.StringMatch_Prefix); ok && p.Prefix == "/" {
		path = true
	}
	return (path || m.Uri.GetRegex() == ".*") && len(m.Headers)+len(m.WithoutHeaders)+len(m.QueryParams) == 0 &&
		m.Method == nil && m.Authority == nil && m.Scheme == nil
}

// naiveRegexes keeps what is compiled; tests of this package run one by one.
var naiveRegexes = map[string]*regexp.Regexp{}

func naiveRegex(source, s string) bool {
	re := naiveRegexes[source]
	if re == nil {
		if len(naiveRegexes) > 10_000 {
			clear(naiveRegexes)
		}
		re = regexp.MustCompile(`\A(?:` + source + `)\z`)
		naiveRegexes[source] = re
	}
	return re.MatchString(s)
}

// naiveFold is Envoy's case folding: ASCII only.
func naiveFold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func naiveString(m *networking.StringMatch, s string, fold bool) bool {
	if fold && m.GetRegex() == "" {
		s = naiveFold(s)
	} else {
		fold = false
	}
	as := func(v string) string {
		if fold {
			return naiveFold(v)
		}
		return v
	}
	switch t := m.MatchType.(type) {
	case *networking.StringMatch_Exact:
		return s == as(t.Exact)
	case *networking.StringMatch_Prefix:
		return strings.HasPrefix(s, as(t.Prefix))
	case *networking.StringMatch_Regex:
		return naiveRegex(t.Regex, s)
	}
	return true
}

// naivePresent is canBeConvertedToPresentMatch.
func naivePresent(m *networking.StringMatch) bool {
	return m == nil || m.MatchType == nil || m.GetRegex() == "*"
}

// naiveHeader reads a header as Envoy's header map does: names in any case, and the
// legacy host is the authority.
func naiveHeader(r *Request, name string) (string, bool) {
	switch name = strings.ToLower(name); name {
	case ":method":
		return r.Method, true
	case ":scheme":
		return r.Scheme, true
	case ":authority", "host":
		return r.Authority, true
	default:
		v, there := r.Headers[name]
		return v, there
	}
}

func naiveMatches(m *networking.HTTPMatchRequest, r *Request) bool {
	if m == nil {
		return true
	}
	if m.Uri != nil && !naiveString(m.Uri, r.Path, m.IgnoreUriCase) {
		return false
	}
	header := func(name string, h *networking.StringMatch) bool {
		v, there := naiveHeader(r, name)
		return there && (naivePresent(h) || naiveString(h, v, false))
	}
	if m.Method != nil && !header(":method", m.Method) ||
		m.Authority != nil && !header(":authority", m.Authority) ||
		m.Scheme != nil && !header(":scheme", m.Scheme) {
		return false
	}
	for k, h := range m.Headers {
		if !header(k, h) {
			return false
		}
	}
	for k, h := range m.WithoutHeaders {
		v, there := naiveHeader(r, k)
		if naivePresent(h) {
			if there {
				return false
			}
		} else if naiveString(h, v, false) { // a missing one counts as empty
			return false
		}
	}
	for k, q := range m.QueryParams {
		v, there := r.Query[k]
		if !there || !naivePresent(q) && !naiveString(q, v, false) {
			return false
		}
	}
	return true
}

// The model itself, against what is known of Istio and Envoy.
func TestNaiveModel(t *testing.T) {
	web := func(spec string) []naiveRoute { return naiveMerged(virtualService(t, spec), nil) }
	get := func(set func(*Request)) *Request {
		r := &Request{Method: "GET", Scheme: "http", Authority: "a.com", Path: "/api/v1", Port: 80, Gateway: "mesh"}
		set(r)
		return r
	}
	for name, tc := range map[string]struct {
		match string
		set   func(*Request)
		want  bool
	}{
		"prefix is raw":                {`{uri: {prefix: /ap}}`, func(*Request) {}, true},
		"case counts":                  {`{uri: {prefix: /API}}`, func(*Request) {}, false},
		"ignoreUriCase":                {`{uri: {prefix: /API}, ignoreUriCase: true}`, func(*Request) {}, true},
		"ignoreUriCase, not ASCII":     {`{uri: {exact: /É}, ignoreUriCase: true}`, func(r *Request) { r.Path = "/é" }, false},
		"ignoreUriCase, not a regex":   {`{uri: {regex: "/API.*"}, ignoreUriCase: true}`, func(*Request) {}, false},
		"regex is whole":               {`{uri: {regex: "/api"}}`, func(*Request) {}, false},
		"regex of alternatives, whole": {`{uri: {regex: "/api|/b"}}`, func(*Request) {}, false},
		"scheme":                       {`{scheme: {exact: https}}`, func(*Request) {}, false},
		"authority":                    {`{authority: {prefix: a}}`, func(*Request) {}, true},
		"header host":                  {`{headers: {Host: {exact: a.com}}}`, func(*Request) {}, true},
		"header :authority":            {`{headers: {":authority": {exact: b.com}}}`, func(*Request) {}, false},
		"without host":                 {`{withoutHeaders: {host: {}}}`, func(*Request) {}, false},
		"header in any case":           {`{headers: {X: {exact: "1"}}}`, func(r *Request) { r.Headers = map[string]string{"x": "1"} }, true},
		"header missing":               {`{headers: {x: {regex: ".*"}}}`, func(*Request) {}, false},
		"without, missing":             {`{withoutHeaders: {x: {exact: "1"}}}`, func(*Request) {}, true},
		"without, missing is empty":    {`{withoutHeaders: {x: {regex: ".*"}}}`, func(*Request) {}, false},
		"without present, missing":     {`{withoutHeaders: {x: {regex: "*"}}}`, func(*Request) {}, true},
		"query missing":                {`{queryParams: {q: {regex: "*"}}}`, func(*Request) {}, false},
		"query empty":                  {`{queryParams: {q: {regex: ".*"}}}`, func(r *Request) { r.Query = map[string]string{"q": ""} }, true},
		"query, other case":            {`{queryParams: {Q: {}}}`, func(r *Request) { r.Query = map[string]string{"q": ""} }, false},
		"port":                         {`{port: 81}`, func(*Request) {}, false},
		"gateway":                      {`{gateways: [g]}`, func(r *Request) { r.Gateway = "shop/g" }, true},
		"labels":                       {`{sourceLabels: {app: x}}`, func(*Request) {}, false},
		"labels beside gateways":       {`{gateways: [mesh], sourceLabels: {app: x}, sourceNamespace: other}`, func(*Request) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := naiveReach(web("http:\n- match: ["+tc.match+"]\n"), "shop", get(tc.set))
			assert.Equal(t, tc.want, got != nil)
		})
	}
	for _, tc := range []struct {
		first string
		cut   bool
	}{
		{`{uri: {prefix: /}, port: 80}`, true},
		{`{uri: {regex: ".*"}, gateways: [mesh]}`, true},
		{`{}`, true},
		{`{uri: {prefix: ""}}`, false},
		{`{uri: {regex: "/.*"}}`, false},
		{`{authority: {}}`, false},
		{`{uri: {prefix: /}, headers: {x: {}}}`, false},
	} {
		assert.Equal(t, tc.cut, naiveCatchAll(web("http:\n- match: [" + tc.first + "]\n")[0].match), tc.first)
	}
}
