package observability

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const (
	patience = time.Minute
	tick     = 50 * time.Millisecond
)

var (
	plane   *controlplane.ControlPlane
	webhook *controlplane.Webhook
	spans   *collector
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run starts what all tests share: an API server and a webhook that trace every request.
func run(m *testing.M) (exitCode int) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			exitCode = 1
		}
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "egress-tls-observability-")
	if err != nil {
		fail(err)
		return exitCode
	}
	defer func() { fail(os.RemoveAll(dir)) }()
	if spans, err = startCollector(ctx); err != nil {
		fail(err)
		return exitCode
	}
	defer spans.stop()
	config := filepath.Join(dir, "tracing.yaml")
	err = os.WriteFile(config, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1beta1
kind: TracingConfiguration
endpoint: %s
samplingRatePerMillion: 1000000
`, spans.address), 0o600)
	if err != nil {
		fail(err)
		return exitCode
	}
	// Both send spans after 5 s by default.
	if err := os.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100"); err != nil {
		fail(err)
		return exitCode
	}
	plane, err = controlplane.Start(ctx, controlplane.Options{APIServerArgs: map[string][]string{"tracing-config-file": {config}}})
	if err != nil {
		fail(err)
		return exitCode
	}
	defer func() { fail(plane.Stop()) }()
	webhook, err = controlplane.StartWebhook(ctx, plane, controlplane.WebhookOptions{Args: []string{
		"--log-level=debug", "--pprof-bind-address=127.0.0.1:0", "--tracing-endpoint=" + spans.address, "--tracing-insecure", "--tracing-sampling-ratio=1",
	}})
	if err != nil {
		fail(err)
		return exitCode
	}
	defer func() { fail(webhook.Stop()) }()
	return m.Run()
}

// apply applies a manifest, which must succeed.
func apply(t *testing.T, manifest string) {
	t.Helper()
	result := plane.Kubectl(t.Context(), manifest, "apply", "-f", "-")
	require.Zero(t, result.ExitCode, result.Stderr)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, tick, what)
}

// site is a namespace with a ServiceEntry of an external host, and a Gateway.
type site struct{ namespace, host string }

func newSite(t *testing.T, mode string) site {
	t.Helper()
	name := controlplane.Name(t)
	s := site{name, name + ".example.com"}
	apply(t, s.fill(`apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE, labels: {egress-tls.dev/mode: `+mode+`}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external, namespace: NAMESPACE}
spec:
  hosts: [HOST]
  exportTo: ["."]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: NAMESPACE}
spec:
  selector: {istio: NAMESPACE}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: NAMESPACE}
spec: {clusterIP: None, selector: {istio: NAMESPACE}, ports: [{port: 80}]}
`))
	return s
}

func (s site) fill(manifest string) string {
	return strings.NewReplacer("NAMESPACE", s.namespace, "HOST", s.host).Replace(manifest)
}

// route sends each uri prefix to the host, and "/" to a service of the cluster.
func (s site) route(name string, prefixes ...string) string {
	var b strings.Builder
	b.WriteString(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ` + name + `, namespace: NAMESPACE}
spec:
  hosts: [` + name + `.HOST]
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

// scrape reads /metrics as Prometheus does.
func scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+webhook.MetricsAddress()+"/metrics", http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	return families(t, resp.Body)
}

func families(t *testing.T, text io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(text)
	require.NoError(t, err)
	return parsed
}

// values returns the values of a metric by the labels other than those given, as text.
func values(families map[string]*dto.MetricFamily, name string, given ...string) map[string]float64 {
	out := map[string]float64{}
	for _, m := range families[name].GetMetric() {
		rest, matching := []string{}, 0
		for _, l := range m.GetLabel() {
			fits := false
			for i := 0; i < len(given); i += 2 {
				fits = fits || l.GetName() == given[i] && l.GetValue() == given[i+1]
			}
			if fits {
				matching++
			} else {
				rest = append(rest, l.GetValue())
			}
		}
		if matching == len(given)/2 {
			out[strings.Join(rest, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}
