package validate

// The findings of shadowing: one for each VirtualService that shadows another, and
// what it says.

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// maxShadows bounds the findings about vs, and those about others: one more of
// each counts the rest.
const maxShadows = 5

// Shadowed returns the warnings about routes that are dead because of another
// VirtualService: those of vs, and those of others that vs takes the requests of and
// old, which it replaces, did not. w holds vs, and not old, which may be nil or tell nil,
// and is asked only if there are any.
func Shadowed(w *mesh.World, old func() *networkingv1.VirtualService, vs *networkingv1.VirtualService) []finding.Finding {
	s := newShadows(w, vs)
	if s == nil {
		return nil
	}
	own := group(s.judge(s.self, nil), nil)
	taken := s.taken()
	if !s.w.spend(1) {
		return nil
	}
	if len(taken) > 0 && old != nil {
		if o := old(); o != nil {
			if was := newShadows(w, o); was != nil {
				before := map[string]bool{}
				for _, d := range was.taken() {
					before[d.key()] = true
				}
				taken = slices.DeleteFunc(taken, func(d shadowed) bool { return before[d.key()] })
			}
		}
	}
	var others []shadow
	for len(taken) > 0 {
		n := 1
		for n < len(taken) && taken[n].of == taken[0].of {
			n++
		}
		others = append(others, group(taken[:n], s.self)...)
		taken = taken[n:]
	}
	return append(spelt(own), spelt(others)...)
}

// taken returns the routes of others whose requests self takes, those of one
// VirtualService together.
func (s *shadows) taken() []shadowed {
	var out []shadowed
	for _, m := range s.self.sharing {
		for _, d := range s.judge(m, s.self) {
			if slices.ContainsFunc(d.by, func(t taker) bool { return t.of == s.self }) {
				out = append(out, d)
			}
		}
	}
	return out
}

func (d *shadowed) key() string {
	return strings.Join([]string{d.of.vs.Namespace, d.of.vs.Name, strconv.Itoa(d.route), d.of.hosts[d.host], d.gateway}, " ")
}

// A shadow is what one VirtualService takes from another at the same places.
type shadow struct {
	self   *member // that is under admission
	of, by *member
	mesh   bool
	// whole: sidecars take no route of it.
	whole  bool
	routes []int
	places []shadowed // one each
	takers []taker    // of the routes, in order
	order  string
}

// group puts together the routes of one VirtualService that the same other one
// takes at the same places. Of several that do so only together, the first counts,
// or prefer if it is one.
func group(dead []shadowed, prefer *member) []shadow {
	type key struct {
		by    *member
		mesh  bool
		route int
	}
	places := map[key][]shadowed{}
	var keys []key
	for _, d := range dead {
		by := d.by[0].of
		if prefer != nil {
			by = prefer
		}
		k := key{by, d.gateway == meshGateway, d.route}
		if places[k] == nil {
			keys = append(keys, k)
		}
		places[k] = append(places[k], d)
	}
	slices.SortStableFunc(keys, func(a, b key) int { return cmp.Compare(a.route, b.route) })
	var out []shadow
	for _, k := range keys {
		at := places[k]
		i := slices.IndexFunc(out, func(s shadow) bool {
			return s.by == k.by && s.mesh == k.mesh && slices.EqualFunc(s.places, at, func(a, b shadowed) bool {
				return a.host == b.host && a.gateway == b.gateway
			})
		})
		if i < 0 {
			i = len(out)
			out = append(out, shadow{self: cmp.Or(prefer, at[0].of), of: at[0].of, by: k.by, mesh: k.mesh, places: at, order: at[0].order})
		}
		out[i].routes = append(out[i].routes, k.route)
		out[i].takers = append(out[i].takers, at[0].by...)
	}
	for i := range out {
		s := &out[i]
		s.whole = s.mesh && len(s.routes) == s.of.liveAtSidecars()
	}
	return out
}

// liveAtSidecars counts the routes that sidecars would take but for others.
func (m *member) liveAtSidecars() int {
	routes := map[int]bool{}
	for _, p := range m.pieces[meshGateway+" 0"] {
		if !p.idle {
			routes[p.route] = true
		}
	}
	return len(routes)
}

func spelt(in []shadow) []finding.Finding {
	var out []finding.Finding
	for i := range in {
		out = append(out, in[i].finding())
	}
	finding.Sort(out)
	if more := len(out) - maxShadows; more > 1 {
		var names []string
		rest := out[maxShadows]
		for i := range in {
			if text := "VirtualService " + in[i].of.name() + " by " + in[i].by.name(); !slices.Contains(names, text) {
				names = append(names, text)
			}
		}
		slices.Sort(names)
		rest.Path = "spec.http"
		rest.Message = "And " + strconv.Itoa(more) + " more like these. All of them: " + strings.Join(names, ", ")
		rest.Message = finding.Truncate(rest.Message, maxMessage-1) + "."
		rest.Remedy = "Correct those named one by one first."
		out = append(out[:maxShadows], rest)
	}
	return out
}

func (m *member) name() string { return m.vs.Namespace + "/" + m.vs.Name }

func (s *shadow) finding() finding.Finding {
	f := finding.Finding{
		Code: finding.ShadowedByVirtualService, Severity: finding.Warning,
		Object: mesh.ObjectOf(s.of.vs), Path: s.path(), Subject: s.by.name(),
	}
	of, by := "VirtualService "+s.of.name(), "VirtualService "+s.by.name()
	if s.mesh {
		hosts := s.hostsText()
		f.Message = "Sidecars take the routes of " + hosts + " from " + by + " alone" + s.order + ", and ignore those of " + of + ": its " +
			s.routesText() + " " + gets(len(s.routes)) + " no request from the mesh; what " + by + " does not match is answered with 404."
		f.Remedy = "Put the routes of both into one VirtualService, or make them delegates of one; or take the host out of spec.hosts of one of the two."
	} else {
		f.Message = "No request for " + s.placesText() + " reaches " + s.routesText() + " of " + of + ": " +
			s.takersText() + " first. At a gateway Istio puts the routes of all VirtualServices of a host into one list: " + s.order + "."
		what := "the routes"
		if len(s.routes) == 1 {
			what = httpPath(s.routes[0])
		}
		f.Remedy = "Move " + what + " of " + of + " into " + by + ", before " + s.firstTaker() + "; or narrow the match there, or give " + of + " another host or gateway."
	}
	f.Message = finding.Truncate(f.Message, maxMessage)
	f.Remedy = finding.Truncate(f.Remedy, maxMessage)
	f.Related = s.related()
	return f
}

// related are the matches that take the requests, or the VirtualService that sidecars
// take instead.
func (s *shadow) related() []finding.Place {
	if s.mesh {
		return []finding.Place{{Object: mesh.ObjectOf(s.by.vs), Path: "spec.hosts", Text: "sidecars take this one"}}
	}
	var out []finding.Place
	for _, t := range s.takers {
		p := finding.Place{Object: mesh.ObjectOf(t.of.vs), Path: t.unit.path(), Text: "takes the requests"}
		if !slices.Contains(out, p) && len(out) < maxCovering {
			out = append(out, p)
		}
	}
	return out
}

// valueOf returns what writes the values of headers and parameters that m matches. Whoever
// applies an object is not told those of other namespaces.
func (s *shadow) valueOf(m *member) func(string) string {
	if m.vs.Namespace == s.self.vs.Namespace {
		return quote
	}
	return func(string) string { return "***" }
}

func gets(n int) string {
	if n == 1 {
		return "gets"
	}
	return "get"
}

func (s *shadow) path() string {
	switch {
	case s.whole && len(s.places) == 1:
		return "spec.hosts[" + strconv.Itoa(s.places[0].host) + "]"
	case s.whole:
		return "spec.hosts"
	case len(s.routes) == 1:
		return httpPath(s.routes[0])
	default:
		return "spec.http"
	}
}

const maxNamed = 3

// listed joins the first few.
func listed(all []string, one, more string) string {
	var out []string
	for _, text := range all {
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if n := len(out) - maxNamed; n > 0 {
		out = append(out[:maxNamed], count(n, one, more))
	}
	if len(out) < 2 {
		return strings.Join(out, "")
	}
	return strings.Join(out[:len(out)-1], ", ") + " and " + out[len(out)-1]
}

func (s *shadow) hostsText() string {
	var out []string
	for _, p := range s.places {
		out = append(out, plain(p.of.hosts[p.host]))
	}
	word := "host "
	if len(out) > 1 {
		word = "hosts "
	}
	return word + listed(out, "other", "others")
}

func (s *shadow) placesText() string {
	var out []string
	for _, p := range s.places {
		out = append(out, plain(p.of.hosts[p.host])+" at gateway "+plain(p.gateway))
	}
	return listed(out, "other place", "other places")
}

func (s *shadow) routesText() string {
	if len(s.routes) > maxNamed {
		return paths(s.routes, maxCondition)
	}
	var out []string
	for _, i := range s.routes {
		r := s.of.flat.routes[i].http
		name := ""
		if r.GetName() != "" {
			name = " " + quote(r.GetName())
		}
		out = append(out, httpPath(i)+name+" ("+finding.Truncate(routeText(r, s.valueOf(s.of)), maxCondition/2)+", to "+destination(r)+")")
	}
	return listed(out, "", "")
}

// takersText names each VirtualService that takes requests with its matches.
func (s *shadow) takersText() string {
	var order []*member
	by := map[*member][]string{}
	for _, t := range s.takers {
		if by[t.of] == nil {
			order = append(order, t.of)
		}
		u := t.unit
		text := u.path() + " ("
		r := t.of.flat.routes[u.route].http
		switch {
		case u.via != "":
			text += "through " + u.via
		case u.entry < 0:
			text += "no match"
		default:
			text += finding.Truncate(entryText(r.GetMatch()[u.entry], quote, s.valueOf(t.of)), maxCondition/2)
		}
		by[t.of] = append(by[t.of], text+", to "+destination(r)+")")
	}
	slices.SortStableFunc(order, func(a, b *member) int { return boolOrder(b == s.by) - boolOrder(a == s.by) })
	var out []string
	for _, m := range order {
		out = append(out, listed(by[m], "other match", "other matches")+" of VirtualService "+m.name())
	}
	take := " takes them"
	if len(order) > 1 || strings.Contains(out[0], " and ") {
		take = " take them"
	}
	return listed(out, "other", "others") + take
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *shadow) firstTaker() string {
	for _, t := range s.takers {
		if t.of == s.by {
			return httpPath(t.unit.route)
		}
	}
	return httpPath(0)
}

// why says why a taker comes before m.
func (s *shadows) why(t taker, m *member, gateway, namespace string, v mesh.VirtualHost) string {
	a, b := s.at(t.of, gateway).server[v], s.at(m, gateway).server[v]
	ra, _ := mesh.Rank(t.of.vs, namespace)
	rb, _ := mesh.Rank(m.vs, namespace)
	if gateway == meshGateway {
		if ra < rb {
			return ", which is exported to them by name (exportTo)"
		}
		return ", which comes first (by age, then by name)"
	}
	switch {
	case t.moved:
		return "catch-alls come last, whatever their age"
	case a.Index < b.Index:
		return "in the order of the Gateway's servers, then older ones first, catch-alls last"
	case ra < rb:
		return "those exported to the gateway's namespace by name before public ones, then older ones first, catch-alls last"
	default:
		return "older ones first, catch-alls last"
	}
}
