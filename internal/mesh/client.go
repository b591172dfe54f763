package mesh

import (
	"cmp"
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
		if c := cmp.Or(
			cmp.Compare(btoi(b.Gateway), btoi(a.Gateway)),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(btoi(b.Known), btoi(a.Known)),
		); c != 0 {
			return c
		}
		return cmp.Compare(labelText(a.Labels), labelText(b.Labels))
	})
	return slices.CompactFunc(out, sameClient)
}

func sameClient(a, b Client) bool {
	return a.Namespace == b.Namespace && a.Gateway == b.Gateway && a.Known == b.Known && maps.Equal(a.Labels, b.Labels)
}

// RootRoutes returns the routes that Istio replaces by those of the delegate vs,
// the oldest root first. A root that the delegate is not exported to, or that is a
// delegate itself, does not count (mergeVirtualServices); Destination is -1.
func (w *World) RootRoutes(vs *networkingv1.VirtualService) []Source {
	var out []Source
	for _, root := range w.roots.at(nameOf(vs)) {
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
	return scopeClients(w, vs, route.GetMatch(), host)
}

// TLSClients returns who executes a TLS route of vs, like Clients.
func (w *World) TLSClients(vs *networkingv1.VirtualService, route *networking.TLSRoute, host string) []Client {
	return scopeClients(w, vs, route.GetMatch(), host)
}

// TCPClients returns who executes a TCP route of vs, like Clients.
func (w *World) TCPClients(vs *networkingv1.VirtualService, route *networking.TCPRoute, host string) []Client {
	return scopeClients(w, vs, route.GetMatch(), host)
}

// scope is what of a match decides who executes it.
type scope interface {
	GetGateways() []string
	GetSourceNamespace() string
}

// narrows reports whether not all clients of a VirtualService execute a route with the given
// matches, or others do.
func narrows[M scope](matches []M) bool {
	return slices.ContainsFunc(matches, func(m M) bool { return len(m.GetGateways()) > 0 || m.GetSourceNamespace() != "" })
}

// scopeClients returns who executes a route with the given matches. A match that
// names gateways is in force at these and not judged by its source; one that
// names none is at those of vs, in its source namespace (sourceMatchHTTP).
func scopeClients[M scope](w *World, vs *networkingv1.VirtualService, matches []M, host string) []Client {
	own := vs.Spec.GetGateways()
	if len(own) == 0 {
		own = []string{MeshGateway}
	}
	var out []Client
	if !narrows(matches) {
		for _, g := range distinct(own) {
			out = w.appendClients(out, vs, g, nil, host)
		}
		return out
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
	for _, g := range distinct(gateways) {
		from := distinct(sources[g])
		if slices.Contains(from, "") {
			from = nil
		}
		out = w.appendClients(out, vs, g, from, host)
	}
	return out
}

// appendClients appends who executes routes of vs at one of its gateways, in the source
// namespaces from; nil: in any.
func (w *World) appendClients(out []Client, vs *networkingv1.VirtualService, gateway string, from []string, host string) []Client {
	if gateway == MeshGateway {
		return w.appendSidecars(out, vs, from, host)
	}
	name := GatewayName(gateway, vs.Namespace)
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
	for _, ns := range distinct(namespaces) {
		// A guess is not good enough to say that a match never fits.
		if exportedTo(vs.Spec.GetExportTo(), vs.Namespace, ns) != invisible && (len(from) == 0 || !known || slices.Contains(from, ns)) {
			out = append(out, Client{Namespace: ns, Gateway: true, Known: known, Labels: selector})
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
	if name, rest, ok := strings.Cut(ref, "."); ok {
		ns, _, _ := strings.Cut(rest, ".")
		return types.NamespacedName{Namespace: ns, Name: name}
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

// selector is that of a Gateway, nil of an unknown one.
func (w *World) selector(name types.NamespacedName) map[string]string {
	if gw := w.gateways.at(name); gw != nil {
		return gw.Spec.GetSelector()
	}
	return nil
}

// gatewayNamespaces are the namespaces that the options and the Services tell for
// pods with the labels of selector, which must not be changed.
func (w *World) gatewayNamespaces(selector map[string]string) []string {
	namespaces := slices.Clip(w.opts.GatewayNamespaces)
	if len(selector) == 0 {
		return namespaces
	}
	// One pair of the selector finds all candidates; any will do, the least is
	// deterministic.
	var least label
	for k, v := range selector {
		if least.key == "" || k < least.key {
			least = label{k, v}
		}
	}
	for _, svc := range w.services.at(least) {
		if containsAll(svc.Spec.Selector, selector) {
			namespaces = append(namespaces, svc.Namespace)
		}
	}
	return namespaces
}

// appendSidecars appends the sidecar clients of a mesh VirtualService for host.
func (w *World) appendSidecars(out []Client, vs *networkingv1.VirtualService, sources []string, host string) []Client {
	others := w.namespacesOf(host)
	before := len(out)
	out = slices.Grow(out, 2+len(vs.Spec.GetExportTo())+len(others)+len(sources))
	add := func(ns string) {
		if (len(sources) == 0 || slices.Contains(sources, ns)) && exportedTo(vs.Spec.GetExportTo(), vs.Namespace, ns) != invisible {
			out = append(out, Client{Namespace: ns, Known: true})
		}
	}
	add(OtherNamespaces)
	eachNamed(vs.Namespace, vs.Spec.GetExportTo(), add)
	if HostsTellPorts(vs) {
		for _, pattern := range VirtualServiceHosts(vs) {
			for _, h := range w.Hosts(pattern) {
				for _, se := range w.entries.at(h) {
					eachNamed(se.Namespace, se.Spec.GetExportTo(), add)
				}
			}
		}
	}
	// Of a popular host there are many namespaces, of which vs may be for one.
	for _, namespaces := range [...][]string{others, sources} {
		for _, ns := range namespaces {
			add(ns)
		}
	}
	added := out[before:]
	slices.SortFunc(added, func(a, b Client) int { return cmp.Compare(a.Namespace, b.Namespace) })
	added = slices.CompactFunc(added, func(a, b Client) bool { return a.Namespace == b.Namespace })
	return out[:before+len(added)]
}

// namespacesOf returns the namespaces that have a ServiceEntry or a DestinationRule for host,
// or get one by name.
func (w *World) namespacesOf(host string) []string {
	out, known := w.namespaces.get(host)
	if !known {
		out = w.lookUpNamespaces(host)
		w.namespaces.put(host, out)
	}
	return out
}

func (w *World) lookUpNamespaces(host string) []string {
	var out set[string]
	add := func(ns string) { out.add(ns) }
	for _, se := range w.entries.at(host) {
		eachNamed(se.Namespace, se.Spec.GetExportTo(), add)
	}
	addRules := func(rules []*networkingv1.DestinationRule) {
		for _, dr := range rules {
			eachNamed(dr.Namespace, dr.Spec.GetExportTo(), add)
		}
	}
	addRules(w.RulesFor(host))
	for tail := range tails(host) {
		addRules(w.rulesForTail(tail))
	}
	return out.list
}

// eachNamed does for an object's namespace, and those that it is exported to by name.
func eachNamed(namespace string, exportTo []string, do func(namespace string)) {
	do(namespace)
	for _, e := range exportTo {
		if e != ExportPublic && e != ExportPrivate && e != ExportNone {
			do(e)
		}
	}
}

// ClientsOf returns the sidecars and the gateways that may see host, whether
// anything routes to it or not: those of the namespaces that have something of
// their own for it, and of all others as OtherNamespaces.
func (w *World) ClientsOf(host string) []Client {
	if len(w.entries.at(host)) == 0 {
		return nil
	}
	// Nobody's exportTo limits who may call a service directly.
	everybody := &networkingv1.VirtualService{}
	everybody.Namespace = w.entries.at(host)[0].Namespace
	out := w.appendSidecars(nil, everybody, nil, host)
	out = slices.Grow(out, len(out))
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
	if len(labels) < 2 {
		for k, v := range labels {
			return k + "=" + v + ","
		}
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
