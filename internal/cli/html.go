package cli

import (
	"cmp"
	"io"
	"strings"
	"time"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	page "github.com/egress-tls/egress-tls-webhook/internal/report"
)

// writeHTML prints the page of -o html: how each external host is reached, and what was found.
func (in *inputs) writeHTML(w io.Writer, read *input, v verdict, r scanResult) error {
	out := page.Report{Facts: in.facts(read, time.Now()), Namespace: in.only, Notes: v.undecided()}
	if r.Summary.Skipped > 0 {
		out.Notes = append(out.Notes, many(r.Summary.Skipped, "object")+" of namespaces that are off or exempt left out.")
	}
	explainer := explain.New(explain.Input{Objects: read.objects(), Policy: read.policy, Mode: read.mode})
	for _, name := range explainer.Hosts() {
		host, err := explainer.Explain(explain.Query{Host: name})
		if err != nil {
			return err
		}
		out.Hosts = append(out.Hosts, host)
	}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, page.Finding{Finding: f, Place: read.place(f)})
	}
	for _, a := range r.Additions {
		out.Changes = append(out.Changes, page.Change{Object: a.Object, Lines: a.Changes})
	}
	for _, s := range r.Surplus {
		out.Changes = append(out.Changes, page.Change{Object: s.Object, Lines: []string{s.text()}})
	}
	for _, n := range r.Summary.Namespaces {
		row := page.Namespace{Name: n.Namespace, Mode: string(n.Mode), Objects: n.Objects, Errors: n.Errors, Warnings: n.Warnings, Changes: n.Additions + n.Surplus}
		for _, c := range n.Codes {
			row.Codes = append(row.Codes, page.CodeCount{Code: c.Code, Count: c.Count})
		}
		out.Namespaces = append(out.Namespaces, row)
	}
	return out.Write(w)
}

// facts say what was looked at.
func (in *inputs) facts(read *input, now time.Time) []page.Fact {
	out := []page.Fact{{Name: "Time", Value: now.UTC().Format("2 January 2006, 15:04 UTC")}}
	add := func(name, value string) {
		if value != "" {
			out = append(out, page.Fact{Name: name, Value: value})
		}
	}
	add("Files", strings.Join(in.files, ", "))
	add("Cluster", read.cluster)
	add("Namespace", in.only)
	add("Policy", cmp.Or(read.policyFrom, "the defaults"))
	if read.everywhere != "" {
		add("Judged as in mode", string(read.everywhere))
	}
	return out
}
