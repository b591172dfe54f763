package istiod

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pkg/workloadapi"
)

// served tells istiod which service a waypoint serves. It stands in for the index that istiod fills from
// the labels of a cluster's objects; what it makes of the service is its own.
type served struct {
	model.NoopAmbientIndexes
	service *workloadapi.Service
}

func (s served) ServicesForWaypoint(model.WaypointKey) []model.ServiceInfo {
	return []model.ServiceInfo{{Service: s.service}}
}

// Waypoint are the routes of a waypoint in namespace that serves host, of a service there, by port.
func (m *Mesh) Waypoint(namespace, host string) map[int]*routev3.RouteConfiguration {
	m.t.Helper()
	m.gen.Env().AmbientIndexes = served{service: &workloadapi.Service{Namespace: namespace, Hostname: host}}
	proxy := m.gen.SetupProxy(&model.Proxy{Type: model.Waypoint, ConfigNamespace: namespace, Metadata: &model.NodeMetadata{Namespace: namespace}})
	out := map[int]*routev3.RouteConfiguration{}
	for _, l := range m.gen.Listeners(proxy) {
		for _, c := range l.GetFilterChains() {
			direction, kind, name, port := model.ParseSubsetKey(c.GetName())
			if direction == model.TrafficDirectionInboundVIP && kind == "http" && string(name) == host {
				out[port] = m.inline(c)
			}
		}
	}
	return out
}

// inline is the route configuration that a filter chain holds itself.
func (m *Mesh) inline(c *listenerv3.FilterChain) *routev3.RouteConfiguration {
	m.t.Helper()
	for _, f := range c.GetFilters() {
		if manager := (&hcmv3.HttpConnectionManager{}); f.GetTypedConfig().MessageIs(manager) {
			if err := f.GetTypedConfig().UnmarshalTo(manager); err != nil {
				m.t.Fatal(err)
			}
			return manager.GetRouteConfig()
		}
	}
	return nil
}
