package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// judgement is what is decided about one -f object.
type judgement struct {
	doc     *manifest.Document
	mode    policy.Mode
	outcome decision.Outcome
}

// verdict is what is decided about all -f objects of the kinds that are checked,
// in their order, each in the world as it is before any of them is changed.
type verdict struct {
	judgements []judgement
	findings   []finding.Finding // of all, sorted, each once
}

func (in *input) judge(pol *policy.Policy) (verdict, error) {
	var out verdict
	var errs []error
	world := in.world()
	for _, d := range in.files.Documents {
		switch d.Object.(type) {
		case *networkingv1.ServiceEntry, *networkingv1.VirtualService, *networkingv1.DestinationRule:
		default:
			continue
		}
		mode, _ := in.policy.ModeFor(d.Object.GetNamespace(), in.labels[d.Object.GetNamespace()])
		if mode == policy.Off {
			continue
		}
		outcome, err := decision.Decide(world, pol, d.Object, d.Tree())
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", d.Place(""), d.Name(), err))
			continue
		}
		out.judgements = append(out.judgements, judgement{d, mode, outcome})
		for _, f := range outcome.Findings {
			if mode != policy.Enforce {
				f.Severity = finding.Warning
			}
			out.findings = append(out.findings, f)
		}
	}
	finding.Sort(out.findings)
	out.findings = distinct(out.findings)
	return out, errors.Join(errs...)
}

// distinct drops findings that several objects share. Of an error and a warning
// that are else the same, which two modes make, the error stays: it comes first.
func distinct(fs []finding.Finding) []finding.Finding {
	seen := map[string]struct{}{}
	out := []finding.Finding{}
	for _, f := range fs {
		id := fmt.Sprintf("%q", []any{f.Code, f.Object, f.Path, f.CoveredBy, f.Message, f.Remedy})
		if _, dup := seen[id]; !dup {
			seen[id] = struct{}{}
			out = append(out, f)
		}
	}
	return out
}

// warnOfLabels says which mode labels count for nothing.
func (in *input) warnOfLabels(w io.Writer) {
	for _, ns := range slices.Sorted(maps.Keys(in.labels)) {
		if mode, known := in.policy.ModeFor(ns, in.labels[ns]); !known {
			fmt.Fprintf(w, "egress-tls: warning: Namespace %s: label %s is %q, which is no mode; the policy's mode %s applies\n",
				ns, policy.ModeLabel, in.labels[ns], mode)
		}
	}
}

// place returns "file:line" of what a finding is about, "" for an object that is in
// no file.
func (in *input) place(f finding.Finding) string {
	d := in.find(manifest.Key{Kind: f.Object.Kind, Namespace: f.Object.Namespace, Name: f.Object.Name})
	if d == nil {
		return ""
	}
	return d.Place(f.Path)
}
