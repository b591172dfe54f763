package mesh

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// VirtualHost is one of the virtual hosts that a host of a VirtualService comes to
// at a Gateway. Routes of several VirtualServices meet where both fields are equal.
type VirtualHost struct {
	// Host is in lower case.
	Host string
	// Listener is the route configuration: all plaintext servers of a port share
	// one, a server that terminates TLS has its own. "" for an unknown Gateway.
	Listener string
}

// Server is where a virtual host comes from.
type Server struct {
	// Index counts the servers of the Gateway, in whose order routes are merged.
	Index int
	// Port is 0 for an unknown Gateway.
	Port uint32
}

// VirtualHosts returns the virtual hosts that host, of a VirtualService in
// namespace, comes to at a Gateway, each with the first server that has it
// (buildGatewayHTTPRouteConfig, Names.Intersection). A Gateway that is not known,
// nil, is taken for one that serves every host as it is.
func VirtualHosts(gw *networkingv1.Gateway, namespace, host string) map[VirtualHost]Server {
	if gw == nil {
		return map[VirtualHost]Server{{Host: strings.ToLower(host)}: {}}
	}
	out := map[VirtualHost]Server{}
	for i, s := range gw.Spec.GetServers() {
		listener := listenerOf(i, s)
		if listener == "" {
			continue
		}
		for _, h := range serverHosts(s, gw.Namespace, namespace) {
			switch {
			case HostWithin(h, host):
			case HostWithin(host, h):
				h = host
			default:
				continue
			}
			v := VirtualHost{Host: strings.ToLower(h), Listener: listener}
			if _, dup := out[v]; !dup {
				out[v] = Server{Index: i, Port: s.GetPort().GetNumber()}
			}
		}
	}
	return out
}

// ServerHosts counts the hosts of all servers of a Gateway, which may be nil.
func ServerHosts(gw *networkingv1.Gateway) int {
	n := 0
	if gw != nil {
		for _, s := range gw.Spec.GetServers() {
			n += len(s.GetHosts())
		}
	}
	return n
}

// listenerOf is gatewayRDSRouteName; "" for a server without HTTP routes.
func listenerOf(i int, s *networking.Server) string {
	p := s.GetPort()
	switch strings.ToLower(p.GetProtocol()) {
	case "http", "http2", "http_proxy", "grpc", "grpc-web":
		return fmt.Sprintf("http.%d.%s", p.GetNumber(), s.GetBind())
	case "https":
		mode := s.GetTls().GetMode()
		if s.GetTls() != nil && (mode == networking.ServerTLSSettings_PASSTHROUGH || mode == networking.ServerTLSSettings_AUTO_PASSTHROUGH) {
			return ""
		}
		return fmt.Sprintf("https.%d", i)
	}
	return ""
}

// serverHosts are the hosts of a server for VirtualServices of namespace
// (sanitizeServerHostNamespace, NamesForNamespace).
func serverHosts(s *networking.Server, gateway, namespace string) []string {
	if slices.Contains(s.GetHosts(), "*/*") {
		return []string{"*"}
	}
	out := make([]string, 0, len(s.GetHosts()))
	for _, h := range s.GetHosts() {
		if ns, name, scoped := strings.Cut(h, "/"); scoped {
			if ns == ExportPrivate {
				ns = gateway
			}
			if ns != namespace && ns != ExportPublic {
				continue
			}
			h = name
		}
		out = append(out, h)
	}
	return out
}

// HostWithin reports whether host a, exact or wildcard, is covered by b (SubsetOf).
func HostWithin(a, b string) bool {
	if IsWildcard(a) && IsWildcard(b) {
		return len(a) >= len(b) && strings.HasSuffix(a[1:], b[1:])
	}
	return a == b || WildcardFits(b, a)
}

// VirtualServiceHosts returns spec.hosts as Istio resolves them, in their order.
func VirtualServiceHosts(vs *networkingv1.VirtualService) []string {
	out := make([]string, len(vs.Spec.GetHosts()))
	for i, h := range vs.Spec.GetHosts() {
		out[i] = ResolveHost(h, vs.Namespace)
	}
	return out
}

// BoundGateways returns the Gateways of spec.gateways, and whether sidecars take
// the routes of vs as well (getGatewayNames). A match can name no others.
func BoundGateways(vs *networkingv1.VirtualService) (names []types.NamespacedName, sidecars bool) {
	if len(vs.Spec.GetGateways()) == 0 {
		return nil, true
	}
	for _, g := range vs.Spec.GetGateways() {
		if g == MeshGateway {
			sidecars = true
		} else {
			names = append(names, GatewayName(g, vs.Namespace))
		}
	}
	return distinct(names), sidecars
}

// Bounds of one VirtualService: the keys under which it is found, which are its
// gateways times its hosts, those that are looked up for it, and the pairs of its
// hosts and the Gateways' that are compared for these.
const (
	maxHostKeys   = 10_000
	maxSharedKeys = 2_000
	maxPairs      = 1_000_000
)

func hostKey(gateway, host string) string { return gateway + " " + strings.ToLower(host) }

// HostKeys returns the keys under which vs is found by its hosts and gateways.
func HostKeys(vs *networkingv1.VirtualService) []string {
	names, sidecars := BoundGateways(vs)
	if (len(names)+1)*len(vs.Spec.GetHosts()) > maxHostKeys {
		return nil
	}
	var out []string
	for _, h := range VirtualServiceHosts(vs) {
		if sidecars {
			out = append(out, hostKey(MeshGateway, h))
		}
		for _, g := range names {
			out = append(out, hostKey(g.String(), h))
		}
	}
	return distinct(out)
}

// SharedHostKeys returns the HostKeys of all VirtualServices that may have a
// virtual host in common with vs, none when they are too many; gateway looks a
// Gateway up, nil where unknown.
func SharedHostKeys(vs *networkingv1.VirtualService, gateway func(types.NamespacedName) *networkingv1.Gateway) []string {
	names, sidecars := BoundGateways(vs)
	pairs := 0
	for _, g := range names {
		pairs += ServerHosts(gateway(g)) * len(vs.Spec.GetHosts())
	}
	if pairs > maxPairs || HostKeys(vs) == nil {
		return nil
	}
	seen := map[string]struct{}{}
	var out []string
	add := func(g, h string) {
		k := hostKey(g, h)
		if _, dup := seen[k]; !dup && len(out) <= maxSharedKeys {
			seen[k] = struct{}{}
			out = append(out, k)
		}
	}
	for _, h := range VirtualServiceHosts(vs) {
		if sidecars {
			add(MeshGateway, h)
		}
		for _, g := range names {
			gw := gateway(g)
			if gw == nil {
				add(g.String(), h)
				continue
			}
			for v := range VirtualHosts(gw, vs.Namespace, h) {
				add(g.String(), v.Host)
				for _, wild := range WildcardsOf(strings.TrimPrefix(v.Host, "*")) {
					add(g.String(), wild)
				}
			}
		}
	}
	if len(out) > maxSharedKeys {
		return nil
	}
	slices.Sort(out)
	return out
}

// SharingHosts returns the VirtualServices, other than vs, that may have a virtual
// host in common with it, oldest first; none when they are more than most.
func (w *World) SharingHosts(vs *networkingv1.VirtualService, most int) []*networkingv1.VirtualService {
	seen := map[*networkingv1.VirtualService]struct{}{}
	var out []*networkingv1.VirtualService
	for _, k := range SharedHostKeys(vs, w.Gateway) {
		for _, o := range w.hosts[k] {
			if _, dup := seen[o]; !dup && nameOf(o) != nameOf(vs) {
				if len(out) == most {
					return nil
				}
				seen[o] = struct{}{}
				out = append(out, o)
			}
		}
	}
	slices.SortFunc(out, olderFirst)
	return out
}

// Gateway returns the named Gateway, or nil.
func (w *World) Gateway(name types.NamespacedName) *networkingv1.Gateway { return w.gateways[name] }

// Rank is the group in which a proxy of namespace takes up the routes of vs
// (initVirtualServices, VirtualServicesForGateway): 0 of its own namespace and not
// public, 1 exported to it by name, 2 public. ok is false when it does not see vs.
func Rank(vs *networkingv1.VirtualService, namespace string) (rank int, ok bool) {
	switch exportedTo(vs.Spec.GetExportTo(), vs.Namespace, namespace) {
	case visibleToAll:
		return 2, true
	case visibleByName:
		if vs.Namespace == namespace {
			return 0, true
		}
		return 1, true
	}
	return 0, false
}

// NamedNamespaces returns the namespaces that tell VirtualServices apart by what
// they are exported to, sorted, OtherNamespaces first for all others.
func NamedNamespaces(all []*networkingv1.VirtualService) []string {
	out := []string{OtherNamespaces}
	for _, vs := range all {
		out = append(out, vs.Namespace)
		for _, e := range vs.Spec.GetExportTo() {
			if e != ExportPublic && e != ExportPrivate && e != ExportNone {
				out = append(out, e)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// CompareAge orders VirtualServices as Istio does, oldest first.
func CompareAge(a, b *networkingv1.VirtualService) int { return olderFirst(a, b) }

// GatewayNamespaces returns where the pods of a Gateway run, sorted; none when
// nothing tells.
func (w *World) GatewayNamespaces(name types.NamespacedName) []string {
	out := w.gatewayNamespaces(w.selector(name))
	slices.Sort(out)
	return slices.Compact(out)
}

// SamePods reports whether one pod may execute both Gateways: it does not when
// their selectors want different values of one label.
func (w *World) SamePods(a, b types.NamespacedName) bool {
	ga, gb := w.gateways[a], w.gateways[b]
	if ga == nil || gb == nil {
		return true
	}
	for k, v := range ga.Spec.GetSelector() {
		if o, ok := gb.Spec.GetSelector()[k]; ok && o != v {
			return false
		}
	}
	return true
}
