package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// SGR parameters, those of git diff.
const (
	sgrGone = "31"
	sgrCome = "32"
)

func (k diffKind) heading() string {
	switch k {
	case newlyRefused:
		return "Newly refused"
	case noLongerRefused:
		return "No longer refused"
	}
	return "Answered otherwise"
}

// writeText prints each object with another answer, in groups, then the namespaces, then
// the sum.
func (d policyDiff) writeText(w io.Writer, st style) error {
	var group diffKind
	for _, o := range d.Objects {
		if o.Change != group {
			group = o.Change
			fmt.Fprintf(w, "%s\n\n", st.bold(group.heading()+" under "+finding.Printable(d.New)+":"))
		}
		fmt.Fprintf(w, "%s%s\n", st.blue(o.doc.Prefix("")), st.bold(finding.Printable(o.doc.Name())))
		for _, line := range o.gone {
			writeSigned(w, st, sgrGone, "-", line)
		}
		for _, line := range o.come {
			writeSigned(w, st, sgrCome, "+", line)
		}
		fmt.Fprintln(w)
	}
	if err := d.writeNamespaces(w); err != nil {
		return err
	}
	s := d.Summary
	fmt.Fprintf(w, "%s: %d newly refused, %d no longer refused, %d answered otherwise.\n",
		count(s.Objects, "object"), s.NewlyRefused, s.NoLongerRefused, s.Changed)
	return nil
}

// writeSigned prints text, wrapped, behind a sign.
func writeSigned(w io.Writer, st style, sgr, sign, text string) {
	const indent = "    "
	for _, line := range st.wrap(text, len(indent)+2) {
		fmt.Fprintln(w, indent+st.paint(sgr, sign+" "+line))
		sign = " "
	}
}

// writeNamespaces prints a table of the namespaces with another answer or mode.
func (d policyDiff) writeNamespaces(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := 0
	for _, ns := range d.Namespaces {
		mode := string(ns.OldMode)
		if ns.NewMode != ns.OldMode {
			mode += " -> " + string(ns.NewMode)
		} else if ns.NewlyRefused+ns.NoLongerRefused+ns.Changed == 0 {
			continue
		}
		if rows == 0 {
			fmt.Fprintln(table, "NAMESPACE\tMODE\tOBJECTS\tNEWLY REFUSED\tNO LONGER REFUSED\tANSWERED OTHERWISE")
		}
		rows++
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\n", finding.Printable(ns.Namespace), mode, ns.Objects, ns.NewlyRefused, ns.NoLongerRefused, ns.Changed)
	}
	if rows > 0 {
		fmt.Fprintln(table)
	}
	return table.Flush()
}
