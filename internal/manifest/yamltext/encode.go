package yamltext

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A style is how a document is written.
type style struct {
	json    bool // all keys and strings in double quotes
	indent  int  // of a map in a map
	deep    bool // lists are indented within their map
	newline string
	unit    string // of indentation in JSON; "": all is on one line
}

func styleOf(text string, root *yaml.Node) style {
	s := style{indent: 2, newline: "\n"}
	if strings.Contains(text, "\r\n") {
		s.newline = "\r\n"
	}
	if s.json = json.Valid([]byte(text)); s.json {
		_, second, _ := strings.Cut(strings.TrimSpace(text), "\n")
		s.unit = second[:len(second)-len(strings.TrimLeft(second, " \t"))]
	}
	var inMaps, inLists []int
	if root != nil {
		columns(root, &inMaps, &inLists)
	}
	if len(inMaps) > 0 {
		s.indent = max(slices.Min(inMaps), 1)
	}
	s.deep = len(inLists) > 0 && inLists[0] > 0
	return s
}

// columns notes by how much maps and lists are indented within a map.
func columns(n *yaml.Node, inMaps, inLists *[]int) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && c.Line > n.Content[i-1].Line && len(c.Content) > 0 {
			by := c.Column - n.Content[i-1].Column
			switch c.Kind {
			case yaml.MappingNode:
				*inMaps = append(*inMaps, by)
			case yaml.SequenceNode:
				*inLists = append(*inLists, by)
			}
		}
		columns(c, inMaps, inLists)
	}
}

// block writes a map, or a list, in block style, its lines behind the first with the
// given indentation and without the last line break.
func (s style) block(v any, indent string) (string, error) {
	n, err := nodeOf(v)
	if err != nil {
		return "", err
	}
	text, err := s.encode(n)
	return strings.ReplaceAll(text, "\n", s.newline+indent), err
}

// flow writes a value on one line, or, in JSON of several lines, with the given
// indentation.
func (s style) flow(v any, indent string) (string, error) {
	if s.json {
		return s.writeJSON(v, indent)
	}
	n, err := nodeOf(v)
	if err != nil {
		return "", err
	}
	// Within a list, text is quoted that would end there.
	text, err := s.encode(&yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{n}})
	return strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), err
}

func (s style) flowEntry(key string, v any, indent string) (string, error) {
	k, err := s.flow(key, indent)
	if err != nil {
		return "", err
	}
	text, err := s.flow(v, indent)
	return k + ": " + text, err
}

func (s style) writeJSON(v any, indent string) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if s.unit != "" {
		enc.SetIndent(indent, s.unit)
	}
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("failed to encode: %w", err)
	}
	return strings.ReplaceAll(strings.TrimSuffix(out.String(), "\n"), "\n", s.newline), nil
}

func (s style) encode(n *yaml.Node) (string, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(s.indent)
	if !s.deep {
		enc.CompactSeqIndent()
	}
	if err := enc.Encode(n); err != nil {
		return "", fmt.Errorf("failed to encode: %w", err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// Encode writes a tree as YAML, its keys in the order in which people write them.
func Encode(tree map[string]any) (string, error) {
	text, err := style{indent: 2, newline: "\n"}.block(tree, "")
	return text + "\n", err
}

// EncodeJSON writes a tree as JSON, on several lines if the JSON text of like is.
func EncodeJSON(tree map[string]any, like string) (string, error) {
	text, err := styleOf(like, nil).writeJSON(tree, "")
	return text + "\n", err
}

func nodeOf(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, k := range keysInOrder(v) {
			for _, e := range []any{k, v[k]} {
				c, err := nodeOf(e)
				if err != nil {
					return nil, err
				}
				n.Content = append(n.Content, c)
			}
		}
		return n, nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, e := range v {
			c, err := nodeOf(e)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		return n, nil
	case json.Number, float64:
		// As JSON has it: none may lose a digit.
		return &yaml.Node{Kind: yaml.ScalarNode, Value: canonical(v)}, nil
	}
	n := &yaml.Node{}
	if err := n.Encode(v); err != nil {
		return nil, fmt.Errorf("failed to encode %v: %w", v, err)
	}
	return n, nil
}

// first are the keys that people write before others, in their order.
var first = [...]string{
	"apiVersion", "kind", "metadata", "spec", // of an object
	"name", "namespace", "labels", "annotations", // of metadata, and of a subset
	"host", "exportTo", "workloadSelector", "trafficPolicy", "subsets", // of a DestinationRule
	"port", "tls", "mode", "sni", // of a port's settings
}

func keysInOrder(m map[string]any) []string {
	rank := func(k string) int {
		if i := slices.Index(first[:], k); i >= 0 {
			return i
		}
		return len(first)
	}
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
}
