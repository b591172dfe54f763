package envoy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// httpOptions is the key of a cluster's HTTP options.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// send carries out x, whose body is that of r, and returns the upstream's response, or a reply as
// the error.
func (p *Proxy) send(x *exchange, r *http.Request) (*http.Response, error) {
	c := p.config.Clusters[x.cluster]
	if c == nil {
		return nil, &reply{status: http.StatusServiceUnavailable}
	}
	// What is known and not read is about balancing, limits and telemetry.
	if err := known(c, "name", "alt_stat_name", "type", "eds_cluster_config", "load_assignment", "transport_socket", "transport_socket_matches",
		"typed_extension_protocol_options", "filters", "metadata", "connect_timeout", "lb_policy", "circuit_breakers", "outlier_detection",
		"max_requests_per_connection", "upstream_connection_options", "common_lb_config", "dns_refresh_rate", "dns_jitter", "respect_dns_ttl",
		"dns_lookup_family", "typed_dns_resolver_config", "close_connections_on_host_health_failure"); err != nil {
		return nil, err
	}
	for _, f := range c.GetFilters() {
		if f.GetName() != "istio.metadata_exchange" {
			return nil, fmt.Errorf("unknown filter %s", f.GetName())
		}
	}
	address, metadata, err := p.endpoint(c)
	if err != nil {
		return nil, err
	}
	http2, auto, err := options(c)
	if err != nil {
		return nil, err
	}
	config, err := p.tls(c, metadata, auto, x.authority)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableCompression: true,
		Protocols:          new(http.Protocols),
		// TLS is the transport socket's affair, and HTTP/2 is spoken where the cluster says so, ALPN or not.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, failed("remote connection failure, transport failure reason: delayed connect error: " + err.Error())
			}
			if config == nil {
				return conn, nil
			}
			secure := tls.Client(conn, config)
			if err := secure.HandshakeContext(ctx); err != nil {
				_ = conn.Close()
				return nil, failed("remote connection failure, transport failure reason: TLS_error: " + err.Error())
			}
			return secure, nil
		},
	}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	target, err := url.ParseRequestURI(x.path)
	if err != nil {
		return nil, err
	}
	target.Scheme, target.Host = "http", address
	if x.header.Get("User-Agent") == "" {
		x.header["User-Agent"] = nil // Or Go sends its own.
	}
	request := (&http.Request{
		Method: x.method, URL: target, Host: x.authority, Header: x.header, Body: r.Body, ContentLength: r.ContentLength,
	}).WithContext(r.Context())
	res, err := transport.RoundTrip(request)
	if err != nil {
		return nil, reset(err)
	}
	res.Body = body{res.Body, transport}
	return res, nil
}

// body is that of a response whose connection ends with it.
type body struct {
	io.ReadCloser
	transport *http.Transport
}

func (b body) Close() error {
	defer b.transport.CloseIdleConnections()
	return b.ReadCloser.Close()
}

// reset tells as Envoy does why there is no response.
func reset(err error) error {
	if own, ok := errors.AsType[*reply](err); ok {
		return own
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return failed("connection termination")
	}
	return failed("protocol error")
}

// endpoint returns where the one endpoint of c listens, and its metadata.
func (p *Proxy) endpoint(c *clusterv3.Cluster) (string, *corev3.Metadata, error) {
	var name string
	var metadata *corev3.Metadata
	switch c.GetType() {
	case clusterv3.Cluster_EDS:
		var ok bool
		if name, ok = p.config.Endpoints[c.GetName()]; !ok {
			return "", nil, fmt.Errorf("no endpoint of %s is given", c.GetName())
		}
	case clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_LOGICAL_DNS, clusterv3.Cluster_STATIC:
		if err := known(c.GetLoadAssignment(), "cluster_name", "endpoints"); err != nil {
			return "", nil, err
		}
		for _, locality := range c.GetLoadAssignment().GetEndpoints() {
			for _, e := range locality.GetLbEndpoints() {
				if name != "" {
					return "", nil, fmt.Errorf("%s: which of several endpoints is unknown", c.GetName())
				}
				if err := errors.Join(known(e, "endpoint", "metadata", "load_balancing_weight"), known(e.GetEndpoint(), "address"),
					known(e.GetEndpoint().GetAddress(), "socket_address"), known(e.GetEndpoint().GetAddress().GetSocketAddress(), "address", "port_value")); err != nil {
					return "", nil, err
				}
				a := e.GetEndpoint().GetAddress().GetSocketAddress()
				name, metadata = net.JoinHostPort(a.GetAddress(), fmt.Sprint(a.GetPortValue())), e.GetMetadata()
			}
		}
		if name == "" {
			return "", nil, &reply{status: http.StatusServiceUnavailable, body: "no healthy upstream"}
		}
	default:
		return "", nil, fmt.Errorf("%s: unknown type %s", c.GetName(), c.GetType())
	}
	address, ok := p.config.Network[name]
	if !ok {
		return "", nil, fmt.Errorf("nobody is at %s", name)
	}
	return address, metadata, nil
}

// options tells whether c speaks HTTP/2 to its endpoints, and what TLS takes from the request.
func options(c *clusterv3.Cluster) (http2 bool, auto *corev3.UpstreamHttpProtocolOptions, err error) {
	for name, a := range c.GetTypedExtensionProtocolOptions() {
		if name != httpOptions {
			return false, nil, fmt.Errorf("unknown options %s", name)
		}
		o := &upstreamv3.HttpProtocolOptions{}
		if err := decode(a, o, "common_http_protocol_options", "upstream_http_protocol_options", "explicit_http_config", "use_downstream_protocol_config"); err != nil {
			return false, nil, err
		}
		if auto = o.GetUpstreamHttpProtocolOptions(); auto != nil {
			if err := known(auto, "auto_sni", "auto_san_validation"); err != nil {
				return false, nil, err
			}
		}
		if explicit := o.GetExplicitHttpConfig(); explicit != nil {
			if err := known(explicit, "http_protocol_options", "http2_protocol_options"); err != nil {
				return false, nil, err
			}
			http2 = explicit.GetHttp2ProtocolOptions() != nil
		}
	}
	return http2, auto, nil
}

// tls returns how c speaks TLS to an endpoint with that metadata, nil if it does not. auto is what
// it takes from the authority of the request.
func (p *Proxy) tls(c *clusterv3.Cluster, metadata *corev3.Metadata, auto *corev3.UpstreamHttpProtocolOptions, authority string) (*tls.Config, error) {
	socket := c.GetTransportSocket()
	labels := metadata.GetFilterMetadata()["envoy.transport_socket_match"].GetFields()
	for _, m := range c.GetTransportSocketMatches() {
		if err := known(m, "name", "match", "transport_socket"); err != nil {
			return nil, err
		}
		if matchesLabels(m.GetMatch().GetFields(), labels) {
			socket = m.GetTransportSocket()
			break
		}
	}
	switch socket.GetName() {
	case "", "envoy.transport_sockets.raw_buffer":
		return nil, nil
	case "envoy.transport_sockets.tls":
	default:
		return nil, fmt.Errorf("unknown transport socket %s", socket.GetName())
	}
	// The filter istio.alpn offers Istio's own protocols unless the cluster says not to.
	if c.GetMetadata().GetFilterMetadata()["istio"].GetFields()["alpn_override"].GetStringValue() != "false" {
		return nil, errors.New("unknown override of ALPN")
	}
	up := &tlsv3.UpstreamTlsContext{}
	if err := decode(socket.GetTypedConfig(), up, "common_tls_context", "sni"); err != nil {
		return nil, err
	}
	common := up.GetCommonTlsContext()
	if err := known(common, "tls_params", "alpn_protocols", "validation_context", "combined_validation_context"); err != nil {
		return nil, err
	}
	host := authority
	if name, _, err := net.SplitHostPort(authority); err == nil {
		host = name
	}
	sni := up.GetSni()
	if auto.GetAutoSni() && net.ParseIP(host) == nil {
		sni = host
	}
	out := &tls.Config{ServerName: sni, NextProtos: common.GetAlpnProtocols(), InsecureSkipVerify: true} //nolint:gosec // Envoy verifies what its configuration says, no more.
	if err := versions(out, common.GetTlsParams()); err != nil {
		return nil, err
	}
	roots, names, err := p.validation(common)
	if err != nil {
		return nil, err
	}
	var lists [][]string
	if len(names) > 0 {
		lists = append(lists, names)
	}
	if auto.GetAutoSanValidation() {
		lists = append(lists, []string{host})
	}
	if roots == nil && len(lists) > 0 {
		return nil, errors.New("names are not looked at without a CA")
	}
	if roots != nil {
		out.VerifyConnection = func(s tls.ConnectionState) error { return verify(s.PeerCertificates, roots, lists) }
	}
	return out, nil
}

// matchesLabels reports whether labels hold all of want.
func matchesLabels(want, labels map[string]*structpb.Value) bool {
	for k, v := range want {
		if labels[k] == nil || labels[k].GetStringValue() != v.GetStringValue() {
			return false
		}
	}
	return true
}

func versions(out *tls.Config, p *tlsv3.TlsParameters) error {
	if err := known(p, "tls_minimum_protocol_version", "tls_maximum_protocol_version"); err != nil {
		return err
	}
	of := map[tlsv3.TlsParameters_TlsProtocol]uint16{
		tlsv3.TlsParameters_TLS_AUTO: 0,
		tlsv3.TlsParameters_TLSv1_2:  tls.VersionTLS12,
		tlsv3.TlsParameters_TLSv1_3:  tls.VersionTLS13,
	}
	var low, high bool
	out.MinVersion, low = of[p.GetTlsMinimumProtocolVersion()]
	out.MaxVersion, high = of[p.GetTlsMaximumProtocolVersion()]
	if !low || !high {
		return fmt.Errorf("unknown TLS versions %v", p)
	}
	return nil
}

// validation returns the CAs that common trusts, nil if it asks for no validation, and the names of
// which a certificate must have one, if there are any.
func (p *Proxy) validation(common *tlsv3.CommonTlsContext) (*x509.CertPool, []string, error) {
	combined := common.GetCombinedValidationContext()
	if combined == nil {
		return nil, nil, known(common.GetValidationContext())
	}
	if err := errors.Join(known(combined, "default_validation_context", "validation_context_sds_secret_config"),
		known(combined.GetDefaultValidationContext(), "match_subject_alt_names")); err != nil {
		return nil, nil, err
	}
	secret := combined.GetValidationContextSdsSecretConfig().GetName()
	roots := p.config.Roots[secret]
	if roots == nil {
		return nil, nil, fmt.Errorf("no CA of the secret %q is given", secret)
	}
	var names []string
	for _, m := range combined.GetDefaultValidationContext().GetMatchSubjectAltNames() { //nolint:staticcheck // It is what istiod sets.
		if m.GetIgnoreCase() || m.GetExact() == "" {
			return nil, nil, fmt.Errorf("unknown match of a name %v", m)
		}
		names = append(names, m.GetExact())
	}
	return roots, names, nil
}

// verify is Envoy's validation of a chain: a CA that is trusted, and the name of a host, also by a
// wildcard, of each list; not the server name, unless a list has it.
func verify(chain []*x509.Certificate, roots *x509.CertPool, lists [][]string) error {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates}); err != nil {
		return fmt.Errorf("CERTIFICATE_VERIFY_FAILED: %w", err)
	}
	for _, names := range lists {
		if !slices.ContainsFunc(names, func(name string) bool { return chain[0].VerifyHostname(name) == nil }) {
			return fmt.Errorf("CERTIFICATE_VERIFY_FAILED: none of %q in the names of the certificate", names)
		}
	}
	return nil
}
