package mesh

import (
	"iter"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// defaultHTTPPort is where sidecars take requests for the hosts of a VirtualService
// of which no service has that port (buildSidecarVirtualHostsForVirtualService).
const defaultHTTPPort = 80

// RoutedService returns what client sees behind the exact host when a route that it
// executes leads there, or nil: what Service says, and else, for a sidecar, the
// oldest ServiceEntry of its own namespace, to whomever that is exported
// (collectImportedServices, initServiceRegistry).
func (w *World) RoutedService(client Client, host string) *Service {
	if svc := w.Service(client, host); svc != nil || client.Gateway || IsWildcard(host) {
		return svc
	}
	for _, se := range w.entries.exact.at(host) {
		if se.Namespace == client.Namespace {
			svc := newService(host, se)
			svc.Unexported = true
			return svc
		}
	}
	return nil
}

// destinationPorts yields the ports of svc that a destination of vs means to
// client: the one that it names. Where it names none (GetDestinationCluster), to a
// gateway the only one, or of several those that a server of the Gateway has; to a
// sidecar the one that the application called.
func (w *World) destinationPorts(vs *networkingv1.VirtualService, client Client, svc *Service, d *networking.Destination) iter.Seq[Port] {
	return func(yield func(Port) bool) {
		if d.GetPort() != nil {
			if p, ok := svc.port(d.GetPort().GetNumber()); ok {
				yield(p)
			}
			return
		}
		ports := svc.Ports()
		var meant []uint32
		switch {
		case client.Gateway && len(ports) == 1:
			yield(ports[0])
			return
		case client.Gateway:
			meant = w.serverPorts(vs, client)
		default:
			meant = w.calledPorts(vs, client)
		}
		for _, p := range ports {
			if slices.Contains(meant, p.GetNumber()) && !yield(p) {
				return
			}
		}
	}
}

// executed returns vs, or the roots of a delegate.
func (w *World) executed(vs *networkingv1.VirtualService) []*networkingv1.VirtualService {
	if !IsDelegate(vs) {
		return []*networkingv1.VirtualService{vs}
	}
	var out []*networkingv1.VirtualService
	for _, s := range w.RootRoutes(vs) {
		out = append(out, s.VirtualService)
	}
	return out
}

// serverPorts returns the ports of the HTTP servers of those Gateways of vs that
// select the pods of client.
func (w *World) serverPorts(vs *networkingv1.VirtualService, client Client) []uint32 {
	var out []uint32
	for _, vs := range w.executed(vs) {
		for _, name := range GatewayNames(vs) {
			gw := w.gateways.at(name)
			if gw == nil || !maps.Equal(gw.Spec.GetSelector(), client.Labels) {
				continue
			}
			for _, s := range gw.Spec.GetServers() {
				if takesHTTP(s) {
					out = append(out, s.GetPort().GetNumber())
				}
			}
		}
	}
	return out
}

// calledPorts returns the ports at which sidecars take requests for the hosts of vs:
// 80, and the HTTP ports of their services.
func (w *World) calledPorts(vs *networkingv1.VirtualService, client Client) []uint32 {
	out := []uint32{defaultHTTPPort}
	for _, vs := range w.executed(vs) {
		for _, pattern := range VirtualServiceHosts(vs) {
			for _, host := range w.Hosts(pattern) {
				svc := w.RoutedService(client, host)
				if svc == nil {
					continue
				}
				for _, p := range svc.Ports() {
					if p.TakesHTTP() {
						out = append(out, p.GetNumber())
					}
				}
			}
		}
	}
	return out
}

// HostsTellPorts reports whether the services of the hosts of vs decide what a
// destination means: it names no port, or it may be a delegate's.
func HostsTellPorts(vs *networkingv1.VirtualService) bool {
	return len(DelegatesOf(vs)) > 0 || slices.ContainsFunc(vs.Spec.GetHttp(), func(r *networking.HTTPRoute) bool {
		return slices.ContainsFunc(r.GetRoute(), func(d *networking.HTTPRouteDestination) bool { return d.GetDestination().GetPort() == nil })
	})
}

// TakesHTTP reports whether sidecars route HTTP requests at the port: its protocol
// is HTTP, or none that Istio knows, which is sniffed (IsHTTPOrSniffed).
func (p Port) TakesHTTP() bool {
	switch strings.ToLower(p.GetProtocol()) {
	case "https", "tls", "tcp", "mongo", "redis", "mysql", "udp":
		return false
	}
	return true
}
