package mesh

import "sync"

// memo remembers answers. Several goroutines may ask.
type memo[K comparable, V any] struct {
	mu    sync.Mutex
	known map[K]V
}

// get returns the answer for key, found at most once by each who asks at the same time.
func (m *memo[K, V]) get(key K, find func() V) V {
	m.mu.Lock()
	v, ok := m.known[key]
	m.mu.Unlock()
	if ok {
		return v
	}
	v = find()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[K]V{}
	}
	m.known[key] = v
	return v
}
