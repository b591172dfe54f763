package validate

import (
	"cmp"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// A Verdict is the answer for one match entry, over all gateways at which it is in
// force: dead if it is dead at each, live if it is live at one.
type Verdict struct {
	// Route and Entry are the place, spec.http[Route].match[Entry]; Entry is -1 for
	// a route without a match.
	Route, Entry int
	State        State
	// CoveredBy are the entries that take all requests of a dead one, together; none
	// when it contradicts itself.
	CoveredBy []string
	// Witness is a request that reaches a live entry, past those before it. Its
	// authority may be none of spec.hosts where the entry asks for another.
	Witness *Request
}

// Verdicts decides each match entry of vs, in their order; nil when vs is too large
// to be judged. A route that delegates is judged by its own match, as wide as a
// delegate can make it; it covers later routes by those that its delegate has.
func Verdicts(vs *networkingv1.VirtualService, delegates Delegates) []Verdict {
	j := newJudgement(vs, delegates)
	if j == nil {
		return nil
	}
	var out []Verdict
	for i := range j.flat.routes {
		for units := range byEntry(j.flat.routes[i].judged) {
			out = append(out, j.verdict(units))
		}
	}
	return out
}

func (j *judgement) verdict(units []*unit) Verdict {
	v := Verdict{Route: units[0].route, Entry: units[0].entry, State: stateOf(units)}
	var by []*unit
	for _, u := range units {
		switch {
		case v.State == Live && u.verdict.state == Live:
			v.Witness = u.verdict.request.full(j.flat.gatewayOf(u))
			return v
		case v.State == Dead:
			by = append(by, u.verdict.by...)
		}
	}
	slices.SortStableFunc(by, func(a, b *unit) int { return cmp.Or(a.route-b.route, a.entry-b.entry) })
	for _, o := range by {
		if p := o.path(); !slices.Contains(v.CoveredBy, p) {
			v.CoveredBy = append(v.CoveredBy, p)
		}
	}
	return v
}

// stateOf is the state of one entry by its units.
func stateOf(units []*unit) State {
	out := Dead
	for _, u := range units {
		switch u.verdict.state {
		case Live:
			return Live
		case Unknown:
			out = Unknown
		default:
		}
	}
	return out
}
