package conformance

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pkg/config/schema/collections"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
)

// What random worlds are made of. Nothing of a world is ever elsewhere.

var (
	hosts      = []string{"api.vendor.com", "eu-api.vendor.com", "www.vendor.com", "legacy.a.svc.cluster.local"}
	ports      = []uint32{443, 80, 8443}
	subsets    = []string{"v1", "v2"}
	namespaces = []string{"a", "b", "c", "istio-system"}
)

// world is what a differential test asks about.
type world struct {
	policy  *policy.Policy
	objects []metav1.Object
	// listened is the service that makes sidecars listen for HTTP at port 80, as something does in every mesh. A failure
	// without it is another one.
	listened metav1.Object
	// refused counts the objects that Istio's own validation kept out.
	refused int
	// ports are what most ServiceEntries say of a port, by number.
	ports map[uint32]*networking.ServicePort
}

// draw makes random objects.
type draw struct {
	*rand.Rand
	world *world
}

func pick[T any](d draw, from ...T) T { return from[d.IntN(len(from))] }

func (d draw) percent(n int) bool { return d.IntN(100) < n }

// ruleWorld draws ServiceEntries and DestinationRules that have to do with each other.
func ruleWorld(seed int64) *world {
	d := newDraw(seed, 1)
	d.entries()
	d.rules()
	return d.world
}

// routeWorld draws the same, and who routes HTTP to it. Gateways and Services come first: nothing is
// decided when they are applied.
func routeWorld(seed int64) *world {
	d := newDraw(seed, 2)
	d.world.policy.RouteOrder = policy.IgnoreOrder
	if d.percent(10) {
		d.world.policy.Originate = policy.Always
	}
	if d.percent(20) {
		d.world.policy.GatewayNamespaces = []string{pick(d, namespaces...)}
	}
	d.gateways()
	first := len(d.world.objects)
	d.entries()
	d.rules()
	d.routes()
	last := d.world.objects[first:]
	d.Shuffle(len(last), func(i, j int) { last[i], last[j] = last[j], last[i] })
	return d.world
}

func newDraw(seed int64, test uint64) draw {
	d := draw{rand.New(rand.NewPCG(uint64(seed), test)), &world{policy: policy.Default(), ports: map[uint32]*networking.ServicePort{}}}
	if d.percent(20) {
		d.world.policy.RootNamespace = "b"
	}
	for _, n := range ports {
		d.world.ports[n] = d.port(n)
	}
	return d
}

func (d draw) port(number uint32) *networking.ServicePort {
	p := &networking.ServicePort{Number: number, Name: fmt.Sprintf("p%d", number), Protocol: pick(d, "HTTPS", "HTTP", "TLS", "GRPC", "HTTP2", "http")}
	if d.percent(30) {
		p.TargetPort = pick[uint32](d, 443, 8080)
	}
	return p
}

// put names o and takes it up, if Istio would.
func (d draw) put(o metav1.Object, namespace string) {
	o.SetName(fmt.Sprintf("%c%d", 'a'+d.IntN(26), len(d.world.objects)))
	o.SetNamespace(namespace)
	if valid(o) != nil {
		d.world.refused++
		return
	}
	d.world.objects = append(d.world.objects, o)
}

// valid returns why Istio's validation refuses o.
func valid(o metav1.Object) error {
	if _, ok := o.(*corev1.Service); ok {
		return nil
	}
	c, err := istiod.Config(o)
	if err != nil {
		return err
	}
	s, _ := collections.Pilot.FindByGroupVersionKind(c.GroupVersionKind)
	_, err = s.ValidateConfig(c)
	return err
}

// created is a time, or none: not stored yet.
func (d draw) created(years int) metav1.Time {
	if d.percent(15) {
		return metav1.Time{}
	}
	return metav1.NewTime(time.Date(2000+d.IntN(years), 1, 1, 0, 0, 0, 0, time.UTC))
}

func (d draw) exportTo() []string {
	return pick(d, nil, nil, nil, []string{"*"}, []string{"."}, []string{"."}, []string{"a"}, []string{"b"}, []string{"istio-system"}, []string{"b", "istio-system"}, []string{".", elsewhere}, []string{"a", "b", "c"})
}

func (d draw) entries() {
	// Of two ServiceEntries of one namespace and age, either may count for istiod.
	ages := map[string]bool{}
	for range 1 + d.IntN(6) {
		ns := pick(d, namespaces...)
		se := &networkingv1.ServiceEntry{}
		se.CreationTimestamp = d.created(20)
		age := ns + se.CreationTimestamp.String()
		if ages[age] {
			continue
		}
		ages[age] = true
		for _, h := range hosts {
			// A ServiceEntry speaks for no Kubernetes service of another namespace.
			if d.percent(40) && (ns == "a" || h != hosts[3]) {
				se.Spec.Hosts = append(se.Spec.Hosts, h)
			}
		}
		if len(se.Spec.Hosts) == 0 {
			se.Spec.Hosts = []string{pick(d, hosts[0], hosts[0], "*.vendor.com")}
		}
		if d.percent(10) {
			se.Labels = map[string]string{"team": "x"}
		}
		if d.percent(5) {
			se.Annotations = map[string]string{mesh.OriginateAnnotation: pick(d, "never", "always", "443", "80,8443")}
		}
		if se.Spec.ExportTo = d.exportTo(); d.percent(5) {
			se.Spec.ExportTo = []string{mesh.ExportNone}
		}
		if d.percent(10) {
			se.Spec.Location = networking.ServiceEntry_MESH_INTERNAL
		}
		se.Spec.Resolution = pick(d, networking.ServiceEntry_DNS, networking.ServiceEntry_DNS, networking.ServiceEntry_STATIC, networking.ServiceEntry_NONE)
		for _, n := range ports {
			if !d.percent(60) {
				continue
			}
			p := d.world.ports[n].DeepCopy()
			if d.percent(5) {
				p = d.port(n)
			}
			if len(se.Spec.Hosts) == 1 && d.percent(5) {
				p.Protocol = ""
			}
			se.Spec.Ports = append(se.Spec.Ports, p)
		}
		if se.Spec.Resolution != networking.ServiceEntry_NONE && d.percent(70) {
			for i, v := range subsets {
				se.Spec.Endpoints = append(se.Spec.Endpoints, &networking.WorkloadEntry{
					Address: fmt.Sprintf("10.0.0.%d", i+1), Labels: map[string]string{"version": v},
				})
			}
		} else if se.Spec.Resolution == networking.ServiceEntry_STATIC && d.percent(30) {
			se.Spec.WorkloadSelector = &networking.WorkloadSelector{Labels: map[string]string{"app": pick(d, "x", "y")}}
		}
		d.put(se, ns)
	}
}

func (d draw) rules() {
	// Where most rules meet.
	host, namespace := pick(d, hosts[0], hosts[0], hosts[1], "*.vendor.com"), pick(d, namespaces...)
	for range d.IntN(9) {
		dr := &networkingv1.DestinationRule{}
		dr.CreationTimestamp = d.created(4)
		dr.Spec.Host = host
		if d.percent(50) {
			dr.Spec.Host = pick(d, hosts[0], hosts[0], hosts[1], hosts[2], hosts[3],
				"legacy", "*.vendor.com", "*.com", "*", "*-api.vendor.com", "*.svc.cluster.local", "other.com")
		}
		dr.Spec.ExportTo = d.exportTo()
		if d.percent(25) {
			dr.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: pick(d, map[string]string{"app": "x"}, map[string]string{"app": "x"}, map[string]string{"istio": "in"}, map[string]string{"app": "x", "v": "1"}, nil)}
			if d.percent(90) {
				dr.Spec.ExportTo = nil
			}
		}
		dr.Spec.TrafficPolicy = d.trafficPolicy(70)
		for _, name := range subsets {
			if d.percent(25) {
				dr.Spec.Subsets = append(dr.Spec.Subsets, &networking.Subset{
					Name: name, Labels: map[string]string{"version": name}, TrafficPolicy: d.trafficPolicy(50),
				})
			}
		}
		if d.percent(40) {
			d.put(dr, pick(d, namespaces...))
		} else {
			d.put(dr, namespace)
		}
	}
}

func (d draw) trafficPolicy(percent int) *networking.TrafficPolicy {
	if !d.percent(percent) {
		return nil
	}
	p := &networking.TrafficPolicy{Tls: d.tls(50)}
	if p.Tls == nil || d.percent(30) {
		p.ConnectionPool = d.connectionPool()
	}
	if d.percent(20) {
		p.LoadBalancer = &networking.LoadBalancerSettings{LbPolicy: &networking.LoadBalancerSettings_Simple{Simple: networking.LoadBalancerSettings_RANDOM}}
	}
	if d.percent(20) {
		p.OutlierDetection = &networking.OutlierDetection{MaxEjectionPercent: int32(1 + d.IntN(99))}
	}
	for _, n := range ports {
		// Of two entries of a port the first counts.
		for d.percent(20) {
			e := &networking.TrafficPolicy_PortTrafficPolicy{Port: &networking.PortSelector{Number: n}, Tls: d.tls(50)}
			if e.Tls == nil || d.percent(30) {
				e.ConnectionPool = d.connectionPool()
			}
			p.PortLevelSettings = append(p.PortLevelSettings, e)
		}
	}
	return p
}

func (d draw) connectionPool() *networking.ConnectionPoolSettings {
	return &networking.ConnectionPoolSettings{Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: int32(1 + d.IntN(1000))}}
}

func (d draw) tls(percent int) *networking.ClientTLSSettings {
	if !d.percent(percent) {
		return nil
	}
	tls := &networking.ClientTLSSettings{Mode: pick(d, networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_DISABLE,
		networking.ClientTLSSettings_MUTUAL, networking.ClientTLSSettings_ISTIO_MUTUAL)}
	if d.percent(50) {
		tls.Sni = pick(d, hosts[0], "x.vendor.com")
	}
	switch tls.Mode {
	case networking.ClientTLSSettings_SIMPLE:
		tls.CaCertificates = pick(d, "", "", "system", "/ca.pem")
		if tls.CaCertificates == "" {
			tls.CredentialName = pick(d, "", "", "cred", "configmap://a/cred")
		}
	case networking.ClientTLSSettings_MUTUAL:
		if tls.CredentialName = pick(d, "", "cred"); tls.CredentialName == "" {
			tls.ClientCertificate, tls.PrivateKey = "/cert.pem", "/key.pem"
		}
	}
	return tls
}

func (d draw) gateways() {
	in := map[string]string{"istio": "in"}
	gw := &networkingv1.Gateway{}
	gw.Spec.Selector = in
	gw.Spec.Servers = []*networking.Server{{Port: &networking.Port{Number: pick(d, ports...), Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}}}
	d.put(gw, pick(d, namespaces...))
	for _, ns := range namespaces {
		if d.percent(25) {
			svc := &corev1.Service{}
			svc.Spec.Selector = in
			svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
			d.put(svc, ns)
		}
	}
	front := &networkingv1.ServiceEntry{}
	front.Spec = networking.ServiceEntry{
		Hosts: []string{"shop.example.com"}, Location: networking.ServiceEntry_MESH_INTERNAL, Resolution: networking.ServiceEntry_STATIC,
		Ports:     []*networking.ServicePort{{Number: 80, Name: "http", Protocol: "HTTP"}},
		Endpoints: []*networking.WorkloadEntry{{Address: "10.0.1.1"}},
	}
	front.CreationTimestamp = metav1.NewTime(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))
	d.put(front, "c")
	d.world.listened = front
}

func (d draw) routes() {
	gateway := ""
	for _, o := range d.world.objects {
		if _, ok := o.(*networkingv1.Gateway); ok {
			gateway = o.GetNamespace() + "/" + o.GetName()
		}
	}
	for range 1 + d.IntN(4) {
		vs := &networkingv1.VirtualService{}
		vs.CreationTimestamp = d.created(4)
		vs.Spec.Hosts = pick(d, []string{"shop.example.com"}, []string{hosts[0]}, []string{hosts[2]})
		vs.Spec.ExportTo = d.exportTo()
		vs.Spec.Gateways = pick(d, nil, []string{gateway}, []string{gateway}, []string{gateway, "mesh"})
		for i := range 1 + d.IntN(3) {
			r := &networking.HTTPRoute{}
			for range 1 + d.IntN(2) {
				dest := &networking.Destination{Host: pick(d, hosts[0], hosts[0], hosts[1], hosts[2], hosts[3], "legacy")}
				if d.percent(85) {
					dest.Port = &networking.PortSelector{Number: pick[uint32](d, 443, 443, 80, 8443)}
				}
				if d.percent(25) {
					dest.Subset = pick(d, subsets...)
				}
				r.Route = append(r.Route, &networking.HTTPRouteDestination{Destination: dest, Weight: 50})
			}
			match := &networking.HTTPMatchRequest{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: fmt.Sprintf("/%d", i)}}}
			if d.percent(15) {
				match.SourceNamespace = pick(d, namespaces...)
			}
			if len(vs.Spec.Gateways) > 0 && d.percent(15) {
				match.Gateways = []string{gateway}
			}
			r.Match = []*networking.HTTPMatchRequest{match}
			vs.Spec.Http = append(vs.Spec.Http, r)
		}
		d.put(vs, pick(d, namespaces...))
	}
}

// smaller are w without one thing of it.
func (w *world) smaller(t testing.TB) iter.Seq[*world] {
	return func(yield func(*world) bool) {
		for objects := range smallerObjects(t, w.objects) {
			if w.listened != nil && !slices.Contains(objects, w.listened) {
				continue
			}
			less := *w
			less.objects = objects
			if !yield(&less) {
				return
			}
		}
	}
}

// differs asks of a world what the product and Istio say, and returns where they differ: "" nowhere.
type differs func(t testing.TB, w *world) string

// explain returns where they differ in the smallest world that is left of w in which they still do.
func (ask differs) explain(t testing.TB, w *world) string {
	t.Helper()
	w = shrunk(w, func(w *world) iter.Seq[*world] { return w.smaller(t) }, func(w *world) bool { return ask(t, w) != "" })
	return fmt.Sprintf("%s\nroot namespace %s, originate %s, gateway namespaces %v\n%s",
		ask(t, w), w.policy.RootNamespace, w.policy.Originate, w.policy.GatewayNamespaces, toYAML(t, w.objects...))
}
