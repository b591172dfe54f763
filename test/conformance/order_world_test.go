package conformance

import (
	"fmt"
	"iter"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pkg/config/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
)

const orderNamespace = "shop"

// Entries name two ports; a request that none asks for comes on the third, at the latest.
var orderPorts = []uint32{80, 81, 8080}

// orderHosts are those that the mesh has.
var orderHosts = []string{"example.com", "www.example.org", "www.example.com"}

// Where the routes of an orderWorld are: at its Gateways g and h, and at sidecars. A gateway comes
// first: istiod wants to know it before the sidecars of its namespace.
var orderGateways = []string{orderNamespace + "/g", orderNamespace + "/h", mesh.MeshGateway}

// An orderWorld is one VirtualService, and what says where its routes are executed.
type orderWorld struct {
	vs *networkingv1.VirtualService
	// delegate is what some routes of vs may delegate to, or nil.
	delegate *networkingv1.VirtualService
	// samePods: those of the Gateways g and h are the same.
	samePods bool
	// twice: a Gateway has a second server on some ports.
	twice bool
	// seed is that of the requests.
	seed int64
}

// newOrderWorld draws a world that Istio accepts, and counts those that it does not.
func newOrderWorld(seed int64) (w *orderWorld, refused int) {
	g := routegen.Random(seed)
	for ; ; refused++ {
		w := &orderWorld{vs: g.VirtualService(5, false), seed: seed}
		w.vs.Spec.Hosts = routegen.Pick(g, []string{"example.com"}, []string{"example.com"}, []string{"*.example.org", "example.com"},
			[]string{"Example.com"}, []string{"*.example.com"})
		w.vs.Spec.Gateways = routegen.Pick(g, nil, []string{"g"}, []string{"g", "mesh"}, []string{"g", "h"},
			[]string{"shop/g", "h", "mesh"}, []string{"g.shop.svc.cluster.local", "mesh"})
		odd(g, w.vs)
		if g.Chance(30) {
			w.delegate = g.Delegated(w.vs)
			odd(g, w.delegate)
			oddDelegate(g, w)
			repeatMerged(g, w)
		}
		w.samePods, w.twice = g.Chance(15), g.Chance(20)
		if w.accepted() {
			return w, refused
		}
	}
}

// accepted reports whether Istio's own webhook would let the objects in.
func (w *orderWorld) accepted() bool {
	for _, vs := range w.virtualServices() {
		c, err := istiod.Config(vs)
		if err != nil {
			return false
		}
		if _, err := validation.ValidateVirtualService(c); err != nil {
			return false
		}
	}
	return true
}

// odd adds, now and then, what routegen does not draw.
func odd(g routegen.Generator, vs *networkingv1.VirtualService) {
	exact, prefix, regex := routegen.Exact, routegen.Prefix, routegen.Regex
	claim := func() string {
		return routegen.Pick(g, "@request.auth.claims.grp", "@request.auth.claims[grp]", "@request.auth.claims.a.b", "@request.auth.claims[a][b]")
	}
	for _, r := range vs.Spec.Http {
		for _, m := range r.Match {
			if g.Chance(8) {
				name := routegen.Pick(g, "X", "hOst", ":path", ":scheme", ":method")
				m.Headers = with(m.Headers, name, oddHeader(g, name))
			}
			if g.Chance(4) {
				name := routegen.Pick(g, "X", "hOst", ":path", ":scheme", ":method")
				m.WithoutHeaders = with(m.WithoutHeaders, name, routegen.Pick(g, nil, oddHeader(g, name)))
			}
			if g.Chance(6) {
				m.Headers = with(m.Headers, claim(), routegen.Pick(g, exact("a"), exact("n"), prefix("a"), regex("a|b")))
			}
			if g.Chance(6) {
				m.WithoutHeaders = with(m.WithoutHeaders, claim(), routegen.Pick(g, exact("a"), exact("n"), prefix("a")))
			}
			if g.Chance(4) {
				m.Uri = routegen.Pick(g, exact("/é"), prefix("/É"), exact("/a b"), regex(`/\pL`), regex("/(?i)K"), prefix("/K"), exact("/%61"), regex("(?U)/a+"))
				m.IgnoreUriCase = g.Chance(50)
			}
			if g.Chance(6) {
				m.Gateways = routegen.Pick(g, []string{"h"}, []string{"shop/g"}, []string{"h", "g"}, []string{"nobody"},
					[]string{"./g"}, []string{"other/g"}, []string{"g.shop"}, []string{"shop/h", "mesh"})
			}
		}
	}
}

// oddHeader draws what is asked of what routegen asks otherwise.
func oddHeader(g routegen.Generator, name string) *networking.StringMatch {
	switch name {
	case "hOst":
		return g.Authority()
	case ":path":
		return routegen.Pick(g, g.URI(), routegen.Exact("/a?q=a"))
	case ":scheme":
		return g.Scheme()
	case ":method":
		return g.Method()
	default:
		return routegen.Exact("a")
	}
}

func with(in map[string]*networking.StringMatch, name string, m *networking.StringMatch) map[string]*networking.StringMatch {
	out := map[string]*networking.StringMatch{}
	maps.Copy(out, in)
	out[name] = m
	return out
}

// oddDelegate hides the delegate from its root, or moves it, now and then.
func oddDelegate(g routegen.Generator, w *orderWorld) {
	if !g.Chance(30) {
		w.delegate.Spec.ExportTo = routegen.Pick(g, nil, nil, nil, []string{"."}, []string{"n1"})
		return
	}
	w.delegate.Namespace = "other"
	w.delegate.Spec.ExportTo = routegen.Pick(g, nil, []string{"*"}, []string{"shop"}, []string{"."}, []string{"n1", "shop"}, []string{"n1"})
	for _, r := range w.vs.Spec.Http {
		if r.Delegate != nil {
			r.Delegate.Namespace = routegen.Pick(g, "other", "other", "other", "")
		}
	}
}

// repeatMerged appends, mostly, a route for just the requests that an entry of a delegating route and one
// of the delegate take together: it is dead unless Istio drops them for a conflict.
func repeatMerged(g routegen.Generator, w *orderWorld) {
	entry := func(r *networking.HTTPRoute) *networking.HTTPMatchRequest {
		if len(r.Match) == 0 {
			return &networking.HTTPMatchRequest{}
		}
		return r.Match[g.Draw(len(r.Match))].DeepCopy()
	}
	for _, r := range w.vs.Spec.Http {
		if r.Delegate == nil || !g.Chance(70) {
			continue
		}
		m := entry(r)
		proto.Merge(m, entry(routegen.Pick(g, w.delegate.Spec.Http...)))
		w.vs.Spec.Http = append(w.vs.Spec.Http, &networking.HTTPRoute{
			Match: []*networking.HTTPMatchRequest{m},
			Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "merged"}}},
		})
		return
	}
}

// named returns w with names by which istiod's routes are told apart: what it makes of http[1].match[2]
// it calls r1.m2, with those of a delegate r1-d0.m2-k0.
func (w *orderWorld) named() *orderWorld {
	out := *w
	name := func(vs *networkingv1.VirtualService, route, entry string) *networkingv1.VirtualService {
		vs = vs.DeepCopy()
		for i, r := range vs.Spec.Http {
			r.Name = fmt.Sprint(route, i)
			for j, m := range r.Match {
				m.Name = fmt.Sprint(entry, j)
			}
		}
		return vs
	}
	out.vs = name(w.vs, "r", "m")
	if w.delegate != nil {
		out.delegate = name(w.delegate, "d", "k")
	}
	return &out
}

// delegates is how validate asks for the delegate.
func (w *orderWorld) delegates(namespace, name string) *networkingv1.VirtualService {
	if w.delegate != nil && w.delegate.Namespace == namespace && w.delegate.Name == name {
		return w.delegate
	}
	return nil
}

func (w *orderWorld) virtualServices() []*networkingv1.VirtualService {
	if w.delegate == nil {
		return []*networkingv1.VirtualService{w.vs}
	}
	return []*networkingv1.VirtualService{w.vs, w.delegate}
}

// objects are all that istiod is told.
func (w *orderWorld) objects() []metav1.Object {
	var out []metav1.Object
	add := func(o metav1.Object) {
		o.SetCreationTimestamp(metav1.NewTime(time.Date(2026, 1, 1+len(out), 0, 0, 0, 0, time.UTC)))
		out = append(out, o)
	}
	for _, name := range []string{"g", "h"} {
		g := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: orderNamespace, Name: name}}
		g.Spec.Selector = map[string]string{"pods": w.pods(name)}
		server := func(port uint32, kind string, hosts ...string) {
			g.Spec.Servers = append(g.Spec.Servers, &networking.Server{
				Port: &networking.Port{Number: port, Name: fmt.Sprint(kind, "-", port), Protocol: "HTTP"}, Hosts: hosts,
			})
		}
		for i, port := range orderPorts {
			server(port, "http", "*")
			if w.twice && i < 2 {
				server(port, "again", "example.com", "*.example.com", "*.example.org")
			}
		}
		add(g)
	}
	for _, host := range orderHosts {
		se := &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Namespace: orderNamespace, Name: strings.ReplaceAll(host, ".", "-")}}
		se.Spec.Hosts, se.Spec.Resolution = []string{host}, networking.ServiceEntry_DNS
		for _, port := range orderPorts {
			se.Spec.Ports = append(se.Spec.Ports, &networking.ServicePort{Number: port, Name: fmt.Sprint("http-", port), Protocol: "HTTP"})
		}
		add(se)
	}
	for _, vs := range w.virtualServices() {
		add(vs.DeepCopy())
	}
	return out
}

// pods is the label of those of a Gateway.
func (w *orderWorld) pods(gateway string) string {
	if w.samePods {
		return "both"
	}
	return gateway
}

// proxy is a pod that executes routes for a gateway, or for mesh.
func (w *orderWorld) proxy(gateway, namespace string, labels map[string]string) istiod.Proxy {
	if gateway == mesh.MeshGateway {
		return istiod.Proxy{Namespace: namespace, Labels: labels}
	}
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["pods"] = w.pods(strings.TrimPrefix(gateway, orderNamespace+"/"))
	return istiod.Proxy{Namespace: namespace, Gateway: true, Labels: labels}
}

// proxies are pods of each kind that entries of w can tell apart, of a gateway or mesh.
func (w *orderWorld) proxies(gateway string) []istiod.Proxy {
	labels, namespaces := []map[string]string{nil}, []string{"default"}
	for _, vs := range w.virtualServices() {
		for _, r := range vs.Spec.Http {
			for _, m := range r.Match {
				if len(m.SourceLabels) > 0 {
					labels = []map[string]string{nil, {"app": "x"}, {"app": "x", "v": "1"}, {"app": "y"}}
				}
				if m.SourceNamespace != "" {
					namespaces = []string{"default", "n1", "n2"}
				}
			}
		}
	}
	var out []istiod.Proxy
	for _, namespace := range namespaces {
		for _, l := range labels {
			out = append(out, w.proxy(gateway, namespace, l))
		}
	}
	return out
}

// smaller are w without one thing of it.
func (w *orderWorld) smaller(t testing.TB) iter.Seq[*orderWorld] {
	return func(yield func(*orderWorld) bool) {
		try := func(edit func(*orderWorld)) bool {
			out := *w
			edit(&out)
			return yield(&out)
		}
		if w.delegate != nil && !try(func(o *orderWorld) { o.delegate = nil }) {
			return
		}
		if w.samePods && !try(func(o *orderWorld) { o.samePods = false }) {
			return
		}
		if w.twice && !try(func(o *orderWorld) { o.twice = false }) {
			return
		}
		for _, vs := range smaller(t, w.vs) {
			if !try(func(o *orderWorld) { o.vs, _ = vs.(*networkingv1.VirtualService) }) {
				return
			}
		}
		if w.delegate == nil {
			return
		}
		for _, vs := range smaller(t, w.delegate) {
			if !try(func(o *orderWorld) { o.delegate, _ = vs.(*networkingv1.VirtualService) }) {
				return
			}
		}
	}
}

func (w *orderWorld) text(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("# pods of g and h the same: %v; servers twice: %v\n%s", w.samePods, w.twice, toYAML(t, w.virtualServices()...))
}
