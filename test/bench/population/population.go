// Package population makes the objects of a cluster that has many of them, the same for the
// same seed, and stores them as kubectl apply and Helm do.
package population

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// IngressNamespace holds the gateway that all teams share.
	IngressNamespace = "istio-ingress"
	// perNamespace is how many objects of each kind a team's namespace has.
	perNamespace = 50
	// perService is how many hosts there are for each Service of a team.
	perService = 10
)

// Objects returns as many ServiceEntries, VirtualServices and DestinationRules as ofEach
// says, their namespaces, Gateways and Services, in an order in which they can be created.
//
// All is at rest: each target has its rule, and each route to it the headers, so that the
// webhook writes nothing. A team's objects are about its own hosts, which are distinct: what
// surrounds a host is the same in a cluster of any size.
//
// Sizes follow what is public. In Istio's own repository (165 VirtualServices, 124
// ServiceEntries, 69 DestinationRules) a spec takes some 180 bytes of JSON in the median, 320
// in the 90th percentile and 650 at most; 95 of 100 ServiceEntries have one host, nine of ten
// VirtualServices one route or two, each with one destination and at most one match, and two
// of five DestinationRules have subsets. Users report VirtualServices of 70 routes by prefix
// (istio #16933), of 300 and of 4,500 redirects (istio #55054), and clusters of 30,000
// (istio #26060): hence a tail of tens and hundreds of routes.
func Objects(ofEach int, seed int64) []client.Object {
	p := &population{
		//nolint:gosec // It has to be the same each time.
		rand: rand.New(rand.NewPCG(uint64(seed), 0)),
	}
	p.add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: IngressNamespace}})
	p.gateway(IngressNamespace, "public", "*.apps.example.com")
	for i := range ofEach {
		if i%perNamespace == 0 {
			p.team(i / perNamespace)
		}
		p.site(i)
	}
	return p.objects
}

type population struct {
	rand    *rand.Rand
	objects []client.Object
}

// chance is true in so many of 1,000 cases.
func (p *population) chance(permille int) bool { return p.rand.IntN(1000) < permille }

// between returns a number from low to high.
func (p *population) between(low, high int) int { return low + p.rand.IntN(high-low+1) }

func pick[T any](p *population, of ...T) T { return of[p.rand.IntN(len(of))] }

func (p *population) add(o client.Object) { p.objects = append(p.objects, o) }

// apply adds an object with the labels and annotations that it gets from kubectl apply, in
// half of the cases, from Helm, or from something else.
func (p *population) apply(kind string, o client.Object) {
	namespace, name := o.GetNamespace(), o.GetName()
	o.SetLabels(map[string]string{
		"app.kubernetes.io/name":     name,
		"app.kubernetes.io/instance": name + "-" + namespace,
		"app.kubernetes.io/version":  fmt.Sprintf("1.%d.%d", p.between(0, 30), p.between(0, 9)),
		"team":                       namespace,
	})
	switch n := p.rand.IntN(1000); {
	case n < 500:
		o.SetAnnotations(map[string]string{corev1.LastAppliedConfigAnnotation: lastApplied(kind, o)})
	case n < 750:
		o.GetLabels()["app.kubernetes.io/managed-by"] = "Helm"
		o.GetLabels()["helm.sh/chart"] = fmt.Sprintf("service-0.%d.%d", p.between(1, 40), p.between(0, 9))
		o.SetAnnotations(map[string]string{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace})
	}
	p.add(o)
}

// lastApplied is what kubectl apply notes.
func lastApplied(kind string, o client.Object) string {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // A generated object can be encoded.
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		panic(err)
	}
	delete(tree, "status")
	tree["apiVersion"], tree["kind"] = schemaOf(kind).GroupVersion().String(), kind
	if metadata, ok := tree["metadata"].(map[string]any); ok {
		delete(metadata, "creationTimestamp")
		metadata["annotations"] = map[string]any{}
	}
	if data, err = json.Marshal(tree); err != nil {
		panic(err)
	}
	return string(data) + "\n"
}

func schemaOf(kind string) schema.GroupVersionKind {
	if kind == "Service" {
		return corev1.SchemeGroupVersion.WithKind(kind)
	}
	return networkingv1.SchemeGroupVersion.WithKind(kind)
}

func teamName(n int) string { return fmt.Sprintf("team-%04d", n) }

// team adds a namespace, every fifth one with a gateway of its own.
func (p *population) team(n int) {
	name := teamName(n)
	p.add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"istio-injection": "enabled", "team": name},
	}})
	if n%5 == 0 {
		p.gateway(name, "own", "*."+name+".example.org")
	}
}

func (p *population) gateway(namespace, name, host string) {
	selector := map[string]string{"istio": namespace + "-" + name}
	p.apply("Service", &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gateway-" + name},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: selector,
			Ports: []corev1.ServicePort{{Name: "https", Port: 443}},
		},
	})
	p.apply("Gateway", &networkingv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: networking.Gateway{Selector: selector, Servers: []*networking.Server{{
			Port:  &networking.Port{Number: 443, Name: "https", Protocol: "HTTPS"},
			Hosts: []string{host},
			Tls:   &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: name + "-cert"},
		}}},
	})
}

// site adds one object of each kind, about hosts that no other site is about.
func (p *population) site(i int) {
	team := teamName(i / perNamespace)
	name := fmt.Sprintf("%s-%05d", pick(p, "orders", "billing", "search", "catalog", "payments", "mail", "maps", "audit"), i)
	external := fmt.Sprintf("%s.%s.example.net", name, pick(p, "api", "eu-west-1.api", "storage", "prod.partner"))
	if i%perService == 0 {
		p.apply("Service", &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name},
			Spec: corev1.ServiceSpec{
				ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": name},
				Ports: []corev1.ServicePort{{Name: "http", Port: 8080}},
			},
		})
	}
	// Seven of ten teams secure the external host themselves, and so may route to it.
	secured := p.chance(700)
	port := p.serviceEntry(team, name, external, secured)
	p.destinationRule(team, name, external, port, secured)
	p.virtualService(team, name, external, port, secured)
}

// serviceEntry adds the one for an external host and returns the port that speaks TLS. Where
// no rule secures it, nothing may need one: its port waits for a route.
func (p *population) serviceEntry(team, name, host string, secured bool) (tlsPort uint32) {
	se := &networkingv1.ServiceEntry{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name},
		Spec: networking.ServiceEntry{
			Hosts: []string{host}, Location: networking.ServiceEntry_MESH_EXTERNAL, Resolution: networking.ServiceEntry_DNS,
		},
	}
	if p.chance(50) {
		for n := range p.between(1, 4) {
			se.Spec.Hosts = append(se.Spec.Hosts, fmt.Sprintf("alt%d.%s", n, host))
		}
	}
	tlsPort = 443
	https := &networking.ServicePort{Number: 443, Name: "https", Protocol: "HTTPS"}
	switch {
	case secured && p.chance(250) && len(se.Spec.Hosts) == 1:
		tlsPort = 80
		se.Spec.Ports = []*networking.ServicePort{{Number: 80, Name: "http", Protocol: "HTTP", TargetPort: 443}}
	case p.chance(200):
		se.Spec.Ports = []*networking.ServicePort{{Number: 80, Name: "http", Protocol: "HTTP"}, https}
	case p.chance(50):
		se.Spec.Ports = []*networking.ServicePort{https}
		for n := range p.between(1, 3) {
			//nolint:gosec // Small numbers.
			se.Spec.Ports = append(se.Spec.Ports, &networking.ServicePort{Number: uint32(9000 + n), Name: fmt.Sprintf("tcp-%d", n), Protocol: "TCP"})
		}
	default:
		se.Spec.Ports = []*networking.ServicePort{https}
	}
	p.apply("ServiceEntry", se)
	return tlsPort
}

func (p *population) destinationRule(team, name, external string, port uint32, secured bool) {
	dr := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name}}
	if !secured {
		dr.Spec.Host = name + "." + team + ".svc.cluster.local"
		dr.Spec.TrafficPolicy = &networking.TrafficPolicy{
			Tls: &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL},
		}
		for _, version := range []string{"v1", "v2"} {
			dr.Spec.Subsets = append(dr.Spec.Subsets, &networking.Subset{Name: version, Labels: map[string]string{"version": version}})
		}
	} else {
		dr.Spec.Host = external
		tls := &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE, Sni: external}
		if p.chance(500) {
			dr.Spec.TrafficPolicy = &networking.TrafficPolicy{Tls: tls}
		} else {
			dr.Spec.TrafficPolicy = &networking.TrafficPolicy{PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{
				{Port: &networking.PortSelector{Number: port}, Tls: tls},
			}}
		}
	}
	if p.chance(250) {
		dr.Spec.TrafficPolicy.ConnectionPool = &networking.ConnectionPoolSettings{
			Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: 100, ConnectTimeout: durationpb.New(time.Second)},
			//nolint:gosec // Small numbers.
			Http: &networking.ConnectionPoolSettings_HTTPSettings{Http1MaxPendingRequests: int32(p.between(10, 100))},
		}
		dr.Spec.TrafficPolicy.OutlierDetection = &networking.OutlierDetection{
			Interval: durationpb.New(10 * time.Second), BaseEjectionTime: durationpb.New(30 * time.Second),
		}
	}
	p.apply("DestinationRule", dr)
}

// routes is how many routes a VirtualService has.
func (p *population) routes() int {
	switch n := p.rand.IntN(1000); {
	case n < 600:
		return 1
	case n < 800:
		return 2
	case n < 930:
		return 3
	case n < 970:
		return p.between(4, 9)
	case n < 995:
		return p.between(10, 60)
	}
	return p.between(100, 500)
}

// virtualService adds one for the team's service, or, at a gateway, for its site. The last
// route takes what is left.
func (p *population) virtualService(team, name, external string, port uint32, secured bool) {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name}}
	switch {
	case p.chance(400):
		vs.Spec.Hosts, vs.Spec.Gateways = []string{name + ".apps.example.com"}, []string{IngressNamespace + "/public"}
	case p.chance(100):
		vs.Spec.Hosts, vs.Spec.Gateways = []string{name + "." + team + ".example.org"}, []string{"own"}
	default:
		vs.Spec.Hosts = []string{name}
	}
	n := p.routes()
	outward := -1
	if secured && p.chance(600) {
		outward = p.rand.IntN(n)
	}
	for i := range n {
		r := &networking.HTTPRoute{}
		if i < n-1 || p.chance(400) && n == 1 {
			r.Match = []*networking.HTTPMatchRequest{{Uri: p.uri(i)}}
			if p.chance(50) {
				r.Match[0].Headers = map[string]*networking.StringMatch{"x-canary": {MatchType: &networking.StringMatch_Exact{Exact: "true"}}}
			}
		}
		to := &networking.Destination{Host: name, Port: &networking.PortSelector{Number: 8080}}
		if i == outward {
			to = &networking.Destination{Host: external, Port: &networking.PortSelector{Number: port}}
			r.Headers = &networking.Headers{Request: &networking.Headers_HeaderOperations{
				Set: map[string]string{"Host": external, "X-Forwarded-Proto": "https"},
			}}
		}
		r.Route = []*networking.HTTPRouteDestination{{Destination: to}}
		switch {
		case i == outward:
		case p.chance(150):
			r.Rewrite = &networking.HTTPRewrite{Uri: "/"}
		case p.chance(100):
			r.Route = []*networking.HTTPRouteDestination{
				{Destination: &networking.Destination{Host: name, Subset: "v1"}, Weight: 90},
				{Destination: &networking.Destination{Host: name, Subset: "v2"}, Weight: 10},
			}
		}
		if p.chance(150) {
			r.Timeout = durationpb.New(time.Duration(p.between(1, 30)) * time.Second)
			//nolint:gosec // Small numbers.
			r.Retries = &networking.HTTPRetry{Attempts: int32(p.between(1, 5)), RetryOn: "5xx,reset,connect-failure"}
		}
		vs.Spec.Http = append(vs.Spec.Http, r)
	}
	p.apply("VirtualService", vs)
}

// uri is the path of the nth route, which no other of the same VirtualService has.
func (p *population) uri(n int) *networking.StringMatch {
	path := fmt.Sprintf("/%s/v%d/%s-%d", pick(p, "api", "internal", "public"), p.between(1, 3), pick(p, "users", "orders", "files", "reports"), n)
	switch n := p.rand.IntN(1000); {
	case n < 800:
		return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: path + "/"}}
	case n < 960:
		return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: path}}
	}
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: path + "/[0-9]+(/.*)?"}}
}
