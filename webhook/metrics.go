package webhook

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
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
	ready    prometheus.Gauge
	live     *prometheus.CounterVec
	// reconcileErrors counts what controller-runtime's own count leaves out too: races, and
	// errors that are tried again after a minute.
	reconcileErrors *prometheus.CounterVec
	// turnedAway are requests of clients that are not known.
	turnedAway *prometheus.CounterVec
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
			Help: "Writes of DestinationRules, by who wrote (admission, before its answer, or reconciler) and action (create, restore, inject, adopt, keep, take back, delete).",
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
		ready: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "egress_tls_ready",
			Help: "1 if the last probe of /readyz was answered with yes.",
		}),
		reconcileErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_tls_reconcile_errors_total",
			Help: "Reconciliations that failed, by controller and cause (race: another writer was first; passing: tried again within seconds; stuck: somebody has to mend it).",
		}, []string{"controller", "cause"}),
		live: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_tls_live_reads_total",
			Help: "Reads of the API server for what the informers did not know, by reason.",
		}, []string{"reason"}),
		turnedAway: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_tls_clients_turned_away_total",
			Help: "Requests turned away by --client-ca-file and --client-names, by reason (no certificate, untrusted certificate, other name).",
		}, []string{"reason"}),
		undecided: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "egress_tls_route_matches_undecided_total",
			Help: "Match entries in the validating phase that were left undecided: neither proved dead nor shown to be live.",
		}),
	}
	reg.MustRegister(m.requests, m.duration, m.findings, m.rules, m.headers, m.ready, m.live, m.turnedAway, m.undecided)
	for _, reason := range []string{noCertificate, untrustedCertificate, otherName} {
		m.turnedAway.WithLabelValues(reason)
	}
	return m
}

// registerReconciler registers what says nothing without a reconciler. What may fail is
// there from the start: nothing that appears with 1 has ever increased.
func (m *metrics) registerReconciler(reg prometheus.Registerer) {
	reg.MustRegister(m.failing, m.leading, m.reconcileErrors)
	for _, controller := range []string{rulesController, headersController} {
		m.failing.WithLabelValues(controller)
		for _, cause := range []string{causeRace, causePassing, causeStuck} {
			m.reconcileErrors.WithLabelValues(controller, cause)
		}
	}
}

// Why a reconciliation failed.
const (
	causeRace    = "race"
	causePassing = "passing"
	causeStuck   = "stuck"
)

func (m *metrics) observe(ph phase, req admission.Request, mode policy.Mode, dryRun bool, ans answer, took time.Duration) {
	kind, operation := known(req.Kind.Kind, decidedKinds), known(string(req.Operation), operations)
	m.requests.WithLabelValues(string(ph), kind, operation, string(ans.verdict), string(mode), strconv.FormatBool(dryRun)).Inc()
	m.duration.WithLabelValues(string(ph)).Observe(took.Seconds())
	for _, f := range ans.findings {
		m.findings.WithLabelValues(string(f.Code), string(f.Severity)).Inc()
	}
	m.undecided.Add(float64(len(ans.undecided)))
}

// What the API server sends. Whoever else reaches the port sends what they like, and each
// value of a label stays in memory.
var (
	decidedKinds = []string{mesh.ServiceEntryKind, mesh.VirtualServiceKind, mesh.DestinationRuleKind}
	operations   = []string{string(admissionv1.Create), string(admissionv1.Update), string(admissionv1.Delete), string(admissionv1.Connect)}
)

func known(value string, values []string) string {
	if slices.Contains(values, value) {
		return value
	}
	return "other"
}

// Who writes DestinationRules.
const (
	byAdmission  = "admission"
	byReconciler = "reconciler"
)

func (m *metrics) wrote(by string, did verb) { m.rules.WithLabelValues(by, string(did)).Inc() }

func (m *metrics) readLive(reason string) { m.live.WithLabelValues(reason).Inc() }
