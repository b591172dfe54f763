package webhook

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// storedObjects judges what is stored, in whatever mode its namespace is, as admission in
// mode enforce would judge it if it were applied anew: so it is known what enforce would
// do before it is switched on. It writes nothing, and reads the informers alone.
type storedObjects struct {
	policy *policy.Policy
	view   *view
	log    logr.Logger

	objects, findings *prometheus.Desc

	mu    sync.Mutex
	byKey map[objectKey]*judgement
	// known are all judgements so far by their text: many objects, few of these.
	known map[string]*judgement
}

// judgement is what was found out about one object.
type judgement struct {
	would decision.Answer
	found []found // each once, sorted
}

// found is the part of a finding that a metric can hold.
type found struct {
	code     finding.Code
	severity finding.Severity
}

func setupStoredObjects(mgr ctrl.Manager, cfg Config, v *view, begin <-chan struct{}, log logr.Logger) (*storedObjects, error) {
	cachedOnly := *v
	cachedOnly.cachedOnly = true
	s := &storedObjects{
		policy: cfg.Policy, view: &cachedOnly, log: log,
		// The label namespace is that of the scraped Pod.
		objects: prometheus.NewDesc("egress_tls_stored_objects",
			"ServiceEntries, VirtualServices and DestinationRules by namespace, its mode, and what would become of them if they were applied anew in mode enforce (unchanged, changed, refused).",
			[]string{"object_namespace", "mode", "if_enforced"}, nil),
		findings: prometheus.NewDesc("egress_tls_stored_findings",
			"Stored objects with a finding, as mode enforce would find it if they were applied anew, by namespace, its mode, code and severity.",
			[]string{"object_namespace", "mode", "code", "severity"}, nil),
		byKey: map[objectKey]*judgement{}, known: map[string]*judgement{},
	}
	// One at a time: nobody waits for it.
	concerned := concern{v.cached, cfg.Policy}
	all := newPasses(begin, cfg.ResyncPeriod, concerned.allObjects)
	return s, watch(mgr, storedController, 1, all, concerned.objects, s, &networkingv1.DestinationRule{})
}

// Reconcile judges one object; it implements reconcile.TypedReconciler.
func (s *storedObjects) Reconcile(ctx context.Context, key objectKey) (reconcile.Result, error) {
	o := storedKinds[key.kind]()
	err := s.view.getCached(ctx, key.name, o)
	dr, isRule := o.(*networkingv1.DestinationRule)
	switch {
	case apierrors.IsNotFound(err), isRule && mesh.IsManaged(dr):
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byKey, key)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, err
	}
	j, err := s.judge(ctx, o)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("failed to judge %s %s: %w", key.kind, key.name, err)
	}
	s.mu.Lock()
	was := s.byKey[key]
	text := fmt.Sprint(j)
	if s.known[text] == nil {
		s.known[text] = &j
	}
	s.byKey[key] = s.known[text]
	s.mu.Unlock()
	if j.would == decision.Refused && (was == nil || was.would != decision.Refused) {
		s.log.Info("would be refused in mode enforce", "kind", key.kind, "namespace", key.name.Namespace, "name", key.name.Name, "findings", j.codes())
	}
	return reconcile.Result{}, nil
}

func (s *storedObjects) judge(ctx context.Context, o client.Object) (judgement, error) {
	w, err := s.view.world(ctx, s.policy, o, nil)
	if err != nil {
		return judgement{}, err
	}
	var raw map[string]any
	if _, ok := o.(*networkingv1.DestinationRule); ok {
		if raw, err = mutate.Tree(o); err != nil {
			return judgement{}, fmt.Errorf("failed to read it: %w", err)
		}
	}
	modes := &modes{ctx: ctx, view: s.view, pol: s.policy}
	out, err := decision.NewSite(w, s.policy).Judge(o, raw, policy.Enforce, func(namespace string) policy.Mode {
		if namespace == o.GetNamespace() {
			return policy.Enforce
		}
		return modes.of(namespace)
	})
	if err != nil {
		return judgement{would: decision.Refused}, nil //nolint:nilerr // so would admission answer
	}
	j := judgement{would: out.Answer()}
	for _, f := range out.Findings {
		j.found = append(j.found, found{f.Code, f.Severity})
	}
	slices.SortFunc(j.found, func(a, b found) int { return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.severity, b.severity)) })
	j.found = slices.Compact(j.found)
	return j, modes.err
}

// codes returns the distinct codes of the errors.
func (j judgement) codes() []string {
	var out []string
	for _, f := range j.found {
		if f.severity == finding.Error {
			out = append(out, string(f.code))
		}
	}
	slices.Sort(out)
	return out
}

// storedKinds make an empty object of each kind that is judged.
var storedKinds = map[string]func() client.Object{
	mesh.ServiceEntryKind:    func() client.Object { return &networkingv1.ServiceEntry{} },
	mesh.VirtualServiceKind:  func() client.Object { return &networkingv1.VirtualService{} },
	mesh.DestinationRuleKind: func() client.Object { return &networkingv1.DestinationRule{} },
}

// Describe implements prometheus.Collector.
func (s *storedObjects) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.objects
	ch <- s.findings
}

// Collect implements prometheus.Collector. Of a namespace all three answers are told, so
// that 0 can be told from not known; a namespace in mode off is left out.
func (s *storedObjects) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var namespaces corev1.NamespaceList
	if s.view.cached.List(ctx, &namespaces, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	modes := map[string]policy.Mode{}
	for i := range namespaces.Items {
		ns := &namespaces.Items[i]
		modes[ns.Name], _ = s.policy.ModeFor(ns.Name, ns.Labels[policy.ModeLabel])
	}
	objects, findings := s.count()
	for ns, counts := range objects {
		if mode := modes[ns]; mode != policy.Off && mode != "" {
			for _, would := range []decision.Answer{decision.Unchanged, decision.Changed, decision.Refused} {
				ch <- prometheus.MustNewConstMetric(s.objects, prometheus.GaugeValue, counts[would], ns, string(mode), string(would))
			}
			for f, n := range findings[ns] {
				ch <- prometheus.MustNewConstMetric(s.findings, prometheus.GaugeValue, n, ns, string(mode), string(f.code), string(f.severity))
			}
		}
	}
}

// count returns the objects of each namespace by what would become of them, and by what
// was found.
func (s *storedObjects) count() (objects map[string]map[decision.Answer]float64, findings map[string]map[found]float64) {
	objects, findings = map[string]map[decision.Answer]float64{}, map[string]map[found]float64{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, j := range s.byKey {
		ns := key.name.Namespace
		if objects[ns] == nil {
			objects[ns], findings[ns] = map[decision.Answer]float64{}, map[found]float64{}
		}
		objects[ns][j.would]++
		for _, f := range j.found {
			findings[ns][f]++
		}
	}
	return objects, findings
}
