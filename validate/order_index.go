package validate

// The index of units. They stand by the uri shapes that enclose them, sorted by their values: those
// that can take a path are at the nodes whose value is a prefix of it, and each node knows the next
// longest of these. Within a node a unit stands under its pivot, one condition that a
// request must meet, so that ten thousand values of one header under one prefix
// are told apart by one look.
//
// The nodes are made at once, of all units that will be added; that takes one sort, while a chain of
// prefixes would be walked along anew for each of them.

import (
	"math"
	"slices"
	"strings"
)

type gatewayIndex struct {
	plain, fold pathIndex // by the shapes without and with ignoreUriCase
	keys        []pivot   // of the last walk, for the next one
	all         []*unit   // the catch-alls
	path        []int32   // of the last walk, for the next one
}

// A pathIndex is sorted by value.
type pathIndex []pathNode

type pathNode struct {
	value string
	// parent has the longest other value that this one begins with; -1 for none.
	parent int32
	// firstAt has the first unit, first by seq, of this node and all those that its value begins with.
	first, firstAt int32
	left           int32             // how many units are here and not removed
	units          []*unit           // without a pivot, in order
	pivots         map[pivot][]*unit // the others, in order
}

// A placed is a unit by one of its shapes.
type placed struct {
	value string
	unit  *unit
	fold  bool
}

// newPathIndex makes the nodes of units that are in order, and tells these where they stand.
func newPathIndex(all []placed) pathIndex {
	slices.SortFunc(all, func(a, b placed) int { return strings.Compare(a.value, b.value) })
	out := make(pathIndex, 0, len(all))
	for _, p := range all {
		at := int32(len(out)) //nolint:gosec // the budget ends long before
		if n := at - 1; n < 0 || out[n].value != p.value {
			for n >= 0 && !strings.HasPrefix(p.value, out[n].value) {
				n = out[n].parent
			}
			out = append(out, pathNode{value: p.value, parent: n, first: math.MaxInt32, firstAt: at})
		} else {
			at = n
		}
		out[at].left++
		out[at].first = min(out[at].first, int32(p.unit.seq)) //nolint:gosec // as above
		if o := &p.unit.uri.over[0]; o.value == p.value && o.fold == p.fold {
			p.unit.node = at
		}
	}
	room := make([]*unit, len(all))
	for i := range out {
		n := &out[i]
		// Most nodes have all of their units here; what has a pivot takes no room.
		n.units, room = room[:0:n.left], room[n.left:]
		n.left = 0
		if n.parent >= 0 && out[n.parent].first < n.first {
			n.first, n.firstAt = out[n.parent].first, out[n.parent].firstAt
		}
	}
	return out
}

// at returns the node of a value, else that of the longest one which it begins with; -1 for none.
func (x pathIndex) at(value string) int32 {
	i, exact := slices.BinarySearchFunc(x, value, func(n pathNode, v string) int { return strings.Compare(n.value, v) })
	n := int32(i) //nolint:gosec // as above
	if !exact {
		n--
	}
	for n >= 0 && !strings.HasPrefix(value, x[n].value) {
		n = x[n].parent
	}
	return n
}

// A pivot is a value of a header, parameter, port; or, not exact, its presence. That
// of a path is its last segment, which many a regex fixes.
type pivot struct {
	class       class
	name, value string
	exact       bool
}

// pivotOf picks the condition that tells most apart: a value of a header before
// its presence, and both before a method or a port.
func pivotOf(c *conditions) (best pivot, ok bool) {
	rank := 0
	if last, ok := lastSegment(c.uri.suffix); ok && !c.uri.exact {
		rank, best = 2, pivot{classPath, "", last, true}
	}
	for i := range c.conds {
		d := &c.conds[i]
		always := d.class == classPort || d.class == classNamespace || d.name == ":method" || d.name == ":scheme"
		for _, a := range d.atoms {
			exact := a.kind == in && a.lang.kind == "exact"
			r := 0
			switch {
			case a.missing:
			case exact && !always:
				r = 3
			case exact:
				r = 1
			case !always && !alwaysThere(d.name):
				r = 2
			}
			if r <= rank {
				continue
			}
			rank, best = r, pivot{class: d.class, name: d.name}
			if exact {
				best.exact, best.value = true, a.lang.value
			}
		}
	}
	return best, rank > 0
}

// pivots returns those that a unit which covers c can have.
func (c *conditions) pivots(out []pivot) []pivot {
	end := c.uri.suffix
	if len(c.uri.over) == 1 && c.uri.over[0].single() {
		end = c.uri.over[0].value
	}
	if last, ok := lastSegment(end); ok {
		out = append(out, pivot{classPath, "", last, true})
	}
	for i := range c.conds {
		d := &c.conds[i]
		out = append(out, pivot{class: d.class, name: d.name})
		for _, a := range d.atoms {
			if a.kind == in && len(a.lang.over) == 1 && a.lang.over[0].single() {
				out = append(out, pivot{d.class, d.name, a.lang.over[0].value, true})
			}
		}
	}
	return out
}

// lastSegment returns what stands behind the last slash.
func lastSegment(path string) (string, bool) {
	i := strings.LastIndexByte(path, '/')
	return path[i+1:], i >= 0
}

// pivots returns those that a unit which takes the request can have.
func (s *search) pivots(out []pivot) []pivot {
	if last, ok := lastSegment(s.dims[0].value); ok {
		out = append(out, pivot{classPath, "", last, true})
	}
	add := func(d *dimension) {
		if d.there {
			out = append(out, pivot{class: d.class, name: d.name})
			if !d.blurred {
				out = append(out, pivot{d.class, d.name, d.value, true})
			}
		}
	}
	for i := range s.dims[1:] {
		add(&s.dims[i+1])
	}
	for _, n := range alwaysNamed {
		if s.dim(n.class, n.name) < 0 {
			d := unnamed(n.class, n.name, &s.c.usual)
			add(&d)
		}
	}
	return out
}

var alwaysNamed = []condition{
	{class: classPort},
	{class: classNamespace},
	{class: classHeader, name: ":method"},
	{class: classHeader, name: ":authority"},
	{class: classHeader, name: ":scheme"},
}

// A visitor walks along the units whose uri may contain a value: to find the first that takes the
// request of s, or, without s, one that covers u.
type visitor struct {
	core  *core
	index *gatewayIndex
	u     *unit
	s     *search
	w     *work
	// without is a route that is left out, noRoute for none.
	without int
	// upward: the longest uri comes first, and the first that is found is the answer.
	upward bool
	limit  int // what comes after it is of no account
	found  *unit
	keys   []pivot
}

// walk returns false if the budget ended it.
func (v *visitor) walk(value string) bool {
	v.index, v.limit = v.core.gateways[v.u.gateway], v.core.count-1
	x, y := v.index.plain, v.index.fold
	if v.upward {
		return v.up(y, v.start(y, value, true)) && v.up(x, v.start(x, value, false))
	}
	return v.down(x, v.start(x, value, false)) && v.down(y, v.start(y, value, true))
}

// meet looks at units that are in order.
func (v *visitor) meet(units []*unit) bool {
	for _, o := range units {
		if o.seq > v.limit {
			break
		}
		if v.s != nil && v.w.left <= 0 {
			return false
		}
		if v.takes(o) {
			v.found, v.limit = o, o.seq
			break
		}
	}
	return v.s != nil || v.w.left > 0 && (v.found == nil || !v.upward)
}

func (v *visitor) takes(o *unit) bool {
	if v.s == nil {
		return v.core.covers(o, v.u, v.without)
	}
	if o.gone || o.route == v.without {
		return false
	}
	yes, known := v.s.takenBy(o)
	if !known && (o.vague || o.optional) {
		v.s.blurred = true
		return false
	}
	return yes || !known
}

// start is the node at which the walk for a value begins.
func (v *visitor) start(x pathIndex, value string, fold bool) int32 {
	if len(x) == 0 {
		return -1
	}
	if fold {
		value = lower(value)
	}
	if u := v.u; v.core.holds(u) && u.uri.over[0].fold == fold && x[u.node].value == value {
		return u.node
	}
	return x.at(value)
}

// down visits the node and what it begins with, the shortest first. That which has the first unit
// goes before, since most walks look for that one; but what blurs is found in order.
func (v *visitor) down(x pathIndex, n int32) bool {
	if n < 0 || int(x[n].first) > v.limit {
		return true
	}
	before := int32(-1)
	if !v.core.blurs {
		before = x[n].firstAt
		if !v.at(x, before) {
			return false
		}
		if v.limit <= int(x[n].first) {
			return true
		}
	}
	path := v.index.path[:0]
	for ; n >= 0; n = v.core.parent(x, n) {
		path = append(path, n)
	}
	v.index.path = path
	for _, n := range slices.Backward(path) {
		if n != before && !v.at(x, n) {
			return false
		}
	}
	return true
}

// up visits the node and what it begins with, the longest first.
func (v *visitor) up(x pathIndex, n int32) bool {
	for ; n >= 0; n = v.core.parent(x, n) {
		if !v.at(x, n) {
			return false
		}
	}
	return true
}

// parent passes over those from which all is removed, once for all.
func (c *core) parent(x pathIndex, n int32) int32 {
	p := x[n].parent
	if !c.removes {
		return p
	}
	for p >= 0 && x[p].left == 0 {
		p = x[p].parent
	}
	x[n].parent = p
	return p
}

func (v *visitor) at(x pathIndex, i int32) bool {
	n := &x[i]
	if n.left == 0 {
		return true
	}
	if len(n.pivots) > 0 && v.keys == nil {
		if v.keys = v.index.keys[:0]; v.s != nil {
			v.keys = v.s.pivots(v.keys)
		} else {
			v.keys = v.u.pivots(v.keys)
		}
		v.index.keys = v.keys
	}
	edge := len(n.value)
	if n.parent >= 0 {
		edge -= len(x[n.parent].value)
	}
	if !v.w.spend(3 + edge/16) {
		return false
	}
	if !v.upward && len(n.units) > 0 && !v.meet(n.units) {
		return false
	}
	if len(n.pivots) > 0 {
		for i := range v.keys {
			k := i
			if v.upward {
				k = len(v.keys) - 1 - i
			}
			if units := n.pivots[v.keys[k]]; len(units) > 0 && !v.meet(units) {
				return false
			}
		}
	}
	return !v.upward || len(n.units) == 0 || v.meet(n.units)
}
