package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// site is an external host that speaks HTTPS, reached through a gateway; all its
// objects are in a namespace of its own.
type site struct{ namespace, host string }

// newSite creates the namespace, with the given mode if any.
func newSite(t *testing.T, mode ...policy.Mode) site {
	t.Helper()
	name := controlplane.Name(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, m := range mode {
		ns.Labels[policy.ModeLabel] = string(m)
	}
	require.NoError(t, writer.Create(t.Context(), ns))
	return site{name, name + ".example.com"}
}

// readySite creates a site with all but the route, before the eyes of the webhook.
func readySite(t *testing.T, mode ...policy.Mode) site {
	t.Helper()
	webhook := server(t)
	s := newSite(t, mode...)
	apply(t, s.entry()+s.gateway(), asSetup)
	waitCached(t, webhook)
	return s
}

func (s site) fill(manifest string) string {
	return strings.NewReplacer("NAMESPACE", s.namespace, "HOST", s.host).Replace(manifest)
}

func (s site) entry() string {
	return s.fill(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external, namespace: NAMESPACE}
spec:
  hosts: [HOST]
  exportTo: ["."]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
`)
}

// gateway is the Gateway, and the Service in front of its pods.
func (s site) gateway() string {
	return s.fill(`---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: NAMESPACE}
spec:
  selector: {istio: NAMESPACE}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["HOST"]}]
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: NAMESPACE}
spec:
  clusterIP: None
  selector: {istio: NAMESPACE}
  ports: [{port: 80}]
`)
}

// route is the VirtualService named web, in the right order and without headers.
func (s site) route() string { return s.routes("web", "/keys", "/") }

// wrongRoute is the same in the order in which "/" takes everything.
func (s site) wrongRoute() string { return s.routes("web", "/", "/keys") }

// routes is a VirtualService with a route for each uri prefix: "/" leads to a
// service of the cluster, all others to the host.
func (s site) routes(name string, prefixes ...string) string {
	var b strings.Builder
	b.WriteString(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ` + name + `, namespace: NAMESPACE}
spec:
  hosts: [www.HOST]
  gateways: [gateway]
  http:
`)
	for _, p := range prefixes {
		to := "{host: HOST, port: {number: 443}}"
		if p == "/" {
			to = "{host: welcome, port: {number: 8080}}"
		}
		fmt.Fprintf(&b, "  - match: [{uri: {prefix: %s}}]\n    route: [{destination: %s}]\n", p, to)
	}
	return s.fill(b.String())
}

// ruleName is the name of the rule that is created.
func (s site) ruleName() string { return mesh.RuleName(s.host, nil) }

// rule names the created rule in messages.
func (s site) rule() string {
	return fmt.Sprintf("DestinationRule %s/%s with TLS to %s on port 443", s.namespace, s.ruleName(), s.host)
}

// headers names the headers of a route in messages.
func (s site) headers(route int) string {
	return fmt.Sprintf("spec.http[%d]: set request headers Host: %s, X-Forwarded-Proto: https", route, s.host)
}

// deadKeys is the finding about wrongRoute.
func (s site) deadKeys() string {
	return s.fill(`CatchAllNotLast at spec.http[1]: Istio silently drops every route after a catch-all: spec.http[0].match[0] (uri prefix "/") takes every request, so spec.http[1] (uri prefix "/keys", to HOST:443) can never match. For example, GET /keys goes to welcome:8080 instead of HOST:443. Put spec.http[1] before spec.http[0]. The order that works: spec.http[1] (uri prefix "/keys"), spec.http[0] (uri prefix "/").`)
}
