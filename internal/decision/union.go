package decision

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// Decided is an object and what was decided about it.
type Decided struct {
	Object  metav1.Object
	Outcome Outcome
}

// Own returns the findings of each object that is decided together with the others: what
// one says of the headers or routes of another is left out when that other is among
// them, since its own decision says it, or adds them.
func Own(all []Decided) [][]finding.Finding {
	together := map[finding.Object]bool{}
	for _, d := range all {
		together[mesh.ObjectOf(d.Object)] = true
	}
	out := make([][]finding.Finding, len(all))
	for i, d := range all {
		for _, f := range d.Outcome.Findings {
			told := f.Code == finding.HeadersMissing || f.Code == finding.ShadowedByVirtualService
			if told && f.Object != mesh.ObjectOf(d.Object) && together[f.Object] {
				continue
			}
			out[i] = append(out[i], f)
		}
	}
	return out
}

// Union joins the Own findings of all, sorted and each once. Of an error and a warning
// that are else the same the error stays.
func Union(all []Decided) []finding.Finding {
	joined := slices.Concat(Own(all)...)
	finding.Sort(joined)
	seen := map[string]struct{}{}
	out := []finding.Finding{}
	for _, f := range joined {
		id := fmt.Sprintf("%q", []any{f.Code, f.Object, f.Path, f.CoveredBy, f.Message, f.Remedy})
		if _, dup := seen[id]; !dup {
			seen[id] = struct{}{}
			out = append(out, f)
		}
	}
	return out
}
