package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// writeCheckText prints one paragraph a finding, then one for each object that
// admission would add something to, then the sum.
func writeCheckText(w io.Writer, in *input, v verdict) {
	writeFindings(w, in, v.findings)
	for _, a := range additions(v) {
		fmt.Fprintf(w, "%s: %s\n", a.doc.Place(""), a.doc.Name())
		for _, line := range a.lines {
			writeWrapped(w, "would add: "+line)
		}
		fmt.Fprintln(w)
	}
	s := v.summary()
	fmt.Fprintf(w, "%s, %s in %s.\n", count(s.Errors, "error"), count(s.Warnings, "warning"), count(s.Objects, "object"))
}

func writeFindings(w io.Writer, in *input, fs []finding.Finding) {
	for _, f := range fs {
		if place := in.place(f); place != "" {
			fmt.Fprintf(w, "%s: ", place)
		}
		fmt.Fprintf(w, "%s %s %s", f.Severity, f.Code, f.Object)
		if f.Path != "" {
			fmt.Fprintf(w, " %s", f.Path)
		}
		fmt.Fprintln(w)
		writeWrapped(w, f.Message)
		writeWrapped(w, f.Remedy)
		fmt.Fprintln(w)
	}
}

type addition struct {
	judgement
	lines []string
}

// additions says for each object what is added with it. A DestinationRule that
// several ask for is named with the first.
func additions(v verdict) []addition {
	var out []addition
	said := map[string]struct{}{}
	for _, j := range v.judgements {
		if finding.HasErrors(j.outcome.Findings) {
			continue // It is refused, and nothing is added.
		}
		lines := append([]string(nil), j.outcome.Changes...)
		for _, c := range j.outcome.Rules {
			text := c.String()
			if _, dup := said[text]; !dup {
				said[text] = struct{}{}
				lines = append(lines, text)
			}
		}
		if len(lines) > 0 {
			out = append(out, addition{j, lines})
		}
	}
	return out
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// The text below a finding.
const (
	indent = "    "
	width  = 96
)

// writeWrapped prints text indented, each of its lines broken between words. A
// line that is indented itself, such as a fragment of YAML, is left whole.
func writeWrapped(w io.Writer, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, " ") {
			fmt.Fprintln(w, indent+line)
			continue
		}
		at := 0
		for word := range strings.FieldsSeq(line) {
			word = finding.Printable(word)
			n := len([]rune(word))
			switch {
			case at == 0:
				fmt.Fprint(w, indent+word)
				at = len(indent) + n
			case at+1+n > width:
				fmt.Fprint(w, "\n"+indent+word)
				at = len(indent) + n
			default:
				fmt.Fprint(w, " "+word)
				at += 1 + n
			}
		}
		fmt.Fprintln(w)
	}
}
