// Package site has an external host that speaks HTTPS with all that leads to it: the
// manifests, what becomes of them, what is said to wrong ones, and a judge of the order in
// which they are stored. Nothing of it asks the product what is right.
package site

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// RoundLabel is on each VirtualService: the Round of its Site.
const RoundLabel = "round"

// Site is an external host, in a namespace with a gateway that leads to it.
type Site struct{ Round, Namespace, Host string }

// Fill puts the site's names into a text.
func (s Site) Fill(text string) string {
	return strings.NewReplacer("NAMESPACE", s.Namespace, "HOST", s.Host).Replace(text)
}

// Object reads a manifest, filled. It panics on one that is no manifest.
func (s Site) Object(manifest string) *unstructured.Unstructured {
	data, err := yaml.YAMLToJSON([]byte(s.Fill(manifest)))
	object := &unstructured.Unstructured{}
	if err == nil {
		err = object.UnmarshalJSON(data)
	}
	if err != nil {
		panic(fmt.Errorf("%w in:\n%s", err, manifest))
	}
	return object
}

// NamespaceOf returns the Namespace with a Gateway and the Service in front of its pods.
func (s Site) NamespaceOf() []*unstructured.Unstructured {
	return []*unstructured.Unstructured{
		s.Object(`{apiVersion: v1, kind: Namespace, metadata: {name: NAMESPACE}}`),
		s.Object(`{apiVersion: v1, kind: Service, metadata: {name: gateway, namespace: NAMESPACE}, spec: {clusterIP: None, selector: {istio: NAMESPACE}, ports: [{port: 80}]}}`),
		s.Object(`{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: gateway, namespace: NAMESPACE}, spec: {selector: {istio: NAMESPACE}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}}`),
	}
}

// Entry declares the host.
func (s Site) Entry() *unstructured.Unstructured {
	return s.Object(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: HOST, namespace: NAMESPACE}
spec:
  hosts: [HOST]
  exportTo: ["."]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
`)
}

// Rule is the DestinationRule that the host needs.
func (s Site) Rule() *unstructured.Unstructured {
	return s.Object(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: ` + mesh.RuleName(s.Host, nil) + `
  namespace: NAMESPACE
  labels: {app.kubernetes.io/managed-by: egress-tls-webhook}
spec:
  host: HOST
  exportTo: ["."]
  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: SIMPLE, sni: HOST, subjectAltNames: [HOST]}
`)
}

// Route is a VirtualService with a route for each uri prefix: "/" leads to a service of
// the cluster, all others to the host.
func (s Site) Route(name string, prefixes ...string) *unstructured.Unstructured {
	return s.routes(name, "", prefixes)
}

// AsStored is what becomes of such a route.
func (s Site) AsStored(name string, prefixes ...string) *unstructured.Unstructured {
	return s.routes(name, "    headers: {request: {set: {Host: HOST, X-Forwarded-Proto: https}}}\n", prefixes)
}

func (s Site) routes(name, headers string, prefixes []string) *unstructured.Unstructured {
	var b strings.Builder
	b.WriteString(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ` + name + `, namespace: NAMESPACE, labels: {` + RoundLabel + `: ` + s.Round + `}}
spec:
  hosts: [www.HOST]
  gateways: [gateway]
  http:
`)
	for _, p := range prefixes {
		fmt.Fprintf(&b, "  - match: [{uri: {prefix: %s}}]\n", p)
		if p == "/" {
			b.WriteString("    route: [{destination: {host: welcome, port: {number: 8080}}}]\n")
		} else {
			b.WriteString("    route: [{destination: {host: HOST, port: {number: 443}}}]\n" + headers)
		}
	}
	return s.Object(b.String())
}

// Refusal is what is said of a VirtualService with the prefixes "/" and "/keys".
func (s Site) Refusal(name string) string {
	return s.Fill(`admission webhook "validate.egress-tls.dev" denied the request: VirtualService NAMESPACE/` + name + ` is refused:
- ` + deadRoute)
}

// DeadRoute is the finding in that refusal.
func (s Site) DeadRoute() string { return s.Fill(deadRoute) }

const deadRoute = `CatchAllNotLast at spec.http[1]: Istio silently drops every route after a catch-all: spec.http[0].match[0] (uri prefix "/") takes every request, so spec.http[1] (uri prefix "/keys", to HOST:443) can never match. For example, GET /keys goes to welcome:8080 instead of HOST:443. Put spec.http[1] before spec.http[0]. The order that works: spec.http[1] (uri prefix "/keys"), spec.http[0] (uri prefix "/").`
