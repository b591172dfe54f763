package conformance

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	v3 "istio.io/istio/pilot/pkg/xds/v3"
	istiohost "istio.io/istio/pkg/config/host"
	"istio.io/istio/pkg/wellknown"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
)

// observed is what istiod tells the proxies.
type observed struct {
	hops []hop
	// clusters are by proxy and name; raw are those that connections are passed to as they are.
	clusters map[string]*clusterv3.Cluster
	raw      map[string]bool
	// unexplained is where that differs from what is explained of a host.
	unexplained string
}

// faults are those of all hops that the request is about: its routes, and its hosts.
func (o *observed) faults(p *played) []string {
	out := map[string]bool{}
	for _, h := range o.hops {
		if !p.concerns(h) {
			continue
		}
		for _, f := range h.faults() {
			out[fmt.Sprintf("%s:%d: %s", h.host, h.port, f)] = true
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// concerns reports whether a hop is what an object of the request makes.
func (p *played) concerns(h hop) bool {
	return slices.ContainsFunc(p.Request, func(o scenario.Object) bool {
		switch o := o.Typed.(type) {
		case *networkingv1.VirtualService:
			return h.virtualService == o.Namespace+"/"+o.Name || slices.Contains(p.roots(o), h.virtualService)
		case *networkingv1.ServiceEntry:
			return slices.Contains(o.Spec.GetHosts(), h.host)
		case *networkingv1.DestinationRule:
			return istiohost.Name(o.Spec.GetHost()).Matches(istiohost.Name(h.host))
		}
		return false
	})
}

// A hop is a place at which a proxy sends HTTP requests to an external service.
type hop struct {
	proxy   istiod.Proxy
	route   string
	host    string
	port    uint32
	cluster *clusterv3.Cluster // nil: there is none, and the requests fail
	// authority and proto are what Host and X-Forwarded-Proto are set to, "" when they stay.
	authority, proto string
	// virtualService is the one whose route it is, "" for the route that every HTTP port has.
	virtualService string
}

func (h hop) String() string {
	return fmt.Sprintf("%s: %s to %s:%d", h.proxy, h.route, h.host, h.port)
}

// faults are what the external server would not take.
func (h hop) faults() []string {
	var out []string
	if h.cluster == nil {
		return []string{"no cluster"}
	}
	if s := tlsOf(h.cluster); s == nil {
		out = append(out, "plaintext")
	} else {
		if sni := h.sni(s); sni != h.host {
			out = append(out, "SNI "+strconv.Quote(sni))
		}
		if s.GetCommonTlsContext().GetValidationContextType() == nil {
			out = append(out, "certificate not verified")
		}
	}
	if h.virtualService == "" {
		return out
	}
	if h.authority != h.host {
		out = append(out, "Host "+strconv.Quote(h.authority))
	}
	if h.proto != "https" {
		out = append(out, "X-Forwarded-Proto "+strconv.Quote(h.proto))
	}
	return out
}

// roots are the VirtualServices that delegate to vs, under whose names istiod notes its routes.
func (p *played) roots(vs *networkingv1.VirtualService) []string {
	var out []string
	for _, o := range p.without {
		if root, ok := o.Typed.(*networkingv1.VirtualService); ok &&
			slices.Contains(mesh.DelegatesOf(root), types.NamespacedName{Namespace: vs.Namespace, Name: vs.Name}) {
			out = append(out, root.Namespace+"/"+root.Name)
		}
	}
	return out
}

// sni is the name that the proxy asks for. Envoy takes that of Host where it is told no other and
// auto_sni is set.
func (h hop) sni(s *tlsv3.UpstreamTlsContext) string {
	options := &httpv3.HttpProtocolOptions{}
	if o := h.cluster.GetTypedExtensionProtocolOptions()[v3.HttpProtocolOptionsType]; o != nil {
		if err := o.UnmarshalTo(options); err != nil {
			panic(err)
		}
	}
	if s.GetSni() == "" && options.GetUpstreamHttpProtocolOptions().GetAutoSni() {
		if h.authority == "" && h.virtualService == "" {
			return h.host // The route takes requests for no other.
		}
		return h.authority
	}
	return s.GetSni()
}

var virtualServicePath = regexp.MustCompile(`/namespaces/([^/]+)/virtual-service/(.+)$`)

// virtualServiceOf is the namespace and name that istiod notes in a route.
func virtualServiceOf(r *routev3.Route) string {
	config := r.GetMetadata().GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
	if m := virtualServicePath.FindStringSubmatch(config); m != nil {
		return m[1] + "/" + m[2]
	}
	return ""
}

func observe(t *testing.T, p *played, objects []scenario.Object) *observed {
	t.Helper()
	out := &observed{clusters: map[string]*clusterv3.Cluster{}, raw: map[string]bool{}}
	all := typed(withNeighbours(t, objects))
	istiod.Run(t, all, istiod.Options{RootNamespace: p.Policy.RootNamespace}, func(m *istiod.Mesh) {
		var proxies []pushed
		for _, proxy := range p.proxies() {
			clusters := m.Clusters(proxy)
			for name, c := range clusters {
				out.clusters[fmt.Sprint(proxy, " ", name)] = c
			}
			raw := rawClusters(t, m.Listeners(proxy))
			for _, name := range raw {
				out.raw[fmt.Sprint(proxy, " ", name)] = true
			}
			routes := m.Routes(proxy)
			proxies = append(proxies, pushed{proxy, clusters, routedIn(routes), raw})
			for _, name := range slices.Sorted(maps.Keys(routes)) {
				for _, vh := range routes[name].GetVirtualHosts() {
					for i, r := range vh.GetRoutes() {
						for _, h := range hops(r) {
							host, port, ok := target(objects, h.cluster)
							if !ok {
								continue
							}
							out.hops = append(out.hops, hop{
								proxy: proxy, route: fmt.Sprintf("%s %s %d", name, vh.GetName(), i), host: host, port: port,
								cluster: clusters[h.cluster], authority: h.authority, proto: h.proto, virtualService: virtualServiceOf(r),
							})
						}
					}
				}
			}
		}
		out.unexplained = explanationDiffers(t, all, p.Policy, proxies, &tally{})
	})
	return out
}

// rawClusters are those that listeners pass connections to without looking into them.
func rawClusters(t testing.TB, listeners []*listenerv3.Listener) []string {
	t.Helper()
	var out []string
	for _, l := range listeners {
		for _, chain := range l.GetFilterChains() {
			for _, filter := range chain.GetFilters() {
				if filter.GetName() != wellknown.TCPProxy {
					continue
				}
				proxy := &tcpv3.TcpProxy{}
				require.NoError(t, filter.GetTypedConfig().UnmarshalTo(proxy))
				out = append(out, proxy.GetCluster())
				for _, c := range proxy.GetWeightedClusters().GetClusters() {
					out = append(out, c.GetName())
				}
			}
		}
	}
	return out
}

// proxies are the pods that may be there: those of every Gateway where its Services run them, or
// where they may run if none does; and a sidecar in every other namespace, and elsewhere, and those
// that DestinationRules select. A rule that
// is private to the namespace of gateway pods is in force for sidecars there too, so there are none.
func (p *played) proxies() []istiod.Proxy {
	objects := slices.Concat(p.without, p.with)
	namespaces := map[string]bool{elsewhere: true, p.Policy.RootNamespace: true}
	without := map[string]bool{"": true}
	var gateways, selected []istiod.Proxy
	for _, o := range objects {
		for _, ns := range append(exportTo(o), o.Typed.GetNamespace()) {
			namespaces[ns] = true
		}
		if vs, ok := o.Typed.(*networkingv1.VirtualService); ok {
			for _, r := range vs.Spec.GetHttp() {
				for _, m := range r.GetMatch() {
					namespaces[m.GetSourceNamespace()] = true
				}
			}
		}
		if dr, ok := o.Typed.(*networkingv1.DestinationRule); ok && dr.Spec.GetWorkloadSelector() != nil {
			selected = append(selected, istiod.Proxy{Namespace: dr.Namespace, Labels: dr.Spec.GetWorkloadSelector().GetMatchLabels()})
		}
		gw, ok := o.Typed.(*networkingv1.Gateway)
		if !ok {
			continue
		}
		pods := map[string]map[string]string{}
		for _, ns := range p.Policy.GatewayNamespaces {
			pods[ns] = gw.Spec.GetSelector()
		}
		for _, o := range objects {
			if svc, ok := o.Typed.(*corev1.Service); ok && labels.SelectorFromSet(gw.Spec.GetSelector()).Matches(labels.Set(svc.Spec.Selector)) {
				pods[svc.Namespace] = svc.Spec.Selector
			}
		}
		known := len(pods) > 0
		if !known {
			pods[gw.Namespace], pods[p.Policy.RootNamespace] = gw.Spec.GetSelector(), gw.Spec.GetSelector()
		}
		for _, ns := range slices.Sorted(maps.Keys(pods)) {
			without[ns] = without[ns] || known
			gateways = append(gateways, istiod.Proxy{Namespace: ns, Gateway: true, Labels: pods[ns]})
		}
	}
	maps.DeleteFunc(namespaces, func(ns string, _ bool) bool { return without[ns] })
	out := slices.CompactFunc(gateways, func(a, b istiod.Proxy) bool { return a.String() == b.String() })
	for _, ns := range slices.Sorted(maps.Keys(namespaces)) {
		out = append(out, istiod.Proxy{Namespace: ns})
	}
	return append(out, slices.DeleteFunc(selected, func(p istiod.Proxy) bool { return without[p.Namespace] })...)
}

// exportTo are the namespaces that an object is exported to by name.
func exportTo(o scenario.Object) []string {
	var out []string
	switch o := o.Typed.(type) {
	case *networkingv1.ServiceEntry:
		out = o.Spec.GetExportTo()
	case *networkingv1.VirtualService:
		out = o.Spec.GetExportTo()
	case *networkingv1.DestinationRule:
		out = o.Spec.GetExportTo()
	}
	return slices.DeleteFunc(slices.Clone(out), func(ns string) bool {
		return ns == mesh.ExportPublic || ns == mesh.ExportPrivate || ns == mesh.ExportNone
	})
}

type destination struct{ cluster, authority, proto string }

// hops are the clusters that a route sends to, and the headers it sets. What the route sets wins
// over what a weighted cluster sets.
func hops(r *routev3.Route) []destination {
	protoOf := func(headers []*corev3.HeaderValueOption) string {
		for _, h := range headers {
			if strings.EqualFold(h.GetHeader().GetKey(), "x-forwarded-proto") {
				return h.GetHeader().GetValue()
			}
		}
		return ""
	}
	action := r.GetRoute()
	whole := destination{cluster: action.GetCluster(), authority: action.GetHostRewriteLiteral(), proto: protoOf(r.GetRequestHeadersToAdd())}
	if action.GetWeightedClusters() == nil {
		return []destination{whole}
	}
	var out []destination
	for _, c := range action.GetWeightedClusters().GetClusters() {
		d := whole
		d.cluster = c.GetName()
		if d.authority == "" {
			d.authority = c.GetHostRewriteLiteral()
		}
		if d.proto == "" {
			d.proto = protoOf(c.GetRequestHeadersToAdd())
		}
		out = append(out, d)
	}
	return out
}

// target returns the host and port of a cluster that is a port of an external service which speaks
// TLS.
func target(objects []scenario.Object, cluster string) (host string, port uint32, ok bool) {
	port, host, ok = split(cluster)
	if !ok {
		return "", 0, false
	}
	for _, o := range objects {
		se, isEntry := o.Typed.(*networkingv1.ServiceEntry)
		if !isEntry || se.Spec.GetLocation() != networking.ServiceEntry_MESH_EXTERNAL || !slices.Contains(se.Spec.GetHosts(), host) {
			continue
		}
		for _, p := range se.Spec.GetPorts() {
			if p.GetNumber() != port {
				continue
			}
			if a, ok := se.Annotations[mesh.OriginateAnnotation]; ok && a != "always" {
				return host, port, slices.Contains(strings.Split(a, ","), strconv.FormatUint(uint64(port), 10))
			}
			if slices.Contains([]string{"HTTPS", "TLS"}, p.GetProtocol()) || p.GetNumber() == 443 || p.GetTargetPort() == 443 {
				return host, port, true
			}
		}
	}
	return "", 0, false
}

// withoutTransport is a cluster without its TLS, and without what only names the DestinationRule.
func withoutTransport(c *clusterv3.Cluster) *clusterv3.Cluster {
	c = proto.CloneOf(c)
	c.TransportSocket, c.TransportSocketMatches, c.Metadata = nil, nil, nil
	return c
}

// tlsOf is the TLS that a cluster speaks, nil for none.
func tlsOf(c *clusterv3.Cluster) *tlsv3.UpstreamTlsContext {
	if c.GetTransportSocket() == nil {
		return nil
	}
	out := &tlsv3.UpstreamTlsContext{}
	if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(out); err != nil {
		panic(err)
	}
	return out
}
