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

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// MaxSharing is how many VirtualServices may share hosts with one: beyond it
// nothing is said.
const MaxSharing = 200

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
	if len(world.SharingHosts(self, MaxSharing)) == 0 {
		return nil
	}
	s := &shadows{
		world: world, w: newWorkOf(budget / 2), members: map[types.NamespacedName]*member{},
		venues: map[venueKey]*venue{}, merged: map[string]map[*member]fates{},
	}
	if s.self = s.member(self); s.self == nil {
		return nil
	}
	if s.self.sharing = s.sharing(s.self); len(s.self.sharing) == 0 {
		return nil
	}
	return s
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
