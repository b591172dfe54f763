package validate

// The decision whether earlier units cover a unit. Everything else knows it only
// by core's add and decide.
//
// Three steps, the cheapest first: a request of the unit that no earlier one takes
// proves it live; one earlier unit whose conditions follow from the unit's proves
// it dead; what is left is decided by search. What exceeds the budget is unknown.

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
	seq     int     // set by newCore: its place among the core's units
	node    int32   // set by newCore: where it stands, by its first shape
	gone    bool    // set by core.remove
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
	units    []*unit // that are added, and that will be
	w        *work
	usual    usual
	searches int // what searches may still spend
	first    search
	// narrow: of several units that cover one, name the one with the longest uri,
	// not the first.
	narrow bool
	count  int // how many units are added
	blurs  bool
	// removes: all are added, and some may be taken out again.
	removes bool
}

// newCore makes the core to which the units will be added, in this order.
func newCore(w *work, usual usual, units []*unit) *core {
	c := &core{gateways: map[string]*gatewayIndex{}, units: units, w: w, usual: usual, searches: searchShare}
	type shapes struct{ plain, fold []placed }
	all := map[string]*shapes{}
	for i, u := range units {
		u.seq, u.node, u.gone = i, -1, false
		if u.never != "" {
			continue
		}
		c.blurs = c.blurs || u.vague || u.optional
		of := all[u.gateway]
		if of == nil {
			of = &shapes{}
			if len(all) == 0 { // most have one gateway, and each entry one shape
				of.plain = make([]placed, 0, len(units))
			}
			all[u.gateway] = of
		}
		for _, s := range u.uri.over {
			to := &of.plain
			if s.fold {
				to = &of.fold
			}
			*to = append(*to, placed{s.value, u, s.fold})
		}
	}
	for name, of := range all {
		c.gateways[name] = &gatewayIndex{plain: newPathIndex(of.plain), fold: newPathIndex(of.fold)}
	}
	return c
}

// narrowed turns a core that holds all its units to questions of what covers them, on a budget of its own.
func (c *core) narrowed(w *work) {
	c.narrow, c.w, c.searches = true, w, searchShare
}

// holds: u is one of the units of the core.
func (c *core) holds(u *unit) bool { return u.seq < len(c.units) && c.units[u.seq] == u && u.node >= 0 }

// add appends the next unit to the earlier ones.
func (c *core) add(u *unit) {
	c.count++
	if u.never != "" {
		return
	}
	g := c.gateways[u.gateway]
	if u.catchAll {
		g.all = append(g.all, u)
	}
	key, keyed := pivotOf(u.conditions)
	c.eachNode(u, func(n *pathNode) {
		n.left++
		if !keyed {
			n.units = append(n.units, u)
			return
		}
		if n.pivots == nil {
			n.pivots = map[pivot][]*unit{}
		}
		n.pivots[key] = append(n.pivots[key], u)
	})
}

// remove says that no question asks for u any more.
func (c *core) remove(u *unit) {
	u.gone = true
	if u.never == "" {
		c.removes = true
		c.eachNode(u, func(n *pathNode) { n.left-- })
	}
}

func (c *core) eachNode(u *unit, do func(*pathNode)) {
	g := c.gateways[u.gateway]
	for i := range u.uri.over {
		s := &u.uri.over[i]
		x := g.plain
		if s.fold {
			x = g.fold
		}
		n := u.node
		if i > 0 {
			n = x.at(s.value)
		}
		do(&x[n])
	}
}

// decide answers for a unit behind those added.
func (c *core) decide(u *unit) verdict { return c.decideWithout(u, noRoute) }

const noRoute = -1

// decideWithout leaves out the units of a route, and those that are removed.
func (c *core) decideWithout(u *unit, without int) verdict {
	if u.never != "" {
		return verdict{state: Dead}
	}
	if c.w.left <= 0 {
		return verdict{}
	}
	spent := 0
	if c.narrow {
		// No example is asked for, so what covers u is all. What a vain try took is booked where it is due.
		left := c.w.left
		if by := c.cover(u, without); by != nil {
			return verdict{state: Dead, by: c.alone(by)}
		}
		spent, c.w.left = left-c.w.left, left
	}
	s := &c.first
	if !s.begin(c, u, without) {
		return verdict{} // never would have said so: the budget has ended
	}
	taker, known := c.firstTaker(s)
	if known && taker == nil && s.certain() && !u.vague {
		return c.live(s)
	}
	out := verdict{state: Dead}
	if taker != nil && s.certain() {
		if yes, _ := s.takenBy(taker); yes && !c.narrow {
			out.request, out.taker = s.request().telling(taker), taker
		}
	}
	if c.narrow {
		c.w.spend(spent)
	} else if by := c.cover(u, without); by != nil {
		out.by = c.alone(by)
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
		out = c.live(s)
	case none:
		out.by = s.covering()
	default:
		out = verdict{}
	}
	c.searches -= done()
	return out
}

// live is the verdict about a unit that the present request reaches.
func (c *core) live(s *search) verdict {
	if c.narrow {
		return verdict{state: Live}
	}
	return verdict{state: Live, request: s.request()}
}

// alone is the list of one unit.
func (c *core) alone(u *unit) []*unit {
	out := c.w.newList.next()
	out[0] = u
	return out[:]
}

// cover returns one unit that covers u: the first catch-all, else the first.
func (c *core) cover(u *unit, without int) *unit {
	g := c.gateways[u.gateway]
	if g == nil {
		return nil
	}
	if !c.narrow {
		for _, o := range g.all {
			if c.covers(o, u, without) {
				return o
			}
		}
	}
	if len(u.uri.over) == 0 {
		return nil
	}
	// What contains all of u contains its first shape.
	v := visitor{core: c, u: u, without: without, w: c.w, upward: c.narrow}
	v.walk(u.uri.over[0].value)
	return v.found
}

func (c *core) covers(o, u *unit, without int) bool {
	return c.w.spend(2+len(o.conds)) && !o.optional && !o.gone && o.route != without && o.covers(u.conditions, c.w)
}

// firstTaker returns the first unit that takes, or may take, the request; false
// past the budget.
func (c *core) firstTaker(s *search) (*unit, bool) {
	if c.gateways[s.u.gateway] == nil {
		return nil, true
	}
	if s.dims[0].blurred {
		return nil, false
	}
	v := visitor{core: c, u: s.u, s: s, without: s.without, w: s.w}
	ok := v.walk(s.dims[0].value)
	return v.found, ok
}
