package cli

import (
	"fmt"
	"io"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// writeCheckText prints one paragraph a finding, then one for each object that
// admission would add something to, then the sum.
func writeCheckText(w io.Writer, st style, in *input, v verdict) {
	writeFindings(w, st, in, v.findings)
	for _, a := range additions(v) {
		fmt.Fprintf(w, "%s: %s\n", a.doc.Place(""), a.doc.Name())
		for _, line := range a.lines {
			st.writeIndented(w, "would add: "+line)
		}
		fmt.Fprintln(w)
	}
	s := v.summary()
	fmt.Fprintf(w, "%s, %s in %s.\n", count(s.Errors, "error"), count(s.Warnings, "warning"), count(s.Objects, "object"))
}

func writeFindings(w io.Writer, st style, in *input, fs []finding.Finding) {
	for _, f := range fs {
		if place := in.place(f); place != "" {
			fmt.Fprintf(w, "%s: ", st.blue(place))
		}
		fmt.Fprintf(w, "%s %s", st.severity(f.Severity, string(f.Severity)+" "+string(f.Code)), st.bold(f.Object.String()))
		if f.Path != "" {
			fmt.Fprintf(w, " %s", f.Path)
		}
		fmt.Fprintln(w)
		st.writeIndented(w, f.Message)
		st.writeIndented(w, f.Remedy)
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
