package mesh

import "slices"

// table is a map that keeps its order. A few keys are looked through, which costs less than
// a map of them.
type table[K comparable, V any] struct {
	rows []row[K, V]
	more map[K]int // the places of keys in rows
}

type row[K comparable, V any] struct {
	key   K
	value V
}

// at returns the value of k, the zero value if there is none.
func (t *table[K, V]) at(k K) V {
	if i := t.index(k); i >= 0 {
		return t.rows[i].value
	}
	var none V
	return none
}

// put sets the value of k.
func (t *table[K, V]) put(k K, v V) {
	if i := t.index(k); i >= 0 {
		t.rows[i].value = v
		return
	}
	t.rows = append(t.rows, row[K, V]{k, v})
	switch {
	case t.more != nil:
		t.more[k] = len(t.rows) - 1
	case len(t.rows) > few:
		t.more = make(map[K]int, 2*few)
		for i := range t.rows {
			t.more[t.rows[i].key] = i
		}
	}
}

func (t *table[K, V]) index(k K) int {
	if t.more != nil {
		if i, ok := t.more[k]; ok {
			return i
		}
		return -1
	}
	for i := range t.rows {
		if t.rows[i].key == k {
			return i
		}
	}
	return -1
}

// lists is a table of lists.
type lists[K, V comparable] struct{ table[K, []V] }

// add appends v to the list of k, unless it is the last one there.
func (l *lists[K, V]) add(k K, v V) {
	list := l.at(k)
	if n := len(list); n == 0 || list[n-1] != v {
		l.put(k, append(list, v))
	}
}

func (l *lists[K, V]) sort(order func(a, b V) int) {
	for i := range l.rows {
		slices.SortFunc(l.rows[i].value, order)
	}
}
