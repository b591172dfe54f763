package validate

// The decision whether earlier units cover a unit. Everything else knows it only
// by core's add, decide and coverers, so that the exact procedure can take its
// place.
//
// This one proves coverage by one earlier unit at a time. That several cover a
// unit only together (header x=1, then without x=1, then anything) it does not
// see, and answers unknown. So it does past its budget.

// A unit is one match entry at one gateway.
type unit struct {
	*conditions
	gateway string
	// route and entry are the place: spec.http[route].match[entry], entry -1 when
	// the route has no match.
	route, entry int
	// via is the place within the delegate that brings the unit, if one does.
	via string

	judged  bool    // one that its route is judged by
	seq     int     // set by core.add
	verdict verdict // set by judge
}

type state int

const (
	// unknown: no proof; the unit may be live.
	unknown state = iota
	dead
)

type verdict struct {
	state state
	// by are the units that take all requests of a dead one; none when it
	// contradicts itself.
	by []*unit
}

// meter bounds work. One unit of it is some 20 ns.
type meter struct{ left int }

// budget is what one core may spend.
const budget = 2_000_000

func newMeter() *meter { return &meter{left: budget} }

func (m *meter) spend(n int) bool {
	m.left -= n
	return m.left > 0
}

// core holds the earlier units, in order.
type core struct {
	gateways map[string]*gatewayIndex
	m        *meter
	count    int
}

type gatewayIndex struct {
	plain, fold trieNode // by the shapes without and with ignoreUriCase
	// first takes every request of the gateway, from any source, on any port;
	// all are the other catch-alls.
	first *unit
	all   []*unit
}

func newCore(m *meter) *core {
	return &core{gateways: map[string]*gatewayIndex{}, m: m}
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
		if len(u.conds) > 0 {
			g.all = append(g.all, u)
		} else if g.first == nil {
			g.first = u
		}
	}
	for _, s := range u.uri.over {
		if s.fold {
			g.fold.insert(s.value, u)
		} else {
			g.plain.insert(s.value, u)
		}
	}
}

// decide answers for a unit behind those added. Of several that cover it, it names
// the first catch-all, else the first.
func (c *core) decide(u *unit) verdict {
	if u.never != "" {
		return verdict{state: dead}
	}
	by := c.catchAll(u)
	if by == nil {
		c.candidates(u, func(units []*unit) bool {
			for _, o := range units {
				if by != nil && o.seq > by.seq {
					return true
				}
				if !c.m.spend(1) {
					return false
				}
				if o.covers(u.conditions, c.m) {
					by = o
				}
			}
			return true
		})
	}
	if by == nil {
		return verdict{}
	}
	return verdict{state: dead, by: []*unit{by}}
}

func (c *core) catchAll(u *unit) *unit {
	g := c.gateways[u.gateway]
	if g == nil {
		return nil
	}
	if g.first != nil {
		return g.first
	}
	for _, o := range g.all {
		if !c.m.spend(1) {
			return nil
		}
		if o.covers(u.conditions, c.m) {
			return o
		}
	}
	return nil
}

// coverers calls found for the units that cover u, of those that want asks for.
func (c *core) coverers(u *unit, want func(*unit) bool, found func(*unit)) {
	c.candidates(u, func(units []*unit) bool {
		for _, o := range units {
			if !c.m.spend(1) {
				return false
			}
			if want(o) && o.covers(u.conditions, c.m) {
				found(o)
			}
		}
		return true
	})
}

// candidates visits the earlier units whose uri may contain that of u.
func (c *core) candidates(u *unit, visit func([]*unit) bool) {
	g := c.gateways[u.gateway]
	if g == nil || u.uri.empty() {
		return
	}
	// What contains all of u contains its first shape.
	s := u.uri.over[0]
	if g.plain.walk(s.value, visit) {
		g.fold.walk(lower(s.value), visit)
	}
}
