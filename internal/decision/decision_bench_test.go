package decision_test

import (
	"encoding/json"
	"fmt"
	"path"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

const (
	externalHost   = "api.example.org"
	inMeshHost     = "a.default.svc.cluster.local"
	throughGateway = "istio-system/gateway"
)

// benchRoutes is a VirtualService of n routes to host that lacks nothing.
func benchRoutes(name, virtualHost, through, host string, n int) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	vs.Spec.Hosts = []string{virtualHost}
	vs.Spec.Gateways = []string{through}
	for i := range n {
		vs.Spec.Http = append(vs.Spec.Http, &networking.HTTPRoute{
			Match: []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: fmt.Sprintf("/team-%05d/", i)}}}},
			Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: host, Port: &networking.PortSelector{Number: 443}}}},
			Headers: &networking.Headers{Request: &networking.Headers_HeaderOperations{
				Set: map[string]string{"Host": host, "X-Forwarded-Proto": "https"},
			}},
		})
	}
	return vs
}

func benchEntry(hosts ...string) *networkingv1.ServiceEntry {
	se := &networkingv1.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ext"}}
	se.Spec.Hosts = hosts
	se.Spec.Ports = []*networking.ServicePort{{Number: 443, Name: "https", Protocol: "HTTPS"}}
	se.Spec.Resolution = networking.ServiceEntry_DNS
	return se
}

// benchObjects holds others, a ServiceEntry for the external host, and a Gateway.
func benchObjects(others ...metav1.Object) mesh.Objects {
	gw := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "gateway"}}
	gw.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	gw.Spec.Servers = []*networking.Server{{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}}}
	var objs mesh.Objects
	objs.Add(benchEntry(externalHost))
	objs.Add(gw)
	for _, o := range others {
		objs.Add(o)
	}
	return objs
}

// settled returns objs with the rules that the decision about o asks for.
func settled(b *testing.B, objs mesh.Objects, pol *policy.Policy, o metav1.Object) mesh.Objects {
	b.Helper()
	out, err := decision.Decide(decision.World(objs, pol), pol, o, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range out.Rules {
		objs.Add(c.Rule)
	}
	if out, _ = decision.Decide(decision.World(objs, pol), pol, o, nil); len(out.Rules)+len(out.Edits) > 0 {
		b.Fatal("something lacks yet", out)
	}
	return objs
}

func measure(b *testing.B, of string, do func() error) {
	b.Run("of="+of, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := do(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The decision of one request about a VirtualService that needs nothing, beside what it
// costs to decode it.
func BenchmarkDecide(b *testing.B) {
	for _, host := range []string{inMeshHost, externalHost} {
		for _, gateway := range []string{throughGateway, mesh.MeshGateway} {
			b.Run(fmt.Sprintf("to=%s/through=%s", host, path.Base(gateway)), func(b *testing.B) {
				pol := policy.Default()
				vs := benchRoutes("routes", "www.example.com", gateway, host, 20)
				objs := settled(b, benchObjects(vs), pol, vs)
				old := vs.DeepCopy()
				raw, err := json.Marshal(vs)
				if err != nil {
					b.Fatal(err)
				}
				measure(b, "decode", func() error { return json.Unmarshal(raw, &networkingv1.VirtualService{}) })
				measure(b, "world", func() error { decision.World(objs, pol); return nil })
				measure(b, "create", func() error {
					_, err := decision.Decide(decision.World(objs, pol), pol, vs, nil)
					return err
				})
				measure(b, "update", func() error {
					_, err := decision.DecideUpdate(decision.World(objs, pol), pol, func() metav1.Object { return old }, vs, nil)
					return err
				})
				noOrder := *pol
				noOrder.RouteOrder = policy.IgnoreOrder
				measure(b, "without-order", func() error {
					_, err := decision.Decide(decision.World(objs, pol), &noOrder, vs, nil)
					return err
				})
			})
		}
	}
}

// A host to which 1,000 VirtualServices lead, of 5 routes each: with virtual hosts of their
// own, or with one. It is decided about one of them, about the ServiceEntry, and about the host.
func BenchmarkDecideSharedHost(b *testing.B) {
	for _, virtualHosts := range []int{1_000, 1} {
		for _, gateway := range []string{throughGateway, mesh.MeshGateway} {
			b.Run(fmt.Sprintf("virtual-hosts=%d/through=%s", virtualHosts, path.Base(gateway)), func(b *testing.B) {
				pol := policy.Default()
				var all []metav1.Object
				for i := range 1_000 {
					all = append(all, benchRoutes(fmt.Sprintf("routes-%d", i), fmt.Sprintf("app-%d.example.com", i%virtualHosts), gateway, externalHost, 5))
				}
				objs := settled(b, benchObjects(all...), pol, all[0])
				decide := func(o metav1.Object) func() error {
					return func() error {
						_, err := decision.Decide(decision.World(objs, pol), pol, o, nil)
						return err
					}
				}
				measure(b, "world", func() error { decision.World(objs, pol); return nil })
				measure(b, "route", decide(all[0]))
				measure(b, "entry", decide(objs.ServiceEntries[0]))
				measure(b, "converge", func() error { return converge(objs, pol) })
			})
		}
	}
}

func converge(objs mesh.Objects, pol *policy.Policy) error {
	_, err := decision.Converge(decision.World(objs, pol), pol, externalHost, func(string) policy.Mode { return policy.Enforce })
	return err
}

// A ServiceEntry of 50 hosts, each with a route to it.
func BenchmarkDecideManyHosts(b *testing.B) {
	pol := policy.Default()
	var hosts []string
	for i := range 50 {
		hosts = append(hosts, fmt.Sprintf("api-%d.example.net", i))
	}
	se := benchEntry(hosts...)
	se.Name = "many"
	objs := benchObjects(se)
	for i, host := range hosts {
		objs.Add(benchRoutes(fmt.Sprintf("routes-%d", i), fmt.Sprintf("app-%d.example.com", i), throughGateway, host, 1))
	}
	objs = settled(b, objs, pol, se)
	measure(b, "entry", func() error {
		_, err := decision.Decide(decision.World(objs, pol), pol, se, nil)
		return err
	})
}

// The pure part of a reconcile: one host with a ServiceEntry, three VirtualServices and a rule.
func BenchmarkConverge(b *testing.B) {
	pol := policy.Default()
	var all []metav1.Object
	for i := range 3 {
		all = append(all, benchRoutes(fmt.Sprintf("routes-%d", i), fmt.Sprintf("app-%d.example.com", i), throughGateway, externalHost, 5))
	}
	objs := settled(b, benchObjects(all...), pol, all[0])
	measure(b, "settled", func() error { return converge(objs, pol) })
}
