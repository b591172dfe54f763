package conformance

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	worlds = flag.Int("worlds", 0, "random worlds for each differential test; 0: a small number with fixed seeds")
	seed   = flag.Int64("seed", 1, "seed of the first world")
)

// maxWrong bounds the worlds that a test reports.
const maxWrong = 3

// eachWorld judges as many random worlds as the flag asks for, or few, several at a time. Each has a
// seed of its own; judge returns what is wrong in it.
func eachWorld(t *testing.T, few int, judge func(seed int64) (wrong string)) {
	t.Helper()
	n := int64(few)
	if *worlds > 0 {
		n = int64(*worlds)
	}
	var next, wrong atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < n && wrong.Load() < maxWrong; i = next.Add(1) - 1 {
				if text := sheltered(judge, *seed+i); text != "" {
					wrong.Add(1)
					t.Errorf("this world alone: make conformance WORLDS=1 SEED=%d\n%s", *seed+i, text)
				}
			}
		})
	}
	wg.Wait()
}

// sheltered tells in which world a panic was, istiod's or ours.
func sheltered(judge func(int64) string, seed int64) (wrong string) {
	defer func() {
		if r := recover(); r != nil {
			wrong = fmt.Sprintf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return judge(seed)
}

// A tally counts what a test has seen, so that it shows when it is idle.
type tally struct {
	mu sync.Mutex
	of map[string]int
}

func (n *tally) add(what string, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = map[string]int{}
	}
	n.of[what] += count
}

// report logs the tally. The few worlds of fixed seeds must have some of each of needed.
func (n *tally) report(t *testing.T, needed ...string) {
	t.Helper()
	t.Log(n.of)
	for _, what := range needed {
		if *worlds == 0 && n.of[what] == 0 {
			t.Errorf("%s: none", what)
		}
	}
}
