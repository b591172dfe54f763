package validate

// The decision whether earlier units cover a unit. Everything else knows it only
// by core's add and decide.
//
// Three steps, the cheapest first: a request of the unit that no earlier one takes
// proves it live; one earlier unit whose conditions follow from the unit's proves
// it dead; what is left is decided by search. What exceeds the budget is unknown.

import (
	"math"
	"slices"
)

// A unit is one match entry at one gateway.
type unit struct {
	*conditions
	gateway string
	// route and entry are the place: spec.http[route].match[entry], entry -1 when
	// the route has no match.
	route, entry int
	// via is the place within the delegate that brings the unit, if one does.
	via string

	// optional: some proxies leave it out, so that it covers nothing for certain.
	optional bool

	judged  bool    // one that its route is judged by
	seq     int     // set by core.add
	verdict verdict // set by judge
}

// State is what is known of a match entry.
type State int

const (
	// Unknown is past the work budget, or about what cannot be tried; it may be live.
	Unknown State = iota
	// Live is what a request reaches.
	Live
	// Dead is what no request reaches.
	Dead
)

func (s State) String() string { return [...]string{"unknown", "live", "dead"}[s] }

type verdict struct {
	state State
	// by are the units that take all requests of a dead one, together; none when
	// it contradicts itself.
	by []*unit
	// request reaches a live unit; of a dead one it is an example that taker takes.
	request *request
	taker   *unit
}

const (
	// searchShare is the part of the budget that searches may spend, searchMost
	// what one may.
	searchShare = budget * 2 / 3
	searchMost  = 200_000
)

// core holds the earlier units, in order.
type core struct {
	gateways map[string]*gatewayIndex
	w        *work
	usual    usual
	searches int // what searches may still spend
	first    search
	// narrow: of several units that cover one, name the one with the longest uri,
	// not the first.
	narrow bool
	count  int
}

type gatewayIndex struct {
	plain, fold trieNode // by the shapes without and with ignoreUriCase
	folds       bool     // fold holds any
	keys        []pivot  // of the last walk, for the next one
	all         []*unit  // the catch-alls
}

func newCore(w *work, usual usual) *core {
	return &core{gateways: map[string]*gatewayIndex{}, w: w, usual: usual, searches: searchShare}
}

// add appends a unit to the earlier ones.
func (c *core) add(u *unit) {
	u.seq = c.count
	c.count++
	if u.never != "" {
		return
	}
	g := c.gateways[u.gateway]
	if g == nil {
		g = &gatewayIndex{}
		c.gateways[u.gateway] = g
	}
	if u.catchAll {
		g.all = append(g.all, u)
	}
	key, keyed := pivotOf(u.conditions)
	for _, s := range u.uri.over {
		t := &g.plain
		if s.fold {
			t, g.folds = &g.fold, true
		}
		n := t.insert(s.value, u.seq)
		if !keyed {
			n.units = append(n.units, u)
			continue
		}
		if n.pivots == nil {
			n.pivots = map[pivot][]*unit{}
		}
		n.pivots[key] = append(n.pivots[key], u)
	}
}

// decide answers for a unit behind those added.
func (c *core) decide(u *unit) verdict { return c.decideAmong(u, nil) }

// decideAmong leaves out the units that skip names.
func (c *core) decideAmong(u *unit, skip func(*unit) bool) verdict {
	if u.never != "" {
		return verdict{state: Dead}
	}
	if c.w.left <= 0 {
		return verdict{}
	}
	s := &c.first
	if !s.begin(c, u, skip) {
		return verdict{} // never would have said so: the budget has ended
	}
	taker, known := c.firstTaker(s)
	if known && taker == nil && s.certain() && !u.vague {
		return verdict{state: Live, request: s.request()}
	}
	out := verdict{state: Dead}
	if taker != nil && s.certain() {
		if yes, _ := s.takenBy(taker); yes {
			out.request, out.taker = s.request().telling(taker), taker
		}
	}
	if by := c.cover(u, skip); by != nil {
		out.by = []*unit{by}
		return out
	}
	if !known || u.vague {
		return verdict{}
	}
	w, done := c.w.limited(min(searchMost, c.searches))
	s.w = w
	if taker != nil {
		s.learned = []*unit{taker}
	}
	switch s.run() {
	case found:
		out = verdict{state: Live, request: s.request()}
	case none:
		out.by = s.covering()
	default:
		out = verdict{}
	}
	c.searches -= done()
	return out
}

// cover returns one unit that covers u: the first catch-all, else the first.
func (c *core) cover(u *unit, skip func(*unit) bool) *unit {
	g := c.gateways[u.gateway]
	if g == nil {
		return nil
	}
	covers := func(o *unit) bool {
		return c.w.spend(2+len(o.conds)) && !o.optional && (skip == nil || !skip(o)) && o.covers(u.conditions, c.w)
	}
	if !c.narrow {
		if i := slices.IndexFunc(g.all, covers); i >= 0 {
			return g.all[i]
		}
	}
	if len(u.uri.over) == 0 {
		return nil
	}
	var by *unit
	limit := math.MaxInt
	// What contains all of u contains its first shape. The longest uri comes last.
	g.walk(u.uri.over[0].value, u.conditions, &limit, c.w, func(units []*unit) bool {
		for _, o := range units {
			if o.seq > limit {
				break
			}
			if covers(o) {
				by = o
				if !c.narrow {
					limit = o.seq
				}
				break
			}
		}
		return c.w.left > 0
	})
	return by
}

// firstTaker returns the first unit that takes, or may take, the request; false
// past the budget.
func (c *core) firstTaker(s *search) (*unit, bool) {
	g := c.gateways[s.u.gateway]
	if g == nil {
		return nil, true
	}
	if s.dims[0].blurred {
		return nil, false
	}
	var first *unit
	limit := math.MaxInt
	ok := g.walk(s.dims[0].value, s, &limit, s.w, func(units []*unit) bool {
		for _, o := range units {
			if o.seq > limit {
				break
			}
			if s.w.left <= 0 {
				return false
			}
			if s.skip != nil && s.skip(o) {
				continue
			}
			yes, known := s.takenBy(o)
			if !known && (o.vague || o.optional) {
				s.blurred = true
			} else if yes || !known {
				first, limit = o, o.seq
				break
			}
		}
		return true
	})
	return first, ok
}
