package webhook

import (
	"context"
	"fmt"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// headerReconciler adds the headers to a VirtualService that its admission could not add:
// the ServiceEntry came later, or the VirtualService is older than the installation.
type headerReconciler struct{ *reconciler }

// Reconcile implements reconcile.TypedReconciler.
func (r *headerReconciler) Reconcile(ctx context.Context, name types.NamespacedName) (reconcile.Result, error) {
	st := r.state.of(keyText(name))
	defer r.state.drop(keyText(name))
	vs := &networkingv1.VirtualService{}
	if err := r.view.getCached(ctx, name, vs); err != nil || vs.DeletionTimestamp != nil {
		st.rest()
		return r.finish(headersController, st, nil, 0, client.IgnoreNotFound(err))
	}
	modes := r.modes(ctx)
	if mode := modes.of(vs.Namespace); modes.err != nil || mode != policy.Enforce {
		st.rest()
		return r.finish(headersController, st, nil, 0, modes.err)
	}
	pol := *r.policy
	pol.RouteOrder = policy.IgnoreOrder // it adds nothing
	w, err := r.view.world(ctx, &pol, vs, nil)
	if err != nil {
		return r.finish(headersController, st, vs, 0, err)
	}
	edits, changes := decision.HeaderEdits(w, &pol, vs)
	if len(edits) == 0 {
		st.rest()
		return r.finish(headersController, st, vs, 0, nil)
	}
	if wait := r.turn(st); wait > 0 {
		return r.finish(headersController, st, vs, wait, nil)
	}
	changed, err := r.rules.edit(ctx, mesh.VirtualServiceKind, vs, false, func(map[string]any) ([]mutate.Edit, error) { return edits, nil })
	if err != nil {
		return r.finish(headersController, st, vs, 0, fmt.Errorf("failed to add headers to %s: %w", mesh.ObjectOf(vs), err))
	}
	if changed {
		r.metrics.headers.Inc()
		r.log.Info("converged", "kind", mesh.VirtualServiceKind, "namespace", vs.Namespace, "name", vs.Name, "changes", changes)
		r.event(vs, corev1.EventTypeNormal, "HeadersInjected", "%s", strings.Join(changes, "; "))
	}
	return r.finish(headersController, st, vs, 0, nil)
}
