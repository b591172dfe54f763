package webhook

import (
	"context"
	"fmt"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// view takes from the informers the part of the mesh that matters for one object.
type view struct {
	cached indexed
	live   client.Reader
	// entries are the ServiceEntries as the API server has them now.
	entries *freshList[*networkingv1.ServiceEntry]
	onLive  func(reason string)
	// cachedOnly takes what the informers do not know for missing: the reconciler looks
	// again when they do.
	cachedOnly bool
}

// world returns the world after the admission of o, which it holds in place of
// what is stored under its name.
//
// The informers lag behind the API server. What o refers to by name and they do
// not know is read from the API server; so are all ServiceEntries when o sends
// to an external host or port that they do not know. The DestinationRules of
// freshRules, a set of namespaces, are read from there too.
func (v *view) world(ctx context.Context, pol *policy.Policy, o metav1.Object, freshRules map[string]struct{}) (*mesh.World, error) {
	c := v.collector(pol, freshRules)
	c.self = o
	if err := c.collect(ctx); err != nil {
		return nil, fmt.Errorf("failed to read the mesh around %s: %w", mesh.ObjectOf(o), err)
	}
	return decision.World(c.objects, pol), nil
}

// hostWorld returns the world as it is, as far as it matters for the DestinationRules of
// host, exact or a wildcard. freshRules are as in world.
func (v *view) hostWorld(ctx context.Context, pol *policy.Policy, host string, freshRules map[string]struct{}) (*mesh.World, error) {
	c := v.collector(pol, freshRules)
	err := c.readRules(ctx)
	if err == nil {
		err = c.rulesFor(host) // also where no ServiceEntry lists it any more
	}
	if err == nil {
		err = c.host(ctx, host)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read the mesh around host %s: %w", host, err)
	}
	return decision.World(c.objects, pol), nil
}

func (v *view) collector(pol *policy.Policy, freshRules map[string]struct{}) *collector {
	return &collector{
		view: v, policy: pol,
		seen:      map[objectKey]struct{}{},
		hosts:     map[string]struct{}{},
		wildcards: map[string]struct{}{},
		fresh:     map[types.NamespacedName]*networkingv1.ServiceEntry{},
		rules:     map[string][]*networkingv1.DestinationRule{},
		freshNS:   freshRules,
	}
}

// namespaceLabels returns the labels of a namespace, read from the API server if
// the informers do not know it yet.
func (v *view) namespaceLabels(ctx context.Context, name string) (map[string]string, error) {
	ns := &corev1.Namespace{}
	if err := v.get(ctx, types.NamespacedName{Name: name}, ns); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return ns.Labels, nil
}

// get reads one object from the informers, else from the API server. A name that no
// object can have, in a reference that a user wrote, is not found.
func (v *view) get(ctx context.Context, key types.NamespacedName, o client.Object) error {
	if len(validation.NameIsDNSSubdomain(key.Name, false)) > 0 ||
		key.Namespace != "" && len(validation.NameIsDNSLabel(key.Namespace, false)) > 0 {
		return apierrors.NewNotFound(schema.GroupResource{}, key.String())
	}
	err := v.getCached(ctx, key, o)
	if apierrors.IsNotFound(err) && !v.cachedOnly {
		v.onLive("get")
		err = failedToGet(v.live.Get(ctx, key, o), key, o)
	}
	return err
}

// getCached reads one object from the informers.
func (v *view) getCached(ctx context.Context, key types.NamespacedName, o client.Object) error {
	return failedToGet(v.cached.Get(ctx, key, o, &client.GetOptions{UnsafeDisableDeepCopy: new(true)}), key, o)
}

func failedToGet(err error, key types.NamespacedName, o client.Object) error {
	if err != nil {
		return fmt.Errorf("failed to get %T %s: %w", o, key, err)
	}
	return nil
}

type objectKey struct {
	kind string
	name types.NamespacedName
}

// collector gathers the objects around one object, each once.
type collector struct {
	*view
	policy  *policy.Policy
	self    metav1.Object
	objects mesh.Objects
	seen    map[objectKey]struct{}
	hosts   map[string]struct{}
	// wildcards are those whose ServiceEntries were looked up.
	wildcards map[string]struct{}
	// fresh replaces the informers' ServiceEntries when it was read.
	fresh     map[types.NamespacedName]*networkingv1.ServiceEntry
	freshRead bool
	// freshNS are the namespaces whose DestinationRules are in rules, by host.
	freshNS map[string]struct{}
	rules   map[string][]*networkingv1.DestinationRule
}

func (c *collector) collect(ctx context.Context) error {
	if err := c.readRules(ctx); err != nil {
		return err
	}
	c.add(c.self)
	switch o := c.self.(type) {
	case *networkingv1.VirtualService:
		return c.aroundVirtualService(ctx, o)
	case *networkingv1.ServiceEntry:
		for _, h := range mesh.ServiceEntryHosts(o) {
			if err := c.host(ctx, h); err != nil {
				return err
			}
		}
		return nil
	case *networkingv1.DestinationRule:
		return c.aroundRule(ctx, o)
	}
	return fmt.Errorf("%T is no kind that is decided about", c.self)
}

func (c *collector) aroundVirtualService(ctx context.Context, vs *networkingv1.VirtualService) error {
	sources := []*networkingv1.VirtualService{vs}
	for _, name := range mesh.DelegatesOf(vs) {
		delegate := &networkingv1.VirtualService{}
		if err := c.get(ctx, name, delegate); apierrors.IsNotFound(err) {
			continue // Istio drops it.
		} else if err != nil {
			return err
		}
		c.add(delegate)
		sources = append(sources, delegate)
	}
	for _, s := range sources {
		if err := c.scope(ctx, s); err != nil {
			return err
		}
		if !c.cachedOnly && !c.knowsDestinations(s) {
			if err := c.readEntries(ctx); err != nil {
				return err
			}
		}
	}
	for _, s := range sources {
		for _, h := range mesh.HTTPDestinationHosts(s) {
			if err := c.host(ctx, h); err != nil {
				return err
			}
		}
	}
	return c.sharing(ctx, vs)
}

// sharing gathers, from the informers alone, the VirtualServices that have a host in
// common with vs, for a warning. It comes last: what decides about TLS is there.
func (c *collector) sharing(ctx context.Context, vs *networkingv1.VirtualService) error {
	if c.policy.RouteOrder == policy.IgnoreOrder {
		return nil
	}
	done := map[types.NamespacedName]struct{}{keyOf(vs): {}}
	for _, key := range mesh.SharedHostKeys(vs, func(name types.NamespacedName) *networkingv1.Gateway {
		gw := &networkingv1.Gateway{}
		if c.getCached(ctx, name, gw) != nil {
			return nil
		}
		return gw
	}) {
		others, err := byKey[*networkingv1.VirtualService](c.cached, indexHostKey, key)
		if err != nil {
			return err
		}
		for _, other := range others {
			if _, dup := done[keyOf(other)]; dup {
				continue
			}
			if done[keyOf(other)] = struct{}{}; len(done) > validate.MaxSharing+2 {
				return nil // Nothing is said about so many.
			}
			c.add(other)
			if err := c.around(ctx, other); err != nil {
				return err
			}
		}
	}
	return nil
}

// around gathers the delegates of a VirtualService, its Gateways and their Services,
// from the informers alone.
func (c *collector) around(ctx context.Context, vs *networkingv1.VirtualService) error {
	for _, name := range mesh.DelegatesOf(vs) {
		delegate := &networkingv1.VirtualService{}
		if err := c.getCached(ctx, name, delegate); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return err
		}
		c.add(delegate)
	}
	return c.gateways(ctx, vs, c.getCached)
}

// knowsDestinations reports whether the informers know a ServiceEntry, with the
// port, for every external destination. What they lack may have been stored a
// moment ago, perhaps through another replica.
func (c *collector) knowsDestinations(vs *networkingv1.VirtualService) bool {
	type destination struct {
		host string
		port uint32
	}
	known := map[destination]struct{}{}
	for _, r := range vs.Spec.GetHttp() {
		for _, d := range r.GetRoute() {
			host := mesh.ResolveHost(d.GetDestination().GetHost(), vs.Namespace)
			if !mesh.IsExternal(host) {
				continue
			}
			port := d.GetDestination().GetPort().GetNumber()
			if _, dup := known[destination{host, port}]; dup {
				continue
			}
			known[destination{host, port}] = struct{}{}
			entries, err := c.serviceEntries(indexHost, host)
			if err != nil {
				return false
			}
			if !slices.ContainsFunc(entries, func(se *networkingv1.ServiceEntry) bool { return port == 0 || hasPort(se, port) }) {
				return false
			}
		}
	}
	return true
}

func hasPort(se *networkingv1.ServiceEntry, port uint32) bool {
	for _, p := range se.Spec.GetPorts() {
		if p.GetNumber() == port {
			return true
		}
	}
	return false
}

// aroundRule gathers the hosts that a DestinationRule is for.
func (c *collector) aroundRule(ctx context.Context, dr *networkingv1.DestinationRule) error {
	host := mesh.RuleHost(dr)
	if !mesh.IsWildcard(host) {
		if mesh.IsExternal(host) {
			entries, err := c.serviceEntries(indexHost, host)
			if err != nil {
				return err
			}
			if len(entries) == 0 && !c.cachedOnly {
				if err := c.readEntries(ctx); err != nil {
					return err
				}
			}
		}
		return c.host(ctx, host)
	}
	entries, err := c.serviceEntries(indexUnder, host)
	if err != nil {
		return err
	}
	for _, se := range entries {
		for _, h := range mesh.ServiceEntryHosts(se) {
			if !mesh.IsWildcard(h) && mesh.WildcardFits(host, h) {
				if err := c.host(ctx, h); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// host gathers all that says something about one host: its ServiceEntries, its
// DestinationRules, the routes to it and who executes them.
func (c *collector) host(ctx context.Context, host string) error {
	if _, done := c.hosts[host]; done {
		return nil
	}
	c.hosts[host] = struct{}{}
	if ctx.Err() != nil { // The informers do not look at it.
		return fmt.Errorf("host %s: %w", host, context.Cause(ctx))
	}
	exact, err := c.serviceEntries(indexHost, host)
	if err != nil {
		return err
	}
	for _, se := range exact {
		c.add(se)
	}
	if mesh.IsWildcard(host) {
		return nil
	}
	wildcards := mesh.WildcardsOf(host)
	for _, w := range wildcards {
		if _, done := c.wildcards[w]; done { // Most hosts of one object share all but the first.
			continue
		}
		c.wildcards[w] = struct{}{}
		entries, err := c.serviceEntries(indexHost, w)
		if err != nil {
			return err
		}
		for _, se := range entries {
			c.add(se)
		}
	}
	if len(exact) == 0 && !c.selfLists(host) {
		return nil // No cluster for the host, so nothing else matters.
	}
	for _, h := range append(wildcards, host) {
		if err := c.rulesFor(h); err != nil {
			return err
		}
	}
	for _, index := range []string{indexDestination, indexTLSDestination} {
		routes, err := byKey[*networkingv1.VirtualService](c.cached, index, host)
		if err != nil {
			return err
		}
		for _, vs := range routes {
			if c.add(vs) {
				if err := c.scope(ctx, vs); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *collector) selfLists(host string) bool {
	se, ok := c.self.(*networkingv1.ServiceEntry)
	return ok && slices.Contains(se.Spec.GetHosts(), host)
}

// scope gathers who executes vs: its roots if it is a delegate, its Gateways, and
// the Services that tell where their pods run.
func (c *collector) scope(ctx context.Context, vs *networkingv1.VirtualService) error {
	if mesh.IsDelegate(vs) {
		roots, err := byKey[*networkingv1.VirtualService](c.cached, indexDelegate, keyOf(vs).String())
		if err != nil {
			return err
		}
		for _, root := range roots {
			if c.add(root) {
				if err := c.scope(ctx, root); err != nil {
					return err
				}
			}
		}
	}
	if err := c.called(vs); err != nil {
		return err
	}
	return c.gateways(ctx, vs, c.get)
}

// called gathers the ServiceEntries of the hosts of vs where these decide what a
// destination without a port means.
func (c *collector) called(vs *networkingv1.VirtualService) error {
	if !mesh.HostsTellPorts(vs) {
		return nil
	}
	for _, host := range mesh.VirtualServiceHosts(vs) {
		entries, err := c.serviceEntries(indexHost, host)
		if err != nil {
			return err
		}
		for _, se := range entries {
			c.add(se)
		}
	}
	return nil
}

// gateways gathers the Gateways of vs and the Services that tell where their pods
// run.
func (c *collector) gateways(ctx context.Context, vs *networkingv1.VirtualService,
	get func(context.Context, types.NamespacedName, client.Object) error,
) error {
	for _, name := range mesh.GatewayNames(vs) {
		gw := &networkingv1.Gateway{}
		if err := get(ctx, name, gw); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return err
		}
		if !c.add(gw) {
			continue
		}
		if err := c.services(gw); err != nil {
			return err
		}
	}
	return nil
}

// services gathers those that tell where the pods of a Gateway run.
func (c *collector) services(gw *networkingv1.Gateway) error {
	pair, ok := firstPair(gw.Spec.GetSelector())
	if !ok {
		return nil
	}
	services, err := byKey[*corev1.Service](c.cached, indexSelector, pair)
	if err != nil {
		return err
	}
	for _, svc := range services {
		c.add(svc)
	}
	return nil
}

func (c *collector) serviceEntries(index, key string) ([]*networkingv1.ServiceEntry, error) {
	if c.freshRead {
		var out []*networkingv1.ServiceEntry
		for _, se := range c.fresh {
			if slices.Contains(entryKeys(index, se), key) {
				out = append(out, se)
			}
		}
		return out, nil
	}
	return byKey[*networkingv1.ServiceEntry](c.cached, index, key)
}

func entryKeys(index string, se *networkingv1.ServiceEntry) []string {
	for _, ix := range indexes {
		if _, ok := ix.object.(*networkingv1.ServiceEntry); ok && ix.name == index {
			return ix.keys(se)
		}
	}
	return nil
}

// readEntries replaces the informers' ServiceEntries by the API server's.
func (c *collector) readEntries(ctx context.Context) error {
	if c.freshRead {
		return nil
	}
	c.onLive("serviceentries")
	entries, err := c.entries.get(ctx)
	if err != nil {
		return fmt.Errorf("failed to list ServiceEntries from the API server: %w", err)
	}
	for _, se := range entries {
		c.fresh[keyOf(se)] = se
	}
	c.freshRead = true
	return nil
}

func (c *collector) rulesFor(host string) error {
	rules, err := byKey[*networkingv1.DestinationRule](c.cached, indexHost, host)
	if err != nil {
		return err
	}
	for _, dr := range rules {
		if _, fresh := c.freshNS[dr.Namespace]; !fresh {
			c.add(dr)
		}
	}
	for _, dr := range c.rules[host] {
		c.add(dr)
	}
	return nil
}

// readRules reads the DestinationRules of the fresh namespaces.
func (c *collector) readRules(ctx context.Context) error {
	for _, ns := range slices.Sorted(maps.Keys(c.freshNS)) {
		c.onLive("destinationrules")
		var list networkingv1.DestinationRuleList
		if err := c.live.List(ctx, &list, client.InNamespace(ns)); err != nil {
			return fmt.Errorf("failed to list DestinationRules of namespace %s from the API server: %w", ns, err)
		}
		for _, dr := range list.Items {
			c.rules[mesh.RuleHost(dr)] = append(c.rules[mesh.RuleHost(dr)], dr)
		}
	}
	return nil
}

// kindOf tells objects of one name apart.
func kindOf(o metav1.Object) string {
	switch o.(type) {
	case *networkingv1.ServiceEntry:
		return mesh.ServiceEntryKind
	case *networkingv1.VirtualService:
		return mesh.VirtualServiceKind
	case *networkingv1.DestinationRule:
		return mesh.DestinationRuleKind
	}
	return fmt.Sprintf("%T", o)
}

// add puts o into the world unless it is there, or is the stored version of the
// object under admission. It reports whether o is new.
func (c *collector) add(o metav1.Object) bool {
	k := objectKey{kindOf(o), keyOf(o)}
	if _, dup := c.seen[k]; dup {
		return false
	}
	c.seen[k] = struct{}{}
	c.objects.Add(o)
	return true
}
