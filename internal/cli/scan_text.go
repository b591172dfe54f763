package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// writeScanText prints a table of namespaces, what check prints of each, what nothing
// needs, and the sum.
func writeScanText(w io.Writer, st style, in *input, v verdict, r scanResult) {
	writeNamespaces(w, st, r)
	writeFindings(w, st, in, v.findings)
	in.writeAdditions(w, st, additions(v, false))
	writeSurplus(w, st, in, r.Surplus)
	writeScanSum(w, st, r)
}

// worthALine are the namespaces in which something was found, the worst first.
func worthALine(all []namespaceSummary) []namespaceSummary {
	var out []namespaceSummary
	for _, n := range all {
		if n.Errors+n.Warnings+n.Additions+n.Surplus > 0 {
			out = append(out, n)
		}
	}
	slices.SortStableFunc(out, func(a, b namespaceSummary) int {
		return cmp.Or(cmp.Compare(b.Errors, a.Errors), cmp.Compare(b.Warnings, a.Warnings), cmp.Compare(b.Additions, a.Additions))
	})
	return out
}

func writeNamespaces(w io.Writer, st style, r scanResult) {
	rows := worthALine(r.Summary.Namespaces)
	if len(rows) == 0 {
		return
	}
	width := len("NAMESPACE")
	for _, n := range rows {
		width = max(width, len(n.Namespace))
	}
	fmt.Fprintln(w, st.bold(fmt.Sprintf("%-*s  MODE     OBJECTS  ERRORS  WARNINGS  TO ADD  FINDINGS", width, "NAMESPACE")))
	for _, n := range rows {
		var codes []string
		for _, c := range n.Codes {
			codes = append(codes, fmt.Sprintf("%s %s", st.severity(c.Severity, string(c.Code)), number(c.Count)))
		}
		line := fmt.Sprintf("%-*s  %-7s  %7s  %6s  %8s  %6s  %s", width, n.Namespace, n.Mode,
			number(n.Objects), number(n.Errors), number(n.Warnings), number(n.Additions), strings.Join(codes, ", "))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(w)
}

func writeSurplus(w io.Writer, st style, in *input, all []scanSurplus) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, st.green("note")+st.bold(": Nothing needs what the webhook wrote into "+many(len(all), "DestinationRule")))
	for _, s := range all {
		where := s.Object.String()
		if !s.Whole {
			where += ", a part of it"
		}
		fmt.Fprintln(w, st.blue("  -->"), finding.Printable(where))
	}
	newParagraph(w, st, in).say("fix: ", "a webhook that runs, in mode enforce, takes it away in a while.")
	fmt.Fprintln(w)
}

func writeScanSum(w io.Writer, st style, r scanResult) {
	s := r.Summary
	text := fmt.Sprintf("%s, %s in %s of %s", many(s.Errors, "error"), many(s.Warnings, "warning"),
		many(s.Objects, "object"), many(len(s.Namespaces), "namespace"))
	if s.Skipped > 0 {
		text += fmt.Sprintf("; %s of namespaces that are off or exempt left out", many(s.Skipped, "object"))
	}
	fmt.Fprintln(w, s.paint(st, text+"."))
}

// many is count for numbers that may be large.
func many(n int, what string) string {
	return strings.Replace(count(n, what), fmt.Sprint(n), number(n), 1)
}

// number prints n with a comma for each thousand.
func number(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", number(n/1000), n%1000)
}
