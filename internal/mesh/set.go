package mesh

import (
	"iter"
	"slices"
)

// set holds values in their first order, each once. A few are looked through, which costs
// less than a map of them.
type set[T comparable] struct {
	list []T
	more map[T]int // their places in list
}

const few = 16

// add returns the place of v in the list, and whether it is new.
func (s *set[T]) add(v T) (at int, isNew bool) {
	if at = s.index(v); at >= 0 {
		return at, false
	}
	at = len(s.list)
	s.list = append(s.list, v)
	switch {
	case s.more != nil:
		s.more[v] = at
	case len(s.list) > few:
		s.more = make(map[T]int, 2*few)
		for i, v := range s.list {
			s.more[v] = i
		}
	}
	return at, true
}

func (s *set[T]) index(v T) int {
	if s.more == nil {
		return slices.Index(s.list, v)
	}
	if at, ok := s.more[v]; ok {
		return at
	}
	return -1
}

// distinct returns the values in their first order, each once.
func distinct[T comparable](in []T) []T {
	if len(in) < 2 {
		return in
	}
	s := set[T]{list: make([]T, 0, len(in))}
	for _, v := range in {
		s.add(v)
	}
	return s.list
}

// collected is distinct of what values yields.
func collected[T comparable](values iter.Seq[T]) []T {
	var s set[T]
	for v := range values {
		s.add(v)
	}
	return s.list
}
