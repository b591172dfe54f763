package cli

// How text is written for people: colour, and lines as wide as the terminal.

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	unicodewidth "golang.org/x/text/width"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "string" }

// Set is what the flag's parser calls.
func (c *choice) Set(value string) error {
	if !slices.Contains(c.allowed, value) {
		return fmt.Errorf("it is one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = value
	return nil
}

// colors is the flag --color of commands that print text for people.
type colors struct{ when choice }

func (c *colors) register(cmd *cobra.Command) {
	c.when = choice{"auto", []string{"auto", "always", "never"}}
	cmd.Flags().Var(&c.when, "color", "colour text `WHEN`: auto (on a terminal, unless NO_COLOR is set), always or never")
	offerWords(cmd, "color", c.when.allowed...)
}

// style is how text for people looks on one stream.
type style struct {
	color bool
	width int
}

// defaultWidth is that of text which goes to no terminal.
const defaultWidth = 96

// style tells how to write to w, which is one of Streams.
func (c *colors) style(w io.Writer) style {
	width, isTerminal := terminal(w)
	out := style{width: min(width, 2*defaultWidth)} // Longer lines are hard to read.
	switch c.when.value {
	case "always":
		out.color = true
	case "auto":
		out.color = isTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	if out.color && isTerminal {
		out.color = understandsColor(w)
	}
	return out
}

// terminal reports whether w is a terminal, and its width.
func terminal(w io.Writer) (width int, ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return defaultWidth, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return defaultWidth, true
	}
	return width, true
}

// SGR parameters. The base colours are readable on light and dark ground alike.
const (
	sgrBold   = "1"
	sgrRed    = "1;31"
	sgrGreen  = "1;32"
	sgrYellow = "1;33"
	sgrBlue   = "1;34"
)

func (s style) paint(sgr, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (s style) green(text string) string { return s.paint(sgrGreen, text) }
func (s style) bold(text string) string  { return s.paint(sgrBold, text) }
func (s style) blue(text string) string  { return s.paint(sgrBlue, text) }

// severity colours text as serious as a finding is.
func (s style) severity(of finding.Severity, text string) string {
	if of == finding.Error {
		return s.paint(sgrRed, text)
	}
	return s.paint(sgrYellow, text)
}

// wrap breaks text between words into lines that fit behind an indent of that many
// columns. Words come from objects too: what a terminal would obey is written out.
func (s style) wrap(text string, indent int) []string {
	var out []string
	var line strings.Builder
	at := 0
	for word := range strings.FieldsSeq(text) {
		word = finding.Printable(word)
		n := columns(word)
		if at > 0 && indent+at+1+n > s.width {
			out = append(out, line.String())
			line.Reset()
			at = 0
		}
		if at > 0 {
			line.WriteByte(' ')
			at++
		}
		line.WriteString(word)
		at += n
	}
	return append(out, line.String())
}

// columns is how many columns of a terminal text takes.
func columns(text string) int {
	n := 0
	for _, r := range text {
		switch kind := unicodewidth.LookupRune(r).Kind(); {
		case unicode.Is(unicode.Mn, r): // It is drawn over the one before.
		case kind == unicodewidth.EastAsianWide || kind == unicodewidth.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
