package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/egress-tls/egress-tls-webhook/test/soak/growth"
)

// watched is what must not grow in the replica that stays, but for what comes and goes.
var watched = []struct {
	what, metric string
	unit         float64
	// allowed is how much it may grow, as a share of what it is at the beginning and beside that.
	share, more float64
}{
	{"memory that is in use after a garbage collection, MiB", "go_gc_heap_live_bytes", 1 << 20, 0.05, 1},
	{"resident memory, MiB", "process_resident_memory_bytes", 1 << 20, 0.05, 4},
	{"goroutines", "go_goroutines", 1, 0.05, 10},
	{"open files and connections", "process_open_fds", 1, 0.05, 10},
	{"series of metrics", seriesMetric, 1, 0.01, 5},
}

// seriesMetric is how many lines the metrics have.
const seriesMetric = "series"

// warmUp is the share of the duration after which nothing grows any more.
const warmUp = 6

const sampleEvery = 5 * time.Second

type samples struct {
	mu     sync.Mutex
	byName map[string][]growth.Sample
}

func (s *samples) add(name string, at time.Duration, value float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = map[string][]growth.Sample{}
	}
	s.byName[name] = append(s.byName[name], growth.Sample{At: at, Value: value})
}

func (s *samples) of(name string) []growth.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[name]
}

// last are the newest.
func (s *samples) last() string {
	var out []string
	for _, w := range watched {
		if all := s.of(w.metric); len(all) > 0 {
			out = append(out, fmt.Sprintf("%.4g %s", all[len(all)-1].Value, w.what))
		}
	}
	return strings.Join(out, ", ")
}

// sample measures the replica that stays.
func (s *soak) sample(ctx context.Context) {
	warm := false
	for pause(ctx, sampleEvery) {
		if !warm && time.Since(s.begun) > s.duration/warmUp {
			warm = true
			s.profile(ctx, "begin")
		}
		metrics, err := s.scrape(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.problem("failed to read the metrics: %v", err)
			continue
		}
		at := time.Since(s.begun)
		s.samples.add(seriesMetric, at, float64(len(metrics)))
		for _, m := range metrics {
			for _, w := range watched {
				if m.name == w.metric {
					s.samples.add(w.metric, at, m.value/w.unit)
				}
			}
		}
	}
}

// profile writes a heap profile, if it is wanted.
func (s *soak) profile(ctx context.Context, name string) {
	address, _ := s.pprof.Load().(string)
	if s.profiles == "" || address == "" {
		return
	}
	data, err := get(ctx, "http://"+address+"/debug/pprof/heap?gc=1")
	if err == nil {
		err = os.WriteFile(filepath.Join(s.profiles, "heap-"+name), []byte(data), 0o600)
	}
	if err != nil {
		s.say("no profile: %v", err)
	}
}

func (s *soak) judgeGrowth() {
	for _, w := range watched {
		trend, err := growth.Of(s.samples.of(w.metric), s.duration/warmUp)
		if err != nil {
			s.problem("%s: %v", w.what, err)
			continue
		}
		if allowed := trend.Begin*w.share + w.more; trend.Sure > allowed {
			s.problem("%s grow: %s, allowed %.3g", w.what, trend, allowed)
		}
	}
}

// table is the outcome, in Markdown.
func (s *soak) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| in %.0f minutes | |\n|---|---:|\n", s.loaded.Minutes())
	for _, what := range []string{stored, deleted, refused, unreadable, malformed, dryRuns, kubectls, flips, rollouts, kills, repeated, versionsSeen, hostile, witnessed} {
		fmt.Fprintf(&b, "| %s | %d |\n", what, s.counted(what))
	}
	s.mu.Lock()
	fmt.Fprintf(&b, "| answers that should have been others, or none | %d |\n", len(s.problems))
	s.mu.Unlock()
	fmt.Fprintf(&b, "\n| the replica that was never replaced | after %.1f minutes | at the end | growth in between, of all samples | surely |\n|---|---:|---:|---:|---:|\n", (s.duration / warmUp).Minutes())
	for _, w := range watched {
		if trend, err := growth.Of(s.samples.of(w.metric), s.duration/warmUp); err == nil {
			fmt.Fprintf(&b, "| %s | %.1f | %.1f | %+.2f | %+.2f |\n", w.what, trend.Begin, trend.End, trend.Growth, trend.Sure)
		}
	}
	return b.String()
}
