package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
)

// bench is what the stages share.
type bench struct {
	// quick asks for the shortest run that goes through all of the code: its numbers say nothing.
	quick    bool
	progress io.Writer
	// root is the repository's directory; dir one for what is built and written on the way.
	root, dir string
}

// stage measures one side of the product, from nothing: it starts what it needs, and stops it.
type stage struct {
	name string
	run  func(context.Context, *bench) ([]figure.Figure, []figure.Plot, error)
}

// stages are in the order of the report.
var stages = []stage{
	{"decision", decisionStage},
}

// say reports progress.
func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

// runs is how often a comparison is made.
func (b *bench) runs(n int) int {
	if b.quick {
		return 1
	}
	return n
}
