package manifest

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A Region is where a field stands in its file: its key and value, or its value where
// it is an item of a list. Lines and columns count from 1, columns in characters.
type Region struct {
	Line, Column int
	// EndColumn is behind what of the field stands on Line.
	EndColumn int
	// Text is that part of Line.
	Text string
	// LastLine is the one on which the last of its values starts.
	LastLine int
}

// regionOf returns the region of the field at path, such as spec.http[1].match[0], or
// of the deepest field on the way that is written.
func (s *Source) regionOf(path string) Region {
	at, ok := s.find(path)
	if !ok {
		return s.head()
	}
	return s.region(at)
}

// focusOf returns the region of what the field at path comes down to: of a field that
// holds nothing but one other, that one.
func (s *Source) focusOf(path string) Region {
	at, ok := s.find(path)
	if !ok {
		return s.head()
	}
	for {
		only := ""
		switch whole := at.whole; {
		case whole.Kind == yaml.MappingNode && len(whole.Content) == 2:
			only = whole.Content[0].Value
		case whole.Kind == yaml.SequenceNode && len(whole.Content) == 1:
			only = "0"
		}
		next, ok := at.child(only)
		if !ok {
			return s.region(at)
		}
		at = next
	}
}

// find returns the field at path, or the deepest on the way that is written.
func (s *Source) find(path string) (at field, ok bool) {
	root := s.syntax()
	if root == nil {
		return field{}, false
	}
	at = field{whole: root}
	for _, step := range steps(path) {
		next, there := at.child(step)
		if !there {
			break
		}
		at, ok = next, true
	}
	return at, ok
}

func (s *Source) region(at field) Region {
	line := s.lineAt(at.start.Line)
	text := s.Row(line)
	end := endOfToken(text, at.start.Column-1, at.flow, at.first != at.start)
	if at.first != at.start && at.first.Line == at.start.Line {
		end = endOfToken(text, at.first.Column-1, at.flow, false)
	}
	return Region{
		Line: line, Column: at.start.Column, EndColumn: end + 1, Text: string(text[at.start.Column-1 : end]),
		LastLine: s.lineAt(lastLine(at.whole)),
	}
}

// head is the first line that is no comment.
func (s *Source) head() Region {
	line := s.line
	for text := range strings.Lines(s.Text) {
		if t := strings.TrimSpace(text); t != "" && t[0] != '#' {
			indent, _, _ := strings.Cut(text, t)
			column := 1 + utf8.RuneCountInString(indent)
			return Region{Line: line, Column: column, EndColumn: column + utf8.RuneCountInString(t), Text: t, LastLine: line}
		}
		line++
	}
	return Region{Line: s.line, Column: 1, EndColumn: 1, LastLine: s.line}
}

// Lines returns some lines of the file, the first and the last counted from 1, without
// their ends, as far as they belong to the source.
func (s *Source) Lines(first, last int) []string {
	first, last = max(first, s.line), min(last, s.line+len(s.starts())-1)
	if first > last {
		return nil
	}
	return s.lines(first, last)
}

// Row returns the characters of a line of the file, counted from 1, without its end. They
// are not to be changed: a file may be one long line, of which much is asked.
func (s *Source) Row(line int) []rune {
	if s.row.line != line {
		s.row = row{line, []rune(strings.Join(s.Lines(line, line), ""))}
	}
	return s.row.text
}

func (s *Source) lines(first, last int) []string {
	starts := s.starts()
	var out []string
	for i := first - s.line; i <= last-s.line; i++ {
		end := len(s.Text)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		out = append(out, strings.TrimRight(s.Text[starts[i]:end], "\r\n"))
	}
	return out
}

// lineStarts are the offsets of the lines of text.
func lineStarts(text string) []int {
	out := []int{0}
	for i := range len(text) - 1 {
		if text[i] == '\n' {
			out = append(out, i+1)
		}
	}
	return out
}

// lineAt turns a line of the parser into one of the file. The parser ends lines at some
// more characters than editors do.
func (s *Source) lineAt(n int) int {
	if !s.oddBreaks() {
		return s.line + n - 1
	}
	line := s.line
	for i, r := range s.Text {
		if n <= 1 {
			break
		}
		switch r {
		case '\n':
			line++
			n--
		case '\r':
			if !strings.HasPrefix(s.Text[i+1:], "\n") {
				n--
			}
		case '\u0085', '\u2028', '\u2029':
			n--
		}
	}
	return line
}

func hasOddBreaks(text string) bool {
	return strings.ContainsAny(text, "\u0085\u2028\u2029") || strings.Count(text, "\r") != strings.Count(text, "\r\n")
}

// parseSyntax returns the syntax tree of one document, nil where the parser cannot read
// it: JSON holds escapes that YAML does not know.
func parseSyntax(text string, isJSON bool) *yaml.Node {
	if isJSON {
		text = strings.ReplaceAll(text, "\t", " ")
	}
	var doc yaml.Node
	if yaml.Unmarshal([]byte(text), &doc) != nil || len(doc.Content) == 0 {
		return nil
	}
	return doc.Content[0]
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

// A field is what a step leads to.
type field struct {
	// start is where it begins: its key, or the first token of an item.
	start *yaml.Node
	// first is the first value behind start; start itself where that is a value.
	first *yaml.Node
	// whole is the value.
	whole *yaml.Node
	// flow: it is within { } or [ ].
	flow bool
}

func (f field) child(step string) (field, bool) {
	node := f.whole
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	flow := f.flow || node.Style&yaml.FlowStyle != 0
	switch node.Kind {
	case yaml.MappingNode:
		if key, value := pair(node, step); key != nil {
			return field{key, value, value, flow}, true
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			item := node.Content[i]
			if item.Kind == yaml.MappingNode && item.Style&yaml.FlowStyle == 0 && len(item.Content) > 1 {
				return field{item.Content[0], item.Content[1], item, flow}, true
			}
			return field{item, item, item, flow}, true
		}
	}
	return field{}, false
}

// pair returns a key of a map and its value, of a map that is merged in (<<) if the map
// itself has none.
func pair(node *yaml.Node, key string) (k, v *yaml.Node) {
	var merged []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		switch k, v := node.Content[i], node.Content[i+1]; {
		case k.Value == key && k.Kind == yaml.ScalarNode:
			return k, v
		case k.Tag == "!!merge" && v.Kind == yaml.SequenceNode:
			merged = append(merged, v.Content...)
		case k.Tag == "!!merge":
			merged = append(merged, v)
		}
	}
	for _, m := range merged {
		if m.Kind == yaml.AliasNode {
			m = m.Alias
		}
		if m.Kind == yaml.MappingNode {
			if k, v := pair(m, key); k != nil {
				return k, v
			}
		}
	}
	return nil, nil
}

func lastLine(node *yaml.Node) int {
	line := node.Line
	if node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		line += strings.Count(node.Value, "\n")
	}
	for _, c := range node.Content {
		line = max(line, lastLine(c))
	}
	return line
}

// endOfToken returns the index behind the key, scalar or flow collection that starts at
// text[at], or behind what of it stands on this line.
func endOfToken(text []rune, at int, flow, isKey bool) int {
	depth := 0
	end := at
	for i := at; i < len(text); i++ {
		switch r := text[i]; {
		case r == '"' || r == '\'':
			if i == at || depth > 0 {
				i = endOfQuoted(text, i)
			}
		case r == '#' && i > 0 && (text[i-1] == ' ' || text[i-1] == '\t'):
			return end
		case isKey && depth == 0 && r == ':' && (i+1 == len(text) || text[i+1] == ' ' || text[at] == '"'):
			return end
		case (r == '{' || r == '[') && (i == at || depth > 0):
			depth++
		case (r == '}' || r == ']') && depth > 0:
			depth--
			if depth == 0 {
				return i + 1
			}
		case flow && depth == 0 && strings.ContainsRune(",}]", r):
			return end
		}
		if i < len(text) && text[i] != ' ' && text[i] != '\t' {
			end = i + 1
		}
	}
	return end
}

// endOfQuoted returns the index of the quote that closes the one at text[at], or of the
// line's last character.
func endOfQuoted(text []rune, at int) int {
	for i := at + 1; i < len(text); i++ {
		switch {
		case text[at] == '"' && text[i] == '\\':
			i++
		case text[i] != text[at]:
		case text[at] == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
		default:
			return i
		}
	}
	return len(text) - 1
}
