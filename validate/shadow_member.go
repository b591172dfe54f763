package validate

// The VirtualServices that take part: where each has its virtual hosts, and what Istio
// emits of it there.

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

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

// member returns nil for a delegate, and for one that is too large.
func (s *shadows) member(vs *networkingv1.VirtualService) *member {
	name := types.NamespacedName{Namespace: vs.Namespace, Name: vs.Name}
	if m, known := s.members[name]; known {
		return m
	}
	s.members[name] = nil
	if mesh.IsDelegate(vs) || foreignSemantics(vs) || len(vs.Spec.GetHttp()) == 0 || !s.w.spend(100*len(vs.Spec.GetHttp())) {
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
	var units []*unit
	for _, u := range m.flat.cover(nil) {
		if u.gateway == from && (port == 0 || onPort(u, port)) {
			units = append(units, at(u, gateway))
		}
	}
	own := newCore(s.w, s.self.flat.usual, units)
	cut := false
	for _, u := range units {
		idle := own.decide(u).state == Dead
		own.add(u)
		out = append(out, piece{unit: u, route: u.route, idle: idle, covers: !idle && !cut})
		cut = cut || u.bare
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
