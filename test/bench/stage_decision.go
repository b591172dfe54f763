package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/benchmark/parse"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
)

// goBenchmarks are the Go benchmarks of one package.
type goBenchmarks struct {
	module, pkg string
	comparisons []comparison
}

// comparison is a figure whose sides are benchmarks of one package; other may be empty.
type comparison struct {
	figure.Figure
	this, other string
	of          func(*parse.Benchmark) float64
}

func nanoseconds(b *parse.Benchmark) float64 { return b.NsPerOp }
func allocations(b *parse.Benchmark) float64 { return float64(b.AllocsPerOp) }

// routeOrder compares the route order decision with what Istio itself says of the same object:
// its validation warns of an earlier prefix that covers a later one.
func routeOrder() goBenchmarks {
	const prefix = "BenchmarkRouteOrder/"
	group := "Route order"
	beside := func(id, what, shape string, goal figure.Goal) comparison {
		return comparison{
			Figure: figure.Figure{ID: id, Group: group, What: what, Against: "Istio's ValidateVirtualService", Unit: "ns", Compare: figure.Faster, Goal: goal},
			this:   prefix + "of=ours/" + shape, other: prefix + "of=istio/" + shape, of: nanoseconds,
		}
	}
	const disjoint, nested = "shape=disjoint/n=", "shape=nested-shortest-first/n=1000"
	return goBenchmarks{"test/conformance", ".", []comparison{
		beside("order-disjoint-20", "20 routes with disjoint prefixes", disjoint+"20", figure.Goal{}),
		beside("order-disjoint-1000", "1,000 of them", disjoint+"1000", figure.Goal{AtLeast: 20}),
		beside("order-disjoint-5000", "5,000 of them", disjoint+"5000", figure.Goal{AtLeast: 50}),
		beside("order-nested-1000", "1,000 routes, each prefix below the one before: 999 are dead", nested, figure.Goal{AtLeast: 1000}),
		beside("order-nested-live-1000", "the same from the longest to the shortest: all are live", "shape=nested-longest-first/n=1000", figure.Goal{}),
		{
			Figure: figure.Figure{
				ID: "order-growth", Group: group, What: "10,000 routes with disjoint prefixes", Against: "1,000 of them", Unit: "ns",
				Compare: figure.Times, Goal: figure.Goal{AtMost: 12},
			},
			this: prefix + "of=ours/" + disjoint + "10000", other: prefix + "of=ours/" + disjoint + "1000", of: nanoseconds,
		},
	}}
}

// wholeDecision is all that is decided about a VirtualService of 20 routes that needs nothing,
// beside what it costs to decode it, which any webhook has to do.
func wholeDecision() goBenchmarks {
	g := goBenchmarks{module: ".", pkg: "./internal/decision"}
	for _, to := range []struct{ id, what, host string }{
		{"external", "an external host that has its rule and headers", "api.example.org"},
		{"services", "a Service", "a.default.svc.cluster.local"},
	} {
		for _, through := range []string{"gateway", "mesh"} {
			name := "BenchmarkDecide/to=" + to.host + "/through=" + through + "/of="
			f := figure.Figure{
				ID: "decision-" + to.id + "-" + through, Group: "A decision that needs nothing",
				What: fmt.Sprintf("20 routes to %s, through %s", to.what, through),
			}
			allocated, time := f, f
			allocated.ID += "-allocations"
			allocated.Unit, allocated.Compare, allocated.Goal = "allocations", figure.Alone, figure.Goal{AtMost: 99}
			time.Against, time.Unit, time.Compare = "decoding the object", "ns", figure.Times
			g.comparisons = append(g.comparisons,
				comparison{Figure: allocated, this: name + "create", of: allocations},
				comparison{Figure: time, this: name + "create", other: name + "decode", of: nanoseconds})
		}
	}
	return g
}

func decisionStage(ctx context.Context, b *bench) ([]figure.Figure, []figure.Plot, error) {
	var figures []figure.Figure
	for _, g := range []goBenchmarks{routeOrder(), wholeDecision()} {
		more, err := g.run(ctx, b)
		if err != nil {
			return nil, nil, err
		}
		figures = append(figures, more...)
	}
	return figures, nil, nil
}

// run runs all benchmarks of the comparisons in turns.
func (g goBenchmarks) run(ctx context.Context, b *bench) ([]figure.Figure, error) {
	dir := filepath.Join(b.root, g.module)
	binary := filepath.Join(b.dir, "bench.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, g.pkg)
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("failed to build the benchmarks of %s %s: %w\n%s", g.module, g.pkg, err, out)
	}
	var names []string // The two sides of a comparison one after the other.
	for _, c := range g.comparisons {
		for _, name := range []string{c.this, c.other} {
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	benchtime := "0.5s"
	if b.quick {
		benchtime = "1x"
	}
	pairs := make([][]figure.Pair, len(g.comparisons))
	for i := range b.runs(6) {
		b.say("benchmarks of %s, run %d", filepath.Join(g.module, g.pkg), i+1)
		got := map[string]*parse.Benchmark{}
		for _, name := range names {
			run := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench="+pattern(name), "-test.benchmem", "-test.benchtime="+benchtime)
			run.Dir = filepath.Join(dir, g.pkg)
			var stderr bytes.Buffer
			run.Stderr = &stderr
			out, err := run.Output()
			if err != nil {
				return nil, fmt.Errorf("benchmarks of %s %s: %w\n%s%s", g.module, g.pkg, err, out, stderr.Bytes())
			}
			set, err := parse.ParseSet(bytes.NewReader(out))
			if err != nil {
				return nil, err
			}
			for name, results := range set {
				got[withoutProcs.ReplaceAllString(name, "")] = results[0]
			}
		}
		for j, c := range g.comparisons {
			this, other := got[c.this], got[c.other]
			if this == nil || c.other != "" && other == nil {
				return nil, fmt.Errorf("%s %s has no benchmark %s, or %s", g.module, g.pkg, c.this, c.other)
			}
			p := figure.Pair{This: c.of(this)}
			if other != nil {
				p.Other = c.of(other)
			}
			pairs[j] = append(pairs[j], p)
		}
	}
	var out []figure.Figure
	for j, c := range g.comparisons {
		c.Pairs = pairs[j]
		out = append(out, c.Figure)
	}
	return out, nil
}

// withoutProcs takes from a benchmark's name how many processors it ran on.
var withoutProcs = regexp.MustCompile(`-\d+$`)

// pattern is the regexp for -test.bench that picks one benchmark.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}
