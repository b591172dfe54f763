package validate

// The order that works: the routes that were dead move, each to the last place at
// which it is live, and the others keep their order. A route that covers another
// must come after it; where two cover each other, no order helps, and the later one
// is left out as a duplicate. The result is verified by the decision itself.

import (
	"maps"
	"slices"
)

// An arrangement is the outcome.
type arrangement struct {
	// order holds the routes that can be live together, in the order that works;
	// nil when none was found.
	order []int
	// duplicates maps a route to the one whose requests it repeats.
	duplicates map[int]int
}

// arrange finds the order for the routes, of which those in dead are dead and
// those in never contradict themselves.
func arrange(f *flat, deadBy map[int][]*unit, never map[int]bool) arrangement {
	a := arrangement{duplicates: map[int]int{}}
	m := newMeter()
	a.duplicatesByText(f, deadBy, never, m)
	const rounds = 4
	for range rounds {
		order := place(f, func(i int) bool { _, dup := a.duplicates[i]; return dup || never[i] }, m)
		stillDead := verify(f, order, m)
		if m.left <= 0 {
			return a
		}
		if len(stillDead) == 0 {
			a.order = order
			return a
		}
		known := len(a.duplicates)
		for _, i := range slices.Sorted(maps.Keys(stillDead)) {
			for _, u := range stillDead[i] {
				a.pair(f, i, u.route, m)
			}
		}
		if len(a.duplicates) == known {
			return a
		}
	}
	return a
}

// duplicatesByText finds routes that repeat an earlier one word for word, or that
// cover the one that covers them.
func (a *arrangement) duplicatesByText(f *flat, deadBy map[int][]*unit, never map[int]bool, m *meter) {
	first := map[string]int{}
	for i := range f.routes {
		if f.routes[i].http == nil || never[i] {
			continue
		}
		by, isDead := deadBy[i]
		text := matchesText(f.routes[i].http)
		if o, ok := first[text]; ok && isDead {
			a.duplicates[i] = o
			continue
		}
		if !isDead || len(f.routes[i].judged) > 0 {
			if _, ok := first[text]; !ok {
				first[text] = i
			}
		}
		if len(by) == 1 {
			a.pair(f, i, by[0].route, m)
		}
	}
}

// pair records the later of two routes as a duplicate when each covers the other.
func (a *arrangement) pair(f *flat, i, j int, m *meter) {
	i, j = max(i, j), min(i, j)
	if _, done := a.duplicates[i]; done || i == j {
		return
	}
	if _, gone := a.duplicates[j]; !gone && coversRoute(f, i, j, m) && coversRoute(f, j, i, m) {
		a.duplicates[i] = j
	}
}

// coversRoute: each unit that i is judged by is covered by one of j.
func coversRoute(f *flat, i, j int, m *meter) bool {
	for _, u := range f.routes[i].judged {
		if !m.spend(len(f.routes[j].cover)) || !slices.ContainsFunc(f.routes[j].cover, func(o *unit) bool {
			return o.gateway == u.gateway && o.covers(u.conditions, m)
		}) {
			return false
		}
	}
	return len(f.routes[i].judged) > 0
}

// place inserts route after route, each at the last place where one of its units is
// covered by none before it.
func place(f *flat, skip func(int) bool, m *meter) []int {
	c := newCore(m)
	l := newLabels(len(f.routes))
	for i := range f.routes {
		if skip(i) {
			continue
		}
		before := -1 // at the end
		for _, u := range f.routes[i].judged {
			if u.never != "" {
				continue
			}
			first := -1
			c.coverers(u,
				func(o *unit) bool { return first < 0 || l.at[o.route] < l.at[first] },
				func(o *unit) { first = o.route })
			if first < 0 {
				before = -1
				break
			}
			if before < 0 || l.at[first] > l.at[before] {
				before = first
			}
		}
		l.insert(i, before)
		for _, u := range f.routes[i].cover {
			c.add(u)
		}
	}
	return l.order()
}

// verify returns the routes that are dead in this order, and by what.
func verify(f *flat, order []int, m *meter) map[int][]*unit {
	c := newCore(m)
	out := map[int][]*unit{}
	for _, i := range order {
		if r := judge(c, f, i); r.dead {
			out[i] = r.by
		}
	}
	return out
}

// labels keeps routes in a list in which a place is compared by its label.
type labels struct {
	at         []uint64
	prev, next []int
	head, tail int
}

const labelGap = 1 << 32

func newLabels(n int) *labels {
	return &labels{at: make([]uint64, n), prev: make([]int, n), next: make([]int, n), head: -1, tail: -1}
}

// insert puts i before a route, or at the end for -1.
func (l *labels) insert(i, before int) {
	if before < 0 {
		l.prev[i], l.next[i] = l.tail, -1
		l.at[i] = labelGap
		if l.tail >= 0 {
			l.next[l.tail] = i
			l.at[i] = l.at[l.tail] + labelGap
		} else {
			l.head = i
		}
		l.tail = i
		return
	}
	p := l.prev[before]
	if l.at[before]-l.label(p) < 2 {
		for n, label := l.head, uint64(labelGap); n >= 0; n, label = l.next[n], label+labelGap {
			l.at[n] = label
		}
	}
	l.at[i] = l.label(p) + (l.at[before]-l.label(p))/2
	l.prev[i], l.next[i], l.prev[before] = p, before, i
	if p >= 0 {
		l.next[p] = i
	} else {
		l.head = i
	}
}

func (l *labels) label(i int) uint64 {
	if i < 0 {
		return 0
	}
	return l.at[i]
}

func (l *labels) order() []int {
	var out []int
	for i := l.head; i >= 0; i = l.next[i] {
		out = append(out, i)
	}
	return out
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
