package mesh

import "sync"

// memo remembers answers: the first one in itself, since often it stays the only one. Several
// goroutines may ask.
type memo[K comparable, V any] struct {
	mu     sync.Mutex
	asked  bool
	first  K
	answer V
	more   map[K]V
}

func (m *memo[K, V]) get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked && m.first == key {
		return m.answer, true
	}
	v, ok := m.more[key]
	return v, ok
}

func (m *memo[K, V]) put(key K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.asked || m.first == key {
		m.asked, m.first, m.answer = true, key, v
		return
	}
	if m.more == nil {
		m.more = map[K]V{}
	}
	m.more[key] = v
}
