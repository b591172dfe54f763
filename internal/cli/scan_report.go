package cli

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policyreport"
)

// reports returns a report of each namespace in which something was judged.
func (in *input) reports(v verdict, r scanResult) ([]*policyreport.Report, error) {
	byNamespace := map[string]*policyreport.Report{}
	clean := map[finding.Object]struct{}{}
	for _, j := range v.judgements {
		about := mesh.ObjectOf(j.doc.Object)
		if byNamespace[about.Namespace] == nil {
			byNamespace[about.Namespace] = policyreport.New(about.Namespace)
		}
		clean[about] = struct{}{}
	}
	// With -n, an object may have findings about those of other namespaces.
	add := func(about finding.Object, to func(*policyreport.Report, types.UID)) {
		if report := byNamespace[about.Namespace]; report != nil {
			delete(clean, about)
			var uid types.UID
			if d := in.find(manifest.Key{Kind: about.Kind, Namespace: about.Namespace, Name: about.Name}); d != nil {
				uid = d.Object.GetUID()
			}
			to(report, uid)
		}
	}
	for _, f := range r.Findings {
		add(f.Object, func(to *policyreport.Report, uid types.UID) { to.Found(f, uid) })
	}
	// Each namespace is told all of its own: what is said in another is not read here.
	for _, a := range additions(v, true) {
		about := mesh.ObjectOf(a.doc.Object)
		add(about, func(to *policyreport.Report, uid types.UID) {
			to.Warn(policyreport.Addition, "Admission would add "+strings.Join(a.lines, "; "), about, uid)
		})
	}
	for _, s := range r.Surplus {
		add(s.Object, func(to *policyreport.Report, uid types.UID) { to.Warn(policyreport.Surplus, s.text(), s.Object, uid) })
	}
	for about := range clean {
		byNamespace[about.Namespace].Pass()
	}
	var out []*policyreport.Report
	for _, namespace := range slices.Sorted(maps.Keys(byNamespace)) {
		report := byNamespace[namespace]
		if err := report.Bound(); err != nil {
			return nil, err
		}
		out = append(out, report)
	}
	return out, nil
}
