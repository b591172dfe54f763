package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var o options
	flag.DurationVar(&o.duration, "duration", 30*time.Minute, "how long the load runs")
	flag.Float64Var(&o.rate, "rate", 20, "requests a second, about")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of all that is random")
	flag.StringVar(&o.binary, "binary", "", "the server; built if empty")
	flag.StringVar(&o.profiles, "profiles", "", "directory for heap profiles of the replica that stays; none if empty")
	flag.Parse()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	duration time.Duration
	rate     float64
	seed     uint64
	binary   string
	profiles string
}

// run returns an error if anything was not as it should be.
func run(ctx context.Context, o options) (err error) {
	fmt.Printf("-seed %d\n", o.seed)
	s := newSoak(o)
	defer func() { err = s.end(err) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	s.say("the load begins")
	s.begun = time.Now()
	loaded, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	s.giveUp = cancel
	var all sync.WaitGroup
	for i, t := range s.teams {
		all.Go(func() { t.work(loaded, rand.New(rand.NewPCG(o.seed, uint64(i)))) })
	}
	random := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(o.seed, n<<32)) }
	all.Go(func() { s.replace(loaded, random(1)) })
	all.Go(func() { s.sample(loaded) })
	all.Go(func() { s.witness(loaded) })
	s.attack(loaded, &all, random(2))
	all.Go(func() { s.report(loaded) })
	all.Wait()
	s.loaded = time.Since(s.begun)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.say("the load has ended")
	s.profile(ctx, "end")
	s.settle(ctx)
	s.judgeAnswers(ctx)
	s.judgeGrowth()
	return nil
}

// report tells how far it is, each minute.
func (s *soak) report(ctx context.Context) {
	for pause(ctx, time.Minute) {
		s.say("%s", s.progress())
	}
}

// pause returns false when it is over.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
