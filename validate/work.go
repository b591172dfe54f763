package validate

// work is what one judgement may spend, and what it has learnt of strings: equal
// values in one object are one language, read and compiled once.
type work struct {
	left      int
	languages map[languageKey]*language
}

// budget is what one judgement may spend; one unit of it is some 15 to 30 ns.
const budget = 2_000_000

func newWork() *work { return newWorkOf(budget) }

func newWorkOf(budget int) *work {
	return &work{left: budget, languages: map[languageKey]*language{}}
}

// spend returns false when the budget has ended.
func (w *work) spend(n int) bool {
	w.left -= n
	return w.left > 0
}

// limited returns work with the same languages and at most n to spend; done books
// and returns what was spent.
func (w *work) limited(n int) (limited *work, done func() int) {
	n = min(n, w.left)
	l := &work{left: n, languages: w.languages}
	return l, func() int {
		w.left -= n - l.left
		return n - l.left
	}
}
