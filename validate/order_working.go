package validate

// The order that works. It is built from the back: a route that is live behind all
// others can be the last one, and putting it there takes nothing from them; so the
// last such route is put there, and the rest is ordered the same way. Where no
// route can be last, no order makes all of them live: those that stand in each
// other's way are told apart, and the last of them is left out. That one is dead in the
// given order, so that no route that is live dies for it.
//
// This finds an order whenever there is one, and a stable one: a route moves only
// to get in front of those that cover it.

import (
	"maps"
	"slices"
)

// An arrangement is the outcome.
type arrangement struct {
	// order holds the routes that can be live together, in the order that works;
	// nil when the budget ended before it was found. What is left undecided counts
	// as live.
	order []int
	// moved are the routes that come before a given one, and did not.
	moved map[int][]int
	// duplicates maps a route to the one whose requests it repeats, conflicts a
	// route to others beside which no order makes it live.
	duplicates map[int]int
	conflicts  map[int][]int
}

type arranger struct {
	arrangement
	f    *flat
	c    *core
	gone []bool  // placed, or left out
	tail int     // how many at the end are gone
	by   [][]int // what covers a route that cannot be last
	// waits: the route is in by.
	waits []bool
	// watchers are the routes to ask again when one is gone.
	watchers [][]int
	ready    []int   // routes that can be last, sorted
	covering []*unit // of the last question, for the next one
}

// arrange orders the routes but for those in never, which no request fits. Those in
// deadBy are dead in the given order. Once it is known what is left out, the rest is
// ordered without it, so that no route gives way to one that stays dead; and each of
// what is left out is tried once more where the others stand in its way no longer.
//
// c holds all routes, and is used up.
func arrange(f *flat, c *core, deadBy [][]*unit, never map[int]bool, w *work) arrangement {
	if len(never) > 0 {
		c = nil
	}
	a := arrangeAll(f, c, deadBy, never, w)
	out := maps.Clone(never)
	for i := range a.duplicates {
		out[i] = true
	}
	for i := range a.conflicts {
		out[i] = true
	}
	if a.order == nil || len(out) == len(never) {
		return a
	}
	if b := arrangeAll(f, nil, deadBy, out, w); len(b.order) == len(a.order) {
		a.order, a.moved = b.order, b.moved
	}
	if len(out)-len(never) < 2 {
		return a
	}
	for _, i := range slices.Sorted(maps.Keys(a.conflicts))[:min(len(a.conflicts), maxDetailed)] {
		delete(out, i)
		b := arrangeAll(f, nil, deadBy, out, w)
		if len(b.order) <= len(a.order) {
			out[i] = true
			continue
		}
		a.order, a.moved = b.order, b.moved
		delete(a.conflicts, i)
	}
	return a
}

// arrangeAll is arrange without the second try. c may be nil: one is made then.
func arrangeAll(f *flat, c *core, deadBy [][]*unit, never map[int]bool, w *work) arrangement {
	if c == nil {
		c = newCore(w, f.usual, f.cover(never))
		for _, u := range c.units {
			c.add(u)
		}
	}
	c.narrowed(w)
	a := &arranger{
		f: f, c: c, gone: make([]bool, len(f.routes)),
		by: make([][]int, len(f.routes)), waits: make([]bool, len(f.routes)), watchers: make([][]int, len(f.routes)),
	}
	a.duplicates, a.conflicts = map[int]int{}, map[int][]int{}
	// Most routes wait for one, and are waited for by one: that takes no room of its own.
	room := make([]int, 2*len(f.routes))
	for i := range f.routes {
		a.by[i], a.watchers[i] = room[2*i:2*i:2*i+1], room[2*i+1:2*i+1:2*i+2]
	}
	left := 0
	for i := range f.routes {
		if never[i] {
			a.gone[i] = true
			continue
		}
		left++
	}
	for i := range f.routes {
		if by := deadBy[i]; len(by) > 0 && !a.gone[i] && !slices.ContainsFunc(by, func(o *unit) bool { return a.gone[o.route] }) {
			a.wait(i, by)
		} else if !a.gone[i] {
			a.ask(i)
		}
	}
	for ; left > 0; left-- {
		if w.left <= 0 {
			a.order = nil
			return a.arrangement
		}
		var i int
		if len(a.ready) > 0 {
			i = a.ready[len(a.ready)-1]
			a.ready = a.ready[:len(a.ready)-1]
			if a.order == nil {
				a.order = make([]int, 0, left)
			}
			a.order = append(a.order, i)
		} else {
			i = a.leaveOut()
		}
		a.gone[i] = true
		for _, u := range f.routes[i].cover {
			a.c.remove(u)
		}
		a.by[i], a.waits[i] = a.by[i][:0], false
		for _, k := range a.watchers[i] {
			if a.waits[k] {
				a.ask(k)
			}
		}
	}
	slices.Reverse(a.order)
	a.moved = moves(a.order)
	return a.arrangement
}

// ask decides whether route i can be last of those that are left.
func (a *arranger) ask(i int) {
	a.by[i], a.waits[i] = a.by[i][:0], false
	by := a.covering[:0]
	live := len(a.f.routes[i].judged) == 0
	for _, u := range a.f.routes[i].judged {
		v := a.c.decideWithout(u, i)
		if v.state != Dead {
			live = true
			break
		}
		by = append(by, v.by...)
	}
	a.covering = by
	if live {
		at, _ := slices.BinarySearch(a.ready, i)
		a.ready = slices.Insert(a.ready, at, i)
	} else {
		a.wait(i, by)
	}
}

// wait puts route i off until one of by is gone.
func (a *arranger) wait(i int, by []*unit) {
	routes := a.by[i][:0]
	for _, o := range by {
		if !slices.Contains(routes, o.route) {
			routes = append(routes, o.route)
			a.watchers[o.route] = append(a.watchers[o.route], i)
		}
	}
	a.by[i], a.waits[i] = routes, true
}

// leaveOut picks the last of some routes that stand in each other's way. It is dead in
// the given order, since what takes its requests stands before it.
func (a *arranger) leaveOut() int {
	at := len(a.gone) - 1 - a.tail // all that are left wait
	for ; a.gone[at]; at-- {
		a.tail++
	}
	last := slices.Max(a.knot(at))
	if by := a.by[last]; len(by) == 1 && slices.Equal(a.by[by[0]], []int{last}) {
		a.duplicates[last] = by[0]
	} else {
		a.conflicts[last] = slices.Sorted(slices.Values(by))
	}
	return last
}

// knot returns routes that wait for each other and for nothing else, of those that
// route i waits for: the first strongly connected component that Tarjan's search ends.
func (a *arranger) knot(i int) []int {
	var stack []int
	index, low := map[int]int{}, map[int]int{}
	var visit func(i int) []int
	visit = func(i int) []int {
		index[i], low[i] = len(stack), len(stack)
		stack = append(stack, i)
		for _, o := range a.by[i] {
			if _, seen := index[o]; seen {
				low[i] = min(low[i], index[o])
				continue
			}
			if found := visit(o); found != nil {
				return found
			}
			low[i] = min(low[i], low[o])
		}
		if low[i] == index[i] {
			return stack[index[i]:]
		}
		return nil
	}
	return visit(i)
}

// moves returns, of an order, the routes that stand before one with a smaller
// number, by the first route behind them that does not.
func moves(order []int) map[int][]int {
	out := map[int][]int{}
	least, anchor := -1, -1
	for _, r := range slices.Backward(order) {
		if least >= 0 && r > least {
			out[anchor] = append(out[anchor], r)
			continue
		}
		least, anchor = r, r
	}
	for _, routes := range out {
		slices.Reverse(routes)
	}
	return out
}
