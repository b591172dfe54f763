package mesh

import (
	"fmt"
	"iter"
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
		listener := ""
		for h := range meets(s, gw.Namespace, namespace, host) {
			if listener == "" {
				listener = listenerOf(i, s)
			}
			v := VirtualHost{Host: h, Listener: listener}
			if _, dup := out[v]; !dup {
				out[v] = Server{Index: i, Port: s.GetPort().GetNumber()}
			}
		}
	}
	return out
}

// meets yields the virtual hosts, in lower case, that host of a VirtualService comes to at
// one server.
func meets(s *networking.Server, gateway, namespace, host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !takesHTTP(s) {
			return
		}
		for h := range serverHosts(s, gateway, namespace) {
			switch {
			case HostWithin(h, host):
			case HostWithin(host, h):
				h = host
			default:
				continue
			}
			if !yield(strings.ToLower(h)) {
				return
			}
		}
	}
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

// takesHTTP reports whether a server has HTTP routes.
func takesHTTP(s *networking.Server) bool {
	switch strings.ToLower(s.GetPort().GetProtocol()) {
	case "http", "http2", "http_proxy", "grpc", "grpc-web":
		return true
	case "https":
		mode := s.GetTls().GetMode()
		return s.GetTls() == nil || mode != networking.ServerTLSSettings_PASSTHROUGH && mode != networking.ServerTLSSettings_AUTO_PASSTHROUGH
	}
	return false
}

// listenerOf is gatewayRDSRouteName, of a server that takes HTTP.
func listenerOf(i int, s *networking.Server) string {
	if strings.EqualFold(s.GetPort().GetProtocol(), "https") {
		return fmt.Sprintf("https.%d", i)
	}
	return fmt.Sprintf("http.%d.%s", s.GetPort().GetNumber(), s.GetBind())
}

// serverHosts yields the hosts of a server for VirtualServices of namespace
// (sanitizeServerHostNamespace, NamesForNamespace).
func serverHosts(s *networking.Server, gateway, namespace string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if slices.Contains(s.GetHosts(), "*/*") {
			yield("*")
			return
		}
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
			if !yield(h) {
				return
			}
		}
	}
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

// hostAt is a host, in lower case, of a VirtualService at one of its gateways; of a
// wildcard what follows the "*".
type hostAt struct {
	gateway types.NamespacedName
	host    string
	wild    bool
}

// meshAt stands for the sidecars; no reference leads to a Gateway of this name.
var meshAt = types.NamespacedName{Namespace: "/", Name: MeshGateway}

func keyOf(gateway types.NamespacedName, host string) hostAt {
	tail, wild := strings.CutPrefix(strings.ToLower(host), "*")
	return hostAt{gateway, tail, wild}
}

func (k hostAt) String() string {
	gateway, host := MeshGateway, k.host
	if k.gateway != meshAt {
		gateway = k.gateway.String()
	}
	if k.wild {
		host = "*" + host
	}
	return gateway + " " + host
}

// HostKeys returns the keys under which vs is found by its hosts and gateways.
func HostKeys(vs *networkingv1.VirtualService) []string {
	return texts(collected(hostKeys(vs)))
}

func texts(keys []hostAt) []string {
	if keys == nil {
		return nil
	}
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.String()
	}
	return out
}

// hostKeys yields the keys of HostKeys, some of them again.
func hostKeys(vs *networkingv1.VirtualService) iter.Seq[hostAt] {
	return func(yield func(hostAt) bool) {
		names, sidecars := BoundGateways(vs)
		if tooManyKeys(vs, names) {
			return
		}
		for _, h := range vs.Spec.GetHosts() {
			h = ResolveHost(h, vs.Namespace)
			if sidecars && !yield(keyOf(meshAt, h)) {
				return
			}
			for _, g := range names {
				if !yield(keyOf(g, h)) {
					return
				}
			}
		}
	}
}

func tooManyKeys(vs *networkingv1.VirtualService, gateways []types.NamespacedName) bool {
	return (len(gateways)+1)*len(vs.Spec.GetHosts()) > maxHostKeys
}

// SharedHostKeys returns the HostKeys of all VirtualServices that may have a
// virtual host in common with vs, none when they are too many; gateway looks a
// Gateway up, nil where unknown.
func SharedHostKeys(vs *networkingv1.VirtualService, gateway func(types.NamespacedName) *networkingv1.Gateway) []string {
	out := texts(sharedHostKeys(vs, gateway))
	slices.Sort(out)
	return out
}

func sharedHostKeys(vs *networkingv1.VirtualService, gateway func(types.NamespacedName) *networkingv1.Gateway) []hostAt {
	names, sidecars := BoundGateways(vs)
	pairs := 0
	for _, g := range names {
		pairs += ServerHosts(gateway(g)) * len(vs.Spec.GetHosts())
	}
	if pairs > maxPairs || len(vs.Spec.GetHosts()) == 0 || tooManyKeys(vs, names) {
		return nil
	}
	var out set[hostAt]
	add := func(k hostAt) {
		if len(out.list) <= maxSharedKeys {
			out.add(k)
		}
	}
	for _, h := range vs.Spec.GetHosts() {
		h = ResolveHost(h, vs.Namespace)
		if sidecars {
			add(keyOf(meshAt, h))
		}
		for _, g := range names {
			gw := gateway(g)
			if gw == nil {
				add(keyOf(g, h))
				continue
			}
			for _, s := range gw.Spec.GetServers() {
				for v := range meets(s, gw.Namespace, vs.Namespace, h) {
					k := keyOf(g, v)
					add(k)
					for tail := range tails(k.host) {
						add(hostAt{g, tail, true})
					}
				}
			}
		}
	}
	if len(out.list) > maxSharedKeys {
		return nil
	}
	return out.list
}

// SharingHosts returns the VirtualServices, other than vs, that may have a virtual
// host in common with it, oldest first; none when they are more than most. The answer must
// not be changed: who asks again gets the same.
func (w *World) SharingHosts(vs *networkingv1.VirtualService, most int) []*networkingv1.VirtualService {
	key := sharingKey{vs, most}
	if out, known := w.sharing.get(key); known {
		return out
	}
	var out set[*networkingv1.VirtualService]
	for _, k := range sharedHostKeys(vs, w.Gateway) {
		for _, o := range w.hosts.at(k) {
			if nameOf(o) == nameOf(vs) {
				continue
			}
			out.add(o)
			if len(out.list) > most {
				return nil
			}
		}
	}
	if len(out.list) > 0 {
		slices.SortFunc(out.list, olderFirst)
		w.sharing.put(key, out.list)
	}
	return out.list
}

type sharingKey struct {
	vs   *networkingv1.VirtualService
	most int
}

// Gateway returns the named Gateway, or nil.
func (w *World) Gateway(name types.NamespacedName) *networkingv1.Gateway {
	return w.gateways.at(name)
}

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
	out := slices.Clone(w.gatewayNamespaces(w.selector(name)))
	slices.Sort(out)
	return slices.Compact(out)
}

// SamePods reports whether one pod may execute both Gateways: it does not when
// their selectors want different values of one label.
func (w *World) SamePods(a, b types.NamespacedName) bool {
	ga, gb := w.gateways.at(a), w.gateways.at(b)
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
