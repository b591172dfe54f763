package validate

// Shadowing: no route of a VirtualService may be dead because of another one.
//
// Reads the VirtualServices that share a host and a gateway, their delegates and
// Gateways. Warns (ShadowedByVirtualService), never refuses: the other one may belong
// to another team. As Istio does it:
//
//   - At a gateway the routes of all VirtualServices of a virtual host make one list
//     (buildGatewayHTTPRouteConfig): in the order of the Gateway's servers; for each,
//     what is private to the proxy's namespace, what is exported to it by name, what
//     is public; in each the oldest first; and of all of it the bare catch-alls last
//     (SortVHostRoutes). An exact host and a wildcard are separate virtual hosts.
//   - Sidecars take the routes of a host, on the ports that it has, from the first
//     VirtualService, in the same order, that has any for the port and the pod; those
//     of others are ignored (BuildSidecarOutboundVirtualHosts).
//
// A route is warned about when it is dead for a host of spec.hosts at a gateway:
// in every namespace where proxies may run that see it, on every server and for
// every virtual host that the host comes to, and at every other gateway of the
// VirtualService whose pods may be the same. A route that its own VirtualService
// kills is RouteOrder's. A wildcard host stands for the hosts of the VirtualService
// that it covers, too. Where nothing tells where a gateway runs, every namespace
// counts. What the budget does not reach is not said.
//
// Not read: Sidecar objects, which may hide one VirtualService from a namespace, and
// other Gateways of the same pods, which only add routes before.

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// MaxSharing is how many VirtualServices may share hosts with one: beyond it
// nothing is said.
const MaxSharing = 200

// member is a VirtualService that takes part, and what is known of it.
type member struct {
	vs       *networkingv1.VirtualService
	flat     *flat
	hosts    []string // spec.hosts, resolved
	gateways []string // "namespace/name", or mesh
	sharing  []*member
	places   map[string]*places // by gateway
	pieces   map[string][]piece // by gateway and port
}

// places are the virtual hosts at one gateway.
type places struct {
	// of are those of each host of spec.hosts, and of the hosts that it covers,
	// sorted.
	of     [][]mesh.VirtualHost
	server map[mesh.VirtualHost]mesh.Server
}

// piece is a unit that Istio emits a route for at a gateway, on a port.
type piece struct {
	unit  *unit
	route int
	// idle: dead within its own VirtualService.
	idle bool
	// covers: emitted wherever its conditions hold; not behind a catch-all.
	covers bool
}

// shadows judges the VirtualServices around one.
type shadows struct {
	world   *mesh.World
	w       *work
	self    *member
	members map[types.NamespacedName]*member
	venues  map[venueKey]*venue
	merged  map[string]map[*member]fates
}

type venueKey struct {
	gateway string
	host    mesh.VirtualHost
}

// A venue is a virtual host at a gateway, and all that have it.
type venue struct {
	members []*member
	// namespaces are those in which proxies may execute the routes.
	namespaces []string
	decided    map[string]map[*member]fates // by namespace
}

// newShadows: self stands for the VirtualService of its name, if the world has one.
// It returns nil when nothing can be said.
func newShadows(world *mesh.World, self *networkingv1.VirtualService) *shadows {
	s := &shadows{
		world: world, w: newWorkOf(budget / 2), members: map[types.NamespacedName]*member{},
		venues: map[venueKey]*venue{}, merged: map[string]map[*member]fates{},
	}
	if len(world.SharingHosts(self, MaxSharing)) == 0 {
		return nil
	}
	if s.self = s.member(self); s.self == nil {
		return nil
	}
	if s.self.sharing = s.sharing(s.self); len(s.self.sharing) == 0 {
		return nil
	}
	return s
}

// member returns nil for a delegate, and for one that is too large.
func (s *shadows) member(vs *networkingv1.VirtualService) *member {
	name := types.NamespacedName{Namespace: vs.Namespace, Name: vs.Name}
	if m, known := s.members[name]; known {
		return m
	}
	s.members[name] = nil
	if mesh.IsDelegate(vs) || len(vs.Spec.GetHttp()) == 0 || !s.w.spend(100*len(vs.Spec.GetHttp())) {
		return nil
	}
	f, ok := flatten(vs, s.world.VirtualService, s.w)
	if !ok {
		return nil
	}
	m := &member{vs: vs, flat: f, hosts: mesh.VirtualServiceHosts(vs), places: map[string]*places{}, pieces: map[string][]piece{}}
	names, sidecars := mesh.BoundGateways(vs)
	for _, n := range names {
		m.gateways = append(m.gateways, n.String())
	}
	if sidecars {
		m.gateways = append(m.gateways, meshGateway)
	}
	s.members[name] = m
	return m
}

// sharing returns those that may share a virtual host with m; none when they are
// too many.
func (s *shadows) sharing(m *member) []*member {
	work := 1
	for _, g := range m.gateways {
		work += len(m.hosts) * s.size(g)
	}
	if !s.w.spend(work) {
		return nil
	}
	found := s.world.SharingHosts(m.vs, MaxSharing)
	if !s.w.spend(len(found) * len(m.hosts) * len(m.gateways)) {
		return nil
	}
	var out []*member
	for _, vs := range found {
		if o := s.member(vs); o != nil && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	if s.self != nil && m != s.self && !slices.Contains(out, s.self) {
		out = append(out, s.self) // as it was, it is not in the world
	}
	return out
}

func gatewayKey(g string) types.NamespacedName {
	ns, name, _ := strings.Cut(g, "/")
	return types.NamespacedName{Namespace: ns, Name: name}
}

// gateway returns nil for the mesh, and for a Gateway that is not known.
func (s *shadows) gateway(name string) *networkingv1.Gateway {
	if name == meshGateway {
		return nil
	}
	return s.world.Gateway(gatewayKey(name))
}

// size is how much it takes to find the virtual hosts of one host at a gateway.
func (s *shadows) size(gateway string) int {
	return 1 + mesh.ServerHosts(s.gateway(gateway))
}

// at returns the virtual hosts of m at a gateway, nil when it is not bound to it.
func (s *shadows) at(m *member, gateway string) *places {
	if p, known := m.places[gateway]; known {
		return p
	}
	m.places[gateway] = nil
	if !slices.Contains(m.gateways, gateway) {
		return nil
	}
	gw, size := s.gateway(gateway), s.size(gateway)
	p := &places{server: map[mesh.VirtualHost]mesh.Server{}}
	hosts := make([]map[mesh.VirtualHost]mesh.Server, len(m.hosts))
	for i, h := range m.hosts {
		if !s.w.spend(size) {
			return nil
		}
		hosts[i] = mesh.VirtualHosts(gw, m.vs.Namespace, h)
		for v, server := range hosts[i] {
			if o, dup := p.server[v]; !dup || server.Index < o.Index {
				p.server[v] = server
			}
		}
	}
	for i, h := range m.hosts {
		found := maps.Clone(hosts[i])
		for j, o := range m.hosts {
			if i == j || !mesh.IsWildcard(h) {
				continue
			}
			if !s.w.spend(1 + len(hosts[j])) {
				return nil
			}
			if mesh.HostWithin(o, h) {
				maps.Copy(found, hosts[j])
			}
		}
		p.of = append(p.of, slices.SortedFunc(maps.Keys(found), func(a, b mesh.VirtualHost) int {
			return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Listener, b.Listener))
		}))
	}
	m.places[gateway] = p
	return p
}

// piecesAt returns what Istio emits of m at a gateway; on one port, if that is known.
func (s *shadows) piecesAt(m *member, gateway string, port uint32) []piece {
	key := gateway + " " + strconv.Itoa(int(port))
	if out, known := m.pieces[key]; known {
		return out
	}
	// Gateways that no entry names are judged as one by flatten.
	from := otherGateways
	for i := range m.flat.routes {
		if slices.ContainsFunc(m.flat.routes[i].cover, func(u *unit) bool { return u.gateway == gateway }) {
			from = gateway
			break
		}
	}
	var out []piece
	own := newCore(s.w, s.self.flat.usual)
	cut := false
	for i := range m.flat.routes {
		for _, u := range m.flat.routes[i].cover {
			if u.gateway != from || port != 0 && !onPort(u, port) {
				continue
			}
			c := at(u, gateway)
			idle := own.decide(c).state == Dead
			own.add(c)
			out = append(out, piece{unit: c, route: i, idle: idle, covers: !idle && !cut})
			cut = cut || u.bare
		}
	}
	m.pieces[key] = out
	return out
}

// at copies a unit to a gateway.
func at(u *unit, gateway string) *unit {
	c := *u
	c.gateway, c.seq, c.verdict = gateway, 0, verdict{}
	return &c
}

func onPort(u *unit, port uint32) bool {
	for _, d := range u.conds {
		if d.class == classPort && d.atoms[0].lang.value != strconv.Itoa(int(port)) {
			return false
		}
	}
	return true
}

// A fate is what becomes of one route of a member; by is what takes its requests,
// none when some reach it.
type fate struct {
	by []taker
}

// fates are those of the routes that are emitted, and not dead by themselves.
type fates map[int]fate

type taker struct {
	of   *member
	unit *unit
	// moved: it is younger, and before only because the other is a catch-all.
	moved bool
}

// merge decides the routes of all members in order, at a gateway.
func (s *shadows) merge(order []*member, gateway string, port uint32) map[*member]fates {
	key := s.mergeKey(order, gateway, port)
	if out, known := s.merged[key]; known {
		return out
	}
	c := newCore(s.w, s.self.flat.usual)
	owner := map[*unit]int{}
	out := map[*member]fates{}
	live := map[*member]map[int]bool{}
	for _, m := range order {
		out[m], live[m] = fates{}, map[int]bool{}
	}
	for _, bare := range []bool{false, true} {
		for k, m := range order {
			for _, p := range s.piecesAt(m, gateway, port) {
				if p.unit.bare != bare || p.idle {
					continue
				}
				u := at(p.unit, gateway)
				owner[u] = k
				v := c.decide(u)
				f := out[m][p.route]
				if v.state == Dead {
					for _, o := range v.by {
						f.by = append(f.by, taker{of: order[owner[o]], unit: o, moved: owner[o] > k})
					}
				} else {
					live[m][p.route] = true
				}
				out[m][p.route] = f
				if p.covers {
					c.add(u)
				}
			}
		}
	}
	settle(out, live)
	s.merged[key] = out
	return out
}

// settle drops the takers of routes that some requests reach, and those of itself.
func settle(out map[*member]fates, live map[*member]map[int]bool) {
	for m, fs := range out {
		for i, f := range fs {
			f.by = slices.DeleteFunc(f.by, func(t taker) bool { return t.of == m || live[m][i] })
			fs[i] = f
		}
	}
}

func (s *shadows) mergeKey(order []*member, gateway string, port uint32) string {
	var b strings.Builder
	b.WriteString(gateway + " " + strconv.Itoa(int(port)))
	for _, m := range order {
		b.WriteString(" " + m.vs.Namespace + "/" + m.vs.Name)
	}
	return b.String()
}

// own decides the routes of all members in order, at sidecars.
func (s *shadows) own(order []*member) map[*member]fates {
	key := s.mergeKey(order, meshGateway, 0)
	if out, known := s.merged[key]; known {
		return out
	}
	c := newCore(s.w, s.self.flat.usual)
	owner := map[*unit]*member{}
	out := map[*member]fates{}
	live := map[*member]map[int]bool{}
	for _, m := range order {
		out[m], live[m] = fates{}, map[int]bool{}
		pieces := s.piecesAt(m, meshGateway, 0)
		for _, p := range pieces {
			if p.idle {
				continue
			}
			f := out[m][p.route]
			if v := c.decide(at(p.unit, meshGateway)); v.state == Dead {
				for _, o := range v.by {
					f.by = append(f.by, taker{of: owner[o], unit: o})
				}
			} else {
				live[m][p.route] = true
			}
			out[m][p.route] = f
		}
		for _, u := range owned(pieces, s.w) {
			owner[u] = m
			c.add(u)
		}
	}
	settle(out, live)
	s.merged[key] = out
	return out
}

// owned are units that take every request of the ports and pods for which there is a
// route: sidecars ask no other VirtualService then.
func owned(pieces []piece, w *work) []*unit {
	var out []*unit
	seen := map[string]bool{}
	for _, p := range pieces {
		r := &networking.HTTPMatchRequest{}
		var key strings.Builder
		for _, d := range p.unit.conds {
			switch d.class {
			case classPort:
				n, _ := strconv.ParseUint(d.atoms[0].lang.value, 10, 32)
				r.Port = uint32(n)
			case classLabel:
				if r.SourceLabels == nil {
					r.SourceLabels = map[string]string{}
				}
				r.SourceLabels[d.name] = d.atoms[0].lang.value
			case classNamespace:
				r.SourceNamespace = d.atoms[0].lang.value
			default:
				continue
			}
			key.WriteString(strconv.Quote(d.name) + strconv.Quote(d.atoms[0].lang.value))
		}
		if !seen[key.String()] {
			seen[key.String()] = true
			out = append(out, &unit{conditions: newConditions(r, w), gateway: meshGateway, route: p.route, entry: p.unit.entry, via: p.unit.via})
		}
	}
	return out
}

// A shadowed is a route that is dead for one host at one gateway.
type shadowed struct {
	of      *member
	route   int
	host    int // in spec.hosts
	gateway string
	by      []taker
	order   string // why the first taker comes before
}

// judge returns the routes of m that are dead because of others; with only, those
// for hosts and gateways that only has too.
func (s *shadows) judge(m, only *member) []shadowed {
	var out []shadowed
	for _, g := range m.gateways {
		if only != nil && s.at(only, g) == nil {
			continue
		}
		p := s.at(m, g)
		if p == nil {
			return nil
		}
		for i := range p.of {
			if only != nil && !s.meets(p.of[i], only, g) {
				continue
			}
			found := s.judgeHost(m, i, g)
			for _, route := range slices.Sorted(maps.Keys(found)) {
				if f := found[route]; len(f.by) > 0 && s.elsewhere(m, i, g, route) {
					out = append(out, shadowed{m, route, i, g, f.by, f.order})
				}
			}
		}
	}
	return out
}

func (s *shadows) meets(hosts []mesh.VirtualHost, o *member, gateway string) bool {
	p := s.at(o, gateway)
	return p != nil && slices.ContainsFunc(hosts, func(v mesh.VirtualHost) bool {
		_, ok := p.server[v]
		return ok
	})
}

// elsewhere: the route is dead at the other gateways too whose pods may be the same.
func (s *shadows) elsewhere(m *member, host int, gateway string, route int) bool {
	if gateway == meshGateway {
		return true
	}
	for _, g := range m.gateways {
		if g == gateway || g == meshGateway || !s.world.SamePods(gatewayKey(g), gatewayKey(gateway)) {
			continue
		}
		if s.at(m, g) == nil {
			return false
		}
		if f, emitted := s.judgeHost(m, host, g)[route]; emitted && len(f.by) == 0 {
			return false
		}
	}
	return true
}

// orderedFate is a fate and why the first taker comes before.
type orderedFate struct {
	fate
	order string
}

// judgeHost decides the routes of m for one host at a gateway, wherever it is
// executed: dead is what is dead everywhere.
func (s *shadows) judgeHost(m *member, host int, gateway string) map[int]orderedFate {
	if m.sharing == nil {
		m.sharing = s.sharing(m)
	}
	out := map[int]orderedFate{}
	if len(m.sharing) == 0 {
		return out
	}
	for _, v := range s.at(m, gateway).of[host] {
		at := s.venue(m, gateway, v)
		for _, ns := range at.namespaces {
			if _, sees := mesh.Rank(m.vs, ns); !sees {
				continue
			}
			if !s.w.spend(1) {
				return nil
			}
			found, known := at.decided[ns]
			if !known {
				found = s.decide(at.members, gateway, ns, v)
				at.decided[ns] = found
			}
			for route, f := range found[m] {
				was, before := out[route]
				switch {
				case !before && len(f.by) > 0:
					out[route] = orderedFate{f, s.why(f.by[0], m, gateway, ns, v)}
				case !before, len(was.by) > 0 && len(f.by) == 0:
					out[route] = orderedFate{}
				}
			}
		}
	}
	return out
}

// venue returns who meets at a virtual host of m; m shares it with all who have it.
func (s *shadows) venue(m *member, gateway string, v mesh.VirtualHost) *venue {
	key := venueKey{gateway, v}
	if out, known := s.venues[key]; known {
		return out
	}
	out := &venue{decided: map[string]map[*member]fates{}}
	var objects []*networkingv1.VirtualService
	for _, o := range append([]*member{m}, m.sharing...) {
		if !s.w.spend(1) {
			break
		}
		if p := s.at(o, gateway); p != nil {
			if _, has := p.server[v]; has {
				out.members = append(out.members, o)
				objects = append(objects, o.vs)
			}
		}
	}
	if gateway != meshGateway {
		out.namespaces = s.world.GatewayNamespaces(gatewayKey(gateway))
	}
	if len(out.namespaces) == 0 {
		out.namespaces = mesh.NamedNamespaces(objects)
	}
	s.venues[key] = out
	return out
}

// decide decides the routes of those who meet, for a proxy of the namespace.
func (s *shadows) decide(members []*member, gateway, namespace string, v mesh.VirtualHost) map[*member]fates {
	if !s.w.spend(10 * len(members)) {
		return nil
	}
	order := s.order(members, gateway, namespace, v)
	if gateway == meshGateway {
		return s.own(order)
	}
	return s.merge(order, gateway, s.at(members[0], gateway).server[v].Port)
}

// order sorts those that have the virtual host as a proxy of the namespace does.
func (s *shadows) order(members []*member, gateway, namespace string, v mesh.VirtualHost) []*member {
	type place struct {
		m            *member
		server, rank int
	}
	var in []place
	for _, m := range members {
		if rank, sees := mesh.Rank(m.vs, namespace); sees {
			in = append(in, place{m, s.at(m, gateway).server[v].Index, rank})
		}
	}
	slices.SortFunc(in, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.rank, b.rank), mesh.CompareAge(a.m.vs, b.m.vs))
	})
	out := make([]*member, len(in))
	for i, p := range in {
		out[i] = p.m
	}
	return out
}
