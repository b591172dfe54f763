package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// outages are the times in which a replica that was killed was still called.
type outages struct {
	mu  sync.Mutex
	all []outage
}

type outage struct{ from, to time.Time }

func (o *outages) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, outage{from: time.Now()})
}

func (o *outages) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all[len(o.all)-1].to = time.Now()
}

// during reports whether any of the time was in an outage.
func (o *outages) during(from, to time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, out := range o.all {
		if out.from.Before(to) && (out.to.IsZero() || from.Before(out.to)) {
			return true
		}
	}
	return false
}

// replace replaces the second and the third replica in turns, as a rollout does, and one time of five
// kills one first. Each time another one is ready before the next turn.
func (s *soak) replace(ctx context.Context, random *rand.Rand) {
	every := min(30*time.Second, s.duration/10)
	for turn := 0; pause(ctx, every/2+time.Duration(random.Int64N(int64(every)))); turn++ {
		i := 1 + turn%2
		// What has begun is brought to its end.
		calls := context.WithoutCancel(ctx)
		if random.IntN(5) > 0 {
			next, err := s.servers[i].Replace(calls)
			if err != nil {
				s.problem("replica %d is not replaced: %v", i, err)
			}
			if next == nil {
				return
			}
			s.servers[i] = next
			s.count(rollouts)
			continue
		}
		s.outages.begin()
		if err := s.servers[i].Kill(); err != nil {
			s.problem("replica %d is not killed: %v", i, err)
		}
		next, err := s.servers[i].Restart(calls)
		if err != nil {
			s.problem("replica %d is not started again: %v", i, err)
			return
		}
		s.servers[i] = next
		s.outages.end()
		s.count(kills)
	}
}
