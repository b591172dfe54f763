package validate

// The exact search for a request that reaches a unit past all earlier ones.
//
// It is driven by counterexamples. A request of the unit is chosen; the first
// earlier unit that takes it is learnt, and one after the other of its conditions
// is denied, each time with a new value in that dimension alone, until a request is
// left that nobody takes, a witness, or until every choice is refuted. Then the
// learnt units cover the unit together, and are the proof. Only units that take a
// request are ever looked at, and a value is searched for only where the usual ones
// fail.

import "slices"

type search struct {
	c *core
	u *unit
	// without is a route that is left out.
	without int
	w       *work
	// dims[0] is the path; the others those that atoms were asked of.
	dims []dimension
	// path holds the first atom of dims[0].
	path    [1]atom
	learned []*unit
	// closed: no more is learned.
	closed bool
	// blurred: a unit that cannot be tried may take the request.
	blurred bool
}

// begin chooses a first request; false when u takes none.
func (s *search) begin(c *core, u *unit, without int) bool {
	*s = search{c: c, u: u, without: without, w: c.w, dims: s.dims[:0]}
	s.path[0] = u.uriAtom()
	s.dims = append(s.dims, dimension{class: classPath, atoms: s.path[:]})
	for i := range u.conds {
		d := &u.conds[i]
		s.dims = append(s.dims, dimension{class: d.class, name: d.name, atoms: slices.Clip(d.atoms)})
	}
	for i := range s.dims {
		if s.dims[i].choose(&c.usual, s.w) == none {
			return false
		}
	}
	return true
}

// certain: the request is one that a client can send.
func (s *search) certain() bool {
	return !s.blurred && !slices.ContainsFunc(s.dims, func(d dimension) bool { return d.blurred })
}

func (s *search) dim(c class, name string) int {
	for i := range s.dims {
		if s.dims[i].class == c && s.dims[i].name == name {
			return i
		}
	}
	return -1
}

// run returns found with a request in dims that nobody takes, none when there is
// no such request, unsure past the budget or where not all can be tried.
func (s *search) run() outcome {
	o, ok := s.taker()
	switch {
	case !ok:
		return unsure
	case o != nil:
		return s.refute(o)
	case s.certain():
		return found
	default:
		return unsure
	}
}

// taker returns a unit that takes, or may take, the request; false past the budget.
func (s *search) taker() (*unit, bool) {
	const few = 8 // fewer than the index would show
	if s.closed || len(s.learned) <= few {
		for _, o := range s.learned {
			if s.w.left <= 0 {
				return nil, false
			}
			if yes, known := s.takenBy(o); yes || !known {
				return o, true
			}
		}
	}
	if s.closed {
		return nil, true
	}
	o, ok := s.c.firstTaker(s)
	if o != nil && !slices.Contains(s.learned, o) {
		s.learned = append(s.learned, o)
	}
	return o, ok
}

// takenBy tells whether o takes the request.
func (s *search) takenBy(o *unit) (yes, known bool) {
	s.w.spend(5 + len(o.conds)*(4+len(s.dims)/2))
	yes, known = s.dims[0].meets(o.uriAtom(), s.w)
	if known && !yes {
		return false, true
	}
	all := known
	for i := range o.conds {
		c := &o.conds[i]
		var d *dimension
		if k := s.dim(c.class, c.name); k >= 0 {
			d = &s.dims[k]
		} else {
			n := unnamed(c.class, c.name, &s.c.usual)
			d = &n
		}
		for _, a := range c.atoms {
			yes, known := d.meets(a, s.w)
			if known && !yes {
				return false, true
			}
			all = all && known
		}
	}
	all = all && !o.vague && !o.optional
	return all, all
}

// refute looks for a request outside of o, which takes the present one.
func (s *search) refute(o *unit) outcome {
	type saved struct {
		at int
		d  dimension
	}
	var undo []saved
	answer := none
	try := func(c class, name string, a atom) bool {
		s.w.spend(20 + len(s.dims))
		i := s.dim(c, name)
		if i < 0 {
			i = len(s.dims)
			s.dims = append(s.dims, unnamed(c, name, &s.c.usual))
		}
		before := s.dims[i]
		if slices.ContainsFunc(before.atoms, a.equal) {
			return true
		}
		s.dims[i].atoms = append(slices.Clip(before.atoms), a.not())
		if s.dims[i].choose(&s.c.usual, s.w) != none {
			switch s.run() {
			case found:
				answer = found
				return false
			case unsure:
				answer = unsure
			}
		}
		if s.w.left <= 0 {
			answer = unsure
			return false
		}
		// From here on a holds, as it does now: the branches do not overlap.
		undo = append(undo, saved{i, before})
		s.dims[i] = before
		s.dims[i].atoms = append(slices.Clip(before.atoms), a)
		s.dims[i].blurred = before.blurred || a.lang != nil && a.lang.opaque
		return true
	}
	more := true
	for i := range o.conds {
		for _, a := range o.conds[i].atoms {
			more = more && try(o.conds[i].class, o.conds[i].name, a)
		}
	}
	if more {
		try(classPath, "", o.uriAtom())
	}
	if answer != found {
		for _, b := range slices.Backward(undo) {
			s.dims[b.at] = b.d
		}
	}
	return answer
}

// covering returns learned units that cover u together, none of which can be
// left out, as far as the budget tells.
func (s *search) covering() []*unit {
	by := slices.Clone(s.learned)
	const most = 16
	for i := len(by) - 1; i >= 0 && len(by) > 1 && len(by) <= most; i-- {
		var t search
		if !t.begin(s.c, s.u, noRoute) {
			break
		}
		t.w, t.closed = s.w, true
		t.learned = slices.Delete(slices.Clone(by), i, i+1)
		if t.run() == none {
			by = t.learned
		}
	}
	slices.SortFunc(by, func(a, b *unit) int { return a.seq - b.seq })
	return by
}

// request returns the present request.
func (s *search) request() *request {
	r := s.w.newRequest.next()
	*r = request{gateway: s.u.gateway, path: s.dims[0].value, usual: &s.c.usual}
	for _, d := range s.dims[1:] {
		if d.there {
			r.values = append(r.values, requestValue{d.class, d.name, d.value})
		}
	}
	return r
}
