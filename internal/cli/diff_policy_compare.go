package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// policyDiff is what becomes of the answers under another policy, and the output of
// diff-policy -o json. Its fields are stable.
type policyDiff struct {
	Old string `json:"old"`
	New string `json:"new"`
	// Objects are those with another answer: the newly refused ones first, each group
	// in the order of the input.
	Objects    []answerDiff    `json:"objects"`
	Namespaces []namespaceDiff `json:"namespaces"`
	Summary    diffCounts      `json:"summary"`
}

// diffKind is how an answer changes.
type diffKind string

const (
	newlyRefused    diffKind = "newlyRefused"
	noLongerRefused diffKind = "noLongerRefused"
	changed         diffKind = "changed"
)

type answerDiff struct {
	Change diffKind       `json:"change"`
	Object finding.Object `json:"object"`
	// File and Line are those of the object; an object of the cluster stands in no file.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Old  answer `json:"old"`
	New  answer `json:"new"`

	doc        *manifest.Document
	gone, come []string // in words
}

// answer is what admission says about one object, and does for it.
type answer struct {
	Mode     policy.Mode       `json:"mode"`
	Refused  bool              `json:"refused"`
	Findings []finding.Finding `json:"findings"`
	Writes   []writing         `json:"writes"`
}

// writing is something that is added to the object or beside it.
type writing struct {
	Text string `json:"text"`
	// Values are all that is written, field by field. What is added to the object is not told
	// apart: all of that has the first.
	Values []string `json:"values"`

	inside bool // the object
}

type namespaceDiff struct {
	Namespace string      `json:"namespace"`
	OldMode   policy.Mode `json:"oldMode"`
	NewMode   policy.Mode `json:"newMode"`
	diffCounts
}

type diffCounts struct {
	Objects         int `json:"objects"` // that were compared
	NewlyRefused    int `json:"newlyRefused"`
	NoLongerRefused int `json:"noLongerRefused"`
	Changed         int `json:"changed"`
}

func (c *diffCounts) count(k diffKind) {
	c.Objects++
	switch k {
	case newlyRefused:
		c.NewlyRefused++
	case noLongerRefused:
		c.NoLongerRefused++
	case changed:
		c.Changed++
	}
}

// diffPolicy judges the -f objects under both policies and compares the answers.
func (in *input) diffPolicy(before, after *policy.Policy) (policyDiff, error) {
	var out policyDiff
	olds, err := in.answersUnder(before)
	if err != nil {
		return out, err
	}
	news, err := in.answersUnder(after)
	if err != nil {
		return out, err
	}
	first := map[string]*manifest.Document{}
	groups := map[diffKind][]answerDiff{}
	namespaces := map[string]*namespaceDiff{}
	for _, d := range in.files.Documents {
		if !isJudged(d.Object) {
			continue
		}
		diff := answerDiff{
			Object: mesh.ObjectOf(d.Object), File: d.Source.File, Line: d.Region("").Line,
			Old: olds[d], New: news[d], doc: d,
		}
		// A rule that several objects ask for, under either policy, is said of the first.
		for _, a := range []*answer{&diff.Old, &diff.New} {
			a.Writes = slices.DeleteFunc(a.Writes, func(w writing) bool {
				if first[w.Text] == nil && !w.inside {
					first[w.Text] = d
				}
				return !w.inside && first[w.Text] != d
			})
		}
		diff.Change, diff.gone, diff.come = diff.compare()
		if diff.Change != "" {
			groups[diff.Change] = append(groups[diff.Change], diff)
		}
		ns := d.Object.GetNamespace()
		if namespaces[ns] == nil {
			namespaces[ns] = &namespaceDiff{Namespace: ns, OldMode: diff.Old.Mode, NewMode: diff.New.Mode}
		}
		namespaces[ns].count(diff.Change)
		out.Summary.count(diff.Change)
	}
	out.Objects = []answerDiff{}
	for _, k := range []diffKind{newlyRefused, noLongerRefused, changed} {
		out.Objects = append(out.Objects, groups[k]...)
	}
	out.Namespaces = []namespaceDiff{}
	for _, ns := range slices.Sorted(maps.Keys(namespaces)) {
		out.Namespaces = append(out.Namespaces, *namespaces[ns])
	}
	return out, nil
}

// answersUnder judges the -f objects under a policy.
func (in *input) answersUnder(pol *policy.Policy) (map[*manifest.Document]answer, error) {
	under := *in
	under.policy = pol
	v, err := under.judge(false)
	if err != nil {
		return nil, err
	}
	out := map[*manifest.Document]answer{}
	for _, d := range in.files.Documents {
		if isJudged(d.Object) {
			out[d] = answer{Mode: under.mode(d.Object.GetNamespace()), Findings: []finding.Finding{}, Writes: []writing{}}
		}
	}
	own := decision.Own(v.decided())
	for i, j := range v.judgements {
		a := out[j.doc]
		a.Findings = append(a.Findings, own[i]...)
		a.Refused = finding.HasErrors(a.Findings)
		if j.mode == policy.Enforce && !a.Refused {
			if a.Writes, err = j.writes(); err != nil {
				return nil, err
			}
		}
		out[j.doc] = a
	}
	return out, nil
}

// writes says what is added.
func (j judgement) writes() ([]writing, error) {
	out := []writing{}
	for _, text := range j.outcome.Changes {
		out = append(out, writing{Text: text, Values: []string{}, inside: true})
	}
	if len(out) > 0 {
		tree := j.doc.Tree()
		before := values("", tree)
		if err := patch(j.doc, tree, j.outcome.Edits); err != nil {
			return nil, err
		}
		// The annotation follows from the others.
		out[0].Values = slices.DeleteFunc(without(values("", tree), before), func(line string) bool {
			return strings.HasPrefix(line, "metadata.annotations."+mutate.InjectedAnnotation+":")
		})
	}
	for _, c := range j.outcome.Rules {
		tree, err := mutate.MarshalRule(c.Rule)
		if err != nil {
			return nil, fmt.Errorf("failed to encode %s: %w", c, err)
		}
		out = append(out, writing{Text: c.String(), Values: values("spec", tree["spec"])})
	}
	return out, nil
}

// values returns a line for each scalar of a tree, with its path.
func values(path string, tree any) []string {
	out := []string{}
	switch node := tree.(type) {
	case map[string]any:
		for _, field := range slices.Sorted(maps.Keys(node)) {
			at := field
			if path != "" {
				at = path + "." + field
			}
			out = append(out, values(at, node[field])...)
		}
	case []any:
		for i, item := range node {
			out = append(out, values(fmt.Sprintf("%s[%d]", path, i), item)...)
		}
	default:
		out = append(out, fmt.Sprintf("%s: %v", path, node))
	}
	return out
}

// without returns the lines of a that b lacks.
func without(a, b []string) []string {
	known := map[string]struct{}{}
	for _, line := range b {
		known[line] = struct{}{}
	}
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool {
		_, ok := known[line]
		return ok
	})
}

// compare says what is gone and what has come, in words, and what that comes to: "" for
// the same answer. The mode alone changes none: where nothing is said, all modes say
// the same.
func (d answerDiff) compare() (change diffKind, gone, come []string) {
	// Fields within the object are comparable only where the same things are added to it.
	fields := slices.Equal(d.Old.inside(), d.New.inside())
	before, after := d.said(d.Old, fields), d.said(d.New, fields)
	for _, s := range missing(before, after) {
		gone = append(gone, s.verb+" "+s.short)
	}
	for _, s := range missing(after, before) {
		if slices.ContainsFunc(before, func(b said) bool { return b.text == s.text }) {
			s.text = s.short // Only the verb is new.
		}
		come = append(come, s.verb+" "+s.text)
	}
	if d.Old.Mode != d.New.Mode && len(before)+len(after) > 0 {
		gone = append([]string{"mode " + string(d.Old.Mode)}, gone...)
		come = append([]string{"mode " + string(d.New.Mode)}, come...)
	}
	switch {
	case d.New.Refused && !d.Old.Refused:
		change = newlyRefused
	case d.Old.Refused && !d.New.Refused:
		change = noLongerRefused
	case len(gone)+len(come) > 0:
		change = changed
	}
	return change, gone, come
}

// said is one thing that an answer says or does. short names it, text says all; values
// are what is written.
type said struct {
	verb, text, short string
	values            []string
}

func (d answerDiff) said(a answer, fields bool) []said {
	var out []said
	for _, f := range a.Findings {
		about := ""
		if f.Object != d.Object {
			about = f.Object.String() + ": "
		}
		short := strings.TrimSuffix(finding.Finding{Code: f.Code, Path: f.Path}.Text(), ": ")
		out = append(out, said{verb: string(f.Severity), text: about + f.Text(), short: about + short})
	}
	for _, w := range a.Writes {
		if w.inside && !fields {
			w.Values = nil
		}
		out = append(out, said{"adds", w.Text, w.Text, w.Values})
	}
	return out
}

// inside returns what is added to the object itself.
func (a answer) inside() []string {
	var out []string
	for _, w := range a.Writes {
		if w.inside {
			out = append(out, w.Text)
		}
	}
	return out
}

// missing returns what a says and b does not, and of what both write the values that b
// does not write.
func missing(a, b []said) []said {
	var out []said
	for _, s := range a {
		i := slices.IndexFunc(b, func(other said) bool { return other.verb == s.verb && other.text == s.text })
		if i < 0 {
			out = append(out, s)
			continue
		}
		for _, v := range without(s.values, b[i].values) {
			line := s.text + ": " + v
			out = append(out, said{verb: s.verb, text: line, short: line})
		}
	}
	return out
}
