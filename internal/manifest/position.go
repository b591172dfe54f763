package manifest

import (
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// lineOf returns the line in the file of the field at path, such as
// spec.http[1].match[0], or of the deepest field on the way that is written.
func (s *Source) lineOf(path string) int {
	line := s.line
	for text := range strings.Lines(s.Text) {
		if t := strings.TrimSpace(text); t != "" && t[0] != '#' {
			break
		}
		line++
	}
	if path == "" {
		return line
	}
	if n := walkLine(s.syntax(), steps(path)); n > 0 {
		return s.line + n - 1
	}
	return line
}

// parseSyntax returns the syntax tree of one document, nil where goccy/go-yaml
// cannot read what sigs.k8s.io/yaml could.
func parseSyntax(text string) (root ast.Node) {
	// A position is a courtesy; it must not cost the answer.
	defer func() {
		if recover() != nil {
			root = nil
		}
	}()
	file, err := parser.ParseBytes([]byte(text), 0)
	if err != nil {
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			return doc.Body
		}
	}
	return nil
}

// steps splits a path into keys and indexes: a.b[0] is a, b, 0, and a[b.c/d] is a,
// b.c/d.
func steps(path string) []string {
	var out []string
	for path != "" {
		switch i := strings.IndexAny(path, ".["); {
		case i < 0:
			return append(out, path)
		case i > 0:
			out = append(out, path[:i])
			path = path[i:]
		case path[0] == '.':
			path = path[1:]
		default:
			key, rest, _ := strings.Cut(path[1:], "]")
			out = append(out, key)
			path = rest
		}
	}
	return out
}

// walkLine returns the line of the deepest node that the steps lead to, 0 if there
// is none.
func walkLine(node ast.Node, steps []string) int {
	line := 0
	for _, step := range steps {
		next, at := child(node, step)
		if at == 0 {
			break
		}
		node, line = next, at
	}
	return line
}

func child(node ast.Node, step string) (next ast.Node, line int) {
	switch n := node.(type) {
	case *ast.AnchorNode:
		return child(n.Value, step)
	case *ast.TagNode:
		return child(n.Value, step)
	case *ast.MappingValueNode:
		return pair(n, step)
	case *ast.MappingNode:
		for _, v := range n.Values {
			if next, line := pair(v, step); line > 0 {
				return next, line
			}
		}
	case *ast.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Values) {
			return n.Values[i], firstLine(n.Values[i])
		}
	}
	return nil, 0
}

func pair(n *ast.MappingValueNode, key string) (next ast.Node, line int) {
	if t := n.Key.GetToken(); t != nil && t.Value == key {
		return n.Value, t.Position.Line
	}
	return nil, 0
}

func firstLine(node ast.Node) int {
	switch n := node.(type) {
	case nil:
		return 0
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return firstLine(n.Values[0])
		}
	case *ast.MappingValueNode:
		return firstLine(n.Key)
	}
	if t := node.GetToken(); t != nil {
		return t.Position.Line
	}
	return 0
}
