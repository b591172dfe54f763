package faults

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

const (
	namespaces = 50
	// roundLabel is on each VirtualService: which load it is of.
	roundLabel = "round"
)

// site is an external host that speaks HTTPS, in a namespace with a gateway that leads
// to it.
type site struct{ round, namespace, host string }

func (s site) fill(text string) string {
	return strings.NewReplacer("NAMESPACE", s.namespace, "HOST", s.host).Replace(text)
}

func (s site) object(manifest string) *unstructured.Unstructured {
	data, err := yaml.YAMLToJSON([]byte(s.fill(manifest)))
	object := &unstructured.Unstructured{}
	if err == nil {
		err = object.UnmarshalJSON(data)
	}
	if err != nil {
		panic(fmt.Errorf("%w in:\n%s", err, manifest))
	}
	return object
}

func namespace(i int) string { return fmt.Sprintf("shop-%02d", i%namespaces) }

// createNamespaces creates the namespaces, each with a Gateway and the Service in
// front of its pods.
func createNamespaces(ctx context.Context) error {
	for i := range namespaces {
		for _, manifest := range []string{
			`{apiVersion: v1, kind: Namespace, metadata: {name: NAMESPACE}}`,
			`{apiVersion: v1, kind: Service, metadata: {name: gateway, namespace: NAMESPACE}, spec: {clusterIP: None, selector: {istio: NAMESPACE}, ports: [{port: 80}]}}`,
			`{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: gateway, namespace: NAMESPACE}, spec: {selector: {istio: NAMESPACE}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}}`,
		} {
			object := site{namespace: namespace(i)}.object(manifest)
			if err := admin.Create(ctx, object); err != nil {
				return fmt.Errorf("failed to create %s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	return nil
}

var rounds atomic.Int64

// newSites declares fresh hosts in all namespaces.
func newSites(t *testing.T, n int) []site {
	t.Helper()
	round := fmt.Sprintf("r%d", rounds.Add(1))
	sites := make([]site, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	turns := make(chan struct{}, 20)
	for i := range sites {
		sites[i] = site{round, namespace(i), fmt.Sprintf("h%d.%s.example.com", i, round)}
		all.Go(func() {
			turns <- struct{}{}
			errs[i] = admin.Create(t.Context(), sites[i].object(entry))
			<-turns
		})
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	return sites
}

const entry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: HOST, namespace: NAMESPACE}
spec:
  hosts: [HOST]
  exportTo: ["."]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
`

// rule is the DestinationRule that the host needs.
func (s site) rule() *unstructured.Unstructured {
	return s.object(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: ` + mesh.RuleName(s.host, nil) + `
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

// route is a VirtualService with a route for each uri prefix: "/" leads to a service of
// the cluster, all others to the host.
func (s site) route(name string, prefixes ...string) *unstructured.Unstructured {
	return s.routes(name, "", prefixes)
}

// asStored is what becomes of such a route.
func (s site) asStored(name string, prefixes ...string) *unstructured.Unstructured {
	return s.routes(name, "    headers: {request: {set: {Host: HOST, X-Forwarded-Proto: https}}}\n", prefixes)
}

func (s site) routes(name, headers string, prefixes []string) *unstructured.Unstructured {
	var b strings.Builder
	b.WriteString(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ` + name + `, namespace: NAMESPACE, labels: {` + roundLabel + `: ` + s.round + `}}
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
	return s.object(b.String())
}

// refusal is what is said of a VirtualService with the prefixes "/" and "/keys".
func (s site) refusal(name string) string {
	return s.fill(`admission webhook "validate.egress-tls.dev" denied the request: VirtualService NAMESPACE/` + name + ` is refused:
- CatchAllNotLast at spec.http[1]: Istio silently drops every route after a catch-all: spec.http[0].match[0] (uri prefix "/") takes every request, so spec.http[1] (uri prefix "/keys", to HOST:443) can never match. For example, GET /keys goes to welcome:8080 instead of HOST:443. Put spec.http[1] before spec.http[0]. The order that works: spec.http[1] (uri prefix "/keys"), spec.http[0] (uri prefix "/").`)
}
