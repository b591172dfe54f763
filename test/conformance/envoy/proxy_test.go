package envoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/conformance/upstream"
)

const (
	managerType = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	tlsType     = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	optionsType = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// listening is a listener at port 80 with filter chains.
func listening(t testing.TB, chains string) []*listenerv3.Listener {
	t.Helper()
	return []*listenerv3.Listener{read(t, `{"name": "0.0.0.0_80", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
		"listener_filters": [{"name": "envoy.filters.listener.http_inspector"}], "filter_chains": [`+chains+`]}`, &listenerv3.Listener{})}
}

// chain is a filter chain whose HTTP connection manager has more fields than the name of its routes.
func chain(match, more string) string {
	return fmt.Sprintf(`{"filter_chain_match": {%s}, "filters": [{"name": "envoy.filters.network.http_connection_manager",
		"typed_config": {"@type": %q, "rds": {"route_config_name": "80"} %s}}]}`, match, managerType, more)
}

// routing are routes, as JSON, of one virtual host, and more fields of that and of the route configuration.
func routing(t testing.TB, routes, vh, rc string) map[string]*routev3.RouteConfiguration {
	t.Helper()
	return map[string]*routev3.RouteConfiguration{"80": read(t, fmt.Sprintf(
		`{"name": "80", "ignore_port_in_host_matching": true, "virtual_hosts": [{"name": "vh", "domains": ["example.com"], "routes": [%s] %s}] %s}`, routes, vh, rc), &routev3.RouteConfiguration{})}
}

// clusters are clusters a and b with one endpoint each, a:80 and b:80, and more fields of both.
func clusters(t testing.TB, more string) map[string]*clusterv3.Cluster {
	t.Helper()
	out := map[string]*clusterv3.Cluster{}
	for _, name := range []string{"a", "b"} {
		out[name] = read(t, fmt.Sprintf(`{"name": %q, "type": "STRICT_DNS", "load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint":
			{"address": {"socket_address": {"address": %q, "port_value": 80}}}}]}]} %s}`, name, name, more), &clusterv3.Cluster{})
	}
	return out
}

// config leads to a, where one plain server listens, and b, where another one does.
func config(t testing.TB, routes string) (c Config, a, b *upstream.Server) {
	t.Helper()
	a, b = upstream.Plain(t, "a"), upstream.Plain(t, "b")
	return Config{
		Listeners: listening(t, chain("", "")),
		Routes:    routing(t, routes, "", ""),
		Clusters:  clusters(t, ""),
		Network:   map[string]string{"a:80": a.Address, "b:80": b.Address},
	}, a, b
}

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return strings.TrimSpace(fmt.Sprint(a.status, " ", a.body)) }

// get sends a request for example.com:80 through a proxy.
func get(t *testing.T, c Config, path string, header ...string) answer {
	t.Helper()
	return send(t, Serve(t, c), http.MethodGet, path, "", header...)
}

func send(t *testing.T, p *Proxy, method, path, content string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.Address(80)+path, strings.NewReader(content))
	require.NoError(t, err)
	req.Host = "example.com:80"
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return answer{res.StatusCode, res.Header, strings.TrimSpace(string(body))}
}

// only returns the one request that s got.
func only(t *testing.T, s *upstream.Server) upstream.Request {
	t.Helper()
	require.Len(t, s.Requests(), 1)
	return s.Requests()[0]
}

const toA = `{"match": {"prefix": "/"}, "route": {"cluster": "a"}}`

// A request arrives as it was sent, and says that it came over plain HTTP.
func TestProxyForwards(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, manager string
		header        []string
		want          string
	}{
		{"nothing said", "", nil, "http"},
		{"said before", "", []string{"X-Forwarded-Proto", "https"}, "https"},
		{"said before to an edge", `, "use_remote_address": true`, []string{"X-Forwarded-Proto", "https"}, "http"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, a, _ := config(t, toA)
			c.Listeners = listening(t, chain("", test.manager))
			res := get(t, c, "/x?y=1&y=2", append(test.header, "X-Twice", "1", "X-Twice", "2", "User-Agent", "")...)
			assert.Equal(t, "200 a", res.String())
			got := only(t, a)
			assert.Equal(t, "example.com:80", got.Host)
			assert.Equal(t, "/x?y=1&y=2", got.Path)
			assert.Equal(t, http.Header{"X-Twice": {"1", "2"}, "X-Forwarded-Proto": {test.want}}, withoutTransport(got.Header))
		})
	}
}

func TestProxyForwardsABody(t *testing.T) {
	t.Parallel()
	c, a, _ := config(t, toA)
	send(t, Serve(t, c), http.MethodPost, "/", "content")
	require.Len(t, a.Received(), 1)
	assert.Contains(t, string(a.Received()[0]), "POST / HTTP/1.1\r\n")
	assert.Contains(t, string(a.Received()[0]), "\r\n\r\ncontent")
}

// withoutTransport drops what Go's client to the proxy adds.
func withoutTransport(h http.Header) http.Header {
	h = h.Clone()
	h.Del("Accept-Encoding")
	return h
}

// Envoy goes from the most specific level to the least, so that the least specific one has the last
// word, unless told to go the other way; a weighted cluster comes first in any case.
func TestProxyHeaderOrder(t *testing.T) {
	t.Parallel()
	at := func(level string) string {
		return fmt.Sprintf(`"request_headers_to_add": [
			{"header": {"key": "x-order", "value": %[1]q}},
			{"header": {"key": "x-last", "value": %[1]q}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
			{"header": {"key": "x-first", "value": %[1]q}, "append_action": "ADD_IF_ABSENT"}]`, level)
	}
	routes := fmt.Sprintf(`{"match": {"prefix": "/"}, %s, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 1, %s}]}}}`, at("route"), at("cluster"))
	tests := []struct {
		name, configuration string
		order               []string
	}{
		{"by default", "", []string{"cluster", "route", "host", "configuration"}},
		{"most specific wins", `, "most_specific_header_mutations_wins": true`, []string{"cluster", "configuration", "host", "route"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, a, _ := config(t, toA)
			c.Routes = routing(t, routes, ", "+at("host"), ", "+at("configuration")+test.configuration)
			c.Draw = func(uint32) uint32 { return 0 }
			get(t, c, "/")
			got := only(t, a).Header
			assert.Equal(t, test.order, got["X-Order"])
			assert.Equal(t, test.order[3:], got["X-Last"])
			assert.Equal(t, test.order[:1], got["X-First"])
		})
	}
}

// One level removes, overwrites and adds, in this order, whatever stands first.
func TestProxyHeaderOperations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, operations string
		want             []string
	}{
		{"append", `"request_headers_to_add": [{"header": {"key": "X", "value": "new"}}]`, []string{"old", "new"}},
		{"overwrite", `"request_headers_to_add": [{"header": {"key": "X", "value": "new"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]`, []string{"new"}},
		{"overwrite what exists", `"request_headers_to_add": [{"header": {"key": "X", "value": "new"}, "append_action": "OVERWRITE_IF_EXISTS"}]`, []string{"new"}},
		{"add if absent", `"request_headers_to_add": [{"header": {"key": "X", "value": "new"}, "append_action": "ADD_IF_ABSENT"}]`, []string{"old"}},
		{"remove", `"request_headers_to_remove": ["x"]`, nil},
		{"remove, then add if absent", `"request_headers_to_remove": ["x"], "request_headers_to_add": [{"header": {"key": "X", "value": "new"}, "append_action": "ADD_IF_ABSENT"}]`, []string{"new"}},
		{"remove, then overwrite what exists", `"request_headers_to_remove": ["x"], "request_headers_to_add": [{"header": {"key": "X", "value": "new"}, "append_action": "OVERWRITE_IF_EXISTS"}]`, nil},
		{
			"overwrite, then append", `"request_headers_to_add": [{"header": {"key": "X", "value": "appended"}},
			{"header": {"key": "X", "value": "new"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]`, []string{"new", "appended"},
		},
		{"append nothing", `"request_headers_to_add": [{"header": {"key": "X", "value": ""}}]`, []string{"old"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, a, _ := config(t, `{"match": {"prefix": "/"}, "route": {"cluster": "a"}, `+test.operations+`}`)
			get(t, c, "/", "X", "old")
			assert.Equal(t, test.want, only(t, a).Header["X"])
		})
	}
}

// The weighted cluster is that of the draw, with its own header and host; the route's host wins.
func TestProxyWeightedClusters(t *testing.T) {
	t.Parallel()
	const clusters = `"weighted_clusters": {"clusters": [
		{"name": "a", "weight": 90, "host_rewrite_literal": "a.com"}, {"name": "b", "weight": 0}, {"name": "b", "weight": 10, "host_rewrite_literal": "b.com",
		"request_headers_to_add": [{"header": {"key": "x-cluster", "value": "b"}}], "response_headers_to_add": [{"header": {"key": "x-cluster", "value": "b"}}]}]}`
	tests := []struct {
		draw               uint32
		more               string
		name, host, header string
	}{
		{0, "", "a", "a.com", ""},
		{89, "", "a", "a.com", ""},
		{90, "", "b", "b.com", "b"},
		{99, "", "b", "b.com", "b"},
		{99, `, "host_rewrite_literal": "route.com"`, "b", "route.com", "b"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.draw, test.host), func(t *testing.T) {
			t.Parallel()
			c, a, b := config(t, `{"match": {"prefix": "/"}, "route": {`+clusters+test.more+`}}`)
			c.Draw = func(total uint32) uint32 {
				assert.Equal(t, uint32(100), total)
				return test.draw
			}
			res := get(t, c, "/")
			got := only(t, map[string]*upstream.Server{"a": a, "b": b}[test.name])
			assert.Equal(t, test.name, res.body)
			assert.Equal(t, test.host, got.Host)
			assert.Equal(t, test.header, got.Header.Get("X-Cluster"))
			assert.Equal(t, test.header, res.header.Get("X-Cluster"))
		})
	}
}

func TestProxyRewrites(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, route, path, wantHost, wantPath string }{
		{"host", `"match": {"prefix": "/"}, "route": {"cluster": "a", "host_rewrite_literal": "a.com"}`, "/x", "a.com", "/x"},
		{"prefix", `"match": {"prefix": "/api"}, "route": {"cluster": "a", "prefix_rewrite": "/"}`, "/api/v1?q=/api", "example.com:80", "//v1?q=/api"},
		{"path", `"match": {"path": "/api"}, "route": {"cluster": "a", "prefix_rewrite": "/v2"}`, "/api?q=1", "example.com:80", "/v2?q=1"},
		{
			"regex", `"match": {"prefix": "/"}, "route": {"cluster": "a", "regex_rewrite": {"pattern": {"regex": "/v([0-9])/([a-z]+)"}, "substitution": "/\\2/$\\1"}}`,
			"/v1/a/v2/b?q=/v3/c", "example.com:80", "/a/$1/b/$2?q=/v3/c",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, a, _ := config(t, `{`+test.route+`}`)
			get(t, c, test.path)
			got := only(t, a)
			assert.Equal(t, test.wantHost, got.Host)
			assert.Equal(t, test.wantPath, got.Path)
		})
	}
}

// What the proxy answers itself.
func TestProxyReplies(t *testing.T) {
	t.Parallel()
	const respond = `, "response_headers_to_add": [{"header": {"key": "x-route", "value": "1"}}]`
	tests := []struct {
		name, route, vh string
		want, location  string
	}{
		{"no route", `"match": {"prefix": "/other"}, "route": {"cluster": "a"}`, "", "404", ""},
		{"no cluster", `"match": {"prefix": "/"}, "route": {"cluster": "c"}`, "", "503", ""},
		{"direct response", `"match": {"prefix": "/"}, "direct_response": {"status": 418, "body": {"inline_string": "tea"}}`, "", "418 tea", ""},
		{"redirect", `"match": {"prefix": "/"}, "redirect": {"host_redirect": "other.com", "path_redirect": "/new"}`, "", "301", "http://other.com/new?q=1"},
		{"redirect of a prefix", `"match": {"prefix": "/ap"}, "redirect": {"prefix_rewrite": "/x", "response_code": "FOUND", "strip_query": true}`, "", "302", "http://example.com:80/xi"},
		{"redirect to https", `"match": {"prefix": "/"}, "redirect": {"https_redirect": true, "response_code": "SEE_OTHER"}`, "", "303", "https://example.com/api?q=1"},
		{"redirect with a query of its own", `"match": {"prefix": "/"}, "redirect": {"path_redirect": "/new?p=2", "response_code": "TEMPORARY_REDIRECT"}`, "", "307", "http://example.com:80/new?p=2"},
		{"redirect to a port", `"match": {"prefix": "/"}, "redirect": {"scheme_redirect": "https", "port_redirect": 8443, "response_code": "PERMANENT_REDIRECT"}`, "", "308", "https://example.com:8443/api?q=1"},
		{"redirect to a port only", `"match": {"prefix": "/"}, "redirect": {"port_redirect": 8080}`, "", "301", "http://example.com:8080/api?q=1"},
		{"TLS required", `"match": {"prefix": "/"}, "route": {"cluster": "a"}`, `, "require_tls": "ALL"`, "301", "https://example.com:80/api?q=1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, a, _ := config(t, toA)
			c.Routes = routing(t, `{`+test.route+respond+`}`, test.vh, "")
			res := get(t, c, "/api?q=1")
			assert.Equal(t, test.want, res.String())
			assert.Equal(t, test.location, res.header.Get("Location"))
			matched := test.name != "no route" && test.vh == ""
			assert.Equal(t, matched, res.header.Get("X-Route") == "1")
			assert.Empty(t, a.Requests())
		})
	}
	t.Run("no virtual host", func(t *testing.T) {
		t.Parallel()
		c, _, _ := config(t, toA)
		c.Routes["80"].VirtualHosts[0].Domains = []string{"other.com"}
		res := get(t, c, "/")
		assert.Equal(t, http.StatusNotFound, res.status)
	})
}

// How an upstream fails is in the reply, in Envoy's words.
func TestProxyUpstreamFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		// answers is what the upstream sends to whatever it is sent.
		answers, want string
	}{
		{"no HTTP", "\x15\x03\x01\x00\x02\x02\x46", "protocol error"},
		{"a line that is no HTTP", "SSH-2.0-OpenSSH\r\n", "protocol error"},
		{"nothing", "", "connection termination"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, _, _ := config(t, toA)
			c.Network["a:80"] = answering(t, test.answers)
			res := get(t, c, "/")
			assert.Equal(t, "503 upstream connect error or disconnect/reset before headers. reset reason: "+test.want, res.String())
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		c, _, _ := config(t, toA)
		socket, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It is closed at once.
		require.NoError(t, err)
		c.Network["a:80"] = socket.Addr().String()
		require.NoError(t, socket.Close())
		res := get(t, c, "/")
		assert.Equal(t, http.StatusServiceUnavailable, res.status)
		assert.Contains(t, res.body, "reset reason: remote connection failure, transport failure reason: delayed connect error")
	})
	t.Run("no endpoint", func(t *testing.T) {
		t.Parallel()
		c, _, _ := config(t, toA)
		c.Clusters["a"].LoadAssignment = nil
		res := get(t, c, "/")
		assert.Equal(t, "503 no healthy upstream", res.String())
	})
}

// answering listens, sends answer to the first bytes of each connection, and ends it.
func answering(t *testing.T, answer string) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It is closed with the test.
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<16))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-done
	})
	return socket.Addr().String()
}

// The filter chain is the one for plaintext HTTP/1.1, the more specific first.
func TestProxyFilterChain(t *testing.T) {
	t.Parallel()
	plain := chain(`"transport_protocol": "raw_buffer", "application_protocols": ["http/1.1", "h2c"]`, "")
	others := `{"filter_chain_match": {"server_names": ["example.com"]}}, {"filter_chain_match": {"transport_protocol": "tls"}},
		{"filter_chain_match": {"application_protocols": ["h2"]}}, {"filter_chain_match": {"transport_protocol": "raw_buffer"}}`
	// Without filters.
	empty := `{"filter_chain_match": {"application_protocols": ["http/1.1"]}}`
	tests := []struct{ name, chains, byDefault string }{
		{"another protocol", `{"filter_chain_match": {"transport_protocol": "raw_buffer", "application_protocols": ["h2"]}}, ` + chain(`"transport_protocol": "raw_buffer"`, ""), ""},
		{"not inspected", empty, chain("", "")},
		{"both", others + "," + plain, ""},
		{"the transport protocol before ALPN", empty + "," + chain(`"transport_protocol": "raw_buffer"`, ""), ""},
		{"none", `{"filter_chain_match": {"transport_protocol": "tls"}}`, chain("", "")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, a, _ := config(t, toA)
			c.Listeners = listening(t, test.chains)
			if test.name == "not inspected" {
				c.Listeners[0].ListenerFilters = nil
			}
			if test.byDefault != "" {
				c.Listeners[0].DefaultFilterChain = read(t, test.byDefault, &listenerv3.FilterChain{})
			}
			get(t, c, "/")
			only(t, a)
		})
	}
}

// What nobody reads fails the test.
func TestProxyRefusesTheUnknown(t *testing.T) {
	t.Parallel()
	route := func(more string) func(*testing.T, *Config) {
		return func(t *testing.T, c *Config) {
			t.Helper()
			c.Routes = routing(t, `{"match": {"prefix": "/"}, `+more+`}`, "", "")
		}
	}
	manager := func(more string) func(*testing.T, *Config) {
		return func(t *testing.T, c *Config) {
			t.Helper()
			c.Listeners = listening(t, chain("", more))
		}
	}
	cluster := func(more string) func(*testing.T, *Config) {
		return func(t *testing.T, c *Config) {
			t.Helper()
			c.Clusters = clusters(t, more)
		}
	}
	socket := func(context string) func(*testing.T, *Config) {
		return cluster(fmt.Sprintf(`, "metadata": {"filter_metadata": {"istio": {"alpn_override": "false"}}},
			"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": %q %s}}`, tlsType, context))
	}
	tests := []struct {
		want string
		with func(*testing.T, *Config)
	}{
		{"Route: unknown typed_per_filter_config", route(`"typed_per_filter_config": {"x": {}}, "route": {"cluster": "a"}`)},
		{"RouteAction: unknown request_mirror_policies", route(`"route": {"cluster": "a", "request_mirror_policies": [{"cluster": "b"}]}`)},
		{"RouteAction: unknown auto_host_rewrite", route(`"route": {"cluster": "a", "auto_host_rewrite": true}`)},
		{"unknown cluster specifier", route(`"route": {"cluster_header": "x"}`)},
		{"Route: unknown non_forwarding_action", route(`"non_forwarding_action": {}`)},
		{"unknown action", route(`"name": "none"`)},
		{`unknown format "%START_TIME%"`, route(`"route": {"cluster": "a"}, "request_headers_to_add": [{"header": {"key": "x", "value": "%START_TIME%"}}]`)},
		{`header "Host": Envoy allows no operation on it`, route(`"route": {"cluster": "a"}, "request_headers_to_add": [{"header": {"key": "Host", "value": "x"}}]`)},
		{"RouteMatch: unknown runtime_fraction", func(t *testing.T, c *Config) {
			c.Routes = routing(t, `{"match": {"prefix": "/", "runtime_fraction": {}}, "route": {"cluster": "a"}}`, "", "")
		}},
		{"VirtualHost: unknown cors", func(t *testing.T, c *Config) {
			c.Routes = routing(t, toA, `, "cors": {}`, "")
		}},
		{"RouteConfiguration: unknown vhds", func(t *testing.T, c *Config) {
			c.Routes = routing(t, toA, "", `, "vhds": {}`)
		}},
		{`no route configuration "80"`, func(_ *testing.T, c *Config) { c.Routes = nil }},
		{"HttpConnectionManager: unknown merge_slashes", manager(`, "merge_slashes": true`)},
		{"unknown HTTP filter envoy.filters.http.lua", manager(`, "http_filters": [{"name": "envoy.filters.http.lua"}]`)},
		{"HTTPFault: unknown abort", manager(`, "http_filters": [{"name": "envoy.filters.http.fault", "typed_config":
			{"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", "abort": {"http_status": 500}}}]`)},
		{"unknown filter envoy.filters.network.tcp_proxy", func(t *testing.T, c *Config) {
			c.Listeners = listening(t, `{"filters": [{"name": "envoy.filters.network.tcp_proxy"}]}`)
		}},
		{"FilterChainMatch: unknown prefix_ranges", func(t *testing.T, c *Config) {
			c.Listeners = listening(t, chain(`"prefix_ranges": [{"address_prefix": "10.0.0.1"}]`, ""))
		}},
		{"take the same", func(t *testing.T, c *Config) { c.Listeners = listening(t, chain("", "")+","+chain("", "")) }},
		{"no filter chain takes plaintext HTTP", func(t *testing.T, c *Config) {
			c.Listeners = listening(t, chain(`"transport_protocol": "tls"`, ""))
		}},
		{"unknown type ORIGINAL_DST", func(_ *testing.T, c *Config) {
			c.Clusters["a"].ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
		}},
		{"no endpoint of a is given", func(_ *testing.T, c *Config) {
			c.Clusters["a"].ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		}},
		{"which of several endpoints is unknown", func(_ *testing.T, c *Config) {
			of := c.Clusters["a"].GetLoadAssignment()
			of.Endpoints = slices.Repeat(of.GetEndpoints(), 2)
		}},
		{"nobody is at a:80", func(_ *testing.T, c *Config) { c.Network = nil }},
		{"Cluster: unknown upstream_bind_config", cluster(`, "upstream_bind_config": {}`)},
		{"HttpProtocolOptions: unknown auto_config", cluster(fmt.Sprintf(`, "typed_extension_protocol_options": {%q: {"@type": %q, "auto_config": {}}}`, httpOptions, optionsType))},
		{"unknown transport socket envoy.transport_sockets.quic", cluster(`, "transport_socket": {"name": "envoy.transport_sockets.quic"}`)},
		{"unknown override of ALPN", cluster(fmt.Sprintf(`, "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": %q}}`, tlsType))},
		{"UpstreamTlsContext: unknown auto_host_sni", socket(`, "auto_host_sni": true`)},
		{"CommonTlsContext: unknown tls_certificate_sds_secret_configs", socket(`, "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "x"}]}`)},
		{"TlsParameters: unknown cipher_suites", socket(`, "common_tls_context": {"tls_params": {"cipher_suites": ["X"]}}`)},
		{`no CA of the secret "x" is given`, socket(`, "common_tls_context": {"combined_validation_context": {"default_validation_context": {}, "validation_context_sds_secret_config": {"name": "x"}}}`)},
		{"names are not looked at without a CA", cluster(originating("", "", `, "upstream_http_protocol_options": {"auto_san_validation": true}`))},
		{"CertificateValidationContext: unknown trusted_ca", socket(`, "common_tls_context": {"validation_context": {"trusted_ca": {"filename": "x"}}}`)},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			c, _, _ := config(t, toA)
			test.with(t, &c)
			got := complaints(t, c, "/")
			assert.Contains(t, got, test.want)
		})
	}
	for _, path := range []string{"/a%2Fb", "/a/../b", "/a/."} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c, _, _ := config(t, toA)
			assert.Contains(t, complaints(t, c, path), "unknown normalization of the path")
		})
	}
}

// complaints is what a proxy says to the test that it fails.
func complaints(t *testing.T, c Config, path string) string {
	t.Helper()
	r := &recorder{TB: t}
	assert.Equal(t, "500", send(t, Serve(r, c), http.MethodGet, path, "").String())
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said
}

// recorder is a test that notes why it fails.
type recorder struct {
	testing.TB
	mu   sync.Mutex
	said string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said += fmt.Sprintf(format, args...)
}
