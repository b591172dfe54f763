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
	for _, h := range hostAndWildcards(host) {
		all := slices.Clone(w.hosts[hostKey(MeshGateway, h)])
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
		for _, vs := range all {
			if w.routesAt(vs, client, port) {
				return vs
			}
		}
		return nil
	}
	return nil
}

// routesAt reports whether a sidecar of client has a route of vs for port.
func (w *World) routesAt(vs *networkingv1.VirtualService, client Client, port uint32) bool {
	return slices.ContainsFunc(vs.Spec.GetHttp(), func(r *networking.HTTPRoute) bool {
		if d := r.GetDelegate(); d != nil && w.virtual[DelegateName(vs, d)] == nil {
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
	for h, entries := range w.entries {
		if slices.ContainsFunc(entries, func(se *networkingv1.ServiceEntry) bool {
			return se.Spec.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL
		}) {
			found[h] = struct{}{}
		}
	}
	for _, routes := range []map[string][]*networkingv1.VirtualService{w.routes, w.tlsHosts} {
		for h := range routes {
			if IsExternal(h) {
				found[h] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
