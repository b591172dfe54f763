package cli

import (
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// grouped puts together what has one cause: the routes that are dead behind the same
// matches, and what the same remedy mends in one object. Machines get findings one by
// one; people would read the same again.
func grouped(fs []finding.Finding) [][]finding.Finding {
	type key struct {
		code     finding.Code
		severity finding.Severity
		object   finding.Object
		cause    string
	}
	var out [][]finding.Finding
	at := map[key]int{}
	for _, f := range fs {
		k := key{f.Code, f.Severity, f.Object, strings.Join(f.CoveredBy, " ")}
		if k.cause == "" || f.Order == nil {
			k.cause += "\n" + f.Remedy
		}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], f)
	}
	return out
}

// each returns what of says of the findings, without what is empty or said already.
func each(fs []finding.Finding, of func(finding.Finding) string) []string {
	var out []string
	for _, f := range fs {
		if text := of(f); text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// enumerate joins the first few of all, and counts the others.
func enumerate(all []string, most int) string {
	if len(all) > most+1 {
		return strings.Join(all[:most], ", ") + " and " + count(len(all)-most, "other")
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}
