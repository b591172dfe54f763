package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// maxSize bounds the file, maxValue what a message quotes of a value, in bytes.
const (
	maxSize  = 1 << 20
	maxValue = 120
)

// Load reads the policy file of the given name, which errors say with the line. What
// the file leaves out has its default. It is strict: all that the file holds beyond
// what fields says is an error with the field's full path, and all errors are
// returned at once, in the order of the lines.
func Load(file string, data []byte) (*Policy, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("%s: is larger than %d MiB, so it is no policy", file, maxSize>>20)
	}
	root, err := document(file, data)
	if err != nil {
		return nil, err
	}
	r := reader{file: file, lines: map[string]int{}}
	tree := r.object("", fields(), root)
	p := Default()
	if len(r.problems) == 0 {
		raw, err := json.Marshal(tree)
		if err == nil {
			err = json.Unmarshal(raw, p)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		r.contradictions(p)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// document returns the content of the only document that has any.
func document(file string, data []byte) (root *yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: invalid YAML: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		content := doc.Content[0]
		if content.ShortTag() == "!!null" {
			continue
		}
		if root != nil {
			return nil, fmt.Errorf("%s:%d: a second document, which would not count; keep one %s", file, content.Line, Kind)
		}
		root = content
	}
	if root == nil {
		return nil, fmt.Errorf("%s: is empty; write at least apiVersion: %s and kind: %s", file, APIVersion, Kind)
	}
	return root, nil
}

// reader holds a file against fields.
type reader struct {
	file     string
	problems []problem
	lines    map[string]int // of each path
}

type problem struct {
	line       int
	path, text string
}

func (r *reader) fail(line int, path, format string, args ...any) {
	r.problems = append(r.problems, problem{line, path, fmt.Sprintf(format, args...)})
}

func (r *reader) err() error {
	slices.SortStableFunc(r.problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	errs := make([]error, len(r.problems))
	for i, p := range r.problems {
		errs[i] = fmt.Errorf("%s:%d: %s%s", r.file, p.line, p.path, p.text)
	}
	return errors.Join(errs...)
}

func (r *reader) value(path string, f field, n *yaml.Node) any {
	r.lines[path] = n.Line
	switch {
	case f.fields != nil:
		return r.object(path, f.fields, n)
	case f.list:
		return r.list(path, f, n)
	default:
		return r.text(path, f, n)
	}
}

func (r *reader) object(path string, fields []field, n *yaml.Node) map[string]any {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		r.wrongType(path, "a map", n)
		return nil
	}
	out := map[string]any{}
	lines := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := resolve(key).Value
		at := join(path, name)
		if first, twice := lines[name]; twice {
			r.fail(key.Line, at, ": is there already, in line %d, and only one can count; remove one", first)
			continue
		}
		lines[name] = key.Line
		known := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if known < 0 {
			r.fail(key.Line, at, ": unknown field, which would have no effect; %s", choose("known here", name, names(fields)))
			continue
		}
		out[name] = r.value(at, fields[known], value)
	}
	for _, f := range fields {
		if _, ok := out[f.name]; f.required && !ok {
			r.fail(n.Line, join(path, f.name), ": is missing; add %s: %s", f.name, f.words[0].text)
		}
	}
	return out
}

func (r *reader) list(path string, f field, n *yaml.Node) []any {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		r.wrongType(path, "a list", n)
		return nil
	}
	f.list = false
	out := make([]any, len(n.Content))
	for i, entry := range n.Content {
		out[i] = r.value(fmt.Sprintf("%s[%d]", path, i), f, entry)
	}
	return out
}

func (r *reader) text(path string, f field, n *yaml.Node) string {
	line := n.Line
	n = resolve(n)
	// To YAML a date is a type of its own.
	if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!timestamp" {
		r.wrongType(path, "a string", n)
		return ""
	}
	switch quoted := quote(n.Value); {
	case f.text != nil && !regexp.MustCompile(f.text.pattern).MatchString(n.Value):
		r.fail(line, path, ": %s %s", quoted, f.text.wrong)
	case f.words != nil && !slices.ContainsFunc(f.words, func(w word) bool { return w.text == n.Value }):
		r.fail(line, path, ": unknown value %s; %s", quoted, choose("it takes", n.Value, texts(f.words)))
	}
	return n.Value
}

func (r *reader) wrongType(path, want string, n *yaml.Node) {
	if path != "" {
		path += ": "
	}
	got, remedy := "a map", ""
	switch n.Kind {
	case yaml.SequenceNode:
		got = "a list"
	case yaml.ScalarNode:
		switch tag := n.ShortTag(); tag {
		case "!!null":
			got, remedy = "nothing", "; remove it to get the default"
		case "!!str":
			got = "the string " + quote(n.Value)
		default:
			got = fmt.Sprintf("%s, which YAML takes for %s", quote(n.Value), tag)
			if want == "a string" {
				remedy = "; put it into quotes"
			}
		}
	}
	r.fail(n.Line, path, "expected %s, got %s%s", want, got, remedy)
}

// contradictions finds fields that are good by themselves, but not together.
func (r *reader) contradictions(p *Policy) {
	for i, ns := range p.GatewayNamespaces {
		if p.DestinationRules == CreateRules && slices.Contains(p.Exemptions.Namespaces, ns) {
			path := fmt.Sprintf("gatewayNamespaces[%d]", i)
			r.fail(r.lines[path], path, ": %s is in exemptions.namespaces too, so no rule could be written there, and routes from its gateways to HTTPS and TLS ports would be refused; take it out of one of the two", quote(ns))
		}
	}
}

// choose lists what there is to choose from, or only what was meant if nothing but
// the case of its letters differs.
func choose(intro, got string, from []string) string {
	for _, name := range from {
		if strings.EqualFold(name, got) {
			return "did you mean " + name + "?"
		}
	}
	return intro + ": " + strings.Join(from, ", ")
}

func names(fields []field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}

func texts(words []word) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w.text
	}
	return out
}

// resolve returns what an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func join(path, name string) string {
	if !regexp.MustCompile(`^[-\w]+$`).MatchString(name) {
		return path + "[" + quote(name) + "]"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

func quote(s string) string { return finding.Truncate(fmt.Sprintf("%q", s), maxValue) }
