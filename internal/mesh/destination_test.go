package mesh_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// The port that a destination means, by GetDestinationCluster.
func TestDestinationPorts(t *testing.T) {
	const gateway = "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: in, namespace: shop}, spec: {selector: {istio: edge}, servers: [" +
		"{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}, {port: {number: 8443, name: b, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: c}, hosts: ['*']}, " +
		"{port: {number: 443, name: c, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: ['*']}]}}\n---\n" +
		"{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: other, namespace: shop}, spec: {selector: {istio: other}, servers: [{port: {number: 443, name: a, protocol: HTTP}, hosts: ['*']}]}}\n---\n" +
		"{apiVersion: v1, kind: Service, metadata: {name: edge, namespace: edge-ns}, spec: {selector: {istio: edge}}}\n---\n"
	const one, several = "{number: 443, name: a, protocol: HTTPS}", "{number: 443, name: a, protocol: HTTPS}, {number: 8443, name: b, protocol: HTTPS}, {number: 80, name: c, protocol: HTTP}"
	for _, c := range []struct {
		name, hosts, gateways, ports, destination, want string
	}{
		{"named", "x", "mesh", several, "port: {number: 8443}", "[8443]"},
		{"named, and not there", "x", "mesh", one, "port: {number: 8443}", "[]"},
		{"a gateway: the only one", "x", "in", one, "", "[443]"},
		{"a gateway: of several those of its HTTP servers", "x", "in", several, "", "[8443]"},
		{"a gateway that nobody knows", "x", "unknown", several, "", "[]"},
		{"a sidecar never calls an HTTPS port with HTTP", "api.vendor.com", "mesh", one, "", "[]"},
		{"a sidecar calls the HTTP ports of the host", "'*.vendor.com'", "mesh", "{number: 443, name: a, protocol: HTTP}, {number: 8443, name: b, protocol: HTTP2, targetPort: 443}, {number: 8444, name: c, protocol: HTTP}", "", "[443 8443]"},
		{"what it calls is a host of the VirtualService", "shop.vendor.com", "mesh", several, "", "[8443]"},
		{"of another host it calls port 80 alone", "x", "mesh", "{number: 443, name: a, protocol: HTTP}, {number: 80, name: b, protocol: HTTP, targetPort: 443}", "", "[80]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, objects := world(t, fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: vs, namespace: shop}, spec: {hosts: [%s], gateways: [%s], http: [{route: [{destination: {host: api.vendor.com, %s}}]}]}}\n---\n", c.hosts, c.gateways, c.destination)+
				gateway+"{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: e, namespace: shop}, spec: {hosts: [api.vendor.com], ports: ["+c.ports+"]}}\n---\n"+
				"{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: f, namespace: shop}, spec: {hosts: [shop.vendor.com], ports: [{number: 8443, name: a}, {number: 443, name: b, protocol: TLS}]}}")
			vs := objects[0].Typed.(*networkingv1.VirtualService)
			got := []uint32{}
			seen := map[uint32]bool{}
			for _, v := range w.Targets(vs, vs.Spec.GetHttp()[0], vs.Spec.GetHttp()[0].GetRoute()[0].GetDestination()) {
				if n := v.Port.GetNumber(); !seen[n] {
					seen[n] = true
					got = append(got, n)
				}
			}
			assert.Equal(t, c.want, fmt.Sprint(got))
		})
	}
}

// A sidecar's route leads to a ServiceEntry of its own namespace, to whomever that
// is exported (collectImportedServices).
func TestRoutedService(t *testing.T) {
	entry := func(name, namespace, exportTo string) string {
		return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: %s, namespace: %s}, spec: {hosts: [api.vendor.com], exportTo: [%s], ports: [{number: 443, name: a, protocol: HTTPS}]}}\n---\n", name, namespace, exportTo)
	}
	w, _ := world(t, entry("e", "shop", "'~'")+entry("f", "egress", "b")+entry("g", "shop", "'~'"))
	of := func(c mesh.Client) string {
		if svc := w.RoutedService(c, "api.vendor.com"); svc != nil {
			return fmt.Sprint(svc.Namespace, " ", svc.Unexported, " ", len(svc.Entries))
		}
		return ""
	}
	assert.Equal(t, "shop true 1", of(mesh.Client{Namespace: "shop"}))
	assert.Equal(t, "egress true 1", of(mesh.Client{Namespace: "egress"}))
	assert.Equal(t, "egress false 1", of(mesh.Client{Namespace: "b"}))
	assert.Empty(t, of(mesh.Client{Namespace: "shop", Gateway: true}))
	assert.Empty(t, of(mesh.Client{Namespace: "elsewhere"}))
	assert.Nil(t, w.RoutedService(mesh.Client{Namespace: "shop"}, "*"))
}
