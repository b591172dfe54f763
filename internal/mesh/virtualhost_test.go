package mesh_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

func server(port uint32, protocol string, hosts ...string) *networking.Server {
	s := &networking.Server{Port: &networking.Port{Number: port, Protocol: protocol}, Hosts: hosts}
	if protocol == "HTTPS" {
		s.Tls = &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE}
	}
	return s
}

func TestVirtualHosts(t *testing.T) {
	passthrough := server(443, "HTTPS", "*")
	passthrough.Tls.Mode = networking.ServerTLSSettings_PASSTHROUGH
	for _, c := range []struct {
		name    string
		servers []*networking.Server
		host    string
		want    []string // "listener host server:port"
	}{
		{"a host of a wildcard server", []*networking.Server{server(80, "HTTP", "*")}, "A.com", []string{"http.80. a.com 0:80"}},
		{"a wildcard of a wildcard server", []*networking.Server{server(80, "HTTP", "*.com")}, "*.a.com", []string{"http.80. *.a.com 0:80"}},
		{
			"a wildcard at servers for single hosts",
			[]*networking.Server{server(80, "HTTP", "b.a.com", "c.a.com", "a.com")},
			"*.a.com",
			[]string{"http.80. b.a.com 0:80", "http.80. c.a.com 0:80"},
		},
		{"a server for another host", []*networking.Server{server(80, "HTTP", "b.com")}, "a.com", nil},
		{"a server for another namespace", []*networking.Server{server(80, "HTTP", "other/*", "./*", "~/*")}, "a.com", nil},
		{"a server for the namespace", []*networking.Server{server(80, "HTTP", "own/*.com")}, "a.com", []string{"http.80. a.com 0:80"}},
		{"a server for every namespace", []*networking.Server{server(80, "HTTP", "*/a.com")}, "*.com", []string{"http.80. a.com 0:80"}},
		{"every host of every namespace stands for all", []*networking.Server{server(80, "HTTP", "a.com", "*/*")}, "*.com", []string{"http.80. *.com 0:80"}},
		{
			"plaintext servers of a port are one, the others are not",
			[]*networking.Server{server(80, "HTTP", "b.com"), server(80, "GRPC", "*"), server(443, "HTTPS", "*"), server(443, "HTTPS", "a.com"), server(8080, "HTTP2", "*")},
			"a.com",
			[]string{"http.80. a.com 1:80", "http.8080. a.com 4:8080", "https.2 a.com 2:443", "https.3 a.com 3:443"},
		},
		{"no HTTP", []*networking.Server{passthrough, server(80, "TCP", "*"), server(443, "TLS", "*"), nil}, "a.com", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw := &networkingv1.Gateway{Spec: networking.Gateway{Servers: c.servers}}
			gw.Namespace = "gw"
			var got []string
			for v, s := range mesh.VirtualHosts(gw, "own", c.host) {
				got = append(got, fmt.Sprintf("%s %s %d:%d", v.Listener, v.Host, s.Index, s.Port))
			}
			slices.Sort(got)
			assert.Equal(t, c.want, got)
		})
	}
	assert.Equal(t, map[mesh.VirtualHost]mesh.Server{{Host: "a.com"}: {}}, mesh.VirtualHosts(nil, "own", "A.com"))
}

// Whoever shares a virtual host is found by one of the keys; too many are none.
func TestSharedHostKeys(t *testing.T) {
	vs := func(hosts ...string) *networkingv1.VirtualService {
		out := &networkingv1.VirtualService{Spec: networking.VirtualService{Gateways: []string{"gw/g"}, Hosts: hosts}}
		out.Namespace = "own"
		return out
	}
	gateway := &networkingv1.Gateway{Spec: networking.Gateway{Servers: []*networking.Server{server(80, "HTTP", "b.a.com", "*.c.com")}}}
	known := func(types.NamespacedName) *networkingv1.Gateway { return gateway }
	unknown := func(types.NamespacedName) *networkingv1.Gateway { return nil }
	short := vs("short", "E.com")
	short.Spec.Gateways = []string{"mesh", "g"}
	assert.Equal(t, []string{"mesh short.own.svc.cluster.local", "own/g short.own.svc.cluster.local", "mesh e.com", "own/g e.com"}, mesh.HostKeys(short))
	assert.Equal(t, []string{"gw/g *", "gw/g *.a.com", "gw/g *.com", "gw/g b.a.com"}, mesh.SharedHostKeys(vs("*.a.com"), known))
	assert.Equal(t, []string{"gw/g *", "gw/g *.c.com", "gw/g *.com", "gw/g *.x.c.com"}, mesh.SharedHostKeys(vs("*.x.c.com"), known))
	assert.Equal(t, []string{"gw/g *.a.com"}, mesh.SharedHostKeys(vs("*.A.com"), unknown))
	var many []string
	for i := range 3000 {
		many = append(many, fmt.Sprintf("h%d.com", i))
	}
	assert.Empty(t, mesh.SharedHostKeys(vs(many...), unknown))
}
