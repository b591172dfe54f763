package webhook

import (
	"context"
	"fmt"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// The field indexes of the informer cache. With them a request looks at the
// objects of its hosts only, however many there are.
const (
	// indexHost finds ServiceEntries and DestinationRules by the host that they
	// name, exact or wildcard.
	indexHost = "host"
	// indexHostKey finds VirtualServices by their hosts and gateways.
	indexHostKey = "hostKey"
	// indexUnder finds ServiceEntries by each wildcard that covers one of their
	// exact hosts.
	indexUnder = "under"
	// indexRuleName finds ServiceEntries by the name of the rule that is generated for one
	// of their exact hosts.
	indexRuleName = "ruleName"
	// indexDestination and indexTLSDestination find VirtualServices by the host
	// that an HTTP or TLS route leads to.
	indexDestination    = "destination"
	indexTLSDestination = "tlsDestination"
	// indexDelegate finds VirtualServices by "namespace/name" of a delegate.
	indexDelegate = "delegate"
	// indexCalled finds VirtualServices by their own hosts, where these decide what a
	// destination without a port means.
	indexCalled = "called"
	// indexGateway finds VirtualServices by "namespace/name" of a Gateway.
	indexGateway = "gateway"
	// indexSelector finds Services by each "key=value" of their selector, and Gateways by
	// the first of theirs.
	indexSelector = "selector"
)

// indexes lists every index: an object kind, a name, and the keys of an object.
var indexes = []struct {
	object client.Object
	name   string
	keys   client.IndexerFunc
}{
	{&networkingv1.ServiceEntry{}, indexHost, keysOf(mesh.ServiceEntryHosts)},
	{&networkingv1.ServiceEntry{}, indexUnder, keysOf(func(se *networkingv1.ServiceEntry) []string {
		var out []string
		for _, h := range mesh.ServiceEntryHosts(se) {
			if !mesh.IsWildcard(h) {
				out = append(out, mesh.WildcardsOf(h)...)
			}
		}
		return out
	})},
	{&networkingv1.ServiceEntry{}, indexRuleName, keysOf(func(se *networkingv1.ServiceEntry) []string {
		var out []string
		for _, h := range mesh.ServiceEntryHosts(se) {
			if !mesh.IsWildcard(h) {
				out = append(out, mesh.RuleName(h, nil))
			}
		}
		return out
	})},
	{&networkingv1.DestinationRule{}, indexHost, keysOf(func(dr *networkingv1.DestinationRule) []string {
		return []string{mesh.RuleHost(dr)}
	})},
	{&networkingv1.VirtualService{}, indexHostKey, keysOf(mesh.HostKeys)},
	{&networkingv1.VirtualService{}, indexDestination, keysOf(mesh.HTTPDestinationHosts)},
	{&networkingv1.VirtualService{}, indexTLSDestination, keysOf(mesh.TLSDestinationHosts)},
	{&networkingv1.VirtualService{}, indexDelegate, keysOf(func(vs *networkingv1.VirtualService) []string {
		return namesOf(mesh.DelegatesOf(vs))
	})},
	{&networkingv1.VirtualService{}, indexCalled, keysOf(func(vs *networkingv1.VirtualService) []string {
		if !mesh.HostsTellPorts(vs) {
			return nil
		}
		return mesh.VirtualServiceHosts(vs)
	})},
	{&networkingv1.VirtualService{}, indexGateway, keysOf(func(vs *networkingv1.VirtualService) []string {
		return namesOf(mesh.GatewayNames(vs))
	})},
	{&networkingv1.Gateway{}, indexSelector, keysOf(func(gw *networkingv1.Gateway) []string {
		if pair, ok := firstPair(gw.Spec.GetSelector()); ok {
			return []string{pair}
		}
		return nil
	})},
	{&corev1.Service{}, indexSelector, keysOf(func(svc *corev1.Service) []string {
		var out []string
		for k, v := range svc.Spec.Selector {
			out = append(out, mesh.SelectorPair(k, v))
		}
		return out
	})},
}

func keysOf[T client.Object](keys func(T) []string) client.IndexerFunc {
	return func(o client.Object) []string {
		t, ok := o.(T)
		if !ok {
			return nil
		}
		return keys(t)
	}
}

// addIndexes registers all indexes; it must run before the cache starts.
func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, ix := range indexes {
		if err := indexer.IndexField(ctx, ix.object, ix.name, ix.keys); err != nil {
			return fmt.Errorf("failed to index %T by %s: %w", ix.object, ix.name, err)
		}
	}
	return nil
}

// cachedKinds are the kinds that the informers hold. All must have synced before
// the first answer: a missing one would look like an empty mesh.
func cachedKinds() []client.Object {
	return []client.Object{
		&networkingv1.ServiceEntry{},
		&networkingv1.VirtualService{},
		&networkingv1.DestinationRule{},
		&networkingv1.Gateway{},
		&corev1.Service{},
		&corev1.Namespace{},
	}
}

// cacheOptions drop from the cache what no decision reads.
func cacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: stripObject,
		// A read must not block on, or start, an informer that nobody listed.
		ReaderFailOnMissingInformer: true,
	}
}

func stripObject(in any) (any, error) {
	if o, ok := in.(metav1.Object); ok {
		o.SetManagedFields(nil)
		if a := o.GetAnnotations(); a[corev1.LastAppliedConfigAnnotation] != "" {
			delete(a, corev1.LastAppliedConfigAnnotation)
		}
	}
	switch o := in.(type) {
	case *corev1.Service:
		o.Spec = corev1.ServiceSpec{Selector: o.Spec.Selector}
		o.Status = corev1.ServiceStatus{}
		o.Annotations = nil
	case *corev1.Namespace:
		o.Spec, o.Status, o.Annotations = corev1.NamespaceSpec{}, corev1.NamespaceStatus{}, nil
	case *networkingv1.ServiceEntry:
		o.Status.Reset()
	case *networkingv1.VirtualService:
		o.Status.Reset()
	case *networkingv1.DestinationRule:
		o.Status.Reset()
	case *networkingv1.Gateway:
		o.Status.Reset()
		for _, s := range o.Spec.Servers {
			stripServer(s)
		}
	}
	return in, nil
}

// stripServer leaves what tells which virtual hosts a server has.
func stripServer(s *networking.Server) {
	if s == nil {
		return
	}
	if s.Tls != nil {
		s.Tls = &networking.ServerTLSSettings{Mode: s.Tls.Mode}
	}
	s.Name, s.DefaultEndpoint = "", ""
}

// firstPair returns the first "key=value" of a selector, in the order of the keys.
func firstPair(selector map[string]string) (pair string, ok bool) {
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		return mesh.SelectorPair(k, selector[k]), true
	}
	return "", false
}

func namesOf(keys []types.NamespacedName) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.String())
	}
	return out
}

func keyOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
