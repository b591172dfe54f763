package decision

import (
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
	plans  map[string]planned
	others map[string][]finding.Finding
}

type planned struct {
	plan mutate.RulePlan
	err  error
}

// NewSite returns the Site of a world, which must not be changed while it is in use. judged
// are the objects that it will decide about, as far as they are known: what a ServiceEntry
// says of the headers of one of them is left out, as Union does.
func NewSite(w *mesh.World, pol *policy.Policy, judged ...metav1.Object) *Site {
	s := &Site{world: w, policy: pol, judged: map[finding.Object]struct{}{}, plans: map[string]planned{}, others: map[string][]finding.Finding{}}
	for _, o := range judged {
		s.judged[mesh.ObjectOf(o)] = struct{}{}
	}
	return s
}

// Decide is the function Decide.
func (s *Site) Decide(o metav1.Object, raw map[string]any) (Outcome, error) {
	return s.decide(nil, o, raw)
}

func (s *Site) rules(host string) (mutate.RulePlan, error) {
	p, known := s.plans[host]
	if !known {
		p.plan, p.err = mutate.Rules(s.world, host, s.policy)
		s.plans[host] = p
	}
	return p.plan, p.err
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
		edits, _ := mutate.Headers(s.world, vs)
		for group := range byPlace(edits) {
			f := headersMissing(vs, group)
			f.Severity = finding.Warning
			f.Remedy = "In mode enforce the reconciler adds them in a moment; without it, write the VirtualService again, for example with `kubectl replace -f FILE`."
			out = append(out, f)
		}
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
	out, err := s.Decide(o, raw)
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
