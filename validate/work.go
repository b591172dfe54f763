package validate

import "hash/maphash"

// work is what one judgement may spend, and what it has learnt of strings: equal
// values in one object are one language, read and compiled once.
type work struct {
	left int
	*memory
}

// memory is what all work of one judgement has in common.
type memory struct {
	languages     map[uint64]*language // by the hash of their value
	seed          maphash.Seed
	newLanguage   slab[language]
	newConditions slab[conditions]
	newRequest    slab[request]
	newList       slab[[1]*unit]
}

// A slab hands out values, many for one allocation.
type slab[T any] struct {
	free []T
	size int
}

func (s *slab[T]) next() *T {
	if len(s.free) == 0 {
		const most = 256
		s.size = min(max(4, 2*s.size), most)
		s.free = make([]T, s.size)
	}
	out := &s.free[0]
	s.free = s.free[1:]
	return out
}

// budget is what one judgement may spend; one unit of it is some 15 to 30 ns.
const budget = 2_000_000

func newWork() *work { return newWorkOf(budget) }

func newWorkOf(budget int) *work {
	return &work{left: budget, memory: &memory{languages: map[uint64]*language{}, seed: maphash.MakeSeed()}}
}

// spend returns false when the budget has ended.
func (w *work) spend(n int) bool {
	w.left -= n
	return w.left > 0
}

// limited returns work with the same memory and at most n to spend; done books
// and returns what was spent.
func (w *work) limited(n int) (limited *work, done func() int) {
	n = min(n, w.left)
	l := &work{left: n, memory: w.memory}
	return l, func() int {
		w.left -= n - l.left
		return n - l.left
	}
}
