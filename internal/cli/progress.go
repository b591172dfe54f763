package cli

import (
	"fmt"
	"io"
)

// progress is one line on a terminal that says what is being read; elsewhere it is nothing.
type progress struct {
	w  io.Writer
	on bool
}

func newProgress(w io.Writer) progress {
	_, on := terminal(w)
	return progress{w, on}
}

func (p progress) show(resource string, read int, left int64) {
	p.say(fmt.Sprintf("reading %s: %s of %s", resource, number(read), number(read+int(left))))
}

func (p progress) say(text string) {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K"+text)
	}
}

// erase leaves the line empty.
func (p progress) erase() { p.say("") }
