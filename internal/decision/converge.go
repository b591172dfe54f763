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
// taken away either: what would take the place of a rule and is not written leaves that
// rule where it is. A managed rule may be written and removed unless the mode of its
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
	var withheld []mutate.RuleChange
	for _, c := range plan.Changes {
		if !writable(c.Rule, c.Action != mutate.Inject) {
			withheld = append(withheld, c)
			continue
		}
		// One without needs makes workloads keep what they have beside another, or says
		// that what is there is needed again.
		if c.Needs = narrow(c.Needs, enforced); len(c.Needs) > 0 || c.Action == mutate.Inject && len(c.Injections) == 0 {
			out.Changes = append(out.Changes, c)
		} else {
			withheld = append(withheld, c)
		}
	}
	for _, s := range plan.Surplus {
		if writable(s.Rule, s.Managed()) {
			out.Surplus = append(out.Surplus, s)
		}
	}
	if len(withheld) > 0 && len(out.Surplus) > 0 {
		out.Surplus = dispensable(w, pol, plan, out, withheld)
	}
	out.Unmet = tlsMissing(narrow(plan.Unmet, enforced), unmetWhy, unmetRemedy)
	return out, nil
}

// dispensable returns the surplus of out that can go though the changes withheld are not
// made: without it no need lacks TLS that has it now.
func dispensable(w *mesh.World, pol *policy.Policy, plan mutate.RulePlan, out Convergence, withheld []mutate.RuleChange) []mutate.Surplus {
	named := func(dr *networkingv1.DestinationRule) func(mutate.RuleChange) bool {
		return func(c mutate.RuleChange) bool { return mesh.ObjectOf(c.Rule) == mesh.ObjectOf(dr) }
	}
	var rules []*networkingv1.DestinationRule // as they are after the changes of out
	for _, dr := range w.RulesFor(plan.Host) {
		if i := slices.IndexFunc(plan.Desired, named(dr)); i >= 0 && plan.Desired[i].Action == mutate.Inject && !slices.ContainsFunc(withheld, named(dr)) {
			dr = plan.Desired[i].Rule
		}
		if !slices.ContainsFunc(out.Changes, named(dr)) {
			rules = append(rules, dr)
		}
	}
	for _, c := range out.Changes {
		rules = append(rules, c.Rule)
	}
	lacking := func(rules []*networkingv1.DestinationRule) int {
		needs := w.WithRules(plan.Host, rules).Needs(plan.Host, pol.Originate == policy.Always)
		return len(slices.DeleteFunc(needs, func(n mesh.Need) bool { return !n.Lacks() }))
	}
	var can []mutate.Surplus
	for _, s := range out.Surplus {
		if !s.Managed() {
			if s.Yields {
				can = append(can, s)
			}
			continue
		}
		without := slices.DeleteFunc(slices.Clone(rules), func(dr *networkingv1.DestinationRule) bool { return mesh.ObjectOf(dr) == mesh.ObjectOf(s.Rule) })
		if s.Want != nil {
			without = append(without, s.Want.Rule)
		}
		if lacking(without) <= lacking(rules) {
			can, rules = append(can, s), without
		}
	}
	return can
}

// HeaderEdits decides what request headers vs lacks in w, and says it in words. There are
// none unless the policy says that they are injected.
func HeaderEdits(w *mesh.World, pol *policy.Policy, vs *networkingv1.VirtualService) (edits []mutate.Edit, changes []string) {
	if pol.Headers != policy.InjectHeaders {
		return nil, nil
	}
	d := decider{world: w, policy: pol}
	d.headers(w.LeadsOf(vs))
	return d.out.Edits, d.out.Changes
}
