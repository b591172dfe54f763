package converge

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// site is an external host, and a namespace for all objects about it.
type site struct{ namespace, host string }

// newSite creates the namespace of a new site.
func newSite(t *testing.T) site {
	t.Helper()
	name := controlplane.Name(t)
	require.NoError(t, createNamespace(t.Context(), name))
	logOnFailure(t, name)
	return site{name, name + ".example.com"}
}

func createNamespace(ctx context.Context, name string) error {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kindOf("v1", "Namespace"))
	o.SetName(name)
	return users.Create(ctx, o)
}

// fill puts the site's names into a manifest.
func (s site) fill(manifest string) string {
	return "---\n" + strings.NewReplacer("NAMESPACE", s.namespace, "HOST", s.host, "RULE", s.ruleKey().name).Replace(manifest)
}

func (s site) key(kind, name string) key { return key{kind, s.namespace, name} }

func (s site) entryKey() key { return s.key(mesh.ServiceEntryKind, "external") }
func (s site) routeKey() key { return s.key(mesh.VirtualServiceKind, "web") }
func (s site) ownKey() key   { return s.key(mesh.DestinationRuleKind, "own") }
func (s site) ruleKey() key  { return s.key(mesh.DestinationRuleKind, mesh.RuleName(s.host, nil)) }

// comes is comes for the site's namespace alone.
func (s site) comes(t *testing.T, manifests ...string) {
	t.Helper()
	comes(t, []string{s.namespace}, manifests...)
}

// entry declares the host as HTTPS, for the gateway of its namespace alone.
func (s site) entry() string {
	return s.fill(`apiVersion: networking.istio.io/v1
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
func (s site) gateway() string { return s.onlyGateway() + s.gatewayService() }

func (s site) onlyGateway() string {
	return s.fill(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: NAMESPACE}
spec:
  selector: {istio: NAMESPACE}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["www.HOST"]}]
`)
}

func (s site) gatewayService() string {
	return s.fill(`apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: NAMESPACE}
spec:
  clusterIP: None
  selector: {istio: NAMESPACE}
  ports: [{port: 80}]
`)
}

// route is a VirtualService of the gateway that leads to the host, as its author
// writes it.
func (s site) route() string {
	return s.fill(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: NAMESPACE}
spec:
  hosts: [www.HOST]
  gateways: [gateway]
  http:
  - match: [{uri: {prefix: /keys}}]
    route: [{destination: {host: HOST, port: {number: 443}}}]
  - route: [{destination: {host: welcome, port: {number: 8080}}}]
`)
}

// routed is the route as it is stored.
func (s site) routed() string {
	return strings.Replace(s.route(), "  - match: [{uri: {prefix: /keys}}]\n", s.headers()+"    match: [{uri: {prefix: /keys}}]\n", 1)
}

func (s site) headers() string {
	return fmt.Sprintf("  - headers: {request: {set: {Host: %s, X-Forwarded-Proto: https}}}\n", s.host)
}

// rule is the rule that is created for the gateway.
func (s site) rule() string {
	return s.fill(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: RULE
  namespace: NAMESPACE
  labels: {app.kubernetes.io/managed-by: egress-tls-webhook}
  ownerReferences:
  - {apiVersion: networking.istio.io/v1, kind: ServiceEntry, name: external, uid: uid of ServiceEntry external}
spec:
  host: HOST
  exportTo: ["."]
  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: SIMPLE, sni: HOST, subjectAltNames: [HOST]}
`)
}

// meshEntry declares the host as plaintext HTTP on port 443, for all sidecars.
func (s site) meshEntry() string {
	return s.fill(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external, namespace: NAMESPACE}
spec:
  hosts: [HOST]
  ports:
  - {number: 80, name: http, protocol: HTTP}
  - {number: 443, name: http-for-tls, protocol: HTTP}
  resolution: DNS
`)
}

// meshRoute is a VirtualService of the sidecars that sends plaintext to port 443.
func (s site) meshRoute() string {
	return s.fill(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: NAMESPACE}
spec:
  hosts: [HOST]
  http:
  - match: [{port: 80}]
    route: [{destination: {host: HOST, port: {number: 443}}}]
`)
}

func (s site) meshRouted() string {
	return strings.Replace(s.meshRoute(), "  - match: [{port: 80}]\n", s.headers()+"    match: [{port: 80}]\n", 1)
}

// meshRule is the rule that is created for the sidecars.
func (s site) meshRule() string { return strings.Replace(s.rule(), "  exportTo: [\".\"]\n", "", 1) }

// own is a DestinationRule of the user's for the gateway, with the given
// trafficPolicy.
func (s site) own(trafficPolicy string) string {
	return s.fill(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own, namespace: NAMESPACE}
spec:
  host: HOST
  exportTo: ["."]
` + trafficPolicy)
}

// The kinds of a user's own rule, and what becomes of the second and third.
const (
	withTLS = `  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: SIMPLE, sni: HOST}
`
	withoutTLS = ""
	// withLoadBalancer has settings that a port entry must carry along.
	withLoadBalancer = `  trafficPolicy:
    loadBalancer: {simple: RANDOM}
`
	injectedTLS = `  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: SIMPLE, sni: HOST, subjectAltNames: [HOST]}
`
	injectedLoadBalancer = `  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    portLevelSettings:
    - port: {number: 443}
      loadBalancer: {simple: RANDOM}
      tls: {mode: SIMPLE, sni: HOST, subjectAltNames: [HOST]}
`
)

// injected is the user's own rule with TLS injected.
func (s site) injected(trafficPolicy string) string {
	places := "port/443"
	if !strings.Contains(trafficPolicy, "    loadBalancer:") {
		places += ",trafficPolicy" // which was not there
	}
	return strings.Replace(s.own(trafficPolicy), "metadata: {", `metadata: {annotations: {egress-tls.dev/injected: "`+places+`"}, `, 1)
}
