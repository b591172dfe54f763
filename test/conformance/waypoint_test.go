package conformance

import (
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/envoy"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

const optionalRoute = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [api.example.com]
  http:
  - name: r0
    match: [{uri: {prefix: /a}, gateways: [mesh], sourceLabels: {app: x}}]
    route: [{destination: {host: api.example.com}}]
  - name: r1
    match: [{uri: {prefix: /a/b}}]
    route: [{destination: {host: api.example.com}}]
`

// An entry with gateways and sourceLabels takes the requests of every pod at sidecars, and none at a
// waypoint, which leaves it out: what it covers is dead only for the former, and is not refused.
func TestWaypointLeavesOutSourceLabels(t *testing.T) {
	t.Parallel()
	parsed, err := scenario.Parse([]byte(optionalRoute))
	if err != nil {
		t.Fatal(err)
	}
	var objects []metav1.Object
	var vs *networkingv1.VirtualService
	for _, o := range parsed {
		objects = append(objects, o.Typed)
		if found, ok := o.Typed.(*networkingv1.VirtualService); ok {
			vs = found
		}
	}
	if findings := validate.RouteOrder(vs, nil); len(findings) > 0 {
		t.Errorf("refused or warned of: %v", findings)
	}
	istiod.Run(t, objects, istiod.Options{}, func(m *istiod.Mesh) {
		request := &envoy.Request{Method: "GET", Scheme: "http", Authority: "api.example.com", Path: "/a/b"}
		for want, routes := range map[string]*routev3.RouteConfiguration{
			"r0": m.Route(istiod.Proxy{Namespace: "shop"}, "80")["80"],
			"r1": m.Waypoint("shop", "api.example.com")[80],
		} {
			hit, err := envoy.Route(envoy.VirtualHost(routes, request.Authority), request)
			if err != nil || !strings.HasPrefix(hit.GetName(), want) {
				t.Errorf("the request lands on %q, not on %s (%v)", hit.GetName(), want, err)
			}
		}
	})
}
