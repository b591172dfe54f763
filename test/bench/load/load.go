// Package load sends requests to a server as its clients would, and measures how long they
// take.
//
// Open sends them at times that are set before the first one is sent, as those who apply
// objects do: they do not wait for each other. A request that is sent late because those
// before it were slow counts from the time at which it was due, so that a server that stops
// for a while is charged with all that came in the meantime (no coordinated omission).
// Closed sends the next request when the last one is answered, and so finds out how many
// the server can take.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Request sends the n-th request, counted over all runs, and waits for its answer. An error
// ends the run.
type Request func(ctx context.Context, n uint64) error

// Arrivals are when requests come.
type Arrivals struct {
	// Rate is how many come a second, on average.
	Rate float64
	// Duration is how long they come.
	Duration time.Duration
	// Poisson makes the times between them as random as those of people; else all are the
	// same. Seed chooses them.
	Poisson bool
	Seed    uint64
}

// Times returns when each request is due, from the start.
func (a Arrivals) Times() []time.Duration {
	random := rand.New(rand.NewPCG(a.Seed, 0)) //nolint:gosec // Nobody guesses it.
	var out []time.Duration
	for at := 0.0; ; {
		gap := 1.0
		if a.Poisson {
			gap = random.ExpFloat64()
		}
		at += gap / a.Rate
		due := time.Duration(at * float64(time.Second))
		if due >= a.Duration {
			return out
		}
		out = append(out, due)
	}
}

// Result is what a run found out.
type Result struct {
	// Latency is how long requests took, in ns, from when they were due.
	Latency *hdrhistogram.Histogram
	// Late is how late they were begun, in ns: what of Latency this machine and the requests
	// under way may be to blame for.
	Late *hdrhistogram.Histogram
	// Elapsed is the time from the start to the last answer.
	Elapsed time.Duration
}

// Rate is how many requests were answered a second.
func (r Result) Rate() float64 { return float64(r.Latency.TotalCount()) / r.Elapsed.Seconds() }

// Millis returns the latency in ms that the share q of all requests does not exceed.
func (r Result) Millis(q float64) float64 {
	return float64(r.Latency.ValueAtQuantile(100*q)) / float64(time.Millisecond)
}

// numbers counts requests over all runs.
var numbers atomic.Uint64

// Open sends requests when they are due, at most workers at one time. Those that find
// all of them busy wait, which counts.
func Open(ctx context.Context, arrivals Arrivals, workers int, send Request) (Result, error) {
	times := arrivals.Times()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rec := newRecorder()
	due := make(chan time.Time, len(times)) // so that nobody waits to put one in
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for at := range due {
				if ctx.Err() != nil {
					continue
				}
				late := time.Since(at)
				if err := send(ctx, numbers.Add(1)); err != nil {
					cancel(err)
					continue
				}
				rec.record(time.Since(at), late)
			}
		})
	}
	// A thread of its own that sleeps in the kernel: Go's timers are up to 1 ms late.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	for _, t := range times {
		at := start.Add(t)
		for d := time.Until(at); d > 0 && ctx.Err() == nil; d = time.Until(at) {
			sleep(min(d, 100*time.Millisecond))
		}
		due <- at
	}
	close(due)
	wg.Wait()
	return rec.result(ctx, time.Since(start))
}

// sleep blocks the thread. The kernel may wake it up to 50 µs late unless told otherwise.
func sleep(d time.Duration) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // After a signal the caller looks at the clock again.
}

// Closed has workers send one request after the other.
func Closed(ctx context.Context, duration time.Duration, workers int, send Request) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rec := newRecorder()
	start := time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				at := time.Now()
				if at.Sub(start) >= duration {
					return
				}
				if err := send(ctx, numbers.Add(1)); err != nil {
					cancel(err)
					return
				}
				rec.record(time.Since(at), 0)
			}
		})
	}
	wg.Wait()
	return rec.result(ctx, time.Since(start))
}

// recorder takes what all workers measure.
type recorder struct {
	mu            sync.Mutex
	latency, late *hdrhistogram.Histogram
	err           error
}

func newRecorder() *recorder {
	// From 1 µs to a minute, to three digits.
	histogram := func() *hdrhistogram.Histogram { return hdrhistogram.New(1000, int64(time.Minute), 3) }
	return &recorder{latency: histogram(), late: histogram()}
}

func (r *recorder) record(latency, late time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = errors.Join(r.err, r.latency.RecordValue(int64(latency)), r.late.RecordValue(int64(late)))
}

func (r *recorder) result(ctx context.Context, elapsed time.Duration) (Result, error) {
	out := Result{Latency: r.latency, Late: r.late, Elapsed: elapsed}
	switch {
	case ctx.Err() != nil:
		return out, fmt.Errorf("a request failed: %w", context.Cause(ctx))
	case r.err != nil:
		return out, fmt.Errorf("failed to record: %w", r.err)
	case r.latency.TotalCount() == 0:
		return out, errors.New("no request was sent")
	}
	return out, nil
}
