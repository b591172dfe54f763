package validate

import (
	"testing"

	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
)

// literalRoutes draws routes of literal paths, some of which are none, or ask for more.
func literalRoutes(g routegen.Generator) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{}
	vs.Spec.Hosts = []string{"a"}
	if g.Chance(20) {
		vs.Spec.Hosts = nil
	}
	if g.Chance(20) {
		vs.Spec.Gateways = []string{"g", "mesh"}[:1+g.Draw(2)]
	}
	if g.Chance(2) {
		vs.Annotations = map[string]string{"internal.istio.io/route-semantics": "ingress"}
	}
	for range g.Draw(6) {
		r := &networking.HTTPRoute{}
		for range routegen.Pick(g, 0, 1, 1, 1, 1, 2, 3) {
			of := routegen.Prefix
			if g.Chance(35) {
				of = routegen.Exact
			}
			m := &networking.HTTPMatchRequest{Uri: of("/" + routegen.Pick(g, "", "a", "A", "b", "c") + routegen.Pick(g, "", "a", "b", "/", "/a", "-1"))}
			switch g.Draw(100) {
			case 0:
				m = nil
			case 1:
				m.Uri = nil
			case 2:
				m.Uri = &networking.StringMatch{}
			case 3:
				m.Uri = of(routegen.Pick(g, "", "a", "/a?", "/a#", "/ ", "/\n", "/é", "/\x7f", "/~"))
			case 4:
				m.Uri = g.URI()
			case 5, 6, 7:
				m.IgnoreUriCase = true
			case 8, 9, 10:
				more(g, m)
			case 11, 12:
				m.Name = "n"
			case 13, 14:
				m.StatPrefix = "s"
			default:
			}
			r.Match = append(r.Match, m)
		}
		if g.Chance(2) {
			r.Delegate = &networking.Delegate{Name: "d"}
		}
		if g.Chance(1) {
			r = nil
		}
		vs.Spec.Http = append(vs.Spec.Http, r)
	}
	return vs
}

// more asks for something else too, half of which no request has.
func more(g routegen.Generator, m *entryMatch) {
	none := routegen.Exact(routegen.Pick(g, "1", "\n"))
	switch g.Draw(10) {
	case 0:
		m.Method = none
	case 1:
		m.Authority = none
	case 2:
		m.Scheme = none
	case 3:
		m.Headers = stringMap{"x": none}
	case 4:
		m.WithoutHeaders = stringMap{routegen.Pick(g, "x", ":method"): {}}
	case 5:
		m.QueryParams = stringMap{"x": none}
	case 6:
		m.Port = 80
	case 7:
		m.SourceLabels = map[string]string{"a": "b"}
	case 8:
		m.SourceNamespace = "n"
	default:
		m.Gateways = []string{routegen.Pick(g, "g", "h", "mesh")}
	}
}

// Where the shortcut says that nothing is found, the general decision finds nothing.
func TestPropertyNothingFound(t *testing.T) {
	g := routegen.Random(*propertySeed + 4)
	yes, missed := 0, 0
	for range 30 * *propertyRounds {
		vs := literalRoutes(g)
		j := newJudgement(vs, nil)
		found := j == nil || len(j.items)+len(j.undecided) > 0
		switch {
		case nothingFound(vs):
			yes++
			if found {
				t.Fatal(vs.Spec.String())
			}
		case !found:
			missed++
		default:
		}
	}
	t.Logf("%d objects decided, of %d more nothing is found", yes, missed)
	require.Greater(t, yes, missed)
}
