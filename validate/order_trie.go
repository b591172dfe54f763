package validate

// The index of units. A trie holds them by the uri shapes that enclose them: those
// that can take a path stand along one walk, at the nodes whose value is a prefix
// of it. Edges are whole strings; a walk reads each byte once, and n units make at
// most 2n nodes. Within a node a unit stands under its pivot, one condition that a
// request must meet, so that ten thousand values of one header under one prefix
// are told apart by one look.

import "strings"

type trieNode struct {
	edge     string
	children map[byte]*trieNode
	units    []*unit           // without a pivot, in order
	pivots   map[pivot][]*unit // the others, in order
	// least is the first unit here and below, by seq.
	least int
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

// A pivoter tells which pivots to look for, once a node holds any.
type pivoter interface{ pivots(out []pivot) []pivot }

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

// insert returns the node of value, for the unit with a seq above all before.
func (n *trieNode) insert(value string, seq int) *trieNode {
	for value != "" {
		child := n.children[value[0]]
		if child == nil {
			child = &trieNode{edge: value, least: seq}
			n.attach(child)
			return child
		}
		k := commonLen(child.edge, value)
		if k < len(child.edge) {
			upper := &trieNode{edge: child.edge[:k], least: child.least}
			child.edge = child.edge[k:]
			upper.attach(child)
			n.attach(upper)
			child = upper
		}
		n, value = child, value[k:]
	}
	return n
}

func (n *trieNode) attach(child *trieNode) {
	if n.children == nil {
		n.children = map[byte]*trieNode{}
	}
	n.children[child.edge[0]] = child
}

// walk visits the units whose uri may contain value, those with a pivot only if it
// is among those of the pivoter, and none that come after the limit, until visit returns false. It
// returns false if that or the budget ended it.
func (g *gatewayIndex) walk(value string, of pivoter, limit *int, w *work, visit func([]*unit) bool) bool {
	var keys []pivot
	ended := false
	at := func(n *trieNode) bool {
		if n.least > *limit {
			return false
		}
		if len(n.pivots) > 0 && keys == nil {
			keys = of.pivots(g.keys[:0])
			g.keys = keys
		}
		ended = !w.spend(3+len(n.edge)/16) || !n.visit(keys, visit)
		return !ended
	}
	g.plain.walk(value, at)
	if !ended && g.folds {
		g.fold.walk(lower(value), at)
	}
	return !ended
}

func (n *trieNode) visit(keys []pivot, visit func([]*unit) bool) bool {
	if len(n.units) > 0 && !visit(n.units) {
		return false
	}
	if len(n.pivots) == 0 {
		return true
	}
	for _, k := range keys {
		if units := n.pivots[k]; len(units) > 0 && !visit(units) {
			return false
		}
	}
	return true
}

// walk visits each node whose value is a prefix of value, shortest first, until
// yield returns false.
func (n *trieNode) walk(value string, yield func(*trieNode) bool) {
	for yield(n) && value != "" {
		child := n.children[value[0]]
		if child == nil || !strings.HasPrefix(value, child.edge) {
			return
		}
		n, value = child, value[len(child.edge):]
	}
}

func commonLen(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
