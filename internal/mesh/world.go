package mesh

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Istio's reserved gateway name and exportTo values.
const (
	MeshGateway   = "mesh"
	ExportPublic  = "*"
	ExportPrivate = "."
	ExportNone    = "~"
)

// ManagedByLabel with the value ManagedBy marks a DestinationRule as ours.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "egress-tls-webhook"
)

// IsManaged reports whether dr was created by us: it has our label and the name
// that we give to a rule for its host. The label alone, on a rule with another
// name, does not put a user's rule out of sight.
func IsManaged(dr *networkingv1.DestinationRule) bool {
	return dr.Labels[ManagedByLabel] == ManagedBy && dr.Name == RuleName(dr.Spec.GetHost(), ruleSelector(dr))
}

// RuleName returns the name of the managed rule for host, and for the workloads
// that selector selects, unless it is nil: stable, a valid object name for every
// host, and different for different ones.
func RuleName(host string, selector map[string]string) string {
	id := host
	if selector != nil {
		id += " " + labelText(selector)
	}
	sum := sha256.Sum256([]byte(id))
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, host)
	plain = strings.Trim(plain[:min(len(plain), 180)], "-")
	return "egress-tls-" + plain + "-" + hex.EncodeToString(sum[:8])
}

// Objects is what a World is made of. Order does not matter.
type Objects struct {
	ServiceEntries   []*networkingv1.ServiceEntry
	VirtualServices  []*networkingv1.VirtualService
	DestinationRules []*networkingv1.DestinationRule
	Gateways         []*networkingv1.Gateway
	Services         []*corev1.Service
}

// Add puts o in; a kind that says nothing about the mesh is left out.
func (objs *Objects) Add(o metav1.Object) {
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		objs.ServiceEntries = append(objs.ServiceEntries, o)
	case *networkingv1.VirtualService:
		objs.VirtualServices = append(objs.VirtualServices, o)
	case *networkingv1.DestinationRule:
		objs.DestinationRules = append(objs.DestinationRules, o)
	case *networkingv1.Gateway:
		objs.Gateways = append(objs.Gateways, o)
	case *corev1.Service:
		objs.Services = append(objs.Services, o)
	}
}

// Options are the facts about the mesh that no object tells.
type Options struct {
	// RootNamespace is meshConfig.rootNamespace.
	RootNamespace string
	// GatewayNamespaces are namespaces in which gateway pods run, beside those
	// that Services tell.
	GatewayNamespaces []string
	// ExemptHosts, exact or wildcard, are never targets.
	ExemptHosts []string
}

// World is an immutable view of the mesh. Its objects must not be changed while
// it is in use. All answers are in a fixed order.
type World struct {
	opts Options

	entries  map[string][]*networkingv1.ServiceEntry    // by host, oldest first
	rules    map[string][]*networkingv1.DestinationRule // by resolved host, as Istio sorts
	routes   map[string][]*networkingv1.VirtualService  // by resolved destination host of HTTP routes
	tlsHosts map[string][]*networkingv1.VirtualService  // by resolved destination host of TLS routes
	beside   map[string][]*networkingv1.VirtualService  // by resolved destination host of TCP routes and mirrors
	hosts    map[string][]*networkingv1.VirtualService  // by HostKeys
	virtual  map[types.NamespacedName]*networkingv1.VirtualService
	roots    map[types.NamespacedName][]*networkingv1.VirtualService // of a delegate
	gateways map[types.NamespacedName]*networkingv1.Gateway
	services map[string][]*corev1.Service // by one selector pair "key=value"

	replaced map[string][]*networkingv1.DestinationRule // instead of rules, see WithRules

	// What was asked before.
	known      *memo[serviceKey, *Service] // which no rule changes
	namespaces *memo[string, []string]
}

// NewWorld indexes objs. Cost is linear in their size.
func NewWorld(objs Objects, opts Options) *World {
	w := &World{
		opts:     opts,
		entries:  map[string][]*networkingv1.ServiceEntry{},
		rules:    map[string][]*networkingv1.DestinationRule{},
		routes:   map[string][]*networkingv1.VirtualService{},
		tlsHosts: map[string][]*networkingv1.VirtualService{},
		beside:   map[string][]*networkingv1.VirtualService{},
		hosts:    map[string][]*networkingv1.VirtualService{},
		virtual:  map[types.NamespacedName]*networkingv1.VirtualService{},
		roots:    map[types.NamespacedName][]*networkingv1.VirtualService{},
		gateways: map[types.NamespacedName]*networkingv1.Gateway{},
		services: map[string][]*corev1.Service{},
		known:    &memo[serviceKey, *Service]{}, namespaces: &memo[string, []string]{},
	}
	for _, se := range objs.ServiceEntries {
		for _, h := range ServiceEntryHosts(se) {
			w.entries[h] = append(w.entries[h], se)
		}
	}
	for _, list := range w.entries {
		slices.SortFunc(list, serviceOrder)
	}
	for _, dr := range objs.DestinationRules {
		h := RuleHost(dr)
		w.rules[h] = append(w.rules[h], dr)
	}
	for _, list := range w.rules {
		slices.SortFunc(list, istioRuleOrder)
	}
	for _, vs := range objs.VirtualServices {
		w.virtual[nameOf(vs)] = vs
		for _, h := range HTTPDestinationHosts(vs) {
			w.routes[h] = append(w.routes[h], vs)
		}
		for _, h := range TLSDestinationHosts(vs) {
			w.tlsHosts[h] = append(w.tlsHosts[h], vs)
		}
		for _, h := range besideHosts(vs) {
			w.beside[h] = append(w.beside[h], vs)
		}
		for _, k := range HostKeys(vs) {
			w.hosts[k] = append(w.hosts[k], vs)
		}
		for _, d := range DelegatesOf(vs) {
			w.roots[d] = append(w.roots[d], vs)
		}
	}
	for _, byKey := range []map[string][]*networkingv1.VirtualService{w.routes, w.tlsHosts, w.beside} {
		for _, list := range byKey {
			slices.SortFunc(list, olderFirst)
		}
	}
	for _, list := range w.roots {
		slices.SortFunc(list, olderFirst)
	}
	for _, gw := range objs.Gateways {
		w.gateways[nameOf(gw)] = gw
	}
	for _, svc := range objs.Services {
		for k, v := range svc.Spec.Selector {
			pair := SelectorPair(k, v)
			w.services[pair] = append(w.services[pair], svc)
		}
	}
	return w
}

// RootNamespace returns the mesh's root namespace.
func (w *World) RootNamespace() string { return w.opts.RootNamespace }

// VirtualService returns the named VirtualService, or nil.
func (w *World) VirtualService(namespace, name string) *networkingv1.VirtualService {
	return w.virtual[types.NamespacedName{Namespace: namespace, Name: name}]
}

// RoutesTo returns the VirtualServices with an HTTP route to host, oldest first.
func (w *World) RoutesTo(host string) []*networkingv1.VirtualService { return w.routes[host] }

// TLSRoutesTo returns the VirtualServices with a TLS (passthrough) route to
// host, oldest first: their clients speak TLS themselves.
func (w *World) TLSRoutesTo(host string) []*networkingv1.VirtualService { return w.tlsHosts[host] }

// BesideTo returns the VirtualServices with a TCP route to host, or a mirror, oldest first:
// no decision is about these.
func (w *World) BesideTo(host string) []*networkingv1.VirtualService { return w.beside[host] }

// ServiceEntriesFor returns the ServiceEntries that list exactly host, oldest
// first, visible or not.
func (w *World) ServiceEntriesFor(host string) []*networkingv1.ServiceEntry { return w.entries[host] }

// WildcardServiceEntriesFor returns the ServiceEntries whose wildcard covers
// host, the most specific wildcard first.
func (w *World) WildcardServiceEntriesFor(host string) []*networkingv1.ServiceEntry {
	var out []*networkingv1.ServiceEntry
	for _, pattern := range WildcardsOf(host) {
		out = append(out, w.entries[pattern]...)
	}
	return out
}

// RulesFor returns the DestinationRules for exactly host, in Istio's order.
func (w *World) RulesFor(host string) []*networkingv1.DestinationRule {
	if rules, ok := w.replaced[host]; ok {
		return rules
	}
	return w.rules[host]
}

// WithRules returns the world in which rules are all DestinationRules for exactly
// host; nothing else is different.
func (w *World) WithRules(host string, rules []*networkingv1.DestinationRule) *World {
	out := *w
	out.namespaces = &memo[string, []string]{}
	out.replaced = maps.Clone(w.replaced)
	if out.replaced == nil {
		out.replaced = map[string][]*networkingv1.DestinationRule{}
	}
	rules = slices.Clone(rules)
	slices.SortFunc(rules, istioRuleOrder)
	out.replaced[host] = rules
	return &out
}

// ServiceEntryHosts returns the distinct hosts that se speaks for. It may list the name of
// a Kubernetes service of another namespace: those who route to that mean the service.
func ServiceEntryHosts(se *networkingv1.ServiceEntry) []string {
	hosts := distinct(se.Spec.GetHosts())
	foreign := func(h string) bool {
		return IsKubernetesService(h) && !strings.HasSuffix(strings.ToLower(h), "."+se.Namespace+".svc."+ClusterDomain)
	}
	if slices.ContainsFunc(hosts, foreign) {
		hosts = slices.DeleteFunc(slices.Clone(hosts), foreign)
	}
	return hosts
}

// RuleHost returns the host of dr as Istio resolves it.
func RuleHost(dr *networkingv1.DestinationRule) string {
	return ResolveHost(dr.Spec.GetHost(), dr.Namespace)
}

// HTTPDestinationHosts returns the distinct resolved hosts that the HTTP routes
// of vs send to. Mirrors do not count: they are left alone.
func HTTPDestinationHosts(vs *networkingv1.VirtualService) []string {
	var out []string
	for _, r := range vs.Spec.GetHttp() {
		for _, d := range r.GetRoute() {
			if h := d.GetDestination().GetHost(); h != "" {
				out = append(out, ResolveHost(h, vs.Namespace))
			}
		}
	}
	return distinct(out)
}

// TLSDestinationHosts returns the distinct resolved hosts that the TLS routes of
// vs pass through to.
func TLSDestinationHosts(vs *networkingv1.VirtualService) []string {
	var out []string
	for _, r := range vs.Spec.GetTls() {
		for _, d := range r.GetRoute() {
			if h := d.GetDestination().GetHost(); h != "" {
				out = append(out, ResolveHost(h, vs.Namespace))
			}
		}
	}
	return distinct(out)
}

// Mirrors returns where copies of the requests of an HTTP route go, by the field that says
// so (MirrorPercent, MirrorPercentByPolicy).
func Mirrors(r *networking.HTTPRoute) map[string]*networking.Destination {
	out := map[string]*networking.Destination{}
	share, old := r.GetMirrorPercentage(), r.GetMirrorPercent() //nolint:staticcheck // It counts yet.
	none := share != nil && share.GetValue() <= 0 || share == nil && old != nil && old.GetValue() == 0
	if !Sends(r) {
		return out
	}
	if r.GetMirror() != nil && !none {
		out["mirror"] = r.GetMirror()
	}
	for i, m := range r.GetMirrors() {
		if m.GetDestination() != nil && (m.GetPercentage() == nil || m.GetPercentage().GetValue() > 0) {
			out[fmt.Sprintf("mirrors[%d].destination", i)] = m.GetDestination()
		}
	}
	return out
}

// besideHosts returns the distinct resolved hosts of the TCP routes and mirrors of vs.
func besideHosts(vs *networkingv1.VirtualService) []string {
	var out []string
	add := func(d *networking.Destination) {
		if h := d.GetHost(); h != "" {
			out = append(out, ResolveHost(h, vs.Namespace))
		}
	}
	for _, r := range vs.Spec.GetHttp() {
		for _, d := range Mirrors(r) {
			add(d)
		}
	}
	for _, r := range vs.Spec.GetTcp() {
		for _, d := range r.GetRoute() {
			add(d.GetDestination())
		}
	}
	return distinct(out)
}

// DelegatesOf returns the VirtualServices that the routes of vs delegate to. A
// delegate without a namespace is in that of its root.
func DelegatesOf(vs *networkingv1.VirtualService) []types.NamespacedName {
	var out []types.NamespacedName
	for _, r := range vs.Spec.GetHttp() {
		if d := r.GetDelegate(); d != nil {
			out = append(out, DelegateName(vs, d))
		}
	}
	return distinct(out)
}

// DelegateName resolves a reference to a delegate.
func DelegateName(root *networkingv1.VirtualService, d *networking.Delegate) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(d.GetNamespace(), root.Namespace), Name: d.GetName()}
}

// IsDelegate reports whether vs is executed only through a root that delegates
// to it: Istio takes a VirtualService without hosts for one.
func IsDelegate(vs *networkingv1.VirtualService) bool { return len(vs.Spec.GetHosts()) == 0 }

// SelectorPair is the key under which a Service is found by one label of its
// selector.
func SelectorPair(key, value string) string { return key + "=" + value }

// distinct returns the values in their first order, each once.
func distinct[T comparable](in []T) []T {
	if len(in) < 2 {
		return in
	}
	seen := make(map[T]struct{}, len(in))
	out := make([]T, 0, len(in))
	for _, v := range in {
		if _, dup := seen[v]; !dup {
			seen[v] = struct{}{}
			out = append(out, v)
		}
	}
	return out
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// serviceOrder is Istio's order of the services of one host
// (SortServicesByCreationTime): time, then namespace, since a ServiceEntry's
// service is named by the host.
func serviceOrder(a, b *networkingv1.ServiceEntry) int {
	return cmp.Or(compareCreation(a, b), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// olderFirst is Istio's order of creation (configCompareByCreationTime): time,
// then name, then namespace.
func olderFirst[T metav1.Object](a, b T) int {
	return cmp.Or(
		compareCreation(a, b),
		cmp.Compare(a.GetName(), b.GetName()),
		cmp.Compare(a.GetNamespace(), b.GetNamespace()),
	)
}

// compareCreation compares times of creation. An object that is not stored yet
// has none and comes last.
func compareCreation(a, b metav1.Object) int {
	ta, tb := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	switch {
	case ta.IsZero() && !tb.IsZero():
		return 1
	case !ta.IsZero() && tb.IsZero():
		return -1
	}
	return ta.Compare(tb.Time)
}
