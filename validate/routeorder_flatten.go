package validate

// Flattening: spec.http to units, one a match entry and gateway, in order.
//
// Istio generates routes for one gateway at a time. An entry that names gateways is
// in force at those; one that names none is at all of spec.gateways, by default
// mesh. Gateways that no entry names see the same routes and are judged as one.
// Where pods and a port serve several Gateways, Istio joins their lists, and a
// route may be dead that is live in its own; that is not judged.
//
// Beside gateways, sidecars ignore sourceLabels (sourceMatchHTTP), but a waypoint
// leaves such an entry out (waypointInboundRoute): there it covers nothing.

import (
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// maxUnits bounds the product of entries and gateways. Beyond it nothing is judged.
const maxUnits = 12_000

// otherGateways stands for the gateways that no entry names.
const otherGateways = ""

const meshGateway = mesh.MeshGateway

// maxAuthorities bounds the hosts that are tried for a request.
const maxAuthorities = 8

// A routeUnits is one route: the units it is judged by, and those by which it
// covers later ones. They differ for a delegating route, and within a delegate,
// where a root may list a gateway that only one entry names.
type routeUnits struct {
	http          *networking.HTTPRoute
	judged, cover []*unit
}

type flat struct {
	vs     *networkingv1.VirtualService
	routes []routeUnits
	// delegate: vs is a delegate, judged without its root.
	delegate bool
	// gateways are the names behind otherGateways; several says that there is more
	// than one gateway, so that a message must name it.
	gateways []string
	several  bool
	// usual are the values of a request that no entry tells apart from others.
	usual usual
}

// cover returns the units by which the routes cover later ones, but for those in without.
func (f *flat) cover(without map[int]bool) []*unit {
	n := 0
	for i := range f.routes {
		n += len(f.routes[i].cover)
	}
	out := make([]*unit, 0, n)
	for i := range f.routes {
		if !without[i] {
			out = append(out, f.routes[i].cover...)
		}
	}
	return out
}

// gatewayOf names the gateway of a unit, one of several when it is any.
func (f *flat) gatewayOf(u *unit) string {
	if u.gateway == otherGateways && len(f.gateways) > 0 {
		return f.gateways[0]
	}
	return u.gateway
}

// flatten returns false when the object is too large to be judged.
func flatten(vs *networkingv1.VirtualService, delegates Delegates, w *work) (*flat, bool) {
	f := &flat{vs: vs, delegate: isDelegate(vs), routes: make([]routeUnits, len(vs.Spec.Http))}
	entries := make([]entry, 0, len(vs.Spec.Http))
	ends := make([]int, len(vs.Spec.Http)) // of the entries of each route
	for i, r := range vs.Spec.Http {
		if r != nil {
			entries = appendEntries(entries, vs, r, delegates)
		}
		if ends[i] = len(entries); len(entries) > maxUnits {
			return nil, false
		}
	}
	named := map[string]bool{}
	for i := range entries {
		for _, g := range entries[i].gateways {
			named[g] = true
		}
	}
	listed := f.listed(named)
	for g := range named {
		if !listed[g] {
			listed[g] = false
		}
	}
	var all []string
	for g, in := range listed {
		if in || f.delegate {
			all = append(all, g)
		}
	}
	slices.Sort(all)
	f.several = len(all) > 1

	// Reading regexes must leave something to decide with.
	w, done := w.limited(w.left / 2)
	defer done()
	if len(w.languages) == 0 { // most entries have one of their own
		w.languages = make(map[uint64]*language, len(entries))
	}
	ports, namespaces := map[uint32]bool{}, map[string]bool{}
	var newUnit slab[unit]
	judged, cover := make([]*unit, 0, len(entries)), make([]*unit, 0, len(entries))
	units, from := 0, 0
	for i := range f.routes {
		firstJudged, firstCover := len(judged), len(cover)
		for _, e := range entries[from:ends[i]] {
			at, unlisted := all, false
			if len(e.gateways) > 0 {
				at, unlisted = f.inForce(e.gateways, listed)
			}
			if units += len(at); units > maxUnits {
				return nil, false
			}
			c := newConditions(e.match, w)
			if unlisted && c.never == "" {
				c.never = "spec.gateways has none of its gateways, so no proxy executes it"
			}
			if p := e.match.GetPort(); p != 0 {
				ports[p] = true
			}
			if ns := e.match.GetSourceNamespace(); ns != "" {
				namespaces[ns] = true
			}
			for _, g := range at {
				u := newUnit.next()
				*u = unit{conditions: c, gateway: g, route: i, entry: e.entry, via: e.via}
				u.optional = g == meshGateway && len(e.match.GetGateways()) > 0 && len(e.match.GetSourceLabels()) > 0
				u.judged = e.judged && (len(e.gateways) > 0 || listed[g])
				if u.judged {
					judged = append(judged, u)
				}
				if e.covers {
					cover = append(cover, u)
				}
			}
		}
		from = ends[i]
		f.routes[i] = routeUnits{vs.Spec.Http[i], slices.Clip(judged[firstJudged:]), slices.Clip(cover[firstCover:])}
	}
	f.usual = usualOf(vs, ports, namespaces)
	return f, true
}

// inForce returns those gateways of an entry at which a proxy loads the
// VirtualService (getGatewayNames reads spec.gateways alone); unlisted says that
// there is none, and the entry stands at a place of its own.
func (f *flat) inForce(gateways []string, listed map[string]bool) (at []string, unlisted bool) {
	if f.delegate {
		return gateways, false
	}
	for _, g := range gateways {
		if listed[g] {
			at = append(at, g)
		}
	}
	if len(at) == 0 {
		return gateways[:1], true
	}
	return at, false
}

// usualOf returns a port and a namespace that no entry names.
func usualOf(vs *networkingv1.VirtualService, ports map[uint32]bool, namespaces map[string]bool) usual {
	u := usual{namespace: "default"}
	for i := 2; namespaces[u.namespace]; i++ {
		u.namespace = "other-" + strconv.Itoa(i)
	}
	port := uint32(80)
	for next := uint32(8080); ports[port]; next++ {
		port = next
	}
	u.port = strconv.Itoa(int(port))
	for _, h := range vs.Spec.Hosts[:min(len(vs.Spec.Hosts), maxAuthorities)] {
		switch {
		case h == "*":
			continue
		case strings.HasPrefix(h, "*"):
			h = "www" + h[1:]
		}
		u.authority = append(u.authority, h, h+":"+u.port)
	}
	if len(u.authority) == 0 {
		u.authority = []string{"www.example.com"}
	}
	return u
}

// listed returns spec.gateways, those that no entry names as one.
func (f *flat) listed(named map[string]bool) map[string]bool {
	gateways := f.vs.Spec.Gateways
	if len(gateways) == 0 {
		gateways = []string{meshGateway}
	}
	out := map[string]bool{}
	for _, g := range gateways {
		g = gatewayName(g, f.vs.Namespace)
		if f.delegate || !named[g] {
			f.gateways = append(f.gateways, g)
			g = otherGateways
		}
		out[g] = true
	}
	return out
}

// entry is one match entry before it is spread over gateways.
type entry struct {
	match          *networking.HTTPMatchRequest
	gateways       []string
	entry          int
	via            string
	judged, covers bool
}

func appendEntries(out []entry, vs *networkingv1.VirtualService, r *networking.HTTPRoute, delegates Delegates) []entry {
	from := len(out)
	if r.Delegate == nil {
		return appendOwn(out, r, resolved(r.Match, vs.Namespace))
	}
	root := resolved(r.Match, vs.Namespace)
	out = appendOwn(out, r, root)
	for i := range out[from:] {
		e := &out[from+i]
		e.match, e.covers = widened(e.match), false
	}
	d := findDelegate(vs, r.Delegate, delegates)
	if d == nil {
		return out
	}
	for j, sub := range d.Spec.Http {
		if sub == nil || sub.Delegate != nil { // Istio merges one level deep
			continue
		}
		if len(root)*len(sub.Match) > maxUnits {
			break
		}
		for _, m := range mergeMatches(root, resolved(sub.Match, d.Namespace)) {
			out = append(out, entry{
				match: m.match, gateways: gatewaySet(m.match.GetGateways()), entry: m.entry, covers: true,
				via: "VirtualService " + d.Namespace + "/" + d.Name + " " + httpPath(j),
			})
		}
		if len(out)-from > maxUnits {
			break
		}
	}
	return out
}

func appendOwn(out []entry, r *networking.HTTPRoute, matches []*networking.HTTPMatchRequest) []entry {
	if len(r.Match) == 0 {
		return append(out, entry{entry: -1, judged: true, covers: true})
	}
	for j, m := range matches {
		out = append(out, entry{match: m, gateways: gatewaySet(m.GetGateways()), entry: j, judged: true, covers: true})
	}
	return out
}

// resolved names gateways as Istio does before it merges or compares them.
func resolved(in []*networking.HTTPMatchRequest, namespace string) []*networking.HTTPMatchRequest {
	out, cloned := in, false
	for i, m := range in {
		if len(m.GetGateways()) == 0 {
			continue
		}
		if !cloned {
			out, cloned = slices.Clone(in), true
		}
		c := mergeMatch(&networking.HTTPMatchRequest{}, m)
		c.Gateways = make([]string, 0, len(m.Gateways))
		for _, g := range m.Gateways {
			c.Gateways = append(c.Gateways, gatewayName(g, namespace))
		}
		out[i] = c
	}
	return out
}

func gatewaySet(names []string) []string {
	if len(names) < 2 {
		return names
	}
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}

// gatewayName resolves a name in match or spec.gateways to namespace/name.
func gatewayName(g, namespace string) string {
	if g == meshGateway {
		return g
	}
	return mesh.GatewayName(g, namespace).String()
}
