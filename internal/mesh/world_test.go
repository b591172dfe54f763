package mesh_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// Few things are looked through and many are found by a map; the answers are the same.
func TestWorldOfFewAndOfMany(t *testing.T) {
	for _, n := range []int{1, 2, 15, 16, 17, 18, 60} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var objs mesh.Objects
			var hosts []string
			all := &networkingv1.VirtualService{}
			all.Namespace, all.Name = "shop", "all"
			all.Spec.Hosts = []string{"www.example.com"}
			for i := range n {
				hosts = append(hosts, fmt.Sprintf("api-%d.vendor.com", i))
				se := &networkingv1.ServiceEntry{}
				se.Namespace, se.Name = fmt.Sprintf("team-%d", i), "own"
				se.Spec.Hosts = []string{hosts[i], "shared.vendor.com"}
				se.Spec.Ports = []*networking.ServicePort{{Number: 443, Protocol: "HTTPS"}}
				objs.Add(se)
				vs := &networkingv1.VirtualService{}
				vs.Namespace, vs.Name = "shop", fmt.Sprintf("route-%d", i)
				vs.Spec.Hosts = []string{fmt.Sprintf("app-%d.example.com", i)}
				vs.Spec.Http = []*networking.HTTPRoute{to(hosts[i]), to("shared.vendor.com"), to(hosts[i])}
				objs.Add(vs)
				all.Spec.Http = append(all.Spec.Http, to(hosts[i]))
			}
			all.Spec.Http = append(all.Spec.Http, all.Spec.Http...)
			objs.Add(all)
			w := mesh.NewWorld(objs, mesh.Options{RootNamespace: "istio-system"})

			assert.Equal(t, hosts, mesh.HTTPDestinationHosts(all))
			assert.ElementsMatch(t, append(hosts[:n:n], "shared.vendor.com"), w.ExternalHosts())
			for i, host := range hosts {
				assert.Equal(t, objs.ServiceEntries[i:i+1], w.ServiceEntriesFor(host))
				assert.Equal(t, []*networkingv1.VirtualService{all, objs.VirtualServices[i]}, w.RoutesTo(host))
				assert.Same(t, objs.VirtualServices[i], w.VirtualService("shop", fmt.Sprintf("route-%d", i)))
			}
			assert.Len(t, w.ServiceEntriesFor("shared.vendor.com"), n)
			assert.Empty(t, w.ServiceEntriesFor("www.vendor.com"))
			assert.Nil(t, w.VirtualService("shop", "none"))

			// The sidecars of each team see its own ServiceEntry; those of the shop, and all
			// others, the oldest.
			needs := w.Needs("shared.vendor.com", false)
			require.Len(t, needs, n+2)
			seen := map[string]bool{}
			for _, need := range needs {
				seen[need.Client.Namespace] = true
				require.Len(t, need.Sources, n)
				for i, s := range need.Sources {
					assert.Equal(t, mesh.Source{VirtualService: w.RoutesTo("shared.vendor.com")[i], Route: 1}, s)
				}
			}
			assert.Len(t, seen, n+2, "one need for each namespace")
		})
	}
}

func to(host string) *networking.HTTPRoute {
	return &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{{
		Destination: &networking.Destination{Host: host, Port: &networking.PortSelector{Number: 443}},
	}}}
}
