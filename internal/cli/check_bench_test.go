package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// repositories are what teams keep in Git, of n objects each: n/4 ServiceEntries, n/2
// VirtualServices and n/4 DestinationRules.
var repositories = map[string]func(file *strings.Builder, i int){
	// Each team has hosts of its own.
	"own-hosts": func(file *strings.Builder, i int) {
		host := fmt.Sprintf("api-%d.example.com", i)
		serviceEntry(file, i, host)
		virtualService(file, i, fmt.Sprintf("app-%d.internal.example.net", i), host)
		virtualService(file, i+1_000_000, host, host)
		destinationRule(file, i, host)
	},
	// All routes lead to one host.
	"one-host": func(file *strings.Builder, i int) {
		host := fmt.Sprintf("api-%d.example.com", i)
		serviceEntry(file, i, "shared.example.com")
		virtualService(file, i, fmt.Sprintf("app-%d.internal.example.net", i), "shared.example.com")
		virtualService(file, i+1_000_000, fmt.Sprintf("app-%d.internal.example.net", i+1_000_000), "shared.example.com")
		destinationRule(file, i, host)
	},
	// All VirtualServices have one host, at one gateway.
	"one-virtual-host": func(file *strings.Builder, i int) {
		host := fmt.Sprintf("api-%d.example.com", i)
		serviceEntry(file, i, host)
		virtualService(file, i, "www.example.net", host)
		virtualService(file, i+1_000_000, "www.example.net", host)
		destinationRule(file, i, host)
	},
	// Sidecars of 200 namespaces send to one host.
	"sidecars": func(file *strings.Builder, i int) {
		host := "shared.example.com"
		serviceEntry(file, i, host)
		routes(file, i, "mesh", fmt.Sprintf("app-%d.internal.example.net", i), host, "/a")
		routes(file, i+1_000_000, "mesh", fmt.Sprintf("app-%d.internal.example.net", i+1_000_000), host, "/b")
		destinationRule(file, i, host)
	},
	// Four of five routes of each VirtualService are dead.
	"dead-routes": func(file *strings.Builder, i int) {
		host := fmt.Sprintf("api-%d.example.com", i)
		serviceEntry(file, i, host)
		routes(file, i, "istio-system/public", fmt.Sprintf("app-%d.internal.example.net", i), host, "")
		routes(file, i+1_000_000, "istio-system/public", host, host, "")
		destinationRule(file, i, host)
	},
	// DestinationRules are for wildcards.
	"wildcards": func(file *strings.Builder, i int) {
		host := fmt.Sprintf("api.team-%d.example.com", i)
		serviceEntry(file, i, host)
		virtualService(file, i, fmt.Sprintf("app-%d.internal.example.net", i), host)
		virtualService(file, i+1_000_000, fmt.Sprintf("*.team-%d.example.com", i), host)
		destinationRule(file, i, fmt.Sprintf("*.team-%d.example.com", i))
	},
}

func serviceEntry(file *strings.Builder, i int, host string) {
	fmt.Fprintf(file, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: se-%d
  namespace: team-%d
spec:
  hosts: [%s]
  location: MESH_EXTERNAL
  resolution: DNS
  ports:
  - number: 80
    name: http
    protocol: HTTP
    targetPort: 443
`, i, i%200, host)
}

func virtualService(file *strings.Builder, i int, host, destination string) {
	routes(file, i, "istio-system/public", host, destination, fmt.Sprintf("/team-%d", i))
}

func routes(file *strings.Builder, i int, gateway, host, destination, prefix string) {
	fmt.Fprintf(file, `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: vs-%d
  namespace: team-%d
spec:
  hosts: ["%s"]
  gateways: [%s]
  http:
`, i, i%200, host, gateway)
	for r := range 5 {
		fmt.Fprintf(file, `  - match:
    - uri:
        prefix: %s
    route:
    - destination:
        host: %s
        port:
          number: 80
`, strings.Repeat(prefix, 5-r), destination)
	}
}

func destinationRule(file *strings.Builder, i int, host string) {
	fmt.Fprintf(file, `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: dr-%d
  namespace: team-%d
spec:
  host: "%s"
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 10
`, i, i%200, host)
}

// writeRepository writes n objects, 20 in a file.
func writeRepository(tb testing.TB, object func(*strings.Builder, int), n int) string {
	tb.Helper()
	dir := tb.TempDir()
	for f := range n / 20 {
		var text strings.Builder
		for i := range 5 {
			object(&text, f*5+i)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.yaml", f)), []byte(text.String()), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// The cost of an object must not depend on how many others there are.
func BenchmarkCheck(b *testing.B) {
	for name, object := range repositories {
		for _, n := range []int{200, 1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				dir := writeRepository(b, object, n)
				for b.Loop() {
					if code := Run([]string{"check", "-f", dir}, Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}, "test"); code == Unusable {
						b.Fatal("unusable")
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/object")
			})
		}
	}
}
