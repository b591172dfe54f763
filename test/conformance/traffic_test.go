package conformance

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/envoy"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/upstream"
)

var (
	ingressGateway = istiod.Proxy{Namespace: "istio-system", Gateway: true, Labels: map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"}}
	// shopSidecar is that of a pod in a namespace that owns none of the objects.
	shopSidecar = istiod.Proxy{Namespace: "shop", Labels: map[string]string{"app": "shop"}}
)

// The hosts of the scenarios.
const (
	bucket   = "samplebucket1234.s3.ap-southeast-2.amazonaws.com"
	cnn      = "edition.cnn.com"
	vendor   = "api.vendor.com"
	euVendor = "eu.vendor.com"
)

// secret is a header's value that nobody on the way may read.
const secret = "Bearer 6f1ed002ab5595859014ebf0951522d9"

// seen is what becomes of a request: the reply, what the upstream saw of it, if it saw any, and
// whether path and headers left the mesh in clear.
type seen struct {
	reply                            string
	protocol, sni, host, proto, path string
	leaked                           bool
}

// refusedInClear becomes of a plaintext request to a server that speaks only TLS.
var refusedInClear = seen{reply: "503 upstream connect error or disconnect/reset before headers. reset reason: protocol error", leaked: true}

// overTLS becomes of a request that reaches the server of host. It carries host both as SNI and as
// Host.
func overTLS(server, host, path string) seen {
	return seen{reply: "200 " + server, protocol: "HTTP/1.1", sni: host, host: host, proto: "https", path: path}
}

// asHTTP is what s lacks without the header X-Forwarded-Proto of a route.
func (s seen) asHTTP() seen {
	s.proto = "http"
	return s
}

// atWelcome becomes of a request to the internal service.
func atWelcome(host, path string) seen {
	return seen{reply: "200 welcome", protocol: "HTTP/1.1", host: host, proto: "http", path: path}
}

// ask is a request to a port of a proxy.
type ask struct {
	authority string
	port      uint32
	path      string
	// draw picks a weighted cluster.
	draw uint32
}

// site is all that a proxy may reach.
type site struct {
	external, internal map[string]*upstream.Server
	roots              *x509.CertPool
}

// newSite starts the servers. The one at edition.cnn.com:443 shows a certificate of ca for names.
func newSite(t *testing.T, ca, trusted *upstream.Authority, names ...string) *site {
	api := ca.TLS(t, "vendor", []string{"other.vendor.com", vendor}, vendor)
	return &site{
		roots: trusted.Pool,
		external: map[string]*upstream.Server{
			// S3 shows a wildcard certificate.
			bucket + ":443":     ca.TLS(t, "bucket", []string{"*.s3.ap-southeast-2.amazonaws.com"}, bucket),
			cnn + ":443":        ca.TLS(t, "cnn", names, cnn),
			cnn + ":80":         upstream.Plain(t, "cnn", cnn),
			vendor + ":443":     api,
			"v1.vendor.com:443": api,
			"v2.vendor.com:443": api,
			euVendor + ":443":   ca.TLS(t, "eu vendor", []string{euVendor}, euVendor),
		},
		internal: map[string]*upstream.Server{"welcome:8080": upstream.Plain(t, "welcome")},
	}
}

// send sends a through a proxy with what istiod makes of objects, and tells what became of it.
func (s *site) send(t *testing.T, p istiod.Proxy, objects []scenario.Object, a ask) seen {
	t.Helper()
	config := envoy.Config{
		Endpoints: map[string]string{"outbound|8080||welcome.default.svc.cluster.local": "welcome:8080"},
		// The second is what the policy of policy-tls-names-none names.
		Roots:   map[string]*x509.CertPool{"file-root:system": s.roots, "file-root:/etc/ssl/certs/partners.pem": s.roots},
		Network: map[string]string{},
		Draw:    func(uint32) uint32 { return a.draw },
	}
	servers := map[*upstream.Server]bool{}
	for _, side := range []map[string]*upstream.Server{s.external, s.internal} {
		for at, server := range side {
			config.Network[at] = server.Address
			servers[server] = true
		}
	}
	istiod.Run(t, typed(withNeighbours(t, objects)), istiod.Options{}, func(m *istiod.Mesh) {
		config.Listeners, config.Routes, config.Clusters = m.Listeners(p), m.Routes(p), m.Clusters(p)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+envoy.Serve(t, config).Address(a.port)+a.path, http.NoBody)
	require.NoError(t, err)
	req.Host = a.authority
	req.Header.Set("Authorization", secret)
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, errors.Join(err, res.Body.Close()))

	out := seen{reply: strings.TrimSpace(fmt.Sprintf("%d %s", res.StatusCode, body)), leaked: s.leaked(t, a)}
	for server := range servers {
		for _, r := range server.Requests() {
			require.Empty(t, out.host, "one request arrives once")
			out.protocol, out.sni, out.host, out.path, out.proto = r.Protocol, r.SNI, r.Host, r.Path, r.Header.Get("X-Forwarded-Proto")
			assert.Equal(t, secret, r.Header.Get("Authorization"))
		}
	}
	return out
}

// leaked reports whether somebody on the wire to an external server could read a. What is no clear
// text has to be a TLS handshake, and to hold nothing of a.
func (s *site) leaked(t *testing.T, a ask) bool {
	t.Helper()
	leaked := false
	for at, server := range s.external {
		for _, raw := range server.Received() {
			// HTTP/2 compresses what anybody can decompress.
			if bytes.HasPrefix(raw, []byte("PRI * HTTP/2.0\r\n")) || bytes.HasPrefix(raw, []byte("GET "+a.path+" HTTP/1.1\r\n")) && bytes.Contains(raw, []byte(secret)) {
				leaked = true
				continue
			}
			require.Greater(t, len(raw), 5, at)
			assert.Equal(t, []byte{22, 3}, raw[:2], "%s: a record of a TLS handshake", at)
			assert.Equal(t, byte(1), raw[5], "%s: a ClientHello", at)
			assert.NotContains(t, string(raw), a.path)
			assert.NotContains(t, string(raw), secret)
		}
	}
	return leaked
}

// load reads a scenario.
func load(t *testing.T, name string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Load(filepath.Join(scenarios, name))
	require.NoError(t, err)
	return s
}

// What a user applies fails, or goes where it should not, and reveals what it carries. As the
// command render prints it, it arrives, and nobody on the way can read it.
func TestTraffic(t *testing.T) {
	t.Parallel()
	const (
		openID = "/.well-known/openid-configuration"
		keys   = "/oauth/discovery/keys"
	)
	ca := upstream.NewAuthority(t)
	tests := []struct {
		scenario      string
		proxy         istiod.Proxy
		ask           ask
		before, after seen
	}{
		{"ingress-seed-clients-known", ingressGateway, ask{"example.com", 80, openID, 0}, refusedInClear, overTLS("bucket", bucket, openID)},
		{"ingress-seed-clients-known", ingressGateway, ask{"example.com", 80, keys, 0}, refusedInClear, overTLS("bucket", bucket, keys)},
		{"ingress-seed-clients-known", ingressGateway, ask{"example.com", 80, "/index.html", 0}, atWelcome("example.com", "/index.html"), atWelcome("example.com", "/index.html")},
		{"ingress-seed-clients-guessed", ingressGateway, ask{"example.com", 80, openID, 0}, refusedInClear, overTLS("bucket", bucket, openID)},
		{"ingress-seed-clients-guessed", ingressGateway, ask{"example.com", 80, keys, 0}, refusedInClear, overTLS("bucket", bucket, keys)},
		{"ingress-seed-one-apply", ingressGateway, ask{"example.com", 80, openID, 0}, refusedInClear, overTLS("bucket", bucket, openID)},
		{"ingress-seed-one-apply", ingressGateway, ask{"example.com", 80, keys, 0}, atWelcome("example.com", keys), atWelcome("example.com", keys)},
		// Its author has done all of it.
		{"ingress-seed-own-rule", ingressGateway, ask{"example.com", 80, openID, 0}, overTLS("bucket", bucket, openID), overTLS("bucket", bucket, openID)},
		{"delegate-keeps-root-headers", ingressGateway, ask{"example.com", 80, "/v1/health", 0}, refusedInClear, overTLS("vendor", vendor, "/v1/health")},
		{"delegate-root-applied", ingressGateway, ask{"example.com", 80, "/v1/health", 0}, refusedInClear, overTLS("vendor", vendor, "/v1/health")},

		{"sidecar-seed", shopSidecar, ask{cnn, 80, "/politics", 0}, refusedInClear, overTLS("cnn", cnn, "/politics")},
		{"sidecar-seed-as-written", shopSidecar, ask{cnn, 80, "/politics", 0}, overTLS("cnn", cnn, "/politics").asHTTP(), overTLS("cnn", cnn, "/politics")},
		// Without a route there is nothing that could set a header.
		{"sidecar-seed-target-port", shopSidecar, ask{cnn, 80, "/politics", 0}, refusedInClear, overTLS("cnn", cnn, "/politics").asHTTP()},
		{"serviceentry-http-on-443", shopSidecar, ask{vendor, 443, "/health", 0}, refusedInClear, overTLS("vendor", vendor, "/health").asHTTP()},
		{"policy-tls-defaults", shopSidecar, ask{vendor, 443, "/health", 0}, refusedInClear, overTLS("vendor", vendor, "/health").asHTTP()},
		{"policy-tls-defaults-injected", shopSidecar, ask{vendor, 443, "/health", 0}, refusedInClear, overTLS("vendor", vendor, "/health").asHTTP()},
		{"clients-mesh-https", shopSidecar, ask{vendor, 80, "/health", 0}, refusedInClear, overTLS("vendor", vendor, "/health")},
		{"headers-rewrite-authority", shopSidecar, ask{vendor, 443, "/health", 0}, overTLS("vendor", vendor, "/health").asHTTP(), overTLS("vendor", vendor, "/health")},
		{"headers-mixed-destinations", shopSidecar, ask{"welcome.default", 8080, "/health", 89}, atWelcome("welcome.default", "/health"), atWelcome("welcome.default", "/health")},
		{"headers-mixed-destinations", shopSidecar, ask{"welcome.default", 8080, "/health", 90}, refusedInClear, overTLS("vendor", vendor, "/health")},
		{"headers-two-hosts", shopSidecar, ask{"vendor.internal.example.com", 80, "/health", 49}, refusedInClear, overTLS("vendor", vendor, "/health")},
		{"headers-two-hosts", shopSidecar, ask{"vendor.internal.example.com", 80, "/health", 50}, refusedInClear, overTLS("eu vendor", euVendor, "/health")},
		{"rule-subset-of-endpoints", shopSidecar, ask{vendor, 443, "/health", 49}, overTLS("vendor", vendor, "/health").asHTTP(), overTLS("vendor", vendor, "/health")},
		{"rule-subset-of-endpoints", shopSidecar, ask{vendor, 443, "/health", 50}, refusedInClear, overTLS("vendor", vendor, "/health")},
		{"rule-wildcard-in-client-namespace", shopSidecar, ask{vendor, 443, "/health", 0}, refusedInClear, overTLS("vendor", vendor, "/health")},
		// The user's own SNI is kept.
		{
			"rule-port-entry-without-tls", shopSidecar,
			ask{vendor, 443, "/health", 0},
			refusedInClear,
			seen{reply: "200 vendor", protocol: "HTTP/1.1", sni: "front.vendor.com", host: vendor, proto: "https", path: "/health"},
		},
		{
			"destination-grpc-target-port", shopSidecar,
			ask{vendor, 8080, "/health", 0},
			refusedInClear,
			seen{reply: "200 vendor", protocol: "HTTP/2.0", sni: vendor, host: vendor, proto: "https", path: "/health"},
		},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %s %d", test.scenario, test.ask.path, test.ask.draw), func(t *testing.T) {
			t.Parallel()
			s := load(t, test.scenario)
			before := newSite(t, ca, ca, cnn)
			assert.Equal(t, test.before, before.send(t, test.proxy, apply(s.Mesh, s.Request), test.ask), "before")
			after := newSite(t, ca, ca, cnn)
			assert.Equal(t, test.after, after.send(t, test.proxy, apply(s.Mesh, render(t, s)), test.ask), "after")
		})
	}
}

// The order that its author wrote down sends the bucket's paths to welcome, so it is refused. In the
// order that the message names they arrive.
func TestTrafficOfARefusedOrder(t *testing.T) {
	t.Parallel()
	const path = "/.well-known/openid-configuration"
	ca := upstream.NewAuthority(t)
	s := load(t, "ingress-seed-as-written")
	a := ask{"example.com", 80, path, 0}
	assert.Equal(t, atWelcome("example.com", path), newSite(t, ca, ca, cnn).send(t, ingressGateway, apply(s.Mesh, s.Request), a))
	require.Empty(t, render(t, s))

	require.Contains(t, s.Want.Findings[0].Remedy, "The order that works: spec.http[1] (")
	o := s.Request[0]
	vs := o.Typed.(*networkingv1.VirtualService).DeepCopy()
	vs.Spec.Http = append(vs.Spec.Http[1:], vs.Spec.Http[0])
	o.Typed = vs
	objects := apply(s.Mesh, []scenario.Object{o})
	assert.Equal(t, overTLS("bucket", bucket, path), newSite(t, ca, ca, cnn).send(t, ingressGateway, objects, a))
}

// Without the headers the server speaks TLS with the proxy, and is not the one that is asked.
func TestTrafficWithoutTheHost(t *testing.T) {
	t.Parallel()
	const path = "/.well-known/openid-configuration"
	ca := upstream.NewAuthority(t)
	s := load(t, "ingress-seed-clients-known")
	ignore := load(t, "policy-headers-ignore")
	s.PolicyFile = ignore.PolicyFile
	got := newSite(t, ca, ca, cnn).send(t, ingressGateway, apply(s.Mesh, render(t, s)), ask{"example.com", 80, path, 0})
	assert.Equal(t, seen{reply: "421 no such host here", protocol: "HTTP/1.1", sni: bucket, host: "example.com", proto: "http", path: path}, got)
}

// What is stored makes the proxy refuse a server that shows the certificate of another name, or of
// another CA: the request does not leave.
func TestTrafficToAnImpostor(t *testing.T) {
	t.Parallel()
	ca, other := upstream.NewAuthority(t), upstream.NewAuthority(t)
	tests := []struct {
		name, scenario string
		shows          *upstream.Authority
		certificate    string
		accepted       bool
	}{
		{"the host", "sidecar-seed", ca, cnn, true},
		{"another host", "sidecar-seed", ca, "edition.example.com", false},
		{"another CA", "sidecar-seed", other, cnn, false},
		{"another host, and the user's rule has no sni", "sidecar-seed-as-written", ca, "edition.example.com", false},
		{"the ServiceEntry's subjectAltNames", "tls-names-of-the-serviceentry", ca, "a.cdn.example.com", true},
		{"the host, not the ServiceEntry's subjectAltNames", "tls-names-of-the-serviceentry", ca, cnn, false},
		{"another host, and the policy looks at no name", "policy-tls-names-none", ca, "edition.example.com", true},
		{"another CA, and the policy looks at no name", "policy-tls-names-none", other, cnn, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := load(t, test.scenario)
			site := newSite(t, test.shows, ca, test.certificate)
			got := site.send(t, shopSidecar, apply(s.Mesh, render(t, s)), ask{cnn, 80, "/politics", 0})
			assert.False(t, got.leaked)
			if test.accepted {
				assert.Equal(t, "200 cnn", got.reply)
				return
			}
			assert.Contains(t, got.reply, "503 upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: TLS_error: CERTIFICATE_VERIFY_FAILED")
			assert.Empty(t, got.host, "the server sees no request")
		})
	}
}
