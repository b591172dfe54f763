package validate

import (
	"maps"
	"math/bits"
	"math/rand"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
)

// The bytes choose a VirtualService, as the properties draw one at random: the
// fuzzer steers it to code that chance does not find.
func FuzzRouteOrder(f *testing.F) {
	r := rand.New(rand.NewSource(1))
	for range 40 {
		data := make([]byte, 40+r.Intn(200))
		_, _ = r.Read(data)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g := routegen.Bytes(data)
		vs := g.VirtualService(4, false)
		var d *networkingv1.VirtualService
		if g.Chance(20) {
			d = g.Delegated(vs)
		}
		g.Draw = routegen.Random(1).Draw
		newTrial(g, vs, d).check(t, 20, &tally{})
	})
}

// Three routes, each a regex: Go's regexp says what is dead and what a witness shows.
func FuzzRegex(f *testing.F) {
	for _, s := range [][4]string{
		{`/a.*`, `/[^a].*|/`, `.*`, `/b`},
		{`/[a-m].*`, `/[n-z].*`, `/[a-z].*`, `/query`},
		{`/(a|b)+`, `/(ab)*`, `/[ab]{2,5}`, `/abab`},
		{`/a\b.*`, `/a\B.*`, `/a.*`, `/a-b`},
		{`(?i)/ab`, `/AB`, `/[aA][bB]`, `/aB`},
		{`^/a$|^/b$`, `/a^b`, `/a|/b`, `/a`},
		{`/(.*/)?x`, `/.*y`, `/.*[xy]`, `/a/x`},
		{`/(a|aa)+$`, `/a*`, `/(.*a){8}`, `/aaaaaaaa`},
		{`/((a{1,3}){1,3}){1,3}`, `/a{1,20}`, `/a{1,27}`, `/aaaaaaaaaaaaaaaaaaaaaaaaa`},
		{`/\pL+`, `/\w+`, `/[[:alpha:]é]+`, `/é`},
		{`(?s)/.*`, `/[^\n]*`, `(?m:^/.*$)`, `/a`},
		{`/k`, `/K`, `(?i)/k`, "/\u212a"},
		{`/[^a-z]+`, `/[a-z]`, `/.+?`, `/Z9`},
		{`/\x{10ffff}?`, `/\d{3}-\D`, `/\Q.*\E`, `/.*`},
		{`[^/]`, `a`, ``, `/`},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	f.Fuzz(func(t *testing.T, a, b, c, s string) {
		sources := []string{a, b, c}
		var compiled []*regexp.Regexp
		var routes []*networking.HTTPRoute
		for _, source := range sources {
			re, err := regexp.Compile(`\A(?:` + source + `)\z`)
			// What Istio admits; \A(?:a)(?:b)\z compiles where a)(?:b does not.
			if _, alone := regexp.Compile(source); err != nil || alone != nil || len(source) > 1024 || !utf8.ValidString(source) {
				return
			}
			compiled = append(compiled, re)
			routes = append(routes, &networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{{Uri: routegen.Regex(source)}}})
		}
		vs := many(len(routes), func(i int) *networking.HTTPRoute { return routes[i] })
		verdicts := Verdicts(vs, nil)
		require.Len(t, verdicts, len(routes))
		first := func(path string) int {
			for i, re := range compiled {
				if re.MatchString(path) {
					return i
				}
			}
			return -1
		}
		for i, v := range verdicts {
			switch v.State {
			case Dead:
				if isPath(s) {
					require.NotEqual(t, i, first(s), "%q is dead by %v and takes %q of %q", sources[i], v.CoveredBy, s, sources)
				}
			case Live:
				require.Equal(t, i, first(v.Witness.Path), "witness %q of %q among %q", v.Witness.Path, sources[i], sources)
				require.True(t, strings.HasPrefix(v.Witness.Path, "/") && !strings.ContainsAny(v.Witness.Path, "?#\n"), "%q", v.Witness.Path)
			default:
			}
		}
	})
}

// isPath: a path that a client could send.
func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && utf8.ValidString(s) && !strings.ContainsAny(s, "?# ") &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Whatever a VirtualService holds, down to entries that are null: an answer within
// bounds, and the same one twice.
func FuzzVirtualService(f *testing.F) {
	for _, spec := range []string{
		`{}`,
		`{spec: {hosts: [a], gateways: [g, mesh], http: [{match: [{uri: {prefix: /}}]}, {match: [{uri: {exact: /a}, ignoreUriCase: true}, {}]}]}}`,
		`{spec: {hosts: [a], http: [{}, {match: [{headers: {x: {regex: "*"}}}]}, {match: [{withoutHeaders: {x: {exact: ""}}}]}]}}`,
		`{spec: {hosts: [a], http: [{match: [{uri: {regex: "/(a|b)+"}}, {uri: {regex: "("}}]}, {match: [{uri: {regex: "/(a*)*{2}"}}]}]}}`,
		`{spec: {http: [{match: [{queryParams: {q: {}}, port: 80}]}, {match: [{queryParams: {q: {exact: "1"}}, port: 80}]}]}}`,
		`{metadata: {name: self, namespace: n}, spec: {hosts: [a], http: [{delegate: {name: self}}, {delegate: {name: d}, match: [{uri: {prefix: /a}}]}]}}`,
		`{metadata: {name: d}, spec: {exportTo: ["."], http: [{match: [{uri: {prefix: /a}, gateways: [., a/b, x.y.z]}]}, {route: [{}]}]}}`,
		`{spec: {hosts: [a], http: [{match: [{headers: {"@request.auth.claims.a": {exact: b}}, sourceLabels: {a: b}, sourceNamespace: n}]}, {match: [{}]}]}}`,
		`{spec: {hosts: [a], http: [{match: [{method: {}, authority: {exact: a}, scheme: {prefix: h}}]}, {redirect: {}}, {directResponse: {status: 404}}]}}`,
	} {
		for _, holes := range []uint64{0, 1, 0xAAAA5555, 1 << 40} {
			f.Add([]byte(spec), holes)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, holes uint64) {
		vs := &networkingv1.VirtualService{}
		if len(data) > 1<<16 || yaml.Unmarshal(data, vs) != nil {
			return
		}
		poke(vs, holes)
		delegates := func(_, name string) *networkingv1.VirtualService {
			if name == "nobody" {
				return nil
			}
			return vs
		}
		fs := RouteOrder(vs, delegates)
		require.Equal(t, fs, RouteOrder(vs, delegates))
		require.LessOrEqual(t, len(fs), maxDetailed+2)
		for _, f := range fs {
			for _, text := range append([]string{f.Message, f.Remedy, f.Path}, f.CoveredBy...) {
				require.LessOrEqual(t, len(text), 1024)
				require.True(t, utf8.ValidString(text), "%q", text)
			}
		}
		require.False(t, finding.HasErrors(updated(vs, vs, delegates)), "refused what was there before")
		verdicts := Verdicts(vs, delegates)
		require.Equal(t, verdicts, Verdicts(vs, delegates))
		if order, ok := WorkingOrder(vs, delegates); ok {
			require.ElementsMatch(t, identity(len(vs.Spec.Http)), order)
		}
	})
}

// poke puts what no decoder yields, but an object may hold, at the places that holes
// says.
func poke(vs *networkingv1.VirtualService, holes uint64) {
	hole := func() bool {
		holes = bits.RotateLeft64(holes, 1)
		return holes&1 != 0
	}
	for i, r := range vs.Spec.Http {
		if hole() {
			vs.Spec.Http[i] = nil
			continue
		}
		if r == nil {
			continue
		}
		for j, m := range r.Match {
			if m == nil || hole() {
				r.Match[j] = nil
				continue
			}
			if hole() {
				m.Uri = &networking.StringMatch{MatchType: (*networking.StringMatch_Exact)(nil)}
			} else if hole() {
				m.Uri = routegen.Regex("\xff(")
			}
			for _, of := range []map[string]*networking.StringMatch{m.Headers, m.WithoutHeaders, m.QueryParams} {
				for _, k := range slices.Sorted(maps.Keys(of)) {
					if hole() {
						of[k] = nil
					}
				}
			}
		}
		for j := range r.Route {
			if hole() {
				r.Route[j] = nil
			}
		}
	}
}
