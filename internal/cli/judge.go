package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
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
	world      *mesh.World
	judgements []judgement
	findings   []finding.Finding // of all, sorted, each once
}

// judge checks the flags, loads the input and decides about it.
func (in *inputs) judge(cmd *cobra.Command, out *format, s Streams, toRender bool) (*input, verdict, error) {
	if err := out.validate(cmd); err != nil {
		return nil, verdict{}, err
	}
	if err := in.validate(cmd); err != nil {
		return nil, verdict{}, err
	}
	input, err := in.load(cmd.Context(), s)
	if err != nil {
		return nil, verdict{}, err
	}
	if in.fixOrder {
		if err := input.fixOrder(s.Err); err != nil {
			return nil, verdict{}, err
		}
	}
	p := newProgress(s.Err)
	p.say(fmt.Sprintf("judging %s", many(len(input.files.Documents), "object")))
	v, err := input.judge(toRender)
	p.erase()
	if err != nil {
		return nil, verdict{}, err
	}
	input.given = givenFlags(cmd)
	input.warnOfLabels(s.Err)
	v.noteUndecided(s.Err)
	return input, v, nil
}

// judge decides as admission does; to render, as if nothing had to be brought by
// the user and every namespace could be written to: what is printed is what the
// user then brings.
func (in *input) judge(toRender bool) (verdict, error) {
	out := verdict{world: in.world()}
	var errs []error
	pol, written := in.policy, in.mode
	if toRender {
		pol, written = bringing(pol), func(string) policy.Mode { return policy.Enforce }
	}
	var docs []*manifest.Document
	var objects []metav1.Object
	for _, d := range in.files.Documents {
		if isJudged(d.Object) && in.mode(d.Object.GetNamespace()) != policy.Off {
			docs, objects = append(docs, d), append(objects, d.Object)
		}
	}
	site := decision.NewSite(out.world, pol, objects...)
	for _, d := range docs {
		if err := in.bounded(d); err != nil {
			errs = append(errs, fmt.Errorf("%s%s %w", d.Prefix(""), d.Name(), err))
			continue
		}
		mode := in.mode(d.Object.GetNamespace())
		outcome, err := site.Judge(d.Object, d.Tree(), mode, written)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s%s: %w", d.Prefix(""), d.Name(), err))
			continue
		}
		out.judgements = append(out.judgements, judgement{d, mode, outcome})
	}
	out.findings = decision.Union(out.decided())
	return out, errors.Join(errs...)
}

// bounded is decision.Bounded for what is applied. What is stored is no worse than it was.
func (in *input) bounded(d *manifest.Document) error {
	old := in.background.Find(manifest.KeyOf(d.Kind, d.Object))
	if d.Source.File != "" && (old == nil || decision.Bounded(old.Object) == nil) {
		return decision.Bounded(d.Object)
	}
	return nil
}

func (v verdict) decided() []decision.Decided {
	out := make([]decision.Decided, len(v.judgements))
	for i, j := range v.judgements {
		out[i] = decision.Decided{Object: j.doc.Object, Outcome: j.outcome}
	}
	return out
}

// isJudged reports whether an object is of a kind that is judged.
func isJudged(o metav1.Object) bool {
	switch o.(type) {
	case *networkingv1.ServiceEntry, *networkingv1.VirtualService, *networkingv1.DestinationRule:
		return true
	}
	return false
}

// noteUndecided tells the user what is undecided.
func (v verdict) noteUndecided(w io.Writer) {
	for _, note := range v.undecided() {
		fmt.Fprintf(w, "egress-tls: note: %s\n", note)
	}
}

// undecided names what is let through without an answer.
func (v verdict) undecided() (notes []string) {
	const most = 200
	for _, j := range v.judgements {
		if n := len(j.outcome.Undecided); n > 0 {
			notes = append(notes, fmt.Sprintf("%s: it is left undecided whether a request reaches %s; nothing is refused for it",
				j.doc.Name(), finding.Truncate(strings.Join(j.outcome.Undecided, ", "), most)))
		}
	}
	return notes
}

// mode returns the mode of a namespace.
func (in *input) mode(namespace string) policy.Mode {
	label := in.labels[namespace]
	if in.everywhere != "" {
		label = string(in.everywhere)
	}
	mode, _ := in.policy.ModeFor(namespace, label)
	return mode
}

// warnOfLabels says which mode labels count for nothing.
func (in *input) warnOfLabels(w io.Writer) {
	if in.everywhere != "" {
		return
	}
	for _, ns := range slices.Sorted(maps.Keys(in.labels)) {
		if mode, known := in.policy.ModeFor(ns, in.labels[ns]); !known {
			fmt.Fprintf(w, "egress-tls: warning: Namespace %s: label %s is %q, which is no mode; the policy's mode %s applies\n",
				finding.Printable(ns), policy.ModeLabel, in.labels[ns], mode)
		}
	}
}

// place returns "file:line" of what a finding is about, "" for an object that is in
// no file.
func (in *input) place(f finding.Finding) string {
	if d := in.document(f.Object); d != nil {
		return d.Place(f.Path)
	}
	return ""
}

// about returns the document of an object that a finding names, or nil.
func (in *input) about(o finding.Object) *manifest.Document {
	return in.find(manifest.Key{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name})
}

// readable returns it with its lines, or nil.
func (in *input) readable(o finding.Object) *manifest.Document {
	d := in.about(o)
	if d == nil {
		return nil
	}
	return d.Readable()
}

// document returns it if it stands in a file, else nil.
func (in *input) document(o finding.Object) *manifest.Document {
	d := in.about(o)
	if d == nil || d.Place("") == "" {
		return nil
	}
	return d
}
