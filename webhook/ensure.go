package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// maxAttempts bounds how often a write that met another writer is decided anew.
const maxAttempts = 5

// ensure writes the DestinationRules of out: rule before route. It decides again
// on the rules that the API server has now, since the informers may not know one
// that a user or another replica has just stored, and again whenever a write
// meets another writer.
//
// The findings are those of the last decision. On an error the object must be
// refused. What the stored object lacks as well refuses no update of it: that would
// forbid to label it, or to take its finalizers away.
//
// A dry run decides and checks all the same, and writes nothing.
func (a *Admitter) ensure(ctx context.Context, r *request, out decision.Outcome) (_ []written, _ []finding.Finding, err error) {
	ctx, span := startSpan(ctx, "ensure rules")
	defer func() { endSpan(span, err) }()
	var done []written
	fresh := map[string]struct{}{}
	for attempt := 1; ; attempt++ {
		for _, c := range out.Rules {
			for _, ns := range ruleNamespaces(a.policy.RootNamespace, c) {
				fresh[ns] = struct{}{}
			}
		}
		if out, err = a.decide(ctx, r, fresh); err != nil {
			return done, nil, err
		}
		if attempt < maxAttempts && slices.ContainsFunc(out.Rules, func(c mutate.RuleChange) bool {
			_, ok := fresh[c.Rule.Namespace]
			return !ok
		}) {
			continue // It moved to a namespace that was not read yet.
		}
		// A rule that only the API server knew may be the user's word against TLS.
		findings, err := a.ratchet(ctx, r, out)
		if err != nil || finding.HasErrors(findings) {
			return done, findings, err
		}
		for _, c := range out.Rules {
			if r.Operation == admissionv1.Create {
				c.Rule = withoutOwner(c.Rule, r.object)
			}
			did, werr := a.rules.write(ctx, c, r.dryRun)
			switch {
			case werr == nil && did == "":
			case werr == nil:
				done = append(done, written{did, c})
				if !r.dryRun {
					a.metrics.wrote(byAdmission, did)
				}
			case (attempt == maxAttempts || !isRace(werr)) && a.neededBefore(ctx, r, c, fresh):
				findings = append(findings, finding.Finding{
					Code:     finding.TLSMissing,
					Severity: finding.Warning,
					Object:   mesh.ObjectOf(r.object),
					Message:  fmt.Sprintf("plaintext HTTP to %s leaves the mesh in clear: it needs a DestinationRule that cannot be written: %v.", c.Host, werr),
					Subject:  c.Rule.Namespace + "/" + c.Rule.Name,
				})
			default:
				err = errors.Join(err, werr)
			}
		}
		if err == nil {
			return done, findings, nil
		}
		if attempt == maxAttempts || ctx.Err() != nil || !isRace(err) {
			return done, findings, err
		}
	}
}

// neededBefore reports whether the stored object of an update needs the same change
// of the same rule already.
func (a *Admitter) neededBefore(ctx context.Context, r *request, c mutate.RuleChange, fresh map[string]struct{}) bool {
	before := r.before()
	if before == nil {
		return false
	}
	was, err := a.decide(ctx, before, fresh)
	return err == nil && slices.ContainsFunc(was.Rules, func(o mutate.RuleChange) bool { return o.String() == c.String() })
}

// ruleNamespaces are where Istio looks for a rule on behalf of the needs of c.
func ruleNamespaces(root string, c mutate.RuleChange) []string {
	out := map[string]struct{}{c.Rule.Namespace: {}, root: {}}
	for _, n := range c.Needs {
		out[n.Service.Namespace] = struct{}{}
		if n.Client.Namespace != mesh.OtherNamespaces {
			out[n.Client.Namespace] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// withoutOwner drops an owner reference to an object that is not stored yet: the
// garbage collector would find no such owner and delete the rule.
func withoutOwner(dr *networkingv1.DestinationRule, unstored metav1.Object) *networkingv1.DestinationRule {
	out := dr.DeepCopy()
	out.OwnerReferences = slices.DeleteFunc(out.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.UID == unstored.GetUID()
	})
	return out
}
