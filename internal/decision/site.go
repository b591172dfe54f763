package decision

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// Site decides about many objects of one world, each as Decide does. What the
// DestinationRules of a host come to is planned once for all who lead to it, so that the
// cost of an object does not grow with their number. It serves one goroutine.
type Site struct {
	world  *mesh.World
	policy *policy.Policy
	judged map[finding.Object]struct{}
	// By host.
	plans  map[string]*planned
	others map[string][]finding.Finding
}

type planned struct {
	plan mutate.RulePlan
	err  error
	// of are the plan's parts, by the VirtualService whose routes make the needs; nil: not
	// yet taken apart. Who is asked about one VirtualService alone does not need them.
	of    map[*networkingv1.VirtualService]*mutate.RulePlan
	asked bool
}

// NewSite returns the Site of a world, which must not be changed while it is in use. judged
// are the objects that it will decide about, as far as they are known: what a ServiceEntry
// says of the headers of one of them is left out, as Union does.
func NewSite(w *mesh.World, pol *policy.Policy, judged ...metav1.Object) *Site {
	s := &Site{world: w, policy: pol, plans: map[string]*planned{}}
	if len(judged) > 0 {
		s.judged = make(map[finding.Object]struct{}, len(judged))
	}
	for _, o := range judged {
		s.judged[mesh.ObjectOf(o)] = struct{}{}
	}
	return s
}

func (s *Site) planned(host string) *planned {
	p, known := s.plans[host]
	if !known {
		p = &planned{}
		p.plan, p.err = mutate.Rules(s.world, host, s.policy)
		s.plans[host] = p
	}
	return p
}

// Plan returns what the DestinationRules of host come to.
func (s *Site) Plan(host string) (mutate.RulePlan, error) {
	p := s.planned(host)
	return p.plan, p.err
}

// rulesOf returns the same with the needs alone that the routes of vs make.
func (s *Site) rulesOf(host string, vs *networkingv1.VirtualService) (mutate.RulePlan, error) {
	p := s.planned(host)
	if !p.asked {
		p.asked = true
		if only(vs, p.plan) {
			return p.plan, p.err
		}
		return narrowed(p.plan, func(n mesh.Need) (mesh.Need, bool) {
			_, n.Sources = run(n.Sources, vs)
			return n, len(n.Sources) > 0
		}), p.err
	}
	if p.of == nil {
		p.of = byRoutes(p.plan)
	}
	if part := p.of[vs]; part != nil {
		return *part, p.err
	}
	return mutate.RulePlan{}, p.err
}

// byRoutes takes a plan apart, in one pass over its needs.
func byRoutes(plan mutate.RulePlan) map[*networkingv1.VirtualService]*mutate.RulePlan {
	out := map[*networkingv1.VirtualService]*mutate.RulePlan{}
	each := func(needs []mesh.Need, add func(*mutate.RulePlan, []mesh.Need)) {
		parts := map[*networkingv1.VirtualService][]mesh.Need{}
		for _, n := range needs {
			for all := n.Sources; len(all) > 0; {
				vs := all[0].VirtualService
				all, n.Sources = run(all, vs)
				parts[vs] = append(parts[vs], n)
			}
		}
		for vs, needs := range parts {
			if out[vs] == nil {
				out[vs] = &mutate.RulePlan{Host: plan.Host}
			}
			add(out[vs], needs)
		}
	}
	each(plan.Needs, func(part *mutate.RulePlan, needs []mesh.Need) { part.Needs = needs })
	each(plan.Unmet, func(part *mutate.RulePlan, needs []mesh.Need) { part.Unmet = needs })
	for _, c := range plan.Desired {
		each(c.Needs, func(part *mutate.RulePlan, needs []mesh.Need) {
			c.Needs = needs
			part.Desired = append(part.Desired, c)
		})
	}
	for _, c := range plan.Changes {
		each(c.Needs, func(part *mutate.RulePlan, needs []mesh.Need) {
			c.Needs = needs
			part.Changes = append(part.Changes, c)
		})
	}
	return out
}

// only reports whether vs alone makes the needs of a plan.
func only(vs *networkingv1.VirtualService, plan mutate.RulePlan) bool {
	others := func(n mesh.Need) bool {
		return len(n.Sources) == 0 || n.Sources[0].VirtualService != vs || n.Sources[len(n.Sources)-1].VirtualService != vs
	}
	ofOthers := func(c mutate.RuleChange) bool { return slices.ContainsFunc(c.Needs, others) }
	return !slices.ContainsFunc(plan.Needs, others) && !slices.ContainsFunc(plan.Unmet, others) &&
		!slices.ContainsFunc(plan.Desired, ofOthers) && !slices.ContainsFunc(plan.Changes, ofOthers)
}

// run returns the sources in vs, which are neighbours, and those after them.
func run(all []mesh.Source, vs *networkingv1.VirtualService) (after, in []mesh.Source) {
	start := slices.IndexFunc(all, func(s mesh.Source) bool { return s.VirtualService == vs })
	if start < 0 {
		return nil, nil
	}
	end := start
	for end < len(all) && all[end].VirtualService == vs {
		end++
	}
	return all[end:], all[start:end:end]
}

// headersOfOthers finds the headers that stored routes to host lack. Only they themselves
// get them, so a ServiceEntry that makes the host a target leaves them behind.
func (s *Site) headersOfOthers(host string) []finding.Finding {
	out, known := s.others[host]
	if known {
		return out
	}
	for _, vs := range s.world.RoutesTo(host) {
		if _, itself := s.judged[mesh.ObjectOf(vs)]; itself {
			continue
		}
		edits, _ := mutate.Headers(s.world.LeadsOf(vs))
		for group := range byPlace(edits) {
			f := headersMissing(vs, group)
			f.Severity = finding.Warning
			f.Remedy = "In mode enforce the reconciler adds them in a moment; without it, write the VirtualService again, for example with `kubectl replace -f FILE`."
			out = append(out, f)
		}
	}
	if s.others == nil {
		s.others = map[string][]finding.Finding{}
	}
	s.others[host] = out
	return out
}

// Judge is what becomes of o under the modes of namespaces: mode is that of its own, written
// tells those that rules are written to, see Permit. In mode warn and audit errors are
// warnings, and what would be added is only said; in mode off nothing is.
func (s *Site) Judge(o metav1.Object, raw map[string]any, mode policy.Mode, written func(namespace string) policy.Mode) (Outcome, error) {
	if mode == policy.Off {
		return Outcome{}, nil
	}
	out, err := s.decide(nil, o, raw)
	if err != nil {
		return Outcome{}, err
	}
	out = out.Permit(o, written)
	if mode != policy.Enforce {
		for i := range out.Findings {
			out.Findings[i].Severity = finding.Warning
		}
	}
	return out, nil
}

// Answer is what admission in mode enforce makes of an object.
type Answer string

// Changed: it, or rules are written beside it.
const (
	Unchanged Answer = "unchanged"
	Changed   Answer = "changed"
	Refused   Answer = "refused"
)

// Answer is what the outcome comes to.
func (o Outcome) Answer() Answer {
	switch {
	case finding.HasErrors(o.Findings):
		return Refused
	case len(o.Edits)+len(o.Rules) > 0:
		return Changed
	}
	return Unchanged
}
