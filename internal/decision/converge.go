package decision

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// Convergence is what the DestinationRules of one host lack, and hold too much, whoever
// stored which object when.
type Convergence struct {
	// Changes are carried out at once. Surplus has time, see mutate.Surplus.
	Changes []mutate.RuleChange
	Surplus []mutate.Surplus
	// Unmet are findings of needs that nothing we may write can meet, sorted.
	Unmet []finding.Finding
}

// Converge decides what the DestinationRules of host must come to in w. It is the same
// plan as that of an admission, of all objects at once and within the modes of their
// namespaces: what only objects need whose mode is not enforce is not written, and is not
// taken away either. A managed rule may be written and removed unless the mode of its
// namespace is off, a user's rule only in mode enforce. Nothing is decided about a host
// that the policy exempts, and about no host unless the policy says that rules are
// created.
func Converge(w *mesh.World, pol *policy.Policy, host string, mode func(namespace string) policy.Mode) (Convergence, error) {
	var out Convergence
	if pol.DestinationRules != policy.CreateRules || w.Exempt(host) {
		return out, nil
	}
	plan, err := mutate.Rules(w, host, pol)
	if err != nil {
		return out, err
	}
	enforced := func(n mesh.Need) (mesh.Need, bool) {
		sources := n.Sources
		n.Sources = slices.DeleteFunc(slices.Clone(sources), func(s mesh.Source) bool {
			return mode(s.VirtualService.Namespace) != policy.Enforce
		})
		if len(sources) == 0 {
			return n, slices.ContainsFunc(n.Service.Entries, func(se *networkingv1.ServiceEntry) bool { return mode(se.Namespace) == policy.Enforce })
		}
		return n, len(n.Sources) > 0
	}
	writable := func(dr *networkingv1.DestinationRule, managed bool) bool {
		m := mode(dr.Namespace)
		return m == policy.Enforce || managed && m != policy.Off
	}
	for _, c := range plan.Changes {
		if !writable(c.Rule, c.Action != mutate.Inject) {
			continue
		}
		// One without needs makes workloads keep what they have beside another, or says
		// that what is there is needed again.
		if c.Needs = narrow(c.Needs, enforced); len(c.Needs) > 0 || c.Action == mutate.Inject && len(c.Injections) == 0 {
			out.Changes = append(out.Changes, c)
		}
	}
	for _, s := range plan.Surplus {
		if writable(s.Rule, s.Managed()) {
			out.Surplus = append(out.Surplus, s)
		}
	}
	out.Unmet = tlsMissing(narrow(plan.Unmet, enforced), unmetWhy, unmetRemedy)
	return out, nil
}

// HeaderEdits decides what request headers vs lacks in w, and says it in words. There are
// none unless the policy says that they are injected.
func HeaderEdits(w *mesh.World, pol *policy.Policy, vs *networkingv1.VirtualService) (edits []mutate.Edit, changes []string) {
	if pol.Headers != policy.InjectHeaders {
		return nil, nil
	}
	d := decider{world: w, policy: pol}
	d.headers(vs)
	return d.out.Edits, d.out.Changes
}
