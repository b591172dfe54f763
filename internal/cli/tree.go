package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// node is a text and what belongs to it. Its head is printed before the text, coloured,
// and never broken.
type node struct {
	head, text string
	sgr        string
	children   []node
}

// equal reports whether both print the same below their heads.
func (n node) equal(o node) bool {
	return n.head == o.head && n.text == o.text && slices.EqualFunc(n.children, o.children, node.equal)
}

// treeLines are what a tree is drawn with: before a child and before the lines below it,
// and the same for the last one.
type treeLines struct{ child, below, last, belowLast string }

var (
	boxLines   = treeLines{"├─ ", "│  ", "└─ ", "   "}
	asciiLines = treeLines{"|- ", "|  ", "`- ", "   "}
)

// tree prints nodes.
type tree struct {
	w     io.Writer
	style style
	lines treeLines
}

// write prints n without a line before it, and what belongs to it below.
func (t tree) write(n node) { t.node(n, "", "", "") }

// node prints n: its first line behind first, further ones of it behind rest, and its
// children behind children.
func (t tree) node(n node, first, rest, children string) {
	if len(n.children) > 0 {
		rest += strings.TrimRight(t.lines.below, " ") + "  "
	}
	head := finding.Printable(n.head)
	// No blank is in place of the head while lines are made.
	held := strings.Repeat("_", len([]rune(head)))
	text := held + n.text
	if n.head != "" && n.text != "" && !strings.HasPrefix(n.text, ":") && !strings.HasPrefix(n.text, ",") {
		text = held + " " + n.text
	}
	for i, line := range t.style.wrap(text, len([]rune(rest))) {
		before := rest
		if i == 0 {
			before = first
			line = t.style.paint(n.sgr, head) + line[len(held):]
		}
		fmt.Fprintln(t.w, strings.TrimRight(before+line, " "))
	}
	for i, c := range n.children {
		if i == len(n.children)-1 {
			t.node(c, children+t.lines.last, children+t.lines.belowLast, children+t.lines.belowLast)
		} else {
			t.node(c, children+t.lines.child, children+t.lines.below, children+t.lines.below)
		}
	}
}
