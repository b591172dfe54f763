package mesh

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// OtherNamespaces stands for all namespaces without anything of their own for a
// host; sidecars in them are alike, so they are looked at as one.
const OtherNamespaces = ""

// Client is a group of proxies that execute a route: the gateway pods, or the
// sidecars, of one namespace.
type Client struct {
	Namespace string
	Gateway   bool
	// Known is false for a gateway whose pods' namespace is a guess.
	Known bool
	// Labels are what the pods of a gateway have for certain: its selector.
	Labels map[string]string
}

// Clients returns who executes route i of vs on its way to host, each once, in a
// fixed order: gateways before sidecars, then by namespace.
//
// Gateways: the namespaces of the Services whose selector contains the Gateway's
// selector and the configured ones, which are known; where neither says anything
// a guess: the Gateway's own namespace if it sees a ServiceEntry for host, else
// the root namespace. Sidecars (gateway "mesh"): every namespace that vs is
// exported to; those with something of their own for host one by one, all others
// as OtherNamespaces. A delegate is executed by the clients of its roots; one
// without a root by nobody.
func (w *World) Clients(vs *networkingv1.VirtualService, route *networking.HTTPRoute, host string) []Client {
	var out []Client
	if IsDelegate(vs) {
		for _, s := range w.RootRoutes(vs) {
			out = append(out, w.routeClients(s.VirtualService, s.VirtualService.Spec.GetHttp()[s.Route], host)...)
		}
	} else {
		out = w.routeClients(vs, route, host)
	}
	slices.SortFunc(out, func(a, b Client) int {
		return cmp.Or(
			cmp.Compare(btoi(b.Gateway), btoi(a.Gateway)),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(btoi(b.Known), btoi(a.Known)),
			cmp.Compare(labelText(a.Labels), labelText(b.Labels)),
		)
	})
	return slices.CompactFunc(out, func(a, b Client) bool {
		return a.Namespace == b.Namespace && a.Gateway == b.Gateway && a.Known == b.Known && maps.Equal(a.Labels, b.Labels)
	})
}

// RootRoutes returns the routes that Istio replaces by those of the delegate vs,
// the oldest root first. A root that the delegate is not exported to, or that is a
// delegate itself, does not count (mergeVirtualServices); Destination is -1.
func (w *World) RootRoutes(vs *networkingv1.VirtualService) []Source {
	var out []Source
	for _, root := range w.roots[nameOf(vs)] {
		if IsDelegate(root) || exportedTo(vs.Spec.GetExportTo(), vs.Namespace, root.Namespace) == invisible {
			continue
		}
		for i, r := range root.Spec.GetHttp() {
			if r.GetDelegate() != nil && DelegateName(root, r.GetDelegate()) == nameOf(vs) {
				out = append(out, Source{root, i, -1})
			}
		}
	}
	return out
}

func (w *World) routeClients(vs *networkingv1.VirtualService, route *networking.HTTPRoute, host string) []Client {
	return w.scopeClients(vs, scopes(route.GetMatch()), host)
}

// TLSClients returns who executes a TLS route of vs, like Clients.
func (w *World) TLSClients(vs *networkingv1.VirtualService, route *networking.TLSRoute, host string) []Client {
	return w.scopeClients(vs, scopes(route.GetMatch()), host)
}

// TCPClients returns who executes a TCP route of vs, like Clients.
func (w *World) TCPClients(vs *networkingv1.VirtualService, route *networking.TCPRoute, host string) []Client {
	return w.scopeClients(vs, scopes(route.GetMatch()), host)
}

// scope is what of a match decides who executes it.
type scope interface {
	GetGateways() []string
	GetSourceNamespace() string
}

func scopes[M scope](matches []M) []scope {
	out := make([]scope, len(matches))
	for i, m := range matches {
		out[i] = m
	}
	return out
}

// scopeClients returns who executes a route with the given matches. A match that
// names gateways is in force at these and not judged by its source; one that
// names none is at those of vs, in its source namespace (sourceMatchHTTP).
func (w *World) scopeClients(vs *networkingv1.VirtualService, matches []scope, host string) []Client {
	own := vs.Spec.GetGateways()
	if len(own) == 0 {
		own = []string{MeshGateway}
	}
	// The source namespaces by gateway; "" among them: any.
	var gateways []string
	sources := map[string][]string{}
	add := func(names []string, source string) {
		for _, g := range names {
			gateways = append(gateways, g)
			sources[g] = append(sources[g], source)
		}
	}
	for _, m := range matches {
		if gs := m.GetGateways(); len(gs) > 0 {
			add(gs, "")
		} else {
			add(own, m.GetSourceNamespace())
		}
	}
	if len(matches) == 0 {
		add(own, "")
	}

	var out []Client
	for _, g := range distinct(gateways) {
		from := distinct(sources[g])
		if slices.Contains(from, "") {
			from = nil
		}
		if g == MeshGateway {
			out = append(out, w.sidecars(vs, from, host)...)
			continue
		}
		for _, c := range w.gatewayClients(vs, GatewayName(g, vs.Namespace), host) {
			// A guess is not good enough to say that a match never fits.
			if len(from) == 0 || !c.Known || slices.Contains(from, c.Namespace) {
				out = append(out, c)
			}
		}
	}
	return out
}

// GatewayName resolves a reference to a Gateway: "namespace/name", or a name in
// the VirtualService's namespace (resolveGatewayName).
func GatewayName(ref, namespace string) types.NamespacedName {
	if ns, name, ok := strings.Cut(ref, "/"); ok {
		if ns == ExportPrivate {
			ns = namespace
		}
		return types.NamespacedName{Namespace: ns, Name: name}
	}
	// The old forms are FQDNs: name.namespace.svc.cluster.local.
	if parts := strings.Split(ref, "."); len(parts) > 1 {
		return types.NamespacedName{Namespace: parts[1], Name: parts[0]}
	}
	return types.NamespacedName{Namespace: namespace, Name: ref}
}

// GatewayNames returns the Gateways that vs refers to, also per match.
func GatewayNames(vs *networkingv1.VirtualService) []types.NamespacedName {
	refs := slices.Clone(vs.Spec.GetGateways())
	for _, r := range vs.Spec.GetHttp() {
		for _, m := range r.GetMatch() {
			refs = append(refs, m.GetGateways()...)
		}
	}
	for _, r := range vs.Spec.GetTls() {
		for _, m := range r.GetMatch() {
			refs = append(refs, m.GetGateways()...)
		}
	}
	var out []types.NamespacedName
	for _, ref := range refs {
		if ref != MeshGateway {
			out = append(out, GatewayName(ref, vs.Namespace))
		}
	}
	return distinct(out)
}

func (w *World) gatewayClients(vs *networkingv1.VirtualService, name types.NamespacedName, host string) []Client {
	selector := w.selector(name)
	namespaces := w.gatewayNamespaces(selector)
	known := len(namespaces) > 0
	if !known {
		guess := w.opts.RootNamespace
		if w.Service(Client{Namespace: name.Namespace, Gateway: true}, host) != nil {
			guess = name.Namespace
		}
		namespaces = []string{guess}
	}
	var out []Client
	for _, ns := range distinct(namespaces) {
		if exportedTo(vs.Spec.GetExportTo(), vs.Namespace, ns) != invisible {
			out = append(out, Client{Namespace: ns, Gateway: true, Known: known, Labels: selector})
		}
	}
	return out
}

// selector is that of a Gateway, nil of an unknown one.
func (w *World) selector(name types.NamespacedName) map[string]string {
	if gw := w.gateways[name]; gw != nil {
		return gw.Spec.GetSelector()
	}
	return nil
}

// gatewayNamespaces are the namespaces that the options and the Services tell for
// pods with the labels of selector.
func (w *World) gatewayNamespaces(selector map[string]string) []string {
	namespaces := slices.Clone(w.opts.GatewayNamespaces)
	// One pair of the selector finds all candidates; any will do, the least is
	// deterministic.
	if keys := slices.Sorted(maps.Keys(selector)); len(keys) > 0 {
		for _, svc := range w.services[SelectorPair(keys[0], selector[keys[0]])] {
			if containsAll(svc.Spec.Selector, selector) {
				namespaces = append(namespaces, svc.Namespace)
			}
		}
	}
	return namespaces
}

// sidecars returns the sidecar clients of a mesh VirtualService for host.
func (w *World) sidecars(vs *networkingv1.VirtualService, sources []string, host string) []Client {
	own := map[string]struct{}{OtherNamespaces: {}}
	addNamed(own, vs.Namespace, vs.Spec.GetExportTo())
	if HostsTellPorts(vs) {
		for _, pattern := range VirtualServiceHosts(vs) {
			for _, h := range w.Hosts(pattern) {
				for _, se := range w.entries[h] {
					addNamed(own, se.Namespace, se.Spec.GetExportTo())
				}
			}
		}
	}
	// Of a popular host there are many namespaces, of which vs may be for one.
	var seen []string
	for _, namespaces := range []iter.Seq[string]{maps.Keys(own), slices.Values(w.namespacesOf(host)), slices.Values(sources)} {
		for ns := range namespaces {
			if (len(sources) == 0 || slices.Contains(sources, ns)) && exportedTo(vs.Spec.GetExportTo(), vs.Namespace, ns) != invisible {
				seen = append(seen, ns)
			}
		}
	}
	slices.Sort(seen)
	var out []Client
	for _, ns := range slices.Compact(seen) {
		out = append(out, Client{Namespace: ns, Known: true})
	}
	return out
}

// namespacesOf returns the namespaces that have a ServiceEntry or a DestinationRule for host,
// or get one by name.
func (w *World) namespacesOf(host string) []string {
	return w.namespaces.get(host, func() []string { return w.lookUpNamespaces(host) })
}

func (w *World) lookUpNamespaces(host string) []string {
	own := map[string]struct{}{}
	for _, se := range w.entries[host] {
		addNamed(own, se.Namespace, se.Spec.GetExportTo())
	}
	for _, h := range append(WildcardsOf(host), host) {
		for _, dr := range w.RulesFor(h) {
			addNamed(own, dr.Namespace, dr.Spec.GetExportTo())
		}
	}
	return slices.Collect(maps.Keys(own))
}

// addNamed adds an object's namespace to set, and those that it is exported to by name.
func addNamed(set map[string]struct{}, namespace string, exportTo []string) {
	set[namespace] = struct{}{}
	for _, e := range exportTo {
		if e != ExportPublic && e != ExportPrivate && e != ExportNone {
			set[e] = struct{}{}
		}
	}
}

// ClientsOf returns the sidecars and the gateways that may see host, whether
// anything routes to it or not: those of the namespaces that have something of
// their own for it, and of all others as OtherNamespaces.
func (w *World) ClientsOf(host string) []Client {
	if len(w.entries[host]) == 0 {
		return nil
	}
	// Nobody's exportTo limits who may call a service directly.
	everybody := &networkingv1.VirtualService{}
	everybody.Namespace = w.entries[host][0].Namespace
	out := w.sidecars(everybody, nil, host)
	for _, c := range out {
		c.Gateway = true
		out = append(out, c)
	}
	return out
}

func containsAll(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		b.WriteString(k + "=" + labels[k] + ",")
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
