package webhook

import (
	"context"
	"sync"
	"time"
)

// freshList shares expensive reads of the API server among requests. A caller
// gets the result of a read that began after its call, so whatever was stored
// before the call is in it; all who wait for the next read share one.
type freshList[T any] struct {
	read func(context.Context) ([]T, error)
	// timeout bounds one read, in place of any single caller's deadline.
	timeout time.Duration

	mu      sync.Mutex
	next    *freshRead[T]
	running bool
}

type freshRead[T any] struct {
	done  chan struct{}
	items []T
	err   error
}

// get returns the items; they are shared and must not be changed.
func (f *freshList[T]) get(ctx context.Context) ([]T, error) {
	f.mu.Lock()
	if f.next == nil {
		f.next = &freshRead[T]{done: make(chan struct{})}
	}
	r := f.next
	if !f.running {
		f.running = true
		go f.run() //nolint:contextcheck // shared, so it must not end with one caller
	}
	f.mu.Unlock()
	select {
	case <-r.done:
		return r.items, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// run reads until nobody waits.
func (f *freshList[T]) run() {
	for {
		f.mu.Lock()
		r := f.next
		f.next = nil
		if r == nil {
			f.running = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
		r.items, r.err = f.read(ctx)
		cancel()
		close(r.done)
	}
}
