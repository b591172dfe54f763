package envoy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Config is all that a Proxy is told.
type Config struct {
	Listeners []*listenerv3.Listener
	Routes    map[string]*routev3.RouteConfiguration
	Clusters  map[string]*clusterv3.Cluster
	// Endpoints are those of EDS clusters, "host:port" by the cluster's name.
	Endpoints map[string]string
	// Roots are the trusted CAs by the name of their secret, such as file-root:system.
	Roots map[string]*x509.CertPool
	// Network says where an endpoint, "host:port", listens in truth.
	Network map[string]string
	// Draw returns a number below total, which picks one of a route's weighted clusters.
	Draw func(total uint32) uint32
}

// Proxy serves plaintext HTTP/1.1 on the listeners of a Config, and sends each request where its
// routes and clusters lead, over TLS where they say so. It adds none of Envoy's own headers but
// X-Forwarded-Proto, and tries once. What it does not know fails the test.
type Proxy struct {
	t         testing.TB
	config    Config
	mu        sync.Mutex
	addresses map[uint32]string
}

// Serve starts a proxy, which stops with the test.
func Serve(t testing.TB, c Config) *Proxy {
	return &Proxy{t: t, config: c, addresses: map[uint32]string{}}
}

// Address is where requests to a port of the proxy are sent.
func (p *Proxy) Address(port uint32) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.addresses[port]; ok {
		return a
	}
	l, err := p.listener(port)
	if err != nil {
		p.t.Fatal(err)
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It is closed with the test.
	if err != nil {
		p.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.handle(l, w, r); err != nil {
			p.t.Errorf("%s %s%s: %v", r.Method, r.Host, r.RequestURI, err)
			w.WriteHeader(http.StatusInternalServerError)
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(socket)
	}()
	p.t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	p.addresses[port] = socket.Addr().String()
	return p.addresses[port]
}

// exchange is a request on its way to a cluster.
type exchange struct {
	// method, path with the query, authority and header are what the cluster gets.
	method, path, authority string
	header                  http.Header
	// response are the operations on the response's headers, in order.
	response []mutation
	cluster  string
}

// reply is a response of the proxy itself.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r *reply) Error() string { return r.body }

// The beginning of what Envoy says where an upstream fails.
const upstreamError = "upstream connect error or disconnect/reset before headers. reset reason: "

// failed is Envoy's reply where the upstream fails.
func failed(reason string) *reply {
	return &reply{status: http.StatusServiceUnavailable, body: upstreamError + reason}
}

func (p *Proxy) handle(l *listenerv3.Listener, w http.ResponseWriter, r *http.Request) error {
	m, err := manager(l)
	if err != nil {
		return err
	}
	x, err := p.route(m, r)
	var res *http.Response
	if err == nil {
		res, err = p.send(x, r)
	}
	if own, ok := errors.AsType[*reply](err); ok {
		maps.Copy(w.Header(), own.header)
		if x != nil {
			if err := mutate(w.Header(), x.response...); err != nil {
				return err
			}
		}
		w.WriteHeader(own.status)
		_, err = io.WriteString(w, own.body)
		return err
	}
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	header := res.Header.Clone()
	if err := mutate(header, x.response...); err != nil {
		return err
	}
	maps.Copy(w.Header(), header)
	w.WriteHeader(res.StatusCode)
	_, err = io.Copy(w, res.Body)
	return err
}

// route decides what becomes of r: an exchange with a cluster, or a reply as the error.
func (p *Proxy) route(m *connectionManager, r *http.Request) (*exchange, error) {
	if err := plain(r); err != nil {
		return nil, err
	}
	header := r.Header.Clone()
	header.Del("Connection")
	// Envoy says so of every plaintext request, except where another proxy's word is kept.
	if m.GetUseRemoteAddress().GetValue() || header.Get("X-Forwarded-Proto") == "" {
		header.Set("X-Forwarded-Proto", "http")
	}
	rc := m.GetRouteConfig()
	if rc == nil {
		name := m.GetRds().GetRouteConfigName()
		if rc = p.config.Routes[name]; rc == nil {
			return nil, fmt.Errorf("no route configuration %q", name)
		}
	}
	if err := known(rc, "name", "virtual_hosts", "request_headers_to_add", "request_headers_to_remove",
		"response_headers_to_add", "response_headers_to_remove", "most_specific_header_mutations_wins",
		"ignore_port_in_host_matching", "validate_clusters", "max_direct_response_body_size_bytes"); err != nil {
		return nil, err
	}
	vh := VirtualHost(rc, r.Host)
	if vh == nil {
		return nil, &reply{status: http.StatusNotFound}
	}
	if err := known(vh, "name", "domains", "routes", "require_tls", "request_headers_to_add", "request_headers_to_remove",
		"response_headers_to_add", "response_headers_to_remove", "include_request_attempt_count"); err != nil {
		return nil, err
	}
	if vh.GetRequireTls() != routev3.VirtualHost_NONE {
		return nil, moved(http.StatusMovedPermanently, "https", r.Host, r.RequestURI)
	}
	request := &Request{Method: r.Method, Scheme: "http", Authority: r.Host, Path: r.RequestURI, Headers: map[string]string{}}
	for name, values := range header {
		request.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	for _, route := range vh.GetRoutes() {
		if err := known(route.GetMatch(), "prefix", "path", "path_separated_prefix", "safe_regex", "case_sensitive",
			"headers", "query_parameters"); err != nil {
			return nil, err
		}
	}
	route, err := Route(vh, request)
	if err != nil {
		return nil, err
	}
	if route == nil {
		return nil, &reply{status: http.StatusNotFound}
	}
	x := &exchange{method: r.Method, path: r.RequestURI, authority: r.Host, header: header}
	return x, p.act(x, rc, vh, route, request)
}

// plain fails where Envoy would do to a request what is not done here.
func plain(r *http.Request) error {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	switch {
	case r.Header.Get("Upgrade") != "":
		return errors.New("unknown upgrade")
	case !strings.HasPrefix(path, "/"), strings.ContainsAny(path, `%\#`), strings.Contains(path+"/", "/./"), strings.Contains(path+"/", "/../"):
		return errors.New("unknown normalization of the path")
	}
	return nil
}
