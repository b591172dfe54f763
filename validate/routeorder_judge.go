package validate

// From units to routes. A match entry is dead when its units at all gateways are; a
// route is dead when all its entries are. A unit may be covered by a sibling, an
// earlier entry of its own route: then the route is as live as the sibling.

import (
	"iter"
	"slices"
)

// routeVerdict is the outcome for one route.
type routeVerdict struct {
	route int
	dead  bool
	// never: each entry contradicts itself.
	never bool
	// by are the units of other routes that take the requests of a dead one.
	by []*unit
	// entries are the dead or superfluous ones of a live route.
	entries []ineffective
}

// ineffective is an entry that could be left out. sibling is nil when it is dead.
type ineffective struct{ unit, sibling *unit }

// judge decides route i behind those that the core holds, and adds it.
func judge(c *core, f *flat, i int) routeVerdict {
	r := &f.routes[i]
	for _, u := range r.judged {
		// A delegating route is judged by entries that cover nothing themselves.
		if r.http.Delegate != nil {
			u.verdict = c.decide(u)
		}
	}
	for _, u := range r.cover {
		if u.judged {
			u.verdict = c.decide(u)
		}
		c.add(u)
	}
	out := routeVerdict{route: i, dead: len(r.judged) > 0, never: true}
	for _, u := range r.judged {
		out.dead = out.dead && u.verdict.state == Dead
		out.never = out.never && u.never != ""
	}
	out.never = out.never && out.dead
	if !out.dead {
		out.entries = ineffectives(c, f, i)
		return out
	}
	if len(r.judged) == 1 && !slices.ContainsFunc(r.judged[0].verdict.by, func(o *unit) bool { return o.route == i }) {
		out.by = r.judged[0].verdict.by
		return out
	}
	seen := map[*unit]bool{}
	var collect func(u *unit)
	collect = func(u *unit) {
		for _, o := range u.verdict.by {
			if seen[o] {
				continue
			}
			seen[o] = true
			if o.route == i {
				collect(o) // a dead sibling: what covers it covers this too
			} else {
				out.by = append(out.by, o)
			}
		}
	}
	for _, u := range r.judged {
		collect(u)
	}
	slices.SortStableFunc(out.by, func(a, b *unit) int { return a.seq - b.seq })
	return out
}

// maxSiblings bounds the entries of one route that are compared with each other.
const maxSiblings = 100

// ineffectives returns the entries that are dead at all their gateways, and those
// that are live but covered by a later one of the same route, which takes their
// requests to the same place. One with a name or a statPrefix of its own is told
// apart in logs and metrics, and in a delegate a root may leave out the sibling.
func ineffectives(c *core, f *flat, route int) []ineffective {
	r := &f.routes[route]
	var out []ineffective
	var entries [][]*unit
	for units := range byEntry(r.judged) {
		entries = append(entries, units)
	}
	compare := len(entries) <= maxSiblings && !f.delegate && r.http.Delegate == nil
	for i, units := range entries {
		if stateOf(units) == Dead {
			out = append(out, ineffective{unit: units[0]})
			continue
		}
		if m := r.http.Match[max(units[0].entry, 0):]; !compare || len(m) == 0 || m[0].GetName() != "" || m[0].GetStatPrefix() != "" {
			continue
		}
		for _, later := range entries[i+1:] {
			if stateOf(later) != Dead && coversEntry(later, units, c.w) {
				out = append(out, ineffective{units[0], later[0]})
				break
			}
		}
	}
	return out
}

func coversEntry(by, units []*unit, w *work) bool {
	for _, u := range units {
		if !w.spend(len(by)) || !slices.ContainsFunc(by, func(o *unit) bool {
			return o.gateway == u.gateway && !o.optional && o.covers(u.conditions, w)
		}) {
			return false
		}
	}
	return true
}

// byEntry yields the units of one entry after the other.
func byEntry(judged []*unit) iter.Seq[[]*unit] {
	return func(yield func([]*unit) bool) {
		for from := 0; from < len(judged); {
			to := from + 1
			for to < len(judged) && judged[to].entry == judged[from].entry {
				to++
			}
			if !yield(judged[from:to]) {
				return
			}
			from = to
		}
	}
}
