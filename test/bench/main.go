package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

func main() {
	os.Exit(run())
}

func run() (exitCode int) {
	out := flag.String("out", "", "the directory of the report; bin/bench of the repository if empty")
	only := flag.String("only", ".", "run the stages whose name this regexp matches")
	quick := flag.Bool("quick", false, "go through all of it once, as fast as possible: the numbers say nothing")
	goals := flag.String("goals", "", "measure nothing: print which goals are met in this report.json")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unexpected argument %q\n", flag.Arg(0))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var err error
	if *goals != "" {
		err = goalsOf(*goals)
	} else {
		err = measure(ctx, *out, *only, *quick)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s\n", err)
		return 1
	}
	return 0
}

// goalsOf prints which goals a report says to be met.
func goalsOf(path string) error {
	r, err := readReport(path)
	if err != nil {
		return err
	}
	return r.printGoals(os.Stdout)
}

// measure runs the stages and writes the report, also of those that went well when one fails.
func measure(ctx context.Context, out, only string, quick bool) (err error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	root, err := tools.RepoRoot()
	if err != nil {
		return err
	}
	if out == "" {
		out = filepath.Join(root, "bin", "bench")
	}
	dir, err := os.MkdirTemp("", "egress-tls-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{quick: quick, progress: os.Stderr, root: root, dir: dir}
	r, err := newReport(ctx, b, strings.Join(os.Args[1:], " "))
	if err != nil {
		return err
	}
	var failed error
	ran := 0
	for _, s := range stages {
		if !pattern.MatchString(s.name) || ctx.Err() != nil {
			continue
		}
		ran++
		b.say("stage %s", s.name)
		begun := time.Now()
		figures, plots, err := s.run(ctx, b)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("stage %s: %w", s.name, err))
			b.say("stage %s failed: %s", s.name, err)
			continue
		}
		b.say("stage %s took %s", s.name, time.Since(begun).Round(time.Second))
		r.Figures, r.Plots = append(r.Figures, figures...), append(r.Plots, plots...)
	}
	if ran == 0 {
		return errors.Join(ctx.Err(), fmt.Errorf("no stage is called like %q", only))
	}
	if err := r.write(out); err != nil {
		return errors.Join(failed, err)
	}
	b.say("the report is in %s", out)
	return errors.Join(failed, r.printGoals(os.Stdout))
}
