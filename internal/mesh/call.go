package mesh

import (
	"cmp"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// CallsTakenBy returns the VirtualService whose routes the sidecars of client carry out
// for HTTP calls to the exact host at port, whatever they say of the request; nil: none,
// and calls go to the host itself. A route for pods with certain labels does not count:
// the others' calls go there.
//
// It is the first, in Istio's order, with a route for the port
// (BuildSidecarVirtualHostWrapper). One for a wildcard counts only if none is for the
// host, and none for a longer wildcard (computeWildcardHostVirtualServiceIndex).
func (w *World) CallsTakenBy(client Client, host string, port uint32) *networkingv1.VirtualService {
	taker, _ := w.takes(client, host, port, nil)
	return taker
}

// takes returns the first VirtualService that CallsTakenBy looks for, and whether it comes
// before vs.
func (w *World) takes(client Client, host string, port uint32, vs *networkingv1.VirtualService) (taker *networkingv1.VirtualService, before bool) {
	for _, h := range HostAndWildcards(host) {
		all := slices.Clone(w.hosts.at(keyOf(meshAt, h)))
		all = slices.DeleteFunc(all, func(vs *networkingv1.VirtualService) bool {
			_, ok := Rank(vs, client.Namespace)
			return !ok
		})
		if len(all) == 0 {
			continue
		}
		slices.SortFunc(all, func(a, b *networkingv1.VirtualService) int {
			ra, _ := Rank(a, client.Namespace)
			rb, _ := Rank(b, client.Namespace)
			return cmp.Or(cmp.Compare(ra, rb), olderFirst(a, b))
		})
		if IsWildcard(h) {
			all = all[:1]
		}
		passed := false
		for _, o := range all {
			if w.routesAt(o, client, port) {
				return o, !passed && o != vs
			}
			passed = passed || o == vs
		}
		return nil, false
	}
	return nil, false
}

// Ignored reports whether the sidecars of client ignore vs. By is the VirtualService that
// takes the calls of each host of vs at each port before it does, the first of several; nil:
// they take no HTTP calls for these hosts at all. What nobody knows is not ignored.
func (w *World) Ignored(client Client, vs *networkingv1.VirtualService) (by *networkingv1.VirtualService, ignored bool) {
	if names, _ := BoundGateways(vs); tooManyKeys(vs, names) {
		return nil, false
	}
	for _, host := range VirtualServiceHosts(vs) {
		for _, port := range w.portsTaken(client, host) {
			taker, before := w.takes(client, host, port, vs)
			if !before {
				return nil, false
			}
			by = cmp.Or(by, taker)
		}
	}
	return by, true
}

// portsTaken returns the ports at which sidecars of client take HTTP calls for a host of a
// VirtualService: the HTTP ports of its service, and 80. At a port 80 of the very host that
// is for something else they take none: to Istio the host has a service there, so that it
// does not make it up, and the service has no HTTP (separateVSHostsAndServices,
// buildSidecarVirtualHostsForVirtualService).
func (w *World) portsTaken(client Client, host string) []uint32 {
	var out []uint32
	if svc := w.Service(client, host); svc == nil || !svc.hasOther(defaultHTTPPort) {
		out = append(out, defaultHTTPPort)
	}
	if svc := w.CalledService(client, host); svc != nil {
		for _, p := range svc.Ports() {
			if p.TakesHTTP() {
				out = append(out, p.GetNumber())
			}
		}
	}
	return out
}

// TakersOf returns the sidecars that may take HTTP calls for hosts of vs at other ports than
// others: where a port 80 of a host is for something else, those of the namespaces that its
// ServiceEntries are in, or exported to.
func (w *World) TakersOf(vs *networkingv1.VirtualService) []Client {
	var namespaces []string
	for _, host := range VirtualServiceHosts(vs) {
		entries := w.entries.exact.at(host)
		if !slices.ContainsFunc(entries, func(se *networkingv1.ServiceEntry) bool { return newService(host, se).hasOther(defaultHTTPPort) }) {
			continue
		}
		for _, se := range entries {
			eachNamed(se.Namespace, se.Spec.GetExportTo(), func(ns string) { namespaces = append(namespaces, ns) })
		}
	}
	var out []Client
	for _, ns := range distinct(namespaces) {
		out = append(out, Client{Namespace: ns, Known: true})
	}
	return out
}

// hasOther reports whether the service has the port, and not for HTTP.
func (s *Service) hasOther(port uint32) bool {
	p, ok := s.port(port)
	return ok && !p.TakesHTTP()
}

// CallersOf returns the sidecars whose calls to host VirtualServices may take otherwise than
// those of others: of the namespaces that these are in, exported to, or match by.
func (w *World) CallersOf(host string) []Client {
	var all []*networkingv1.VirtualService
	var namespaces []string
	for _, h := range HostAndWildcards(host) {
		for _, vs := range w.hosts.at(keyOf(meshAt, h)) {
			all = append(all, vs)
			for _, r := range vs.Spec.GetHttp() {
				for _, m := range r.GetMatch() {
					namespaces = append(namespaces, m.GetSourceNamespace())
				}
			}
		}
	}
	var out []Client
	for _, ns := range distinct(append(namespaces, NamedNamespaces(all)...)) {
		if ns != OtherNamespaces {
			out = append(out, Client{Namespace: ns, Known: true})
		}
	}
	return out
}

// routesAt reports whether a sidecar of client has a route of vs for port.
func (w *World) routesAt(vs *networkingv1.VirtualService, client Client, port uint32) bool {
	return slices.ContainsFunc(vs.Spec.GetHttp(), func(r *networking.HTTPRoute) bool {
		if d := r.GetDelegate(); d != nil && w.virtual.at(DelegateName(vs, d)) == nil {
			return false
		}
		return len(r.GetMatch()) == 0 || slices.ContainsFunc(r.GetMatch(), func(m *networking.HTTPMatchRequest) bool {
			switch {
			case m.GetPort() != 0 && m.GetPort() != port:
				return false
			case len(m.GetGateways()) > 0:
				return slices.Contains(m.GetGateways(), MeshGateway)
			}
			return len(m.GetSourceLabels()) == 0 && (m.GetSourceNamespace() == "" || m.GetSourceNamespace() == client.Namespace)
		})
	})
}

// ExternalHosts returns the hosts, exact or wildcard, that ServiceEntries declare
// outside of the mesh, and those outside of the cluster that routes lead to, sorted.
func (w *World) ExternalHosts() []string {
	found := map[string]struct{}{}
	external := func(se *networkingv1.ServiceEntry) bool {
		return se.Spec.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL
	}
	for _, r := range w.entries.exact.rows {
		if slices.ContainsFunc(r.value, external) {
			found[r.key] = struct{}{}
		}
	}
	for _, r := range w.entries.wild.rows {
		if slices.ContainsFunc(r.value, external) {
			found["*"+r.key] = struct{}{}
		}
	}
	for _, routes := range [...]*lists[string, *networkingv1.VirtualService]{&w.routes, &w.tlsHosts, &w.beside} {
		for _, r := range routes.rows {
			if IsExternal(r.key) {
				found[r.key] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
