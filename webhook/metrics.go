package webhook

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// metrics are the Prometheus metrics of the webhook. Names are stable.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	findings *prometheus.CounterVec
	rules    *prometheus.CounterVec
	headers  prometheus.Counter
	failing  *prometheus.GaugeVec
	leading  prometheus.Gauge
	live     *prometheus.CounterVec
	// undecided has no labels: the debug log names the object.
	undecided prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_tls_admission_requests_total",
			Help: "Admission requests by phase, kind, operation, verdict, mode and dry run.",
		}, []string{"phase", "kind", "operation", "verdict", "mode", "dry_run"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "egress_tls_admission_duration_seconds",
			Help:    "Time to answer an admission request, by phase.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"phase"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_tls_findings_total",
			Help: "Findings in the validating phase, by code and severity.",
		}, []string{"code", "severity"}),
		rules: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_tls_destinationrules_written_total",
			Help: "Writes of DestinationRules, by who wrote (admission, before its answer, or reconciler) and action (create, restore, inject, adopt, keep, mark, take back, delete).",
		}, []string{"by", "action"}),
		headers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "egress_tls_virtualservices_written_total",
			Help: "VirtualServices that the reconciler has added request headers to.",
		}),
		failing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "egress_tls_reconcile_failing",
			Help: "Hosts (controller destinationrules) and VirtualServices (controller virtualservices) whose last reconciliation failed.",
		}, []string{"controller"}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "egress_tls_leading",
			Help: "1 on the replica that removes what is not needed any more, 0 on all others.",
		}),
		live: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_tls_live_reads_total",
			Help: "Reads of the API server for what the informers did not know, by reason.",
		}, []string{"reason"}),
		undecided: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "egress_tls_route_matches_undecided_total",
			Help: "Match entries in the validating phase that were left undecided: neither proved dead nor shown to be live.",
		}),
	}
	reg.MustRegister(m.requests, m.duration, m.findings, m.rules, m.headers, m.failing, m.leading, m.live, m.undecided)
	return m
}

func (m *metrics) observe(ph phase, req admission.Request, mode policy.Mode, dryRun bool, ans answer, took time.Duration) {
	m.requests.WithLabelValues(string(ph), req.Kind.Kind, string(req.Operation), string(ans.verdict), string(mode), strconv.FormatBool(dryRun)).Inc()
	m.duration.WithLabelValues(string(ph)).Observe(took.Seconds())
	for _, f := range ans.findings {
		m.findings.WithLabelValues(string(f.Code), string(f.Severity)).Inc()
	}
	m.undecided.Add(float64(len(ans.undecided)))
}

// Who writes DestinationRules.
const (
	byAdmission  = "admission"
	byReconciler = "reconciler"
)

func (m *metrics) wrote(by string, did verb) { m.rules.WithLabelValues(by, string(did)).Inc() }

func (m *metrics) readLive(reason string) { m.live.WithLabelValues(reason).Inc() }

// cachedObjects counts the objects that the informers hold, when it is asked.
type cachedObjects struct {
	reader client.Reader
	desc   *prometheus.Desc
}

func newCachedObjects(reader client.Reader) cachedObjects {
	return cachedObjects{reader, prometheus.NewDesc("egress_tls_cached_objects",
		"Objects in the informers' cache, by kind.", []string{"kind"}, nil)}
}

// Describe implements prometheus.Collector.
func (c cachedObjects) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector. A kind that has not synced is left out:
// it is not known to be empty.
func (c cachedObjects) Collect(ch chan<- prometheus.Metric) {
	for kind, list := range map[string]client.ObjectList{
		"ServiceEntry":    &networkingv1.ServiceEntryList{},
		"VirtualService":  &networkingv1.VirtualServiceList{},
		"DestinationRule": &networkingv1.DestinationRuleList{},
		"Gateway":         &networkingv1.GatewayList{},
		"Service":         &corev1.ServiceList{},
		"Namespace":       &corev1.NamespaceList{},
	} {
		// A scrape waits no longer than that for an informer to sync.
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		if err := c.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err == nil {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(meta.LenList(list)), kind)
		}
		cancel()
	}
}
