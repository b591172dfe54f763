package cli

import (
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

const separator = "---\n"

// writeYAML prints a stream: each source that is not changed as it was written,
// the others anew, then the created rules. A List stays a List.
func (r *rendering) writeYAML(w io.Writer) error {
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
	for _, src := range r.set.Sources {
		text, err := r.yaml(src)
		if err != nil {
			return err
		}
		write(src.Separator, text)
	}
	for _, c := range r.created {
		text, err := yaml.Marshal(c.tree)
		if err != nil {
			return fmt.Errorf("failed to encode DestinationRule %s/%s: %w", c.key.Namespace, c.key.Name, err)
		}
		write("", string(text))
	}
	return nil
}

func (r *rendering) yaml(src *manifest.Source) (string, error) {
	tree := src.Tree()
	changed := src.JSON
	for _, d := range src.Documents() {
		edits := r.edits[d]
		if len(edits) == 0 {
			continue
		}
		object, err := d.In(tree)
		if err != nil {
			return "", err
		}
		ops, err := patch(d, object, edits)
		if err != nil {
			return "", err
		}
		changed = changed || len(ops) > 0
	}
	if !changed {
		return src.Text, nil
	}
	text, err := yaml.Marshal(tree)
	if err != nil {
		return "", fmt.Errorf("failed to encode %s: %w", src.File, err)
	}
	return string(text), nil
}

// writeJSON prints one v1 List of all objects, then the created rules.
func (r *rendering) writeJSON(w io.Writer) error {
	items := []any{}
	for _, d := range r.set.Documents {
		object := d.Exact()
		if _, err := patch(d, object, r.edits[d]); err != nil {
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

func patch(d *manifest.Document, object map[string]any, edits []mutate.Edit) ([]mutate.Operation, error) {
	ops, err := mutate.Patch(object, edits)
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", d.Prefix(""), d.Name(), err)
	}
	return ops, nil
}
