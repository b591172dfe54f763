package envoy

import (
	"fmt"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// connectionManager is the HTTP connection manager of a filter chain.
type connectionManager = hcmv3.HttpConnectionManager

// listener returns the listener of a port on all addresses.
func (p *Proxy) listener(port uint32) (*listenerv3.Listener, error) {
	for _, l := range p.config.Listeners {
		if a := l.GetAddress().GetSocketAddress(); a.GetAddress() == "0.0.0.0" && a.GetPortValue() == port {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no listener at 0.0.0.0:%d", port)
}

// manager returns the HTTP connection manager that a plaintext HTTP/1.1 connection to l meets.
func manager(l *listenerv3.Listener) (*connectionManager, error) {
	if err := known(l, "name", "address", "filter_chains", "default_filter_chain", "listener_filters", "listener_filters_timeout",
		"continue_on_listener_filters_timeout", "traffic_direction", "bind_to_port", "max_connections_to_accept_per_socket_event"); err != nil {
		return nil, err
	}
	chain, err := filterChain(l)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.GetName(), err)
	}
	if err := known(chain, "name", "filter_chain_match", "filters", "transport_socket_connect_timeout"); err != nil {
		return nil, err
	}
	m := &connectionManager{}
	for i, f := range chain.GetFilters() {
		switch {
		case f.GetName() == "istio.metadata_exchange":
		case f.GetName() == "envoy.filters.network.http_connection_manager" && i == len(chain.GetFilters())-1:
			return m, decodeManager(f.GetTypedConfig(), m)
		default:
			return nil, fmt.Errorf("listener %s: unknown filter %s", l.GetName(), f.GetName())
		}
	}
	return nil, fmt.Errorf("listener %s: no HTTP connection manager", l.GetName())
}

// filterChain returns the filter chain of l that takes a plaintext HTTP/1.1 connection.
func filterChain(l *listenerv3.Listener) (*listenerv3.FilterChain, error) {
	inspected := false
	for _, f := range l.GetListenerFilters() {
		switch f.GetName() {
		case "envoy.filters.listener.http_inspector":
			inspected = true
		case "envoy.filters.listener.tls_inspector":
		default:
			return nil, fmt.Errorf("unknown listener filter %s", f.GetName())
		}
		if err := known(f, "name", "typed_config"); err != nil {
			return nil, err
		}
	}
	var best *listenerv3.FilterChain
	bestRank := -1
	for _, chain := range l.GetFilterChains() {
		m := chain.GetFilterChainMatch()
		rank := 0
		// A server name is what TLS tells.
		if len(m.GetServerNames()) > 0 {
			continue
		}
		switch m.GetTransportProtocol() {
		case "":
		case "raw_buffer":
			rank += 2
		default:
			continue
		}
		if protocols := m.GetApplicationProtocols(); len(protocols) > 0 {
			if !inspected || !slices.Contains(protocols, "http/1.1") {
				continue
			}
			rank++
		}
		if err := known(m, "transport_protocol", "application_protocols"); err != nil {
			return nil, err
		}
		if rank == bestRank {
			return nil, fmt.Errorf("filter chains %q and %q take the same", best.GetName(), chain.GetName())
		}
		if rank > bestRank {
			best, bestRank = chain, rank
		}
	}
	if best == nil {
		best = l.GetDefaultFilterChain()
	}
	if best == nil {
		return nil, fmt.Errorf("no filter chain takes plaintext HTTP")
	}
	return best, nil
}

// decodeManager reads a into m. Its filters are those that leave alone what they are not
// configured for.
func decodeManager(a *anypb.Any, m *connectionManager) error {
	err := decode(a, m, "stat_prefix", "codec_type", "rds", "route_config", "http_filters", "tracing", "access_log", "use_remote_address",
		"server_name", "stream_idle_timeout", "http_protocol_options", "http2_protocol_options", "forward_client_cert_details",
		"set_current_client_cert_details", "proxy_100_continue", "upgrade_configs", "normalize_path",
		"path_with_escaped_slashes_action", "request_id_extension")
	if err != nil {
		return err
	}
	for _, f := range m.GetHttpFilters() {
		if err := known(f, "name", "typed_config"); err != nil {
			return err
		}
		switch f.GetName() {
		// Telemetry, and ALPN among proxies of the mesh.
		case "istio.metadata_exchange", "envoy.filters.http.grpc_stats", "istio.stats", "istio.alpn":
		case "envoy.filters.http.fault":
			err = decode(f.GetTypedConfig(), &faultv3.HTTPFault{})
		case "envoy.filters.http.cors":
			err = decode(f.GetTypedConfig(), &corsv3.Cors{})
		case "envoy.filters.http.router":
			err = decode(f.GetTypedConfig(), &routerv3.Router{})
		default:
			err = fmt.Errorf("unknown HTTP filter %s", f.GetName())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
