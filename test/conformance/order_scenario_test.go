package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/envoy"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// Every scenario with dead routes: of the requests that reach such a route in the order that works,
// none does in the order that the user wrote.
func TestRefusedOrders(t *testing.T) {
	all, err := scenario.All(scenarios)
	require.NoError(t, err)
	moved := 0
	for _, s := range all {
		for _, o := range s.Request {
			vs, ok := o.Typed.(*networkingv1.VirtualService)
			dead := deadRoutes(s, o)
			if !ok || len(dead) == 0 || mesh.IsDelegate(vs) { // A delegate without a root is executed by nobody.
				continue
			}
			p := play(t, s)
			p.without = append(unknownGateways(p.without, vs), p.without...)
			order, ok := validate.WorkingOrder(vs, p.delegate)
			if !ok {
				continue
			}
			t.Run(s.Name, func(t *testing.T) {
				moved++
				written, working := numbered(vs), numbered(vs)
				for i, from := range order {
					working.Spec.Http[i] = written.Spec.Http[from]
				}
				requests := map[int]*validate.Request{}
				for _, v := range validate.Verdicts(working, p.delegate) {
					if v.State == validate.Live {
						requests[order[v.Route]] = v.Witness
					}
				}
				for _, route := range dead {
					require.NotNil(t, requests[route], "spec.http[%d] is dead in the order that works", route)
					assert.Equal(t, fmt.Sprint("#", route), p.landing(t, working, requests[route]))
					assert.NotEqual(t, fmt.Sprint("#", route), p.landing(t, written, requests[route]))
				}
			})
		}
	}
	assert.NotZero(t, moved)
}

// deadRoutes are the routes of an object that are said to be dead.
func deadRoutes(s *scenario.Scenario, o scenario.Object) []int {
	var out []int
	for _, f := range s.Want.Findings {
		var route int
		if n, _ := fmt.Sscanf(f.Path, "spec.http[%d]", &route); n == 1 && f.Path == fmt.Sprintf("spec.http[%d]", route) &&
			(f.Code == finding.CatchAllNotLast || f.Code == finding.UnreachableRoute) && f.Object.Name == o.Typed.GetName() {
			out = append(out, route)
		}
	}
	return out
}

// numbered is vs with routes that are named by their place.
func numbered(vs *networkingv1.VirtualService) *networkingv1.VirtualService {
	vs = vs.DeepCopy()
	for i, r := range vs.Spec.GetHttp() {
		r.Name = fmt.Sprint("#", i)
		for _, m := range r.GetMatch() {
			m.Name = ""
		}
	}
	return vs
}

func (p *played) delegate(namespace, name string) *networkingv1.VirtualService {
	for _, o := range p.without {
		if vs, ok := o.Typed.(*networkingv1.VirtualService); ok && vs.Namespace == namespace && vs.Name == name {
			return vs
		}
	}
	return nil
}

// unknownGateways are the Gateways of vs that are not among objects.
func unknownGateways(objects []scenario.Object, vs *networkingv1.VirtualService) []scenario.Object {
	var out []scenario.Object
	for _, name := range mesh.GatewayNames(vs) {
		if !slices.ContainsFunc(objects, func(o scenario.Object) bool {
			gw, ok := o.Typed.(*networkingv1.Gateway)
			return ok && gw.Namespace == name.Namespace && gw.Name == name.Name
		}) {
			gw := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
			gw.Spec.Selector = map[string]string{"istio": name.Name}
			gw.Spec.Servers = []*networking.Server{{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}}}
			out = append(out, scenario.Object{Raw: map[string]any{"kind": "Gateway"}, Typed: gw})
		}
	}
	return out
}

// landing returns the name of the route of vs, in place of the one in the mesh, that takes a
// request.
func (p *played) landing(t *testing.T, vs *networkingv1.VirtualService, r *validate.Request) string {
	t.Helper()
	objects := apply(p.without, []scenario.Object{{Raw: map[string]any{"kind": "VirtualService"}, Typed: vs}})
	var names []string
	istiod.Run(t, typed(withNeighbours(t, objects)), istiod.Options{RootNamespace: p.Policy.RootNamespace}, func(m *istiod.Mesh) {
		for _, proxy := range p.proxies() {
			if proxy.Gateway == (r.Gateway == mesh.MeshGateway) {
				continue
			}
			labels := maps.Clone(r.SourceLabels)
			if labels == nil {
				labels = map[string]string{}
			}
			maps.Copy(labels, proxy.Labels)
			proxy.Labels = labels
			configuration := m.Routes(proxy)
			for _, name := range slices.Sorted(maps.Keys(configuration)) {
				request := sent(r)
				request.Authority = vs.Spec.GetHosts()[0]
				hit, err := envoy.Route(envoy.VirtualHost(configuration[name], request.Authority), request)
				require.NoError(t, err)
				if strings.HasPrefix(hit.GetName(), "#") && !slices.Contains(names, hit.GetName()) {
					names = append(names, hit.GetName())
				}
			}
		}
	})
	require.Len(t, names, 1, "%s takes %+v", vs.Name, *r)
	return names[0]
}
