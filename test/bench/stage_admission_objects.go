package main

import (
	"fmt"
	"strings"
)

// partner is the external host of the routes. It has its rule, so that nothing is written.
const partner = "api.partner.example.com"

// admissionSite is what is stored around the objects that are sent.
var admissionSite = []string{`
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
`, `
apiVersion: v1
kind: Namespace
metadata: {name: ingress}
`, `
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: ingress}
spec:
  selector: {istio: gateway}
  ports: [{name: https, port: 443}]
`, `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: ingress}
spec:
  selector: {istio: gateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*.shop.example.com"]
    tls: {mode: SIMPLE, credentialName: shop}
`, `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: partner, namespace: shop}
spec:
  hosts: [` + partner + `]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  location: MESH_EXTERNAL
  resolution: DNS
`, `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: partner, namespace: shop}
spec:
  host: ` + partner + `
  trafficPolicy:
    connectionPool: {http: {http1MaxPendingRequests: 100}}
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: SIMPLE, sni: ` + partner + `}
`}

// destination is where the routes of a VirtualService lead to.
type destination int

const (
	securedHost destination = iota // an external host that has its rule, with headers
	bareHost                       // the same without headers
	inMesh                         // Services
)

// routesTo is a VirtualService of 20 routes. The path of its last route tells the version and
// the number of the request.
func routesTo(to destination, name, version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: %s
  namespace: shop
  labels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/instance: shop, team: checkout}
  annotations: {argocd.argoproj.io/tracking-id: "shop:networking.istio.io/VirtualService:shop/%[1]s"}
spec:
  hosts: [%[1]s.shop.example.com]
  gateways: [ingress/public]
  http:
`, name)
	for i := range 20 {
		last := ""
		if i == 19 {
			last = version + "-" + openNumber
		}
		fmt.Fprintf(&b, `
  - name: route-%d
    match: [{uri: {prefix: /v1/resources-%02d/%s}}]
    timeout: 10s
    retries: {attempts: 2, perTryTimeout: 3s, retryOn: "connect-failure,refused-stream,503"}
`, i, i, last)
		switch to {
		case securedHost:
			fmt.Fprintf(&b, "    headers: {request: {set: {Host: %s, X-Forwarded-Proto: https}}}\n", partner)
			fallthrough
		case bareHost:
			fmt.Fprintf(&b, "    route: [{destination: {host: %s, port: {number: 443}}}]\n", partner)
		case inMesh:
			fmt.Fprintf(&b, "    route: [{destination: {host: resources-%02d, port: {number: 8080}}}]\n", i)
		}
	}
	return b.String()
}
