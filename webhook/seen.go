package webhook

import (
	"context"
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

const (
	// seenTimeout bounds how long an answer is held back for those who watch: the rule
	// is stored, and they get to know it.
	seenTimeout = time.Second
	seenTick    = 10 * time.Millisecond
)

// awaitSeen waits until the informers know the rules that were just written, by this
// request or by another. The watches of rules and of routes are two, and the API server
// keeps no order among them: istiod might see the route first. What this replica's watch
// has brought is on its way to istiod's too.
//
// changes are those that the informers' rules needed; what findings tell was not
// written is not waited for.
func (a *Admitter) awaitSeen(ctx context.Context, changes []mutate.RuleChange, findings []finding.Finding) {
	ctx, span := startSpan(ctx, "await rules seen")
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, seenTimeout)
	defer cancel()
	for _, c := range changes {
		key := client.ObjectKeyFromObject(c.Rule)
		if slices.ContainsFunc(findings, func(f finding.Finding) bool { return f.Subject == key.String() }) {
			continue
		}
		for first := true; ; first = false {
			have := &networkingv1.DestinationRule{}
			if a.view.getCached(ctx, key, have) == nil && have.ResourceVersion != c.Rule.ResourceVersion {
				break
			}
			// Decided again on what is stored, it may have gone without.
			if first && apierrors.IsNotFound(a.view.live.Get(ctx, key, have)) {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(seenTick):
			}
		}
	}
}
