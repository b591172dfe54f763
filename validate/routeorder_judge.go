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
	// entries are the dead ones of a live route.
	entries []*unit
}

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
		out.entries = deadEntries(r.judged)
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

// deadEntries returns one unit for each entry that is dead at all its gateways.
func deadEntries(judged []*unit) []*unit {
	var out []*unit
	for units := range byEntry(judged) {
		if stateOf(units) == Dead {
			out = append(out, units[0])
		}
	}
	return out
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
