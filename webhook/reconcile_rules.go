package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// hostReconciler brings the DestinationRules of one host in line.
type hostReconciler struct{ *reconciler }

// Reconcile implements reconcile.TypedReconciler.
func (r *hostReconciler) Reconcile(ctx context.Context, host string) (reconcile.Result, error) {
	st := r.state.of(host)
	defer r.state.drop(host)
	out, w, err := r.decide(ctx, host, nil)
	if err != nil {
		return r.finish(rulesController, st, nil, 0, err)
	}
	var again time.Duration
	var about client.Object
	if len(out.Changes) == 0 {
		st.pending = time.Time{}
	} else if again = r.turn(st); again == 0 {
		about, err = r.change(ctx, host, out.Changes)
	}
	if err == nil && again == 0 {
		// What takes the place of what goes is there now.
		again, err = r.removeSurplus(ctx, st, out.Surplus)
	}
	r.tell(st, w, host, out.Unmet)
	return r.finish(rulesController, st, about, again, err)
}

func (r *hostReconciler) decide(ctx context.Context, host string, fresh map[string]struct{}) (decision.Convergence, *mesh.World, error) {
	w, err := r.view.hostWorld(ctx, r.policy, host, fresh)
	if err != nil {
		return decision.Convergence{}, nil, err
	}
	modes := r.modes(ctx)
	out, err := decision.Converge(w, r.policy, host, modes.of)
	if err = errors.Join(err, modes.err); err != nil {
		return decision.Convergence{}, nil, fmt.Errorf("failed to decide about host %s: %w", host, err)
	}
	return out, w, nil
}

// change carries changes out, after it has decided again on the rules that the API server
// has now: one that the informers do not know may be the user's. On an error it returns
// an object that needs what could not be written.
func (r *hostReconciler) change(ctx context.Context, host string, changes []mutate.RuleChange) (about client.Object, err error) {
	fresh := map[string]struct{}{}
	for _, c := range changes {
		for _, ns := range ruleNamespaces(r.policy.RootNamespace, c) {
			fresh[ns] = struct{}{}
		}
	}
	out, _, err := r.decide(ctx, host, fresh)
	if err != nil {
		return nil, err
	}
	for _, c := range out.Changes {
		did, werr := r.rules.write(ctx, c, false)
		if werr != nil {
			about, err = needing(c), errors.Join(err, werr)
			continue
		}
		r.did(did, c)
	}
	return about, err
}

// did reports a write.
func (r *hostReconciler) did(did verb, c mutate.RuleChange) {
	if did == "" {
		return
	}
	r.metrics.wrote(byReconciler, did)
	r.log.Info("converged", "kind", mesh.DestinationRuleKind, "namespace", c.Rule.Namespace, "name", c.Rule.Name, "host", c.Host, "action", did)
	switch did {
	case verbCreate, verbRestore:
		about := client.Object(c.Rule)
		if did == verbCreate {
			about = needing(c)
		}
		text, _ := did.past(false)
		r.event(about, corev1.EventTypeNormal, "DestinationRule"+strings.ToUpper(text[:1])+text[1:], "%s %s", text, c)
	case verbInject:
		r.event(c.Rule, corev1.EventTypeNormal, "TLSInjected", "injected %s", c)
	case verbTakeBack:
		if c.Action != mutate.Inject {
			r.event(c.Rule, corev1.EventTypeNormal, "DestinationRuleRestored", "took from %s what nothing needs any more", mesh.ObjectOf(c.Rule))
			return
		}
		r.event(c.Rule, corev1.EventTypeNormal, "TLSTakenBack", "took back TLS to %s that nothing needs any more", c.Host)
	}
}

// needing returns an object that needs the change.
func needing(c mutate.RuleChange) client.Object {
	if len(c.Needs) == 0 {
		return c.Rule
	}
	if n := c.Needs[0]; len(n.Sources) == 0 {
		return n.Port.Entry
	}
	return c.Needs[0].Sources[0].VirtualService
}

// removeSurplus takes away what nothing needs any more, each in three steps: it is seen to
// be so for half of the grace period, then marked, and taken away at the end of the other
// half. An admission that needs it in between takes the mark away, which changes the
// version that the removal asks for; one that has not seen the mark has long been stored.
// It returns the time to the next step.
func (r *hostReconciler) removeSurplus(ctx context.Context, st *state, surplus []mutate.Surplus) (again time.Duration, err error) {
	before := st.unused
	st.unused = nil
	half := r.grace / 2
	wait := func(d time.Duration) {
		d = max(d, time.Millisecond)
		if again == 0 || d < again {
			again = d
		}
	}
	for _, s := range surplus {
		if !r.leading() {
			wait(max(half, time.Second)) // It may lead by then.
			continue
		}
		if st.unused == nil {
			st.unused = map[string]unused{}
		}
		id := keyOf(s.Rule).String() + " " + s.Sum()
		marked, valid := r.marked(s)
		was, seen := before[id]
		if !seen || was.marked && !valid {
			// An admission that took the mark away stores its object in a moment.
			was.since = r.now()
		}
		was.marked = valid
		st.unused[id] = was
		var stepErr error
		switch {
		case s.Yields, valid && !r.now().Before(marked.Add(half)):
			var did verb
			if did, stepErr = r.rules.remove(ctx, s); stepErr == nil {
				r.removed(did, s)
			}
		case valid:
			wait(marked.Add(half).Sub(r.now()))
		case r.now().Before(was.since.Add(half)):
			wait(was.since.Add(half).Sub(r.now()))
		default:
			stepErr = r.rules.markUnused(ctx, s, r.now().UTC().Format(time.RFC3339Nano)+" "+s.Sum())
			wait(max(half, time.Second)) // The mark itself wakes us; one that is not written does not.
		}
		err = errors.Join(err, stepErr)
	}
	return again, err
}

// marked returns when s was marked as unused, if its mark speaks of just that.
func (r *hostReconciler) marked(s mutate.Surplus) (at time.Time, valid bool) {
	text, sum, _ := strings.Cut(s.Rule.Annotations[mutate.UnusedAnnotation], " ")
	at, err := time.Parse(time.RFC3339Nano, text)
	return at, err == nil && sum == s.Sum() && !at.After(r.now().Add(r.grace))
}

func (r *hostReconciler) removed(did verb, s mutate.Surplus) {
	if did == verbDelete {
		r.metrics.wrote(byReconciler, did)
		r.log.Info("converged", "kind", mesh.DestinationRuleKind, "namespace", s.Rule.Namespace, "name", s.Rule.Name, "action", did)
		r.event(s.Rule, corev1.EventTypeNormal, "DestinationRuleDeleted", "deleted %s, which nothing needs any more", mesh.ObjectOf(s.Rule))
		return
	}
	if s.Want != nil {
		r.did(did, *s.Want)
	}
}

// tell warns of plaintext that nothing we may write can prevent, once for each text.
func (r *hostReconciler) tell(st *state, w *mesh.World, host string, unmet []finding.Finding) {
	if len(unmet) == 0 {
		if !st.failing {
			st.told = ""
		}
		return
	}
	f := unmet[0]
	if st.told == f.Text() {
		return
	}
	st.told = f.Text()
	var about client.Object
	if vs := w.VirtualService(f.Object.Namespace, f.Object.Name); vs != nil && f.Object.Kind == mesh.VirtualServiceKind {
		about = vs
	}
	for _, se := range w.ServiceEntriesFor(host) {
		if mesh.ObjectOf(se) == f.Object {
			about = se
		}
	}
	if about != nil {
		r.event(about, corev1.EventTypeWarning, string(f.Code), "%s", f.Text())
	}
}
