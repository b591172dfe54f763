package converge

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// The kinds that are watched, and those of them whose whole objects tests compare: a
// Service is full of what the API server fills in.
var (
	comparedKinds = []string{mesh.ServiceEntryKind, mesh.VirtualServiceKind, mesh.DestinationRuleKind, "Gateway"}
	watchedKinds  = map[string]schema.GroupVersionResource{
		mesh.ServiceEntryKind:    networkingv1.SchemeGroupVersion.WithResource("serviceentries"),
		mesh.VirtualServiceKind:  networkingv1.SchemeGroupVersion.WithResource("virtualservices"),
		mesh.DestinationRuleKind: networkingv1.SchemeGroupVersion.WithResource("destinationrules"),
		"Gateway":                networkingv1.SchemeGroupVersion.WithResource("gateways"),
		"Service":                corev1.SchemeGroupVersion.WithResource("services"),
		"Event":                  corev1.SchemeGroupVersion.WithResource("events"),
	}
)

// apiVersionOf is the version in which objects of a kind are read.
func apiVersionOf(kind string) string {
	if r, ok := watchedKinds[kind]; ok {
		return r.GroupVersion().String()
	}
	return "v1"
}

type key struct{ kind, namespace, name string }

func (k key) String() string { return k.kind + " " + k.namespace + "/" + k.name }

func keyOf(o *unstructured.Unstructured) key {
	return key{o.GetKind(), o.GetNamespace(), o.GetName()}
}

// state is one version of an object.
type state struct {
	object  *unstructured.Unstructured
	deleted bool
}

// watcher follows every object of the watched kinds in every namespace.
type watcher struct {
	mu      sync.Mutex
	changed chan struct{} // closed with the next change
	// past are the versions of each object, oldest first.
	past map[key][]state
}

// watch starts a watcher and waits until it has seen what is there.
func watch(ctx context.Context, config *rest.Config) (*watcher, error) {
	w := &watcher{changed: make(chan struct{}), past: map[key][]state{}}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	informers := dynamicinformer.NewDynamicSharedInformerFactory(objects, 0)
	var seen []toolscache.InformerSynced
	for _, resource := range watchedKinds {
		handled, err := informers.ForResource(resource).Informer().AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { w.see(o, false) },
			UpdateFunc: func(_, o any) { w.see(o, false) },
			DeleteFunc: func(o any) { w.see(o, true) },
		})
		if err != nil {
			return nil, err
		}
		seen = append(seen, handled.HasSynced)
	}
	informers.Start(ctx.Done())
	if !toolscache.WaitForCacheSync(ctx.Done(), seen...) {
		return nil, ctx.Err()
	}
	return w, nil
}

func (w *watcher) see(o any, deleted bool) {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	object, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k := keyOf(object)
	if past := w.past[k]; !deleted && len(past) > 0 && past[len(past)-1].object.GetResourceVersion() == object.GetResourceVersion() {
		return
	}
	w.past[k] = append(w.past[k], state{object, deleted})
	close(w.changed)
	w.changed = make(chan struct{})
}

// next is closed with the next change.
func (w *watcher) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// history returns all versions of an object that were seen.
func (w *watcher) history(k key) []state {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.past[k])
}

// get returns the object as it is, nil if it is not there.
func (w *watcher) get(k key) *unstructured.Unstructured {
	past := w.history(k)
	if len(past) == 0 || past[len(past)-1].deleted {
		return nil
	}
	return past[len(past)-1].object
}

// has reports whether the watcher has seen this version of the object, or a later one.
func (w *watcher) has(o *unstructured.Unstructured) bool {
	past := w.history(keyOf(o))
	return len(past) > 0 && revision(past[len(past)-1].object) >= revision(o)
}

// revision is the resourceVersion, which grows with every write to the cluster.
func revision(o *unstructured.Unstructured) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// all returns what is there of the given kinds in the namespaces, sorted.
func (w *watcher) all(kinds []string, namespaces ...string) []*unstructured.Unstructured {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*unstructured.Unstructured
	for _, k := range slices.SortedFunc(maps.Keys(w.past), func(a, b key) int { return strings.Compare(a.String(), b.String()) }) {
		last := w.past[k][len(w.past[k])-1]
		if !last.deleted && slices.Contains(kinds, k.kind) && slices.Contains(namespaces, k.namespace) {
			out = append(out, last.object)
		}
	}
	return out
}

// versions tells the version of every object in the namespaces, a line each.
func (w *watcher) versions(namespaces ...string) string {
	var b strings.Builder
	for _, o := range w.all(append(slices.Clone(comparedKinds), "Service"), namespaces...) {
		fmt.Fprintf(&b, "%s %s version %s\n", keyOf(o), o.GetUID(), o.GetResourceVersion())
	}
	return b.String()
}

// text is what tests compare of all objects in the namespaces.
func (w *watcher) text(namespaces ...string) string {
	objects := w.all(comparedKinds, namespaces...)
	uids := map[types.UID]string{}
	for _, o := range objects {
		uids[o.GetUID()] = "uid of " + o.GetKind() + " " + o.GetName()
	}
	var docs []string
	for _, o := range objects {
		docs = append(docs, shown(o, uids))
	}
	return strings.Join(docs, "---\n")
}

// injectedSum is the sum of an injected value, which is over the host too.
var injectedSum = regexp.MustCompile(`=[0-9a-f]{8}`)

// shown is the object without what differs from one run to the next: in owner
// references the name of the owner takes the place of its uid.
func shown(o *unstructured.Unstructured, uids map[types.UID]string) string {
	o = o.DeepCopy()
	o.SetAPIVersion(apiVersionOf(o.GetKind()))
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	annotations := o.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	if injected, ok := annotations[mutate.InjectedAnnotation]; ok {
		annotations[mutate.InjectedAnnotation] = injectedSum.ReplaceAllString(injected, "")
	}
	o.SetAnnotations(annotations)
	if len(annotations) == 0 {
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations")
	}
	owners := o.GetOwnerReferences()
	for i := range owners {
		if name, ok := uids[owners[i].UID]; ok {
			owners[i].UID = types.UID(name)
		}
	}
	if owners != nil {
		o.SetOwnerReferences(owners)
	}
	if len(o.GetLabels()) == 0 {
		unstructured.RemoveNestedField(o.Object, "metadata", "labels")
	}
	out, err := yaml.Marshal(o.Object)
	if err != nil {
		panic(err)
	}
	return string(out)
}
