package mesh

import "sync"

// memo remembers answers: the first one in itself, since often it stays the only one. Several
// goroutines may ask.
type memo[K comparable, V any] struct {
	mu     sync.Mutex
	asked  bool
	first  K
	answer V
	more   table[K, V]
}

func (m *memo[K, V]) get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked && m.first == key {
		return m.answer, true
	}
	if i := m.more.index(key); i >= 0 {
		return m.more.rows[i].value, true
	}
	var none V
	return none, false
}

func (m *memo[K, V]) put(key K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.asked || m.first == key {
		m.asked, m.first, m.answer = true, key, v
		return
	}
	m.more.put(key, v)
}
