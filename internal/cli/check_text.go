package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// writeCheckText prints for people: what is found, what admission would add, the sum.
func writeCheckText(w io.Writer, st style, in *input, v verdict) {
	writeFindings(w, st, in, v.findings)
	in.writeAdditions(w, st, additions(v, false))
	writeSum(w, st, v)
}

// writeFindings prints one paragraph for all findings of one cause.
func writeFindings(w io.Writer, st style, in *input, fs []finding.Finding) {
	ordered := map[finding.Object]bool{}
	for _, group := range grouped(fs) {
		newParagraph(w, st, in).write(group, ordered)
		fmt.Fprintln(w)
	}
}

type addition struct {
	judgement
	lines []string
}

// additions says for each object what is added with it. A DestinationRule that
// several ask for is named with the first, or with each.
func additions(v verdict, each bool) []addition {
	var out []addition
	said := map[string]struct{}{}
	for _, j := range v.judgements {
		if finding.HasErrors(j.outcome.Findings) {
			continue // It is refused, and nothing is added.
		}
		lines := append([]string(nil), j.outcome.Changes...)
		for _, c := range j.outcome.Rules {
			text := c.String()
			if _, dup := said[text]; each || !dup {
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

// writeAdditions prints what admission adds by itself, and why it is needed.
func (in *input) writeAdditions(w io.Writer, st style, all []addition) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, st.green("note")+st.bold(": Admission adds what is missing to "+count(len(all), "object")))
	for _, a := range all {
		where := a.doc.Name()
		if place := a.doc.Place(""); place != "" {
			where = place + ": " + where
		}
		if a.mode != policy.Enforce {
			where += fmt.Sprintf(", but not in mode %s", a.mode)
		}
		fmt.Fprintln(w, st.blue("  -->"), finding.Printable(where))
		for _, line := range a.lines {
			sign := st.green("+")
			for _, text := range st.wrap("would add: "+line, len("   + ")) {
				fmt.Fprintln(w, "  ", sign, text)
				sign = " "
			}
		}
	}
	t := newParagraph(w, st, in)
	t.say("why: ", "without it requests reach a TLS port in plaintext (protocol error, or read on the way), or a server with a Host that it does not know (404).")
	t.say("fix: ", "the webhook adds it when you apply, in mode enforce.")
	t.render("or run: ")
	fmt.Fprintln(w)
}

// paint colours text as the worst that was found.
func (s summary) paint(st style, text string) string {
	switch {
	case s.Errors > 0:
		return st.severity(finding.Error, text)
	case s.Warnings > 0:
		return st.severity(finding.Warning, text)
	}
	return st.green(text)
}

// writeSum prints the last line. Where there is nothing to say it tells what was checked.
func writeSum(w io.Writer, st style, v verdict) {
	s := v.summary()
	text := fmt.Sprintf("%s, %s in %s", count(s.Errors, "error"), count(s.Warnings, "warning"), count(s.Objects, "object"))
	switch {
	case s.Errors+s.Warnings > 0:
	case s.Objects == 0:
		text += ": no ServiceEntry, VirtualService or DestinationRule of a namespace that is looked at"
	default:
		kinds := map[string]int{}
		for _, j := range v.judgements {
			kinds[j.doc.Kind]++
		}
		var parts []string
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			parts = append(parts, count(kinds[kind], kind))
		}
		text += ": " + strings.Join(parts, ", ")
	}
	fmt.Fprintln(w, s.paint(st, text+"."))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if y, ok := strings.CutSuffix(what, "ry"); ok {
		return fmt.Sprintf("%d %sries", n, y)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
