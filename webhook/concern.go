package webhook

import (
	"context"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// concern tells what has to be looked at again when an object appears, changes or goes:
// which hosts' DestinationRules, which VirtualServices' headers, and what is judged for
// the metrics. It reads the informers alone. Too much costs time, too little waits for the
// next full pass.
type concern struct {
	cached indexed
	policy *policy.Policy
}

// hosts returns the hosts whose DestinationRules o has to do with.
func (c concern) hosts(ctx context.Context, o client.Object) []string {
	var out []string
	switch o := o.(type) {
	case *networkingv1.DestinationRule:
		host := mesh.RuleHost(o)
		out = append(out, host)
		// It may have stood in the way.
		for _, se := range list[*networkingv1.ServiceEntry](c.cached, indexRuleName, o.Name) {
			out = append(out, slices.DeleteFunc(slices.Clone(mesh.ServiceEntryHosts(se)), func(h string) bool { return mesh.RuleName(h, nil) != o.Name })...)
		}
		if mesh.IsWildcard(host) {
			for _, se := range list[*networkingv1.ServiceEntry](c.cached, indexUnder, host) {
				out = append(out, slices.DeleteFunc(slices.Clone(mesh.ServiceEntryHosts(se)), func(h string) bool { return !mesh.WildcardFits(host, h) })...)
			}
		}
	case *networkingv1.ServiceEntry:
		out = append(out, mesh.ServiceEntryHosts(o)...)
		for _, h := range mesh.ServiceEntryHosts(o) {
			out = append(out, c.hostsOfRoutes(ctx, c.routes(indexCalled, h))...)
		}
	case *corev1.Namespace:
		in := o.Name
		if in == c.policy.RootNamespace || slices.Contains(c.policy.GatewayNamespaces, in) {
			in = "" // The rules of any host may be written there.
		}
		for _, se := range inNamespace(ctx, c.cached, &networkingv1.ServiceEntryList{}, in).Items {
			out = append(out, mesh.ServiceEntryHosts(se)...)
		}
		for _, dr := range inNamespace(ctx, c.cached, &networkingv1.DestinationRuleList{}, o.Name).Items {
			out = append(out, c.hosts(ctx, dr)...)
		}
		out = append(out, c.hostsOfRoutes(ctx, inNamespace(ctx, c.cached, &networkingv1.VirtualServiceList{}, o.Name).Items)...)
		// Gateways whose pods are, or may be, in the namespace have their rules there.
		services := inNamespace(ctx, c.cached, &corev1.ServiceList{}, o.Name).Items
		for i := range services {
			out = append(out, c.hosts(ctx, &services[i])...)
		}
		for _, gw := range inNamespace(ctx, c.cached, &networkingv1.GatewayList{}, o.Name).Items {
			out = append(out, c.hosts(ctx, gw)...)
		}
	default:
		out = c.hostsOfRoutes(ctx, c.executed(o))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// virtualServices returns those whose headers o has to do with.
func (c concern) virtualServices(ctx context.Context, o client.Object) []types.NamespacedName {
	var routes []*networkingv1.VirtualService
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		for _, h := range mesh.ServiceEntryHosts(o) {
			routes = append(routes, c.routes(indexDestination, h)...)
			routes = append(routes, c.routes(indexCalled, h)...)
		}
	case *corev1.Namespace:
		routes = inNamespace(ctx, c.cached, &networkingv1.VirtualServiceList{}, o.Name).Items
	default:
		routes = c.executed(o)
	}
	out := map[types.NamespacedName]struct{}{}
	for _, vs := range routes {
		out[keyOf(vs)] = struct{}{}
		// A root's clients are those of its delegates, which have its headers too.
		for _, d := range mesh.DelegatesOf(vs) {
			out[d] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(out))
}

// objects returns what may have to be judged anew when o changes: itself, and what lists,
// routes to, or is a rule for the hosts that o has to do with. A route makes no difference
// to other routes but for a warning, which waits for the next full pass.
func (c concern) objects(ctx context.Context, o client.Object) []objectKey {
	out := map[objectKey]struct{}{}
	add := func(kind string, o client.Object) { out[objectKey{kind, keyOf(o)}] = struct{}{} }
	switch o.(type) {
	case *networkingv1.ServiceEntry:
		add(mesh.ServiceEntryKind, o)
	case *networkingv1.DestinationRule:
		add(mesh.DestinationRuleKind, o)
	}
	for _, name := range c.virtualServices(ctx, o) {
		out[objectKey{mesh.VirtualServiceKind, name}] = struct{}{}
	}
	_, route := o.(*networkingv1.VirtualService)
	for _, host := range c.hosts(ctx, o) {
		for _, se := range list[*networkingv1.ServiceEntry](c.cached, indexHost, host) {
			add(mesh.ServiceEntryKind, se)
		}
		for _, dr := range list[*networkingv1.DestinationRule](c.cached, indexHost, host) {
			add(mesh.DestinationRuleKind, dr)
		}
		if !route {
			for _, vs := range c.routes(indexDestination, host) {
				add(mesh.VirtualServiceKind, vs)
			}
		}
	}
	return slices.Collect(maps.Keys(out))
}

// executed returns the VirtualServices whose clients o decides: itself, those of a
// Gateway, or those of the Gateways whose pods a Service may select.
func (c concern) executed(o client.Object) []*networkingv1.VirtualService {
	switch o := o.(type) {
	case *networkingv1.VirtualService:
		return []*networkingv1.VirtualService{o}
	case *networkingv1.Gateway:
		return c.routes(indexGateway, keyOf(o).String())
	case *corev1.Service:
		var out []*networkingv1.VirtualService
		for k, v := range o.Spec.Selector {
			for _, gw := range list[*networkingv1.Gateway](c.cached, indexSelector, mesh.SelectorPair(k, v)) {
				out = append(out, c.routes(indexGateway, keyOf(gw).String())...)
			}
		}
		return out
	}
	return nil
}

// hostsOfRoutes returns the hosts that VirtualServices and their delegates send to.
func (c concern) hostsOfRoutes(ctx context.Context, routes []*networkingv1.VirtualService) []string {
	var out []string
	for _, vs := range routes {
		out = append(out, mesh.HTTPDestinationHosts(vs)...)
		for _, name := range mesh.DelegatesOf(vs) {
			delegate := &networkingv1.VirtualService{}
			if c.cached.Get(ctx, name, delegate, &client.GetOptions{UnsafeDisableDeepCopy: new(true)}) == nil {
				out = append(out, mesh.HTTPDestinationHosts(delegate)...)
			}
		}
	}
	return out
}

func (c concern) routes(index, key string) []*networkingv1.VirtualService {
	return list[*networkingv1.VirtualService](c.cached, index, key)
}

// list and inNamespace read the informers, where there is nothing to fail: they run and
// have synced before the first event, and the indexes exist.
func list[T client.Object](cached indexed, index, key string) []T {
	out, _ := byKey[T](cached, index, key)
	return out
}

func inNamespace[T client.ObjectList](ctx context.Context, cached client.Reader, into T, namespace string) T {
	_ = cached.List(ctx, into, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
	return into
}
