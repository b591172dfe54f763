package mesh

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

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
	plain := make([]byte, 0, 180)
	for _, r := range host {
		if len(plain) == cap(plain) {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		default:
			r = '-'
		}
		plain = append(plain, byte(r))
	}
	plain = bytes.Trim(plain, "-")
	out := make([]byte, 0, 256)
	out = append(append(append(out, "egress-tls-"...), plain...), '-')
	return string(hex.AppendEncode(out, sum[:8]))
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
	*indexes
	// rules are those for host in the place of those of before, nil: nothing is replaced. See
	// WithRules.
	host   string
	rules  []*networkingv1.DestinationRule
	before *World

	// What was asked before.
	namespaces memo[string, []string]
	routed     atomic.Pointer[routed]
}

// indexes are what NewWorld makes, and what no rule changes.
type indexes struct {
	opts Options

	entries  byHost[*networkingv1.ServiceEntry]          // oldest first
	allRules byHost[*networkingv1.DestinationRule]       // by resolved host, as Istio sorts
	routes   lists[string, *networkingv1.VirtualService] // by resolved destination host of HTTP routes
	tlsHosts lists[string, *networkingv1.VirtualService] // by resolved destination host of TLS routes
	beside   lists[string, *networkingv1.VirtualService] // by resolved destination host of TCP routes and mirrors
	hosts    lists[hostAt, *networkingv1.VirtualService] // by what HostKeys tells
	virtual  table[types.NamespacedName, *networkingv1.VirtualService]
	roots    lists[types.NamespacedName, *networkingv1.VirtualService] // of a delegate
	gateways table[types.NamespacedName, *networkingv1.Gateway]
	services lists[label, *corev1.Service] // by one pair of the selector

	// What was asked before.
	known   memo[serviceKey, *Service]
	sharing memo[sharingKey, []*networkingv1.VirtualService]
}

type label struct{ key, value string }

// byHost finds what is for a host, exact or a wildcard. The key of a wildcard is what
// follows its "*", so that those that cover a host are found by the tails of its name.
type byHost[T comparable] struct{ exact, wild lists[string, T] }

func (m *byHost[T]) add(host string, v T) {
	if IsWildcard(host) {
		m.wild.add(host[1:], v)
	} else {
		m.exact.add(host, v)
	}
}

// at returns what is for exactly host, which may be a wildcard.
func (m *byHost[T]) at(host string) []T {
	if IsWildcard(host) {
		return m.wild.at(host[1:])
	}
	return m.exact.at(host)
}

func (m *byHost[T]) sort(order func(a, b T) int) {
	m.exact.sort(order)
	m.wild.sort(order)
}

// NewWorld indexes objs. Cost is linear in their size.
func NewWorld(objs Objects, opts Options) *World {
	w := &indexes{opts: opts}
	for _, se := range objs.ServiceEntries {
		for _, h := range ServiceEntryHosts(se) {
			w.entries.add(h, se)
		}
	}
	w.entries.sort(serviceOrder)
	for _, dr := range objs.DestinationRules {
		w.allRules.add(RuleHost(dr), dr)
	}
	w.allRules.sort(istioRuleOrder)
	for _, vs := range objs.VirtualServices {
		w.addVirtualService(vs)
	}
	w.routes.sort(olderFirst)
	w.tlsHosts.sort(olderFirst)
	w.beside.sort(olderFirst)
	w.roots.sort(olderFirst)
	for _, gw := range objs.Gateways {
		w.gateways.put(nameOf(gw), gw)
	}
	for _, svc := range objs.Services {
		for k, v := range svc.Spec.Selector {
			w.services.add(label{k, v}, svc)
		}
	}
	return &World{indexes: w}
}

func (w *indexes) addVirtualService(vs *networkingv1.VirtualService) {
	w.virtual.put(nameOf(vs), vs)
	for h := range httpDestinations(vs) {
		w.routes.add(h, vs)
	}
	for h := range tlsDestinations(vs) {
		w.tlsHosts.add(h, vs)
	}
	for h := range besideDestinations(vs) {
		w.beside.add(h, vs)
	}
	for k := range hostKeys(vs) {
		w.hosts.add(k, vs)
	}
	for _, d := range DelegatesOf(vs) {
		w.roots.add(d, vs)
	}
}

// RootNamespace returns the mesh's root namespace.
func (w *World) RootNamespace() string { return w.opts.RootNamespace }

// VirtualService returns the named VirtualService, or nil.
func (w *World) VirtualService(namespace, name string) *networkingv1.VirtualService {
	return w.virtual.at(types.NamespacedName{Namespace: namespace, Name: name})
}

// RoutesTo returns the VirtualServices with an HTTP route to host, oldest first.
func (w *World) RoutesTo(host string) []*networkingv1.VirtualService { return w.routes.at(host) }

// TLSRoutesTo returns the VirtualServices with a TLS (passthrough) route to
// host, oldest first: their clients speak TLS themselves.
func (w *World) TLSRoutesTo(host string) []*networkingv1.VirtualService { return w.tlsHosts.at(host) }

// BesideTo returns the VirtualServices with a TCP route to host, or a mirror, oldest first:
// no decision is about these.
func (w *World) BesideTo(host string) []*networkingv1.VirtualService { return w.beside.at(host) }

// ServiceEntriesFor returns the ServiceEntries that list exactly host, oldest
// first, visible or not.
func (w *World) ServiceEntriesFor(host string) []*networkingv1.ServiceEntry {
	return w.entries.at(host)
}

// WildcardServiceEntriesFor returns the ServiceEntries whose wildcard covers
// host, the most specific wildcard first.
func (w *World) WildcardServiceEntriesFor(host string) []*networkingv1.ServiceEntry {
	var out []*networkingv1.ServiceEntry
	for tail := range tails(host) {
		out = append(out, w.entries.wild.at(tail)...)
	}
	return out
}

// RulesFor returns the DestinationRules for exactly host, in Istio's order.
func (w *World) RulesFor(host string) []*networkingv1.DestinationRule {
	for ; w.before != nil; w = w.before {
		if w.host == host {
			return w.rules
		}
	}
	return w.allRules.at(host)
}

// rulesForTail returns the DestinationRules for exactly the wildcard with the tail.
func (w *World) rulesForTail(tail string) []*networkingv1.DestinationRule {
	for ; w.before != nil; w = w.before {
		if IsWildcard(w.host) && w.host[1:] == tail {
			return w.rules
		}
	}
	return w.allRules.wild.at(tail)
}

// AnyRule reports whether a DestinationRule is for host or for a wildcard that covers it.
func (w *World) AnyRule(host string) bool {
	if len(w.RulesFor(host)) > 0 {
		return true
	}
	for tail := range tails(host) {
		if len(w.rulesForTail(tail)) > 0 {
			return true
		}
	}
	return false
}

// WithRules returns the world in which rules are all DestinationRules for exactly
// host; nothing else is different.
func (w *World) WithRules(host string, rules []*networkingv1.DestinationRule) *World {
	rules = slices.Clone(rules)
	slices.SortFunc(rules, istioRuleOrder)
	out := &World{indexes: w.indexes, host: host, rules: rules, before: w}
	out.routed.Store(w.routed.Load())
	return out
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
	return collected(httpDestinations(vs))
}

// TLSDestinationHosts returns the distinct resolved hosts that the TLS routes of
// vs pass through to.
func TLSDestinationHosts(vs *networkingv1.VirtualService) []string {
	return collected(tlsDestinations(vs))
}

// httpDestinations yields the hosts of HTTPDestinationHosts, some of them again.
func httpDestinations(vs *networkingv1.VirtualService) iter.Seq[string] {
	return func(yield func(string) bool) {
		d := destinations{vs: vs, yield: yield}
		for _, r := range vs.Spec.GetHttp() {
			for _, to := range r.GetRoute() {
				if !d.next(to.GetDestination()) {
					return
				}
			}
		}
	}
}

// tlsDestinations yields the hosts of TLSDestinationHosts, some of them again.
func tlsDestinations(vs *networkingv1.VirtualService) iter.Seq[string] {
	return func(yield func(string) bool) {
		d := destinations{vs: vs, yield: yield}
		for _, r := range vs.Spec.GetTls() {
			for _, to := range r.GetRoute() {
				if !d.next(to.GetDestination()) {
					return
				}
			}
		}
	}
}

// besideDestinations yields the resolved hosts of the TCP routes and mirrors of vs, some of
// them again.
func besideDestinations(vs *networkingv1.VirtualService) iter.Seq[string] {
	return func(yield func(string) bool) {
		d := destinations{vs: vs, yield: yield}
		for _, r := range vs.Spec.GetHttp() {
			for _, to := range Mirrors(r) {
				if !d.next(to) {
					return
				}
			}
		}
		for _, r := range vs.Spec.GetTcp() {
			for _, to := range r.GetRoute() {
				if !d.next(to.GetDestination()) {
					return
				}
			}
		}
	}
}

// destinations yields the resolved hosts of destinations of vs. Many routes in a row lead
// to one host, which is yielded once.
type destinations struct {
	vs    *networkingv1.VirtualService
	last  string
	yield func(string) bool
}

func (d *destinations) next(to *networking.Destination) bool {
	h := to.GetHost()
	if h == d.last {
		return true
	}
	d.last = h
	return h == "" || d.yield(ResolveHost(h, d.vs.Namespace))
}

// Mirrors yields where copies of the requests of an HTTP route go, and the field that says
// so (MirrorPercent, MirrorPercentByPolicy).
func Mirrors(r *networking.HTTPRoute) iter.Seq2[string, *networking.Destination] {
	return func(yield func(string, *networking.Destination) bool) {
		share, old := r.GetMirrorPercentage(), r.GetMirrorPercent() //nolint:staticcheck // It counts yet.
		none := share != nil && share.GetValue() <= 0 || share == nil && old != nil && old.GetValue() == 0
		if !Sends(r) || r.GetMirror() != nil && !none && !yield("mirror", r.GetMirror()) {
			return
		}
		for i, m := range r.GetMirrors() {
			if m.GetDestination() != nil && (m.GetPercentage() == nil || m.GetPercentage().GetValue() > 0) &&
				!yield(fmt.Sprintf("mirrors[%d].destination", i), m.GetDestination()) {
				return
			}
		}
	}
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
