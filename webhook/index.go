package webhook

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"reflect"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
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
	// indexRuleName finds ServiceEntries by the name of the rule that is generated
	// for one of their exact hosts.
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

// index finds the objects of a kind by their keys. A narrow one has many keys with few
// objects each, see bucketOf.
type index struct {
	object client.Object
	name   string
	keys   client.IndexerFunc
	narrow bool
}

// indexes lists every index.
var indexes = []index{
	{&networkingv1.ServiceEntry{}, indexHost, keysOf(mesh.ServiceEntryHosts), true},
	{&networkingv1.ServiceEntry{}, indexUnder, keysOf(func(se *networkingv1.ServiceEntry) []string {
		var out []string
		for _, h := range mesh.ServiceEntryHosts(se) {
			if !mesh.IsWildcard(h) {
				out = append(out, mesh.WildcardsOf(h)...)
			}
		}
		return out
	}), false},
	{&networkingv1.ServiceEntry{}, indexRuleName, keysOf(func(se *networkingv1.ServiceEntry) []string {
		var out []string
		for _, h := range mesh.ServiceEntryHosts(se) {
			if !mesh.IsWildcard(h) {
				out = append(out, mesh.RuleName(h, nil))
			}
		}
		return out
	}), true},
	{&networkingv1.DestinationRule{}, indexHost, keysOf(func(dr *networkingv1.DestinationRule) []string {
		return []string{mesh.RuleHost(dr)}
	}), true},
	{&networkingv1.VirtualService{}, indexHostKey, keysOf(mesh.HostKeys), true},
	{&networkingv1.VirtualService{}, indexDestination, keysOf(mesh.HTTPDestinationHosts), true},
	{&networkingv1.VirtualService{}, indexTLSDestination, keysOf(mesh.TLSDestinationHosts), true},
	{&networkingv1.VirtualService{}, indexDelegate, keysOf(func(vs *networkingv1.VirtualService) []string {
		return namesOf(mesh.DelegatesOf(vs))
	}), false},
	{&networkingv1.VirtualService{}, indexCalled, keysOf(func(vs *networkingv1.VirtualService) []string {
		if !mesh.HostsTellPorts(vs) {
			return nil
		}
		return mesh.VirtualServiceHosts(vs)
	}), true},
	{&networkingv1.VirtualService{}, indexGateway, keysOf(func(vs *networkingv1.VirtualService) []string {
		return namesOf(mesh.GatewayNames(vs))
	}), false},
	{&networkingv1.Gateway{}, indexSelector, keysOf(func(gw *networkingv1.Gateway) []string {
		if pair, ok := firstPair(gw.Spec.GetSelector()); ok {
			return []string{pair}
		}
		return nil
	}), false},
	{&corev1.Service{}, indexSelector, keysOf(func(svc *corev1.Service) []string {
		var out []string
		for k, v := range svc.Spec.Selector {
			out = append(out, mesh.SelectorPair(k, v))
		}
		return out
	}), false},
}

// buckets is how many of them an index has.
const buckets = 4096

var bucketSeed = maphash.MakeSeed()

// bucketOf is what a narrow index has in place of the key: client-go holds a map for each key,
// some 250 bytes even for a single object, and 10,000 keys share 4,096 of them this way. Whoever
// looks a key up goes through the few other objects of its bucket. Wildcards stay as they are:
// there are few, and for each host all that cover it are looked up, mostly in vain.
func bucketOf(key string) string {
	if mesh.IsWildcard(key) {
		return key
	}
	n := maphash.String(bucketSeed, key) % buckets
	return string([]byte{byte(n >> 8), byte(n)})
}

// stored are the keys by which client-go holds an object.
func (ix index) stored(o client.Object) []string {
	keys := ix.keys(o)
	if !ix.narrow {
		return keys
	}
	out := make([]string, len(keys))
	for i, key := range keys {
		out[i] = bucketOf(key)
	}
	return out
}

// find returns the objects that have a key.
func (ix index) find(in toolscache.Indexer, key string) ([]any, error) {
	if !ix.narrow || mesh.IsWildcard(key) {
		return in.ByIndex(ix.name, key) //nolint:wrapcheck // as the index says it
	}
	found, err := in.ByIndex(ix.name, bucketOf(key))
	return slices.DeleteFunc(found, func(o any) bool {
		object, ok := o.(client.Object)
		return !ok || !slices.Contains(ix.keys(object), key)
	}), err //nolint:wrapcheck // as the index says it
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

// indexReader reads the informers, and what is listed by an index from that index itself.
// controller-runtime's own field indexes hold each key twice, for one namespace and for all,
// as strings of their own: with 30,000 objects these were a third of the memory.
type indexReader struct {
	client.Reader
	stores map[reflect.Type]toolscache.SharedIndexInformer // by the type of their objects
}

// newIndexReader adds all indexes to the informers; it must run before the cache starts.
func newIndexReader(ctx context.Context, informers cache.Cache) (indexReader, error) {
	out := indexReader{informers, map[reflect.Type]toolscache.SharedIndexInformer{}}
	for _, ix := range indexes {
		informer, err := informers.GetInformer(ctx, ix.object, cache.BlockUntilSynced(false))
		if err != nil {
			return out, fmt.Errorf("failed to watch %T: %w", ix.object, err)
		}
		store, ok := informer.(toolscache.SharedIndexInformer)
		if !ok {
			return out, fmt.Errorf("the informer of %T is a %T", ix.object, informer)
		}
		err = store.AddIndexers(toolscache.Indexers{ix.name: func(o any) ([]string, error) {
			object, ok := o.(client.Object)
			if !ok {
				return nil, fmt.Errorf("%T is no object", o)
			}
			return ix.stored(object), nil
		}})
		if err != nil {
			return out, fmt.Errorf("failed to index %T by %s: %w", ix.object, ix.name, err)
		}
		out.stores[reflect.TypeOf(ix.object)] = store
	}
	return out, nil
}

func (in indexReader) byIndex(kind client.Object, index, key string) ([]any, error) {
	store := in.stores[reflect.TypeOf(kind)]
	if store == nil || !store.HasSynced() {
		return nil, fmt.Errorf("the informer of %T has not synced", kind)
	}
	for _, ix := range indexes {
		if ix.name == index && reflect.TypeOf(ix.object) == reflect.TypeOf(kind) {
			return ix.find(store.GetIndexer(), key)
		}
	}
	return nil, fmt.Errorf("%T have no index %s", kind, index)
}

// indexed is what the informers hold. Whatever it hands out is theirs and must not be changed.
type indexed interface {
	client.Reader
	// byIndex returns the objects of a kind, of which kind may be a nil pointer, that an index
	// has for a key.
	byIndex(kind client.Object, index, key string) ([]any, error)
}

// byKey returns the objects of a kind that an index has for a key.
func byKey[T client.Object](in indexed, index, key string) ([]T, error) {
	var kind T
	found, err := in.byIndex(kind, index, key)
	if err != nil {
		return nil, fmt.Errorf("failed to list %T by %s %q: %w", kind, index, key, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	out := make([]T, 0, len(found))
	for _, o := range found {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out, nil
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
