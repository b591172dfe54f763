package mesh

import (
	"cmp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// Sends reports whether a route sends requests to its destinations. Redirects
// and direct responses send none, a delegating route leaves that to its delegate.
func Sends(r *networking.HTTPRoute) bool {
	return r.GetRedirect() == nil && r.GetDirectResponse() == nil && r.GetDelegate() == nil
}

// View is how one client sees a destination: the service behind the host, and
// the port that is meant.
type View struct {
	Client  Client
	Service *Service
	Port    Port
}

// Targets returns, for the destination of one HTTP route of vs, the views of the
// clients for which it is a target: the service they see has the destination's
// port, and that wants TLS origination. Nothing: it is a target for nobody.
func (w *World) Targets(vs *networkingv1.VirtualService, route *networking.HTTPRoute, d *networking.Destination) []View {
	host := ResolveHost(d.GetHost(), vs.Namespace)
	if !w.MayBeTarget(host) {
		return nil
	}
	return w.targets(w.Clients(vs, route, host), vs, d)
}

func (w *World) targets(clients []Client, vs *networkingv1.VirtualService, d *networking.Destination) []View {
	var out []View
	for _, c := range clients {
		out = w.appendViews(out, c, vs, d)
	}
	return slices.DeleteFunc(out, func(v View) bool {
		routed, _ := v.Port.Originates()
		return !routed
	})
}

// Leads answers for the HTTP routes of one VirtualService what World does, and remembers it:
// most of them lead to few places and have the same clients.
type Leads struct {
	World          *World
	VirtualService *networkingv1.VirtualService

	clients memo[string, []Client] // by host
	targets memo[destination, []View]
}

type destination struct {
	host  string
	port  uint32
	named bool
}

// LeadsOf returns the Leads of vs.
func (w *World) LeadsOf(vs *networkingv1.VirtualService) *Leads {
	return &Leads{World: w, VirtualService: vs}
}

// Clients is World.Clients; its answer must not be changed.
func (l *Leads) Clients(route *networking.HTTPRoute, host string) []Client {
	if narrows(route.GetMatch()) {
		return l.World.Clients(l.VirtualService, route, host)
	}
	out, known := l.clients.get(host)
	if !known {
		out = l.World.Clients(l.VirtualService, route, host)
		l.clients.put(host, out)
	}
	return out
}

// Targets is World.Targets; its answer must not be changed.
func (l *Leads) Targets(route *networking.HTTPRoute, d *networking.Destination) []View {
	if narrows(route.GetMatch()) {
		return l.World.Targets(l.VirtualService, route, d)
	}
	host := ResolveHost(d.GetHost(), l.VirtualService.Namespace)
	to := destination{host, d.GetPort().GetNumber(), d.GetPort() != nil}
	out, known := l.targets.get(to)
	if !known {
		if l.World.MayBeTarget(host) {
			out = l.World.targets(l.Clients(route, host), l.VirtualService, d)
		}
		l.targets.put(to, out)
	}
	return out
}

// ViewsOf returns what one client that executes a route of vs sees of a destination;
// nothing when it sees no service behind its host, or not the port.
func (w *World) ViewsOf(client Client, vs *networkingv1.VirtualService, d *networking.Destination) []View {
	return w.appendViews(nil, client, vs, d)
}

func (w *World) appendViews(out []View, client Client, vs *networkingv1.VirtualService, d *networking.Destination) []View {
	svc := w.RoutedService(client, ResolveHost(d.GetHost(), vs.Namespace))
	if svc == nil {
		return out
	}
	for port := range w.destinationPorts(vs, client, svc, d) {
		out = append(out, View{client, svc, port})
	}
	return out
}

// MayBeTarget reports whether host is exact, not exempt, and listed by a
// ServiceEntry.
func (w *World) MayBeTarget(host string) bool {
	return !IsWildcard(host) && len(w.entries.exact.at(host)) > 0 && !w.Exempt(host)
}

// Exempt reports whether host is one of the hosts that are never targets.
func (w *World) Exempt(host string) bool {
	return slices.ContainsFunc(w.opts.ExemptHosts, func(e string) bool { return e == host || WildcardFits(e, host) })
}

// Source is the destination of an HTTP route that makes a need.
type Source struct {
	VirtualService *networkingv1.VirtualService
	Route          int // spec.http[Route]
	Destination    int // .route[Destination]
}

// Need is TLS that must be there: a client's plaintext HTTP for a host and port
// that speaks TLS, and what the rule in force does to it.
type Need struct {
	View
	Subset string
	// Sources are the routes that lead there; none when the port wants TLS
	// before any route.
	Sources []Source
	// Rule is the DestinationRule in force, nil: none. Hidden is then a rule that
	// fits no workload of the client and hides all others from it, or nil.
	Rule, Hidden *Effective
	// TLS is what Rule says.
	TLS TLS
}

// Needs returns all needs for host, in a fixed order. There is one for each
// client, port, subset and, where rules have workloadSelectors, rule.
//
// always makes every TLS port a need before any route (policy originate: Always).
func (w *World) Needs(host string, always bool) []Need {
	if !w.MayBeTarget(host) {
		return nil
	}
	needs := w.unjudged(host, always)
	out := slices.Grow([]Need(nil), len(needs))
	for _, n := range needs {
		out = w.appendJudged(out, n)
	}
	slices.SortStableFunc(out, func(a, b Need) int {
		return cmp.Or(
			cmp.Compare(btoi(b.Client.Gateway), btoi(a.Client.Gateway)),
			cmp.Compare(a.Client.Namespace, b.Client.Namespace),
			cmp.Compare(a.Port.GetNumber(), b.Port.GetNumber()),
			cmp.Compare(a.Subset, b.Subset),
		)
	})
	return out
}

// routed are the needs of a host, not judged yet. Of the rules they hang on nothing but the
// namespaces of the host, so they are the same before and after most changes of rules.
type routed struct {
	host   string
	always bool
	needs  []Need
	// namespaces are those of the host, sorted, if that was asked.
	namespaces []string
	asked      bool
}

// unjudged returns the needs of a host without what is in force for them.
func (w *World) unjudged(host string, always bool) []Need {
	if r := w.routed.Load(); r != nil && r.host == host && r.always == always &&
		(!r.asked || slices.Equal(r.namespaces, sorted(w.namespacesOf(host)))) {
		return r.needs
	}
	var g grouping
	for _, vs := range w.routes.at(host) {
		g.add(w, vs, host)
	}
	for _, v := range w.standing(host, always) {
		g.need(v, "")
	}
	r := &routed{host: host, always: always, needs: g.needs}
	if r.namespaces, r.asked = w.namespaces.get(host); r.asked {
		r.namespaces = sorted(r.namespaces)
	}
	w.routed.Store(r)
	return g.needs
}

// grouping collects the needs of a host.
type grouping struct {
	needs []Need
	more  map[needKey]int // their places, of more than a few
	// sources are those of the VirtualService at hand.
	sources []routedSource
}

// routedSource is a source and the place of its lead.
type routedSource struct {
	Source
	lead int
}

type needKey struct {
	namespace      string
	gateway, known bool
	labels         string
	port           uint32
	subset         string
}

func (n *Need) key() needKey {
	c := n.Client
	return needKey{c.Namespace, c.Gateway, c.Known, labelText(c.Labels), n.Port.GetNumber(), n.Subset}
}

// need returns the place of the need of a view.
func (g *grouping) need(v View, subset string) int {
	n := Need{View: v, Subset: subset}
	if at := g.find(&n); at >= 0 {
		return at
	}
	at := len(g.needs)
	g.needs = append(g.needs, n)
	switch {
	case g.more != nil:
		g.more[n.key()] = at
	case len(g.needs) > few:
		g.more = make(map[needKey]int, 2*few)
		for i := range g.needs {
			g.more[g.needs[i].key()] = i
		}
	}
	return at
}

func (g *grouping) find(n *Need) int {
	if g.more != nil {
		if at, ok := g.more[n.key()]; ok {
			return at
		}
		return -1
	}
	for i := range g.needs {
		if o := &g.needs[i]; sameClient(o.Client, n.Client) && o.Port.GetNumber() == n.Port.GetNumber() && o.Subset == n.Subset {
			return i
		}
	}
	return -1
}

// lead is what of a destination decides which needs it makes, of those for one host in one
// VirtualService. Most of its routes lead there in the same way.
type lead struct {
	port   uint32
	named  bool
	subset string
	narrow int // the route and one, of a route that is not for all clients of the others
}

// add collects the needs that the routes of vs to host make.
func (g *grouping) add(w *World, vs *networkingv1.VirtualService, host string) {
	var leads set[lead]
	var needs [][]int // by lead
	routes := min(len(vs.Spec.GetHttp()), 64)
	sources := slices.Grow(g.sources[:0], routes)
	for ri, r := range vs.Spec.GetHttp() {
		if !Sends(r) {
			continue
		}
		for di, d := range r.GetRoute() {
			to := d.GetDestination()
			if !leadsTo(to, vs, host) {
				continue
			}
			l := lead{port: to.GetPort().GetNumber(), named: to.GetPort() != nil, subset: to.GetSubset()}
			if narrows(r.GetMatch()) {
				l.narrow = ri + 1
			}
			at, isNew := leads.add(l)
			if isNew {
				views := w.Targets(vs, r, to)
				of := make([]int, len(views))
				g.needs = slices.Grow(g.needs, len(views))
				for i, v := range views {
					of[i] = g.need(v, l.subset)
				}
				needs = append(needs, of)
			}
			sources = append(sources, routedSource{Source{vs, ri, di}, at})
		}
	}
	g.sources = sources
	if len(needs) != 1 {
		for _, s := range sources {
			for _, i := range needs[s.lead] {
				g.needs[i].Sources = append(g.needs[i].Sources, s.Source)
			}
		}
		return
	}
	var shared []Source // by the first who come
	for _, i := range needs[0] {
		n := &g.needs[i]
		if n.Sources == nil && shared == nil {
			shared = make([]Source, len(sources))
			for k, s := range sources {
				shared[k] = s.Source
			}
		}
		if n.Sources == nil {
			n.Sources = shared
			continue
		}
		for _, s := range sources {
			n.Sources = append(n.Sources, s.Source)
		}
	}
}

// leadsTo reports whether host is the resolved one of a destination of vs.
func leadsTo(to *networking.Destination, vs *networkingv1.VirtualService, host string) bool {
	return strings.HasPrefix(host, to.GetHost()) && ResolveHost(to.GetHost(), vs.Namespace) == host
}

// Judged returns n with what is in force for it: one for each rule of some of the
// client's workloads, and one for those that have none.
func (w *World) Judged(n Need) []Need { return w.appendJudged(nil, n) }

func (w *World) appendJudged(out []Need, n Need) []Need {
	rules, hidden := w.EffectiveRules(n.Client, n.Service)
	for _, e := range rules {
		m := n
		m.Rule, m.TLS = e, e.TLS(n.Port.GetNumber(), n.Subset)
		out = append(out, m)
	}
	if len(rules) == 0 || !rules[len(rules)-1].FitsAll(n.Client) {
		n.Hidden = hidden
		out = append(out, n)
	}
	return out
}

// standing returns the views of the sidecars for the ports of host that want a
// rule before any route.
func (w *World) standing(host string, always bool) []View {
	wanted := func(p Port) bool {
		routed, alone := p.Originates()
		return alone || always && routed
	}
	if !slices.ContainsFunc(w.entries.at(host), func(se *networkingv1.ServiceEntry) bool {
		return slices.ContainsFunc(se.Spec.GetPorts(), func(p *networking.ServicePort) bool { return p != nil && wanted(Port{p, se}) })
	}) {
		return nil
	}
	var out []View
	for _, c := range w.ClientsOf(host) {
		svc := w.Service(c, host)
		if svc == nil || c.Gateway {
			continue
		}
		for _, p := range svc.Ports() {
			if wanted(p) {
				out = append(out, View{c, svc, p})
			}
		}
	}
	return out
}

// Lacks reports whether the need is not met and the user said nothing about it, so
// that TLS can be added: neither DISABLE nor tls that has no effect.
func (n Need) Lacks() bool {
	return !n.Satisfied() && !n.TLS.Disabled() && n.TLS.Settings == nil && (n.Rule == nil || !n.Rule.CredentialIgnored(n.Client, n.TLS))
}

// Satisfied reports whether the need is met: the connection is encrypted, or no
// connection is made since the route's subset does not exist.
func (n Need) Satisfied() bool {
	if n.Rule == nil {
		return false
	}
	if n.TLS.Level == LevelNoSubset {
		return true
	}
	return n.TLS.Encrypts() && !n.Rule.CredentialIgnored(n.Client, n.TLS)
}

// Hosts returns the exact hosts of ServiceEntries that pattern means: itself, or
// for a wildcard all that it covers, sorted.
func (w *World) Hosts(pattern string) []string {
	if !IsWildcard(pattern) {
		return []string{pattern}
	}
	var out []string
	for _, r := range w.entries.exact.rows {
		if WildcardFits(pattern, r.key) {
			out = append(out, r.key)
		}
	}
	slices.Sort(out)
	return out
}
