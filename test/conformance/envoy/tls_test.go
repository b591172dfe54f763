package envoy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/conformance/upstream"
)

// validating is a validation context with the CA of the secret file-root:system, and names, as JSON.
func validating(names string) string {
	return fmt.Sprintf(`"combined_validation_context": {"validation_context_sds_secret_config": {"name": "file-root:system"},
		"default_validation_context": {"match_subject_alt_names": [%s]}}`, names)
}

// originating is a cluster's TLS, which leaves ALPN alone, and its options.
func originating(context, common, options string) string {
	return fmt.Sprintf(`, "metadata": {"filter_metadata": {"istio": {"alpn_override": "false"}}},
		"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": %q, "common_tls_context": {%s} %s}},
		"typed_extension_protocol_options": {%q: {"@type": %q %s}}`, tlsType, common, context, httpOptions, optionsType, options)
}

// The proxy sends the server name of the cluster, and accepts the certificates that the cluster
// says.
func TestProxyTLS(t *testing.T) {
	t.Parallel()
	ca, other := upstream.NewAuthority(t), upstream.NewAuthority(t)
	const (
		refused = "503 upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: TLS_error: "
		wrongCA = refused + "CERTIFICATE_VERIFY_FAILED: x509: certificate signed by unknown authority"
	)
	wrongName := func(names string) string {
		return refused + "CERTIFICATE_VERIFY_FAILED: none of [" + names + "] in the names of the certificate"
	}
	const sni, auto = `, "sni": "a.com"`, `, "upstream_http_protocol_options": {"auto_sni": true, "auto_san_validation": true}`
	tests := []struct {
		name, cluster string
		ca            *upstream.Authority
		certificate   string
		want, wantSNI string
	}{
		{"no validation", originating(sni, "", ""), other, "x.com", "200 a", "a.com"},
		{"an empty validation", originating(sni, `"validation_context": {}`, ""), other, "x.com", "200 a", "a.com"},
		{"no server name", originating("", "", ""), ca, "x.com", "200 a", ""},
		{"CA, any name", originating(sni, validating(""), ""), ca, "x.com", "200 a", "a.com"},
		{"another CA", originating(sni, validating(""), ""), other, "a.com", wrongCA, ""},
		{"name", originating(sni, validating(`{"exact": "a.com"}`), ""), ca, "a.com", "200 a", "a.com"},
		{"name by wildcard", originating(sni, validating(`{"exact": "x.a.com"}`), ""), ca, "*.a.com", "200 a", "a.com"},
		{"one of several names", originating(sni, validating(`{"exact": "x.com"}, {"exact": "y.com"}`), ""), ca, "y.com", "200 a", "a.com"},
		{"the server name, which is not among the names", originating(sni, validating(`{"exact": "x.com"}`), ""), ca, "a.com", wrongName(`"x.com"`), ""},
		{"auto, the rewritten host", originating("", validating(""), auto), ca, "host.com", "200 a", "host.com"},
		{"auto, the original host", originating("", validating(""), auto), ca, "example.com", wrongName(`"host.com"`), ""},
		{"auto and names", originating("", validating(`{"exact": "y.com"}`), auto), ca, "host.com", wrongName(`"y.com"`), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := test.ca.TLS(t, "a", []string{test.certificate})
			c := Config{
				Listeners: listening(t, chain("", "")),
				Routes:    routing(t, `{"match": {"prefix": "/"}, "route": {"cluster": "a", "host_rewrite_literal": "host.com:80"}}`, "", ""),
				Clusters:  clusters(t, test.cluster),
				Roots:     map[string]*x509.CertPool{"file-root:system": ca.Pool},
				Network:   map[string]string{"a:80": server.Address},
			}
			res := get(t, c, "/path")
			assert.Contains(t, res.String(), test.want)
			if res.status != http.StatusOK {
				assert.Empty(t, server.Requests())
				return
			}
			got := only(t, server)
			assert.Equal(t, test.wantSNI, got.SNI)
			assert.Equal(t, "host.com:80", got.Host)
		})
	}
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	got := &tls.Config{} //nolint:gosec // It is filled below.
	require.NoError(t, versions(got, read(t, `{"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}`, &tlsv3.TlsParameters{})))
	assert.Equal(t, []uint16{tls.VersionTLS12, tls.VersionTLS13}, []uint16{got.MinVersion, got.MaxVersion})
	require.ErrorContains(t, versions(got, read(t, `{"tls_maximum_protocol_version": "TLSv1_1"}`, &tlsv3.TlsParameters{})), "unknown TLS versions")
}

// HTTP/2 is spoken where the cluster says so, ALPN offered only where it says so.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	ca := upstream.NewAuthority(t)
	const two = `, "explicit_http_config": {"http2_protocol_options": {}}`
	tests := []struct {
		name, cluster  string
		protocol, alpn string
	}{
		{"HTTP/1.1", originating("", "", ""), "HTTP/1.1", ""},
		{"HTTP/1.1 and ALPN", originating("", `"alpn_protocols": ["http/1.1"]`, ""), "HTTP/1.1", "http/1.1"},
		{"HTTP/1.1 explicitly", originating("", "", `, "explicit_http_config": {"http_protocol_options": {}}`), "HTTP/1.1", ""},
		{"as downstream", originating("", "", `, "use_downstream_protocol_config": {"http2_protocol_options": {}}`), "HTTP/1.1", ""},
		{"HTTP/2 and ALPN", originating("", `"alpn_protocols": ["h2"]`, two), "HTTP/2.0", "h2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, _, _ := config(t, toA)
			server := ca.TLS(t, "a", []string{"a.com"})
			c.Clusters, c.Network["a:80"] = clusters(t, test.cluster), server.Address
			get(t, c, "/")
			got := only(t, server)
			assert.Equal(t, test.protocol, got.Protocol)
			assert.Equal(t, test.alpn, got.ALPN)
		})
	}
}

// The first transport socket whose labels the endpoint has is taken, the cluster's own if none is.
func TestProxyTransportSocketMatches(t *testing.T) {
	t.Parallel()
	ca := upstream.NewAuthority(t)
	socket := fmt.Sprintf(`"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": %q}}`, tlsType)
	const raw = `"transport_socket": {"name": "envoy.transport_sockets.raw_buffer"}`
	tests := []struct {
		name, matches string
		secure        bool
	}{
		{"label", `{"match": {"mode": "tls"}, ` + socket + `}, {"match": {}, ` + raw + `}`, true},
		{"another label", `{"match": {"mode": "istio"}, ` + socket + `}, {"match": {}, ` + raw + `}`, false},
		{"none", `{"match": {"mode": "istio"}, ` + raw + `}`, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, a, _ := config(t, toA)
			server := ca.TLS(t, "a", []string{"a.com"})
			c.Clusters = clusters(t, `, "metadata": {"filter_metadata": {"istio": {"alpn_override": "false"}}}, `+socket+`, "transport_socket_matches": [`+test.matches+`]`)
			read(t, `{"filter_metadata": {"envoy.transport_socket_match": {"mode": "tls"}}}`, metadata(c.Clusters["a"]))
			if test.secure {
				c.Network["a:80"] = server.Address
				a = server
			}
			get(t, c, "/")
			only(t, a)
		})
	}
}

// metadata is that of the endpoint of c, for the caller to fill.
func metadata(c *clusterv3.Cluster) *corev3.Metadata {
	e := c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0]
	e.Metadata = &corev3.Metadata{}
	return e.GetMetadata()
}
