package conformance

import (
	"maps"
	"math/rand"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/envoy"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// claimHeader is how a VirtualService names a claim, and validate the one of a request.
const claimHeader = "@request.auth.claims"

// sent is the request of a verdict as Envoy sees it.
func sent(r *validate.Request) *envoy.Request {
	out := &envoy.Request{Method: r.Method, Scheme: r.Scheme, Authority: r.Authority, Path: r.Path, Headers: map[string]string{}, Claims: map[string][]string{}}
	sep := "?"
	for _, k := range slices.Sorted(maps.Keys(r.Query)) {
		out.Path += sep + k + "=" + r.Query[k]
		sep = "&"
	}
	for k, v := range r.Headers {
		if claim, ok := strings.CutPrefix(k, claimHeader); ok {
			claim = strings.ReplaceAll(strings.Trim(claim, "[]"), "][", ".")
			out.Claims[claim] = append(out.Claims[claim], v)
		} else {
			out.Headers[k] = v
		}
	}
	return out
}

// absent stands for a header, query parameter or claim that a request does not have.
const absent = "\x00"

// A requestSpace is what requests are drawn from: the values of each thing that routegen's entries
// look at.
type requestSpace struct {
	path, method, scheme, authority, x, y, q, grp, ab []string
}

func wholeSpace() *requestSpace {
	value := []string{absent, "", "a", "ab", "aa", "aaa", "b", "n", "c", "/", "A", "ba", "bb", "x", "k", "\u212a", "%61"}
	claim := []string{absent, "a", "ab", "b", "n", "", "a n", "n a ab"} // several values of a list
	return &requestSpace{
		path:      routegen.Paths(),
		method:    []string{"GET", "POST", "PUT", "get", "ETAG", "G", "GETX", "P", "PO", "POS", "POSTX"},
		scheme:    []string{"http", "https"},
		authority: []string{"example.com", "a", "b", "ab", "c", "example.com:80", "www.example.org", "Example.com"},
		x:         value, y: value, q: value, grp: claim, ab: claim,
	}
}

// within is the space without the values that a condition of m refuses by itself.
func (s *requestSpace) within(m *routev3.RouteMatch) (*requestSpace, error) {
	var wrong error
	keep := func(values *[]string, fits func(value string) (bool, error)) {
		*values = slices.DeleteFunc(slices.Clone(*values), func(v string) bool {
			ok, err := fits(v)
			if err != nil {
				wrong = err
			}
			return !ok
		})
	}
	out := *s
	keep(&out.path, func(v string) (bool, error) { return envoy.MatchesPath(m, &envoy.Request{Path: v}) })
	for _, h := range m.GetHeaders() {
		of := map[string]*[]string{":method": &out.method, ":scheme": &out.scheme, ":authority": &out.authority, "host": &out.authority, "x": &out.x, "y": &out.y}
		name := strings.ToLower(h.GetName())
		if of[name] == nil {
			continue // :path, with the query
		}
		keep(of[name], func(v string) (bool, error) {
			r := &envoy.Request{Method: v, Scheme: v, Authority: v, Headers: map[string]string{}}
			if v != absent {
				r.Headers[name] = v
			}
			return envoy.MatchesHeader(h, r)
		})
	}
	for _, q := range m.GetQueryParameters() {
		keep(&out.q, func(v string) (bool, error) {
			return envoy.MatchesQueryParameter(q, &envoy.Request{Path: withQuery("/", v)})
		})
	}
	for _, c := range m.GetDynamicMetadata() {
		for claim, values := range map[string]*[]string{"grp": &out.grp, "a.b": &out.ab} {
			if path := c.GetPath(); path[len(path)-1].GetKey() == claim[strings.LastIndexByte(claim, '.')+1:] {
				keep(values, func(v string) (bool, error) { return envoy.MatchesClaim(c, &envoy.Request{Claims: claimOf(claim, v)}) })
			}
		}
	}
	return &out, wrong
}

func withQuery(path, q string) string {
	if q == absent {
		return path
	}
	return path + "?q=" + q
}

func claimOf(name, value string) map[string][]string {
	if value == absent {
		return nil
	}
	return map[string][]string{name: strings.Split(value, " ")}
}

// draw returns a request, nil if there is none.
func (s *requestSpace) draw(r *rand.Rand) *envoy.Request {
	for _, values := range [][]string{s.path, s.method, s.scheme, s.authority, s.x, s.y, s.q, s.grp, s.ab} {
		if len(values) == 0 {
			return nil
		}
	}
	one := func(values []string) string { return values[r.Intn(len(values))] }
	out := &envoy.Request{
		Method: one(s.method), Scheme: one(s.scheme), Authority: one(s.authority), Path: withQuery(one(s.path), one(s.q)),
		Headers: map[string]string{}, Claims: map[string][]string{},
	}
	if v := one(s.x); v != absent {
		out.Headers["x"] = v
	}
	if v := one(s.y); v != absent {
		out.Headers["y"] = v
	}
	maps.Copy(out.Claims, claimOf("grp", one(s.grp)))
	maps.Copy(out.Claims, claimOf("a.b", one(s.ab)))
	return out
}
