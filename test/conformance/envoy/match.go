// Package envoy does with the configuration that istiod generates what Envoy does with it, written
// after Envoy's documentation of each field: it chooses the virtual host and the route of a
// request.
//
// What it does not know is an error, never a guess.
package envoy

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Request is an HTTP request as Envoy sees it when it chooses the route.
type Request struct {
	Method, Scheme, Authority string
	// Path is the path as it is sent, with the query.
	Path string
	// Headers are by lower-case name, without the pseudo headers.
	Headers map[string]string
	// Claims are those of the request's JWT by dotted name; a list has several values.
	Claims map[string][]string
}

// header returns a header of the request, as a route asks for it.
func (r *Request) header(name string) (string, bool) {
	switch name = strings.ToLower(name); name {
	case ":method":
		return r.Method, true
	case ":scheme":
		return r.Scheme, true
	case ":authority", "host":
		return r.Authority, true
	case ":path":
		return r.Path, true
	}
	v, ok := r.Headers[name]
	return v, ok
}

// split returns the path without query and fragment, and the query.
func (r *Request) split() (path, query string) {
	path, _, _ = strings.Cut(r.Path, "#")
	path, query, _ = strings.Cut(path, "?")
	return path, query
}

// queryParameter returns the first value of a query parameter, not decoded.
func (r *Request) queryParameter(name string) (string, bool) {
	_, query := r.split()
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(pair, "="); pair != "" && key == name {
			return value, true
		}
	}
	return "", false
}

// VirtualHost returns the virtual host of rc that takes requests for authority, nil if none does:
// that of the exact domain, else of the longest *suffix, else of the longest prefix*, else *.
func VirtualHost(rc *routev3.RouteConfiguration, authority string) *routev3.VirtualHost {
	authority = strings.ToLower(authority)
	if i := strings.LastIndexByte(authority, ':'); i > 0 && rc.GetIgnorePortInHostMatching() {
		authority = authority[:i]
	}
	var best *routev3.VirtualHost
	bestRank, bestLength := 0, 0
	for _, vh := range rc.GetVirtualHosts() {
		for _, domain := range vh.GetDomains() {
			domain = strings.ToLower(domain)
			rank := 0
			switch {
			case domain == authority:
				rank = 4
			case domain == "*":
				rank = 1
			case strings.HasPrefix(domain, "*") && len(authority) >= len(domain) && strings.HasSuffix(authority, domain[1:]):
				rank = 3
			case strings.HasSuffix(domain, "*") && len(authority) >= len(domain) && strings.HasPrefix(authority, domain[:len(domain)-1]):
				rank = 2
			}
			if rank > bestRank || rank > 0 && rank == bestRank && len(domain) > bestLength {
				best, bestRank, bestLength = vh, rank, len(domain)
			}
		}
	}
	return best
}

// Route returns the first route of vh that takes r, nil if none does.
func Route(vh *routev3.VirtualHost, r *Request) (*routev3.Route, error) {
	for _, route := range vh.GetRoutes() {
		ok, err := Matches(route.GetMatch(), r)
		if err != nil {
			return nil, fmt.Errorf("route %q of %q: %w", route.GetName(), vh.GetName(), err)
		}
		if ok {
			return route, nil
		}
	}
	return nil, nil
}

// Matches reports whether m takes r.
func Matches(m *routev3.RouteMatch, r *Request) (bool, error) {
	if ok, err := MatchesPath(m, r); !ok || err != nil {
		return false, err
	}
	for _, h := range m.GetHeaders() {
		if ok, err := MatchesHeader(h, r); !ok || err != nil {
			return false, err
		}
	}
	for _, q := range m.GetQueryParameters() {
		if ok, err := MatchesQueryParameter(q, r); !ok || err != nil {
			return false, err
		}
	}
	for _, d := range m.GetDynamicMetadata() {
		if ok, err := MatchesClaim(d, r); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// MatchesPath reports whether the path specifier of m takes r.
func MatchesPath(m *routev3.RouteMatch, r *Request) (bool, error) {
	path, _ := r.split()
	as := func(s string) string { return s }
	if m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue() {
		as = lower
	}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return strings.HasPrefix(as(path), as(p.Prefix)), nil
	case *routev3.RouteMatch_Path:
		return as(path) == as(p.Path), nil
	case *routev3.RouteMatch_PathSeparatedPrefix:
		rest, ok := strings.CutPrefix(as(path), as(p.PathSeparatedPrefix))
		return ok && (rest == "" || rest[0] == '/'), nil
	case *routev3.RouteMatch_SafeRegex:
		return fullMatch(p.SafeRegex.GetRegex(), path)
	}
	return false, fmt.Errorf("unknown path specifier %T", m.GetPathSpecifier())
}

// MatchesHeader reports whether h takes r.
func MatchesHeader(h *routev3.HeaderMatcher, r *Request) (bool, error) {
	value, present := r.header(h.GetName())
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_PresentMatch:
		return (present == s.PresentMatch) != h.GetInvertMatch(), nil
	case *routev3.HeaderMatcher_StringMatch:
		if !present && !h.GetTreatMissingHeaderAsEmpty() {
			return false, nil
		}
		ok, err := matchesString(s.StringMatch, value)
		return ok != h.GetInvertMatch(), err
	}
	return false, fmt.Errorf("unknown matcher %T of header %q", h.GetHeaderMatchSpecifier(), h.GetName())
}

// MatchesQueryParameter reports whether q takes r.
func MatchesQueryParameter(q *routev3.QueryParameterMatcher, r *Request) (bool, error) {
	value, present := r.queryParameter(q.GetName())
	switch s := q.GetQueryParameterMatchSpecifier().(type) {
	case nil:
		return present, nil
	case *routev3.QueryParameterMatcher_PresentMatch:
		return present == s.PresentMatch, nil
	case *routev3.QueryParameterMatcher_StringMatch:
		if !present {
			return false, nil
		}
		return matchesString(s.StringMatch, value)
	}
	return false, fmt.Errorf("unknown matcher %T of query parameter %q", q.GetQueryParameterMatchSpecifier(), q.GetName())
}

// MatchesClaim reports whether m, a match of a JWT's claim, takes r. Its path is
// request.auth.claims and the parts of the claim's name.
func MatchesClaim(m *matcherv3.MetadataMatcher, r *Request) (bool, error) {
	var name []string
	for _, segment := range m.GetPath()[1:] {
		name = append(name, segment.GetKey())
	}
	claim := strings.Join(name, ".")
	for _, value := range r.Claims[claim] {
		ok, err := matchesValue(m.GetValue(), value)
		if err != nil {
			return false, fmt.Errorf("claim %q: %w", claim, err)
		}
		if ok {
			return !m.GetInvert(), nil
		}
	}
	return m.GetInvert(), nil
}

// matchesValue reports whether m takes value or a list that holds it.
func matchesValue(m *matcherv3.ValueMatcher, value string) (bool, error) {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_StringMatch:
		if p.StringMatch.GetMatchPattern() == nil {
			return false, nil
		}
		return matchesString(p.StringMatch, value)
	case *matcherv3.ValueMatcher_ListMatch:
		return matchesValue(p.ListMatch.GetOneOf(), value)
	case *matcherv3.ValueMatcher_OrMatch:
		for _, one := range p.OrMatch.GetValueMatchers() {
			if ok, err := matchesValue(one, value); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	return false, fmt.Errorf("unknown matcher %T of a value", m.GetMatchPattern())
}

func matchesString(m *matcherv3.StringMatcher, value string) (bool, error) {
	as := func(s string) string { return s }
	if m.GetIgnoreCase() {
		as = lower
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return as(value) == as(p.Exact), nil
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(as(value), as(p.Prefix)), nil
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(as(value), as(p.Suffix)), nil
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(as(value), as(p.Contains)), nil
	case *matcherv3.StringMatcher_SafeRegex:
		return fullMatch(p.SafeRegex.GetRegex(), value)
	}
	return false, fmt.Errorf("unknown matcher %T of a string", m.GetMatchPattern())
}

// lower folds the letters that Envoy folds, those of ASCII.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// maxPrograms bounds the compiled regexes that are kept.
const maxPrograms = 5000

var programs = struct {
	sync.RWMutex
	of map[string]*regexp.Regexp
}{of: map[string]*regexp.Regexp{}}

// fullMatch reports whether the whole of s is in the language of a regex. Go's engine and Envoy's
// are both RE2.
func fullMatch(regex, s string) (bool, error) {
	programs.RLock()
	program := programs.of[regex]
	programs.RUnlock()
	if program == nil {
		var err error
		if program, err = regexp.Compile(`\A(?:` + regex + `)\z`); err != nil {
			return false, err
		}
		programs.Lock()
		if len(programs.of) >= maxPrograms {
			clear(programs.of)
		}
		programs.of[regex] = program
		programs.Unlock()
	}
	return program.MatchString(s), nil
}
