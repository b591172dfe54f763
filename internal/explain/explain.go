package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// Input is what is explained.
type Input struct {
	Objects mesh.Objects
	Policy  *policy.Policy
	// Mode returns the mode of a namespace.
	Mode func(namespace string) policy.Mode
}

// Explainer explains hosts of one mesh. What it finds out about an object it keeps, so
// that all hosts cost about as much as all objects.
type Explainer struct {
	Input
	// world holds the rules as they are, bare as decisions are made about them.
	world, bare *mesh.World
	site        *decision.Site // of bare
	judged      map[finding.Object]*judged
	headers     map[finding.Object][]string
	hosts       []string
	byLowerCase map[string]string
}

// New indexes in, whose objects must not be changed afterwards.
func New(in Input) *Explainer {
	bare := decision.World(in.Objects, in.Policy)
	routes := make([]metav1.Object, len(in.Objects.VirtualServices))
	for i, vs := range in.Objects.VirtualServices {
		routes[i] = vs
	}
	e := &Explainer{
		Input: in, world: mesh.NewWorld(in.Objects, decision.Options(in.Policy)), bare: bare, site: decision.NewSite(bare, in.Policy, routes...),
		judged: map[finding.Object]*judged{}, headers: map[finding.Object][]string{}, byLowerCase: map[string]string{},
	}
	e.hosts = e.world.ExternalHosts()
	for _, h := range e.hosts {
		e.byLowerCase[strings.ToLower(h)] = h
	}
	return e
}

// Hosts returns the external hosts that ServiceEntries list or routes lead to, sorted.
func (e *Explainer) Hosts() []string { return e.hosts }

// Query is what is asked.
type Query struct {
	// Host is exact or a wildcard.
	Host string
	// Port is a port of its ServiceEntries, 0 for all.
	Port uint32
	// From is the namespace of the clients, "" for all.
	From string
}

// Explain says who reaches a host and how.
func (e *Explainer) Explain(q Query) (Host, error) {
	q.Host = e.spelt(q.Host)
	h := &host{Explainer: e, Query: q}
	if err := h.plan(); err != nil {
		return Host{}, fmt.Errorf("failed to explain %s: %w", q.Host, err)
	}
	out := Host{
		Host: q.Host, Port: q.Port, From: q.From, State: None,
		Answers: []Answer{}, ServiceEntries: h.serviceEntries(), Clients: []Client{}, Hazards: []Hazard{},
	}
	h.findWays()
	clients := h.clients()
	for _, c := range clients {
		if client, ok := h.client(c); ok {
			client.BesideGateway = !c.Gateway && slices.ContainsFunc(clients, func(o mesh.Client) bool {
				return o.Gateway && o.Known && o.Namespace == c.Namespace
			})
			out.Clients = append(out.Clients, client)
		}
	}
	if mesh.IsWildcard(q.Host) {
		out.Covers = e.world.Hosts(q.Host)
	}
	if err := h.addHazards(&out); err != nil {
		return Host{}, fmt.Errorf("failed to explain %s: %w", q.Host, err)
	}
	h.answer(&out)
	return out, nil
}

// spelt returns host as the objects write it: the case of a name does not count.
func (e *Explainer) spelt(host string) string {
	if _, known := slices.BinarySearch(e.hosts, host); known {
		return host
	}
	return cmp.Or(e.byLowerCase[strings.ToLower(host)], host)
}

// host is one question, on its way to the answer.
type host struct {
	*Explainer
	Query
	webhook webhook
	ways    []way
}

// way is a route to the host.
type way struct {
	Way
	object  *networkingv1.VirtualService
	clients []mesh.Client
	// ports are those that it leads to for a client; none: it leads nowhere.
	ports func(mesh.Client) []uint32
	// wanted is the port that it names, 0 if none.
	wanted uint32
	subset string
}

// executedBy reports whether client executes the route: it is among its clients, or one
// of all the namespaces that are alike to it.
func (w *way) executedBy(client mesh.Client) bool {
	return slices.ContainsFunc(w.clients, func(c mesh.Client) bool {
		return sameClient(c, client) || !client.Gateway && !c.Gateway && c.Namespace == mesh.OtherNamespaces
	})
}

func sameClient(a, b mesh.Client) bool {
	return a.Namespace == b.Namespace && a.Gateway == b.Gateway && a.Known == b.Known && maps.Equal(a.Labels, b.Labels)
}

func (h *host) findWays() {
	for _, vs := range h.world.RoutesTo(h.Host) {
		for ri, r := range vs.Spec.GetHttp() {
			if !mesh.Sends(r) {
				continue
			}
			var clients []mesh.Client
			for di, d := range r.GetRoute() {
				to := d.GetDestination()
				if mesh.ResolveHost(to.GetHost(), vs.Namespace) != h.Host {
					continue
				}
				if clients == nil {
					clients = h.world.Clients(vs, r, h.Host)
				}
				arriving := mutate.Arrive(h.world, vs, ri, di)
				w := way{
					Way: Way{
						Kind: HTTPRoute, Speaks: "HTTP", VirtualService: refOf(vs), Path: routePath("http", ri, di, len(r.GetRoute())),
						Match: validate.RouteText(r), Gateways: gatewaysOf(vs, matchGateways(r.GetMatch())), Weight: weight(d.GetWeight(), len(r.GetRoute())),
						Host: arriving.Host, ForwardedProto: arriving.ForwardedProto, ProtoRemoved: arriving.ProtoRemoved,
						Dead: cmp.Or(h.dead(vs, ri), h.deadRoots(vs)), Adds: h.addsHeaders(vs, ri, di),
					},
					object: vs, clients: clients, wanted: to.GetPort().GetNumber(), subset: to.GetSubset(),
					ports: func(c mesh.Client) []uint32 { return h.httpPorts(c, vs, to) },
				}
				w.Roots = h.roots(vs)
				h.ways = append(h.ways, w)
			}
		}
	}
	for _, vs := range h.world.TLSRoutesTo(h.Host) {
		for ri, r := range vs.Spec.GetTls() {
			gateways := gatewaysOf(vs, matchGateways(r.GetMatch()))
			called := func(p mesh.Port) bool {
				return p.SpeaksTLS() && slices.ContainsFunc(r.GetMatch(), func(m *networking.TLSMatchAttributes) bool {
					return m.GetPort() == 0 || m.GetPort() == p.GetNumber()
				})
			}
			for di, d := range r.GetRoute() {
				to := d.GetDestination()
				if mesh.ResolveHost(to.GetHost(), vs.Namespace) != h.Host {
					continue
				}
				h.ways = append(h.ways, way{
					Way: Way{
						Kind: TLSRoute, Speaks: "TLS", VirtualService: refOf(vs), Path: routePath("tls", ri, di, len(r.GetRoute())),
						Match: validate.TLSRouteText(r), Gateways: gateways, Weight: weight(d.GetWeight(), len(r.GetRoute())),
					},
					object: vs, clients: h.world.TLSClients(vs, r, h.Host), wanted: to.GetPort().GetNumber(), subset: to.GetSubset(),
					ports: func(c mesh.Client) []uint32 { return h.rawPorts(c, to, called) },
				})
			}
		}
	}
	for _, vs := range h.world.BesideTo(h.Host) {
		h.findMirrors(vs)
		h.findTCP(vs)
	}
}

func (h *host) findMirrors(vs *networkingv1.VirtualService) {
	for ri, r := range vs.Spec.GetHttp() {
		mirrors := maps.Collect(mesh.Mirrors(r))
		for _, path := range slices.Sorted(maps.Keys(mirrors)) {
			to := mirrors[path]
			if mesh.ResolveHost(to.GetHost(), vs.Namespace) != h.Host {
				continue
			}
			h.ways = append(h.ways, way{
				Way: Way{
					Kind: Mirror, Speaks: "HTTP", VirtualService: refOf(vs), Path: fmt.Sprintf("spec.http[%d].%s", ri, path),
					Match: validate.RouteText(r), Gateways: gatewaysOf(vs, matchGateways(r.GetMatch())), Roots: h.roots(vs),
					Dead: cmp.Or(h.dead(vs, ri), h.deadRoots(vs)),
				},
				object: vs, clients: h.world.Clients(vs, r, h.Host), wanted: to.GetPort().GetNumber(), subset: to.GetSubset(),
				ports: func(c mesh.Client) []uint32 { return h.httpPorts(c, vs, to) },
			})
		}
	}
}

func (h *host) findTCP(vs *networkingv1.VirtualService) {
	for ri, r := range vs.Spec.GetTcp() {
		called := func(p mesh.Port) bool {
			return len(r.GetMatch()) == 0 || slices.ContainsFunc(r.GetMatch(), func(m *networking.L4MatchAttributes) bool {
				return m.GetPort() == 0 || m.GetPort() == p.GetNumber()
			})
		}
		for di, d := range r.GetRoute() {
			to := d.GetDestination()
			if mesh.ResolveHost(to.GetHost(), vs.Namespace) != h.Host {
				continue
			}
			h.ways = append(h.ways, way{
				Way: Way{
					Kind: TCPRoute, Speaks: "TCP", VirtualService: refOf(vs), Path: routePath("tcp", ri, di, len(r.GetRoute())),
					Match: tcpText(r), Gateways: gatewaysOf(vs, matchGateways(r.GetMatch())), Weight: weight(d.GetWeight(), len(r.GetRoute())),
				},
				object: vs, clients: h.world.TCPClients(vs, r, h.Host), wanted: to.GetPort().GetNumber(), subset: to.GetSubset(),
				ports: func(c mesh.Client) []uint32 { return h.rawPorts(c, to, called) },
			})
		}
	}
}

// executed returns vs, or the roots of a delegate.
func (h *host) executed(vs *networkingv1.VirtualService) []*networkingv1.VirtualService {
	if !mesh.IsDelegate(vs) {
		return []*networkingv1.VirtualService{vs}
	}
	var out []*networkingv1.VirtualService
	for _, s := range h.world.RootRoutes(vs) {
		out = append(out, s.VirtualService)
	}
	return out
}

// ignored says why sidecars carry out no route of vs, "" if they may.
func (h *host) ignored(c mesh.Client, vs *networkingv1.VirtualService) string {
	out := ""
	for _, vs := range h.executed(vs) {
		by, ignored := h.world.Ignored(c, vs)
		switch {
		case !ignored:
			return ""
		case by == nil:
			out = fmt.Sprintf("sidecars take no HTTP calls for the hosts of VirtualService %s: port 80 of their ServiceEntries has another protocol, and no port has HTTP", refOf(vs))
		default:
			out = fmt.Sprintf("sidecars take the routes of a host from one VirtualService alone, and VirtualService %s comes first", refOf(by))
		}
	}
	return out
}

func (h *host) httpPorts(c mesh.Client, vs *networkingv1.VirtualService, to *networking.Destination) []uint32 {
	var out []uint32
	for _, v := range h.world.ViewsOf(c, vs, to) {
		out = append(out, v.Port.GetNumber())
	}
	return out
}

// rawPorts are those that a destination of a TLS or TCP route means: the one that it names,
// or the only one, or the one that was called.
func (h *host) rawPorts(c mesh.Client, to *networking.Destination, called func(mesh.Port) bool) []uint32 {
	svc := h.world.RoutedService(c, h.Host)
	if svc == nil {
		return nil
	}
	ports := svc.Ports()
	var out []uint32
	for _, p := range ports {
		if n := p.GetNumber(); to.GetPort().GetNumber() == n || to.GetPort() == nil && (len(ports) == 1 || called(p)) {
			out = append(out, n)
		}
	}
	return out
}

func (h *host) roots(vs *networkingv1.VirtualService) []Ref {
	if !mesh.IsDelegate(vs) {
		return nil
	}
	var out []Ref
	for _, s := range h.world.RootRoutes(vs) {
		if ref := *refOf(s.VirtualService); !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

// clients returns the proxies that routes lead over, and the sidecars that may call the
// host, gateways first. Of one namespace: those of it.
func (h *host) clients() []mesh.Client {
	var out []mesh.Client
	add := func(c mesh.Client) {
		if c.Gateway && h.From != "" && c.Namespace != h.From {
			return
		}
		if !slices.ContainsFunc(out, func(o mesh.Client) bool { return sameClient(o, c) }) {
			out = append(out, c)
		}
	}
	for _, w := range h.ways {
		for _, c := range w.clients {
			add(c)
		}
	}
	for _, pattern := range mesh.HostAndWildcards(h.Host) {
		for _, c := range h.world.ClientsOf(pattern) {
			if !c.Gateway {
				add(c)
			}
		}
	}
	if len(out) > 0 {
		for _, c := range h.world.CallersOf(h.Host) {
			add(c)
		}
		for _, w := range h.ways {
			for _, vs := range h.executed(w.object) {
				for _, c := range h.world.TakersOf(vs) {
					add(c)
				}
			}
		}
	}
	if h.From != "" {
		out = slices.DeleteFunc(out, func(c mesh.Client) bool { return !c.Gateway })
		add(mesh.Client{Namespace: h.From, Known: true})
	}
	slices.SortFunc(out, func(a, b mesh.Client) int {
		return cmp.Or(
			compareBool(b.Gateway, a.Gateway),
			compareBool(a.Namespace == mesh.OtherNamespaces, b.Namespace == mesh.OtherNamespaces),
			cmp.Compare(a.Namespace, b.Namespace),
			compareBool(b.Known, a.Known),
			slices.Compare(labelList(a.Labels), labelList(b.Labels)),
		)
	})
	return out
}

// client returns what is known of one group of proxies; ok is false for a gateway that
// sends nothing to what is asked for.
func (h *host) client(c mesh.Client) (Client, bool) {
	out := Client{Kind: Sidecar, Namespace: c.Namespace, Labels: c.Labels, Guessed: !c.Known, Sees: []Ref{}, Passed: []PassedEntry{}, Rules: []Rule{}, PassedRules: []PassedRule{}, Ports: []ClientPort{}}
	if c.Gateway {
		out.Kind = Gateway
	}
	ways := slices.DeleteFunc(slices.Clone(h.ways), func(w way) bool { return !w.executedBy(c) })
	for i := range ways {
		if w := &ways[i]; (w.Kind == HTTPRoute || w.Kind == Mirror) && !c.Gateway && w.Dead == "" {
			w.Dead = h.ignored(c, w.object)
		}
	}
	svc := h.world.CalledService(c, h.Host)
	if exact := h.world.RoutedService(c, h.Host); exact != nil && len(ways) > 0 || c.Gateway {
		svc = exact
	}
	if svc != nil {
		for _, se := range svc.Entries {
			out.Sees = append(out.Sees, *refOf(se))
		}
		if mesh.IsWildcard(svc.Host) && svc.Host != h.Host {
			out.Wildcard = svc.Host
		}
		h.addRules(&out, c, svc)
		for _, p := range svc.Ports() {
			if h.Port == 0 || h.Port == p.GetNumber() {
				if port := h.port(c, svc, p, ways); !c.Gateway || len(port.Connections) > 0 {
					out.Ports = append(out.Ports, port)
				}
			}
		}
	}
	hidden := 0
	for _, p := range h.world.PassedEntries(c, h.Host, svc) {
		if p.Reason == mesh.EntryNotExported {
			hidden++
			if hidden > maxPassed {
				out.MorePassed++
				continue
			}
		}
		out.Passed = append(out.Passed, PassedEntry{*refOf(p.Entry), p.Host, p.Reason, entryText(p, svc)})
	}
	h.addNowhere(&out, c, svc, ways)
	return out, !c.Gateway || len(out.Ports) > 0
}

// addNowhere adds the routes that lead nowhere: the client sees no such port.
func (h *host) addNowhere(out *Client, c mesh.Client, svc *mesh.Service, ways []way) {
	for _, w := range ways {
		if len(w.ports(c)) > 0 || h.Port != 0 && w.wanted != h.Port {
			continue
		}
		i := slices.IndexFunc(out.Ports, func(p ClientPort) bool { return p.Number == w.wanted })
		if i < 0 {
			i = len(out.Ports)
			out.Ports = append(out.Ports, ClientPort{Port: Port{Number: w.wanted}, Connections: []Connection{}})
		}
		nowhere := Connection{State: Unreachable, Subset: w.subset, Why: nowhereText(h.Host, w.wanted, c, svc), Adds: []Addition{}}
		conns := &out.Ports[i].Connections
		k := slices.IndexFunc(*conns, func(o Connection) bool { return o.Subset == nowhere.Subset && o.Why == nowhere.Why })
		if k < 0 {
			k = len(*conns)
			*conns = append(*conns, nowhere)
		}
		w.State = Unreachable
		(*conns)[k].Ways = append((*conns)[k].Ways, w.Way)
	}
}

func (h *host) serviceEntries() []ServiceEntry {
	out := []ServiceEntry{}
	for _, pattern := range mesh.HostAndWildcards(h.Host) {
		for _, se := range h.world.ServiceEntriesFor(pattern) {
			ports := []Port{}
			for _, p := range se.Spec.GetPorts() {
				if p != nil {
					ports = append(ports, portOf(p))
				}
			}
			out = append(out, ServiceEntry{
				Ref: *refOf(se), Host: pattern, Location: se.Spec.GetLocation().String(), Resolution: se.Spec.GetResolution().String(),
				Ports: ports, VisibleIn: visibleIn(se),
			})
		}
	}
	return out
}

// visibleIn are the namespaces that a ServiceEntry is exported to.
func visibleIn(se *networkingv1.ServiceEntry) []string {
	to := se.Spec.GetExportTo()
	switch {
	case len(to) == 0 || slices.Contains(to, mesh.ExportPublic):
		return []string{mesh.ExportPublic}
	case slices.Contains(to, mesh.ExportNone):
		return []string{}
	}
	out := slices.Clone(to)
	for i, ns := range out {
		if ns == mesh.ExportPrivate {
			out[i] = se.Namespace
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func portOf(p *networking.ServicePort) Port {
	return Port{Number: p.GetNumber(), Name: p.GetName(), Protocol: p.GetProtocol(), TargetPort: p.GetTargetPort()}
}

func refOf(o metav1.Object) *Ref { return &Ref{o.GetNamespace(), o.GetName()} }

func routePath(kind string, route, destination, of int) string {
	path := fmt.Sprintf("spec.%s[%d]", kind, route)
	if of > 1 {
		path += fmt.Sprintf(".route[%d]", destination)
	}
	return path
}

// weight is told only of several destinations.
func weight(w int32, of int) int32 {
	if of > 1 {
		return w
	}
	return 0
}

func matchGateways[M interface{ GetGateways() []string }](matches []M) (out []string) {
	for _, m := range matches {
		out = append(out, m.GetGateways()...)
	}
	return out
}

// gatewaysOf are those that a route is for: what its matches name, else all of vs.
func gatewaysOf(vs *networkingv1.VirtualService, named []string) []string {
	if len(named) == 0 {
		named = vs.Spec.GetGateways()
	}
	if len(named) == 0 && !mesh.IsDelegate(vs) {
		named = []string{mesh.MeshGateway}
	}
	out := []string{}
	for _, g := range named {
		if g != mesh.MeshGateway {
			g = mesh.GatewayName(g, vs.Namespace).String()
		}
		if !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

func labelList(labels map[string]string) []string {
	out := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
