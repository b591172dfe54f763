// Package istiod asks istiod's own code what it makes of objects: the clusters, listeners and
// routes of a proxy, as they would be pushed to it.
package istiod

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pilot/pkg/serviceregistry/kube"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/config"
	meshconfig "istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/kube/krt"
	"istio.io/istio/pkg/log"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// quiet stops istiod's log, which tells of every object, and its debug handler, which keeps every
// collection that there ever was.
var quiet = sync.OnceFunc(func() {
	krt.GlobalDebugHandler = nil
	for _, s := range log.Scopes() {
		s.SetOutputLevel(log.NoneLevel)
	}
})

// Options are the facts about the mesh that no object tells.
type Options struct {
	// RootNamespace is meshConfig.rootNamespace, istio-system if empty.
	RootNamespace string
}

// Mesh is istiod, with objects.
type Mesh struct {
	t   testing.TB
	gen *core.ConfigGenTest
	// sidecars are the namespaces that a sidecar was asked for in.
	sidecars map[string]bool
	proxies  map[string]*model.Proxy
}

// Proxy is an Envoy: a gateway's pod, or the sidecar of a pod.
type Proxy struct {
	Namespace string
	Gateway   bool
	// Labels are the pod's.
	Labels map[string]string
}

func (p Proxy) String() string {
	kind := "sidecar"
	if p.Gateway {
		kind = "gateway"
	}
	return fmt.Sprintf("%s in %s %v", kind, p.Namespace, p.Labels)
}

// Run starts istiod with objects, of the kinds that Config knows, Services and Namespaces, hands it to use, and
// stops it: thousands of them in one test leave nothing behind.
func Run(t testing.TB, objects []metav1.Object, options Options, use func(*Mesh)) {
	t.Helper()
	quiet()
	s := &scope{TB: t}
	defer s.close()
	mc := meshconfig.DefaultMeshConfig()
	if options.RootNamespace != "" {
		mc.RootNamespace = options.RootNamespace
	}
	opts := core.TestOptions{MeshConfig: mc}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Namespace:
		case *corev1.Service:
			opts.Services = append(opts.Services, kube.ConvertService(*o, nil, mesh.ClusterDomain, cluster.ID("Kubernetes"), mc.TrustDomain))
		default:
			c, err := Config(o)
			if err != nil {
				t.Fatal(err)
			}
			opts.Configs = append(opts.Configs, c)
		}
	}
	use(&Mesh{t: t, gen: core.NewConfigGenTest(s, opts), sidecars: map[string]bool{}, proxies: map[string]*model.Proxy{}})
}

// scope runs what is to be cleaned up at its own end, not at the test's.
type scope struct {
	testing.TB
	cleanups []func()
}

func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *scope) close() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

// youngest is when an object is created that says nothing of it, as internal/mesh has it.
var youngest = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// Config is o as istiod holds it. o is not kept.
func Config(o metav1.Object) (config.Config, error) {
	c := config.Config{Meta: config.Meta{
		Name:              o.GetName(),
		Namespace:         o.GetNamespace(),
		Labels:            maps.Clone(o.GetLabels()),
		Annotations:       maps.Clone(o.GetAnnotations()),
		CreationTimestamp: o.GetCreationTimestamp().Time,
		Domain:            mesh.ClusterDomain,
	}}
	if c.CreationTimestamp.IsZero() {
		c.CreationTimestamp = youngest
	}
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		c.GroupVersionKind, c.Spec = gvk.ServiceEntry, proto.CloneOf(&o.Spec)
	case *networkingv1.VirtualService:
		c.GroupVersionKind, c.Spec = gvk.VirtualService, proto.CloneOf(&o.Spec)
	case *networkingv1.DestinationRule:
		c.GroupVersionKind, c.Spec = gvk.DestinationRule, proto.CloneOf(&o.Spec)
	case *networkingv1.Gateway:
		c.GroupVersionKind, c.Spec = gvk.Gateway, proto.CloneOf(&o.Spec)
	case *networkingv1.Sidecar:
		c.GroupVersionKind, c.Spec = gvk.Sidecar, proto.CloneOf(&o.Spec)
	default:
		return c, fmt.Errorf("istiod is told nothing of a %T", o)
	}
	return c, nil
}

// proxy connects p. A gateway in a namespace comes before its sidecars: istiod keeps what the first
// one sees for both (doGetSidecarScope).
func (m *Mesh) proxy(p Proxy) *model.Proxy {
	m.t.Helper()
	if known, ok := m.proxies[p.String()]; ok {
		return known
	}
	if !p.Gateway {
		m.sidecars[p.Namespace] = true
	} else if m.sidecars[p.Namespace] {
		m.t.Fatalf("%s: a gateway is asked for before the sidecars of its namespace", p)
	}
	labels := maps.Clone(p.Labels)
	known := &model.Proxy{
		Type:            model.SidecarProxy,
		ConfigNamespace: p.Namespace,
		Labels:          labels,
		Metadata:        &model.NodeMetadata{Namespace: p.Namespace, Labels: labels, IstioVersion: "1.31.0"},
	}
	if p.Gateway {
		known.Type = model.Router
	}
	known = m.gen.SetupProxy(known)
	m.proxies[p.String()] = known
	return known
}

// Clusters are the clusters of p by name.
func (m *Mesh) Clusters(p Proxy) map[string]*clusterv3.Cluster {
	m.t.Helper()
	out := map[string]*clusterv3.Cluster{}
	for _, c := range m.gen.Clusters(m.proxy(p)) {
		out[c.GetName()] = c
	}
	return out
}

// Listeners are the listeners of p.
func (m *Mesh) Listeners(p Proxy) []*listenerv3.Listener {
	m.t.Helper()
	return m.gen.Listeners(m.proxy(p))
}

// Routes are the route configurations that the listeners of p name, by name.
func (m *Mesh) Routes(p Proxy) map[string]*routev3.RouteConfiguration {
	m.t.Helper()
	proxy := m.proxy(p)
	return m.Route(p, core.ExtractRoutesFromListeners(m.gen.Listeners(proxy))...)
}

// Route are the route configurations of those names. A gateway's are called http.80, a sidecar's
// 80.
func (m *Mesh) Route(p Proxy, names ...string) map[string]*routev3.RouteConfiguration {
	m.t.Helper()
	resources, _ := m.gen.ConfigGen.BuildHTTPRoutes(m.proxy(p), &model.PushRequest{Push: m.gen.PushContext()}, names)
	out := map[string]*routev3.RouteConfiguration{}
	for _, r := range resources {
		rc := &routev3.RouteConfiguration{}
		if err := r.GetResource().UnmarshalTo(rc); err != nil {
			m.t.Fatal(err)
		}
		out[rc.GetName()] = rc
	}
	return out
}
