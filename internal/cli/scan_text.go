package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// writeScanText prints the table, then what check prints, then what nothing needs.
func writeScanText(w io.Writer, st style, in *input, v verdict, r scanResult) {
	writeScanSummary(w, st, r)
	if len(r.Findings)+len(r.Additions)+len(r.Surplus) == 0 {
		return
	}
	fmt.Fprintln(w)
	for _, s := range r.Surplus {
		fmt.Fprintln(w, st.bold(s.Object.String()))
		st.writeIndented(w, s.text())
		fmt.Fprintln(w)
	}
	writeCheckText(w, st, in, v)
}

// writeScanSummary prints a line for each namespace in which something was found, the
// worst first, and how many are left.
func writeScanSummary(w io.Writer, st style, r scanResult) {
	var rows []namespaceSummary
	for _, n := range r.Summary.Namespaces {
		if n.Errors+n.Warnings+n.Additions+n.Surplus > 0 {
			rows = append(rows, n)
		}
	}
	slices.SortStableFunc(rows, func(a, b namespaceSummary) int {
		return cmp.Or(cmp.Compare(b.Errors, a.Errors), cmp.Compare(b.Warnings, a.Warnings), cmp.Compare(b.Additions, a.Additions))
	})
	if len(rows) > 0 {
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
	s := r.Summary
	fmt.Fprintf(w, "%s, %s in %s of %s", many(s.Errors, "error"), many(s.Warnings, "warning"), many(s.Objects, "object"), many(len(s.Namespaces), "namespace"))
	if clean := len(s.Namespaces) - len(rows); clean > 0 && len(rows) > 0 {
		fmt.Fprintf(w, ", %s without any", number(clean))
	}
	fmt.Fprintln(w, ".")
	if s.Skipped > 0 {
		fmt.Fprintf(w, "%s of namespaces that are off or exempt were not looked at.\n", many(s.Skipped, "object"))
	}
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
