package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest/yamltext"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

const separator = "---\n"

// writeYAML prints a stream: the created rules, so that no route is stored before its
// TLS, then each source with what changes in it. A List stays a List, and JSON becomes
// YAML.
func (r *rendering) writeYAML(w, notes io.Writer) error {
	first := true
	write := func(before, text string) {
		switch {
		case before != "":
			fmt.Fprint(w, before)
		case !first:
			fmt.Fprint(w, separator)
		}
		first = false
		fmt.Fprint(w, text)
		if !strings.HasSuffix(text, "\n") {
			fmt.Fprintln(w)
		}
	}
	for _, c := range r.created {
		text, err := c.yaml()
		if err != nil {
			return err
		}
		write("", text)
	}
	for _, src := range r.set.Sources {
		text, err := r.yaml(src, notes)
		if err != nil {
			return err
		}
		write(src.Separator, text)
	}
	return nil
}

func (r *rendering) yaml(src *manifest.Source, notes io.Writer) (string, error) {
	if !src.JSON {
		return r.text(src, notes)
	}
	tree := src.Tree()
	if err := r.change(src)(tree); err != nil {
		return "", err
	}
	return yamltext.Encode(tree)
}

// yaml is the rule as a document. Its comment is not stored.
func (c createdRule) yaml() (string, error) {
	text, err := yamltext.Encode(c.tree)
	if err != nil {
		return "", fmt.Errorf("DestinationRule %s/%s: %w", c.key.Namespace, c.key.Name, err)
	}
	return "# " + finding.Printable(c.note) + "\n" + text, nil
}

// text returns the source with what changes in it, in the language it is written in,
// and notes what that costs.
func (r *rendering) text(src *manifest.Source, notes io.Writer) (string, error) {
	changes := func(d *manifest.Document) bool { return d.Moved() || len(r.edits[d]) > 0 }
	if !slices.ContainsFunc(src.Documents(), changes) {
		return src.Text, nil
	}
	text, anew, err := src.Changed(r.change(src))
	if err == nil && anew != nil && !src.JSON {
		fmt.Fprintf(notes, "egress-tls: note: %s; so the document is written anew, without its comments\n", finding.Printable(anew.Error()))
	}
	return text, err
}

// change makes of the tree of a source what is stored.
func (r *rendering) change(src *manifest.Source) func(tree map[string]any) error {
	return func(tree map[string]any) error {
		for _, d := range src.Documents() {
			object, err := d.In(tree)
			if err != nil {
				return err
			}
			if err := d.Move(object); err != nil {
				return err
			}
			if err := patch(d, object, r.edits[d]); err != nil {
				return err
			}
		}
		return nil
	}
}

// writeJSON prints one v1 List of all objects, then the created rules: machines find what
// they gave where they gave it.
func (r *rendering) writeJSON(w io.Writer) error {
	items := []any{}
	for _, d := range r.set.Documents {
		object := d.Exact()
		if err := patch(d, object, r.edits[d]); err != nil {
			return err
		}
		complete(object, d)
		items = append(items, object)
	}
	for _, c := range r.created {
		items = append(items, c.tree)
	}
	return writeJSON(w, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}

func patch(d *manifest.Document, object map[string]any, edits []mutate.Edit) error {
	if _, err := mutate.Patch(object, edits); err != nil {
		return fmt.Errorf("%s%s: %w", d.Prefix(""), d.Name(), err)
	}
	return nil
}
