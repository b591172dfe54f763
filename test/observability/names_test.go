package observability

import (
	"bytes"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"

	"github.com/egress-tls/egress-tls-webhook/test/observability/dashboard"
)

const prefix = "egress_tls_"

// targetLabels are what Prometheus adds to all that it scrapes from a Pod.
var targetLabels = []string{"container", "endpoint", "instance", "job", "namespace", "pod", "service"}

// What the documentation, the alerts and the dashboard name is what the binary serves.
func TestNamesAreThoseOfTheBinary(t *testing.T) {
	load(t)
	served := scrape(t)
	labels := labelsOf(served)

	t.Run("documentation", func(t *testing.T) {
		documented := map[string][]string{}
		for _, row := range regexp.MustCompile("(?m)^\\| `("+prefix+"\\w+)` \\| (.*?) \\|").FindAllStringSubmatch(documentation(t), -1) {
			names := regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[2], -1)
			documented[row[1]] = []string{}
			for _, n := range names {
				documented[row[1]] = append(documented[row[1]], n[1])
			}
			slices.Sort(documented[row[1]])
		}
		ours := map[string][]string{}
		for name, names := range labels {
			if strings.HasPrefix(name, prefix) {
				ours[name] = names
			}
		}
		assert.Equal(t, ours, documented)
	})
	t.Run("conventions", func(t *testing.T) {
		var ours []*dto.MetricFamily
		for name, family := range served {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			ours = append(ours, family)
			for _, l := range labels[name] {
				assert.NotContains(t, targetLabels, l, "%s: Prometheus would rename the label", name)
			}
		}
		problems, err := promlint.NewWithMetricFamilies(ours).Lint()
		require.NoError(t, err)
		assert.Empty(t, problems)
	})
	maps.Copy(labels, labelsOf(scrapeAPIServer(t)))
	t.Run("alerts", func(t *testing.T) {
		groups, errs := rulefmt.ParseFile(alertsFile, false, model.UTF8Validation, newParser(), promslog.NewNopLogger())
		require.Empty(t, errs)
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				checkExpr(t, labels, r.Alert, r.Expr)
				for _, used := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(r.Annotations["summary"]+r.Annotations["description"], -1) {
					assert.True(t, strings.Contains(r.Expr, used[1]) || slices.Contains(targetLabels, used[1]), "%s tells of a label %s that it has not", r.Alert, used[1])
				}
			}
		}
	})
	t.Run("dashboard", func(t *testing.T) {
		d, err := dashboard.Load(dashboardFile)
		require.NoError(t, err)
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				checkExpr(t, labels, p.Title, strings.ReplaceAll(q.Expr, "$__rate_interval", "5m"))
			}
		}
		for _, v := range d.Templating.List {
			if query, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
				series, label, _ := strings.Cut(strings.TrimSuffix(query, ")"), ", ")
				checkExpr(t, labels, v.Name, series)
				assert.Contains(t, targetLabels, label)
			}
		}
	})
}

func documentation(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(docsFile)
	require.NoError(t, err)
	return string(page)
}

// load makes the binary and the API server tell of everything that they can tell of.
func load(t *testing.T) {
	t.Helper()
	s := newSite(t, "enforce")
	apply(t, s.route("web", "/keys", "/"))
	refused := plane.Kubectl(t.Context(), s.route("dead", "/", "/keys"), "apply", "-f", "-")
	require.Equal(t, 1, refused.ExitCode)
	audited := newSite(t, "audit")
	apply(t, audited.route("dead", "/", "/keys"))
	// A webhook that nobody serves, and that may be bypassed.
	apply(t, s.fill(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NAMESPACE}
webhooks:
- name: nobody.egress-tls.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {url: "https://127.0.0.1:1"}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
`))
	eventually(t, "metrics of everything", func() bool {
		_ = plane.Kubectl(t.Context(), "", "create", "configmap", "--dry-run=server", "--namespace", s.namespace, "any")
		return scrapeAPIServer(t)["apiserver_admission_webhook_fail_open_count"] != nil &&
			len(values(scrape(t), "egress_tls_stored_findings", "object_namespace", audited.namespace)) > 0
	})
}

func scrapeAPIServer(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	client, err := kubernetes.NewForConfig(plane.Config)
	require.NoError(t, err)
	data, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	require.NoError(t, err)
	return families(t, bytes.NewReader(data))
}

// labelsOf returns the label names of each metric, sorted.
func labelsOf(families map[string]*dto.MetricFamily) map[string][]string {
	out := map[string][]string{}
	for name, family := range families {
		out[name] = []string{}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				out[name] = append(out[name], l.GetName())
			}
		}
		slices.Sort(out[name])
		out[name] = slices.Compact(out[name])
	}
	return out
}

// checkExpr parses an expression and checks that its metrics exist, with the labels that it uses.
func checkExpr(t *testing.T, labels map[string][]string, where, expr string) {
	t.Helper()
	parsed, err := newParser().ParseExpr(expr)
	require.NoError(t, err, where)
	known := slices.Clone(targetLabels)
	var grouped []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			name, isBucket := strings.CutSuffix(node.Name, "_bucket")
			if !assert.Contains(t, labels, name, where) {
				return nil
			}
			has := slices.Concat(targetLabels, labels[name])
			if isBucket {
				has = append(has, "le")
			}
			for _, m := range node.LabelMatchers {
				if m.Name == model.MetricNameLabel {
					continue
				}
				assert.Contains(t, has, m.Name, "%s: %s has no such label", where, name)
				if strings.HasPrefix(name, prefix) && !slices.Contains(targetLabels, m.Name) {
					for value := range strings.SplitSeq(m.Value, "|") {
						assert.Contains(t, documentation(t), "`"+value+"`", "%s: %s is never %q", where, m.Name, value)
					}
				}
			}
			known = append(known, has...)
		case *parser.AggregateExpr:
			grouped = append(grouped, node.Grouping...)
		}
		return nil
	})
	assert.Subset(t, known, grouped, "%s groups by a label that nothing has", where)
}
