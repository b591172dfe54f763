package decision

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// Decided is an object and what was decided about it.
type Decided struct {
	Object  metav1.Object
	Outcome Outcome
}

// Union joins the findings of objects that are decided together, sorted and each
// once. Of an error and a warning that are else the same the error stays. What one
// object says of the headers of another is left out when that other is among them:
// its own decision adds them.
func Union(all []Decided) []finding.Finding {
	together := map[finding.Object]bool{}
	for _, d := range all {
		together[mesh.ObjectOf(d.Object)] = true
	}
	var joined []finding.Finding
	for _, d := range all {
		for _, f := range d.Outcome.Findings {
			told := f.Code == finding.HeadersMissing || f.Code == finding.ShadowedByVirtualService
			if told && f.Object != mesh.ObjectOf(d.Object) && together[f.Object] {
				continue
			}
			joined = append(joined, f)
		}
	}
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
