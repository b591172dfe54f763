package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// The controllers, as logs and metrics name them.
const (
	rulesController   = "destinationrules"
	headersController = "virtualservices"
	storedController  = "storedobjects"
)

const (
	// firstRetry and lastRetry bound the back-off after an error that may pass, such as an
	// API server that is away.
	firstRetry = 20 * time.Millisecond
	lastRetry  = 5 * time.Second
	// stuckRetry is the time to the next try after an error that somebody has to mend.
	stuckRetry = time.Minute
	// raceRetry lets the informers see what another writer has just stored.
	raceRetry = 50 * time.Millisecond
	// followerDelay is how long a follower leaves a write to the leader.
	followerDelay = 2 * time.Second
	// workers is how many hosts, or VirtualServices, are brought in line side by side.
	workers = 4
)

// reconciler is what both controllers share. They look at the state that the informers
// have now, not at the event that woke them, and write nothing where all is as it should
// be: so they run on every replica, and a follower takes over whatever a leader that is
// alive leaves undone. Only the leader removes.
type reconciler struct {
	policy  *policy.Policy
	view    *view
	rules   *ruleWriter
	events  events.EventRecorder
	metrics *metrics
	leading func() bool
	grace   time.Duration
	now     func() time.Time
	log     logr.Logger
	state   states
}

func setupReconciler(mgr ctrl.Manager, cfg Config, a *Admitter, traces *tracing, leading func() bool, begin <-chan struct{}, log logr.Logger) error {
	cachedOnly := *a.view
	cachedOnly.cachedOnly = true
	r := &reconciler{
		policy: cfg.Policy, view: &cachedOnly, rules: a.rules, metrics: a.metrics, leading: leading,
		events: mgr.GetEventRecorder(FieldManager), grace: cfg.GracePeriod, now: time.Now, log: log,
		state: states{byKey: map[string]*state{}},
	}
	concerned := concern{a.view.cached, cfg.Policy}
	allHosts := newPasses(begin, cfg.ResyncPeriod, concerned.allHosts)
	hosts := traced(traces, rulesController, &hostReconciler{r})
	if err := watch(mgr, rulesController, workers, allHosts, concerned.hosts, hosts, &networkingv1.DestinationRule{}); err != nil {
		return err
	}
	allRoutes := newPasses(begin, cfg.ResyncPeriod, concerned.allVirtualServices)
	headers := traced(traces, headersController, &headerReconciler{r})
	return watch(mgr, headersController, workers, allRoutes, concerned.virtualServices, headers)
}

// watch sets a controller up that looks at all keys in passes, and in between at those that
// objects concern.
func watch[K comparable](mgr ctrl.Manager, name string, workers int, all *passes[K], keys func(context.Context, client.Object) []K, r reconcile.TypedReconciler[K], more ...client.Object) error {
	everywhere := false
	b := builder.TypedControllerManagedBy[K](mgr).
		Named(name).
		WithOptions(controller.TypedOptions[K]{
			NeedLeaderElection:      &everywhere,
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, lastRetry),
		})
	enqueue := handler.TypedEnqueueRequestsFromMapFunc(keys)
	for _, o := range append(more, &networkingv1.ServiceEntry{}, &networkingv1.VirtualService{}, &networkingv1.Gateway{}, &corev1.Service{}) {
		b = b.Watches(o, enqueue, builder.WithPredicates(all.events()))
	}
	// Of a Namespace only the mode counts.
	b = b.Watches(&corev1.Namespace{}, enqueue, builder.WithPredicates(all.events(), predicate.LabelChangedPredicate{})).
		WatchesRawSource(all)
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("failed to set up the controller of %s: %w", name, err)
	}
	return nil
}

// states is what is known about the keys of both controllers beside the objects: since
// when they wait for what, and what was last said about them.
type states struct {
	mu    sync.Mutex
	byKey map[string]*state
}

type state struct {
	// pending is since when a follower sees something to write.
	pending time.Time
	// unused are the rules that are seen to hold more than is needed, by their name and what
	// they should come to.
	unused map[string]unused
	// told is what the last warning said; failing: the last reconciliation failed.
	told    string
	failing bool
}

// unused is since when a rule is seen to hold more than is needed, and whether it had the
// mark when it was last looked at.
type unused struct {
	since  time.Time
	marked bool
}

// rest forgets what a key was waiting for.
func (st *state) rest() { *st = state{failing: st.failing} }

// of returns the state of a key, for the one worker that has the key.
func (s *states) of(key string) *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byKey[key]
	if st == nil {
		st = &state{}
		s.byKey[key] = st
	}
	return st
}

// drop forgets a key about which there is nothing to remember.
func (s *states) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.byKey[key]; st != nil && st.pending.IsZero() && len(st.unused) == 0 && st.told == "" && !st.failing {
		delete(s.byKey, key)
	}
}

// turn returns how long to wait until it is this replica's turn to write, 0: now.
func (r *reconciler) turn(st *state) time.Duration {
	if r.leading() {
		return 0
	}
	if st.pending.IsZero() {
		st.pending = r.now()
	}
	return max(0, st.pending.Add(followerDelay).Sub(r.now()))
}

// finish turns what came of a reconciliation into what the queue does next, and reports a
// failure where users look: an Event on the object, once for each reason, and a metric.
func (r *reconciler) finish(controllerName string, st *state, about client.Object, again time.Duration, err error) (reconcile.Result, error) {
	race := err != nil && isRace(err)
	if failing := err != nil && !race; failing != st.failing {
		st.failing = failing
		r.metrics.failing.WithLabelValues(controllerName).Add(map[bool]float64{true: 1, false: -1}[failing])
	}
	switch {
	case err == nil:
		return reconcile.Result{RequeueAfter: again}, nil
	case race:
		r.metrics.reconcileErrors.WithLabelValues(controllerName, causeRace).Inc()
		return reconcile.Result{RequeueAfter: raceRetry}, nil
	}
	if about != nil && st.told != err.Error() {
		st.told = err.Error()
		r.event(about, corev1.EventTypeWarning, "NotConverged", "%s", err)
	}
	if stuck(err) {
		r.metrics.reconcileErrors.WithLabelValues(controllerName, causeStuck).Inc()
		r.log.Error(err, "cannot converge", "controller", controllerName)
		return reconcile.Result{RequeueAfter: stuckRetry}, nil
	}
	r.metrics.reconcileErrors.WithLabelValues(controllerName, causePassing).Inc()
	return reconcile.Result{}, err
}

// stuck reports whether somebody has to mend what the error says. Not found is a namespace
// that a rule should be created in.
func stuck(err error) bool {
	if _, ok := errors.AsType[inTheWayError](err); ok {
		return true
	}
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
}

// maxNote is what the API server takes for the note of an Event.
const maxNote = 1024

func (r *reconciler) event(about client.Object, kind, reason, format string, args ...any) {
	note := finding.Truncate(finding.Printable(fmt.Sprintf(format, args...)), maxNote)
	r.events.Eventf(about, nil, kind, reason, "Converge", "%s", note)
}

// modes reads the modes of namespaces from the informers.
type modes struct {
	ctx  context.Context //nolint:containedctx // for one reconciliation
	view *view
	pol  *policy.Policy
	err  error
}

func (m *modes) of(namespace string) policy.Mode {
	labels, err := m.view.namespaceLabels(m.ctx, namespace)
	if err != nil {
		m.err = errors.Join(m.err, err)
	}
	mode, _ := m.pol.ModeFor(namespace, labels[policy.ModeLabel])
	return mode
}

func (r *reconciler) modes(ctx context.Context) *modes {
	return &modes{ctx: ctx, view: r.view, pol: r.policy}
}

func keyText(name types.NamespacedName) string { return "VirtualService " + name.String() }
