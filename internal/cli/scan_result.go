package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// scanResult is the output of scan -o json: that of check, and what only the objects of
// a cluster can tell. Its fields are stable.
type scanResult struct {
	Findings []finding.Finding `json:"findings"`
	// Additions are what admission would add to objects as they are stored, and the
	// rules that lack beside them.
	Additions []scanAddition `json:"additions"`
	// Surplus are rules that hold more of the webhook's own than anything needs.
	Surplus []scanSurplus `json:"surplus"`
	Summary scanSummary   `json:"summary"`
}

type scanAddition struct {
	Object  finding.Object `json:"object"`
	Changes []string       `json:"changes"`
}

type scanSurplus struct {
	Object finding.Object `json:"object"`
	// Whole: nothing needs the rule. Else only a part of it.
	Whole bool `json:"whole"`
}

func (s scanSurplus) text() string {
	if s.Whole {
		return "Nothing needs it any more; a webhook that runs takes it away in a while."
	}
	return "It holds TLS of the webhook's that nothing needs any more; a webhook that runs takes that away in a while."
}

type scanSummary struct {
	summary
	// Skipped are the objects of namespaces in mode off, exempt ones among them.
	Skipped    int                `json:"skipped"`
	Namespaces []namespaceSummary `json:"namespaces"`
}

// namespaceSummary is what was found in one namespace in which something was judged.
type namespaceSummary struct {
	Namespace string      `json:"namespace"`
	Mode      policy.Mode `json:"mode"`
	Objects   int         `json:"objects"`
	Errors    int         `json:"errors"`
	Warnings  int         `json:"warnings"`
	Additions int         `json:"additions"` // objects that something would be added to or beside
	Surplus   int         `json:"surplus"`
	Codes     []codeCount `json:"codes"`
}

type codeCount struct {
	Code     finding.Code     `json:"code"`
	Severity finding.Severity `json:"severity"`
	Count    int              `json:"count"`
}

// scan sums up what was decided about stored objects.
func (in *input) scan(v verdict) (scanResult, error) {
	out := scanResult{Findings: v.findings, Additions: []scanAddition{}, Surplus: []scanSurplus{}}
	byNamespace := map[string]*namespaceSummary{}
	of := func(namespace string) *namespaceSummary {
		if byNamespace[namespace] == nil {
			byNamespace[namespace] = &namespaceSummary{Namespace: namespace, Mode: in.mode(namespace), Codes: []codeCount{}}
		}
		return byNamespace[namespace]
	}
	for _, j := range v.judgements {
		of(j.doc.Object.GetNamespace()).Objects++
	}
	for _, f := range v.findings {
		of(f.Object.Namespace).count(f)
	}
	for _, a := range additions(v, false) {
		out.Additions = append(out.Additions, scanAddition{mesh.ObjectOf(a.doc.Object), a.lines})
	}
	for _, a := range additions(v, true) {
		of(a.doc.Object.GetNamespace()).Additions++
	}
	var err error
	if out.Surplus, err = in.surplus(v.world); err != nil {
		return out, err
	}
	for _, s := range out.Surplus {
		of(s.Object.Namespace).Surplus++
	}
	out.Summary = scanSummary{summary: v.summary(), Namespaces: []namespaceSummary{}}
	out.Summary.Skipped = judged(in.files) - len(v.judgements)
	for _, ns := range slices.Sorted(maps.Keys(byNamespace)) {
		out.Summary.Namespaces = append(out.Summary.Namespaces, *byNamespace[ns])
	}
	return out, nil
}

func (n *namespaceSummary) count(f finding.Finding) {
	if f.Severity == finding.Error {
		n.Errors++
	} else {
		n.Warnings++
	}
	i, there := slices.BinarySearchFunc(n.Codes, f, func(c codeCount, f finding.Finding) int {
		return cmp.Or(cmp.Compare(c.Severity, f.Severity), cmp.Compare(c.Code, f.Code))
	})
	if !there {
		n.Codes = slices.Insert(n.Codes, i, codeCount{Code: f.Code, Severity: f.Severity})
	}
	n.Codes[i].Count++
}

// judged counts the objects of the kinds that are judged.
func judged(set *manifest.Set) int {
	n := 0
	for _, d := range set.Documents {
		if isJudged(d.Object) {
			n++
		}
	}
	return n
}

// surplus returns the rules that hold something of ours that nothing needs, sorted: what
// the webhook would take away in a while.
func (in *input) surplus(world *mesh.World) ([]scanSurplus, error) {
	out := []scanSurplus{}
	hosts := map[string]struct{}{}
	for _, d := range in.files.Documents {
		if dr, ok := d.Object.(*networkingv1.DestinationRule); ok && (mesh.IsManaged(dr) || dr.Annotations[mutate.InjectedAnnotation] != "") {
			hosts[mesh.RuleHost(dr)] = struct{}{}
		}
	}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		c, err := decision.Converge(world, in.policy, host, in.mode)
		if err != nil {
			return nil, fmt.Errorf("failed to decide about host %s: %w", host, err)
		}
		for _, s := range c.Surplus {
			if in.files.Find(manifest.KeyOf(mesh.DestinationRuleKind, s.Rule)) != nil {
				out = append(out, scanSurplus{mesh.ObjectOf(s.Rule), s.Want == nil})
			}
		}
	}
	slices.SortFunc(out, func(a, b scanSurplus) int {
		return cmp.Or(cmp.Compare(a.Object.Namespace, b.Object.Namespace), cmp.Compare(a.Object.Name, b.Object.Name))
	})
	return out, nil
}
