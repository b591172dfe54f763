package mesh

import (
	"cmp"
	"slices"

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
	if !w.MayBeTarget(ResolveHost(d.GetHost(), vs.Namespace)) {
		return nil
	}
	return slices.DeleteFunc(w.views(vs, route, d), func(v View) bool {
		routed, _ := v.Port.Originates()
		return !routed
	})
}

// views returns what the clients of one HTTP route of vs see of a destination of it;
// nothing of those that see no service behind its host, or not the port.
func (w *World) views(vs *networkingv1.VirtualService, route *networking.HTTPRoute, d *networking.Destination) []View {
	var out []View
	for _, c := range w.Clients(vs, route, ResolveHost(d.GetHost(), vs.Namespace)) {
		out = append(out, w.ViewsOf(c, vs, d)...)
	}
	return out
}

// ViewsOf returns what one client that executes a route of vs sees of a destination.
func (w *World) ViewsOf(client Client, vs *networkingv1.VirtualService, d *networking.Destination) []View {
	svc := w.RoutedService(client, ResolveHost(d.GetHost(), vs.Namespace))
	if svc == nil {
		return nil
	}
	var out []View
	for _, port := range w.destinationPorts(vs, client, svc, d) {
		out = append(out, View{client, svc, port})
	}
	return out
}

// MayBeTarget reports whether host is exact, not exempt, and listed by a
// ServiceEntry.
func (w *World) MayBeTarget(host string) bool {
	return len(w.entries[host]) > 0 && !IsWildcard(host) && !w.Exempt(host)
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
	type key struct {
		namespace      string
		gateway, known bool
		labels         string
		port           uint32
		subset         string
	}
	var needs []Need
	at := map[key]int{}
	add := func(v View, subset string, src *Source) {
		k := key{v.Client.Namespace, v.Client.Gateway, v.Client.Known, labelText(v.Client.Labels), v.Port.GetNumber(), subset}
		i, ok := at[k]
		if !ok {
			i = len(needs)
			at[k] = i
			needs = append(needs, Need{View: v, Subset: subset})
		}
		if src != nil {
			needs[i].Sources = append(needs[i].Sources, *src)
		}
	}
	for _, vs := range w.routes[host] {
		for ri, r := range vs.Spec.GetHttp() {
			if !Sends(r) {
				continue
			}
			for di, d := range r.GetRoute() {
				if ResolveHost(d.GetDestination().GetHost(), vs.Namespace) != host {
					continue
				}
				for _, v := range w.Targets(vs, r, d.GetDestination()) {
					add(v, d.GetDestination().GetSubset(), &Source{vs, ri, di})
				}
			}
		}
	}
	for _, v := range w.standing(host, always) {
		add(v, "", nil)
	}
	var out []Need
	for _, n := range needs {
		out = append(out, w.Judged(n)...)
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

// Judged returns n with what is in force for it: one for each rule of some of the
// client's workloads, and one for those that have none.
func (w *World) Judged(n Need) []Need {
	var out []Need
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
	var out []View
	for _, c := range w.ClientsOf(host) {
		svc := w.Service(c, host)
		if svc == nil || c.Gateway {
			continue
		}
		for _, p := range svc.Ports() {
			if routed, alone := p.Originates(); alone || (always && routed) {
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
	for h := range w.entries {
		if !IsWildcard(h) && WildcardFits(pattern, h) {
			out = append(out, h)
		}
	}
	slices.Sort(out)
	return out
}
