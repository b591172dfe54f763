package yamltext

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A layout finds nodes in the text. What it finds it holds against the node, so
// that a position that is not as thought is an error, and no wrong text.
type layout struct {
	text  string
	lines []int // where each line starts
	// runes are, for lines that are not all ASCII, where each character starts.
	runes map[int][]int
}

const notUnderstood = "it is written in a way that is not understood here"

func newLayout(text string) *layout {
	l := &layout{text: text, lines: []int{0}, runes: map[int][]int{}}
	for i := range len(text) {
		if text[i] == '\n' {
			l.lines = append(l.lines, i+1)
		}
	}
	for i := range l.lines {
		line := l.line(i)
		if strings.IndexFunc(line, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
			continue
		}
		starts := make([]int, 0, len(line))
		for at := range line {
			starts = append(starts, at)
		}
		l.runes[i] = starts
	}
	return l
}

// line returns line i with its end.
func (l *layout) line(i int) string {
	if i+1 < len(l.lines) {
		return l.text[l.lines[i]:l.lines[i+1]]
	}
	return l.text[l.lines[i]:]
}

// lineAt returns the number of the line that holds the byte.
func (l *layout) lineAt(offset int) int {
	lo, hi := 0, len(l.lines)
	for lo+1 < hi {
		if mid := (lo + hi) / 2; l.lines[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// lineEnd returns the end of the byte's line, before its line break.
func (l *layout) lineEnd(offset int) int {
	i := l.lineAt(offset)
	return l.lines[i] + len(strings.TrimRight(l.line(i), "\r\n"))
}

// indentAt returns the spaces that the byte's line starts with.
func (l *layout) indentAt(offset int) string {
	line := l.line(l.lineAt(offset))
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

// start returns where the node begins, its anchor and tag included.
func (l *layout) start(n *yaml.Node) (int, error) {
	if i := n.Line - 1; i >= 0 && i < len(l.lines) {
		column := n.Column - 1
		if starts, ok := l.runes[i]; ok && column < len(starts) {
			column = starts[column]
		}
		if at := l.lines[i] + column; column >= 0 && at <= len(l.text) {
			return at, nil
		}
	}
	return 0, errAt(n, notUnderstood)
}

// isEmpty reports whether the node is a null that nothing is written for.
func isEmpty(n *yaml.Node) bool {
	const written = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&written == 0
}

// span returns where a scalar stands, without its anchor and tag.
func (l *layout) span(n *yaml.Node) (start, end int, err error) {
	start, err = l.start(n)
	if err != nil {
		return 0, 0, err
	}
	if start = l.behindProperties(start, n); start < 0 {
		return 0, 0, errAt(n, notUnderstood)
	}
	end, ok := l.scalarEnd(n, start)
	if !ok {
		return 0, 0, errAt(n, notUnderstood)
	}
	return start, end, nil
}

// behindProperties skips the anchor and the tag of a node.
func (l *layout) behindProperties(at int, n *yaml.Node) int {
	for n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		if at >= len(l.text) || l.text[at] != '&' && l.text[at] != '!' {
			break
		}
		word := strings.IndexAny(l.text[at:], " \t\r\n")
		if word < 0 {
			return -1
		}
		at = l.skip(at+word, "")
	}
	return at
}

// skip passes over white space, comments and the characters of also.
func (l *layout) skip(at int, also string) int {
	for at < len(l.text) {
		switch c := l.text[at]; {
		case isSpace(rune(c)), strings.IndexByte(also, c) >= 0:
			at++
		case c == '#':
			at = l.lineEnd(at)
		default:
			return at
		}
	}
	return at
}

// end returns where the node ends.
func (l *layout) end(n *yaml.Node) (int, error) {
	if n.Kind == yaml.ScalarNode || n.Kind == yaml.AliasNode {
		_, end, err := l.span(n)
		return end, err
	}
	if n.Style&yaml.FlowStyle == 0 {
		return l.lastEnd(n)
	}
	at, err := l.start(n)
	if err != nil {
		return 0, err
	}
	at = l.behindProperties(at, n)
	if at < 0 || at >= len(l.text) || l.text[at] != '{' && l.text[at] != '[' {
		return 0, errAt(n, notUnderstood)
	}
	closing := l.text[at] + 2 // "}" behind "{", "]" behind "[", in ASCII
	at++
	if len(n.Content) > 0 {
		if at, err = l.lastEnd(n); err != nil {
			return 0, err
		}
	}
	if at = l.skip(at, ","); at >= len(l.text) || l.text[at] != closing {
		return 0, errAt(n, notUnderstood)
	}
	return at + 1, nil
}

// lastEnd returns where the last child ends.
func (l *layout) lastEnd(n *yaml.Node) (int, error) {
	last := len(n.Content) - 1
	if n.Kind == yaml.MappingNode {
		return l.entryEnd(n.Content[last-1], n.Content[last])
	}
	return l.end(n.Content[last])
}

// entryEnd returns where a map's entry ends, or, of a list, an item that is both.
func (l *layout) entryEnd(key, value *yaml.Node) (int, error) {
	if key == value || !isEmpty(value) || value.Anchor != "" {
		return l.end(value)
	}
	return l.keyEnd(key)
}

// keyEnd returns where the key of a map ends with its colon.
func (l *layout) keyEnd(key *yaml.Node) (int, error) {
	_, end, err := l.span(key)
	if err != nil {
		return 0, err
	}
	if at := l.skip(end, ""); at < len(l.text) && l.text[at] == ':' {
		end = at + 1
	}
	return end, nil
}

func (l *layout) scalarEnd(n *yaml.Node, at int) (end int, ok bool) {
	rest := l.text[at:]
	switch {
	case n.Kind == yaml.AliasNode:
		return at + 1 + len(n.Value), strings.HasPrefix(rest, "*"+n.Value)
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return at + quotedEnd(rest, '"', '\\'), strings.HasPrefix(rest, `"`)
	case n.Style&yaml.SingleQuotedStyle != 0:
		return at + quotedEnd(rest, '\'', '\''), strings.HasPrefix(rest, "'")
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return l.blockScalarEnd(at, strings.Trim(n.Value, "\n") == "")
	}
	return plainEnd(l.text, at, n.Value)
}

// quotedEnd returns the length of a quoted text. The escape takes the character
// behind it along; where it is the quote itself, only another one.
func quotedEnd(text string, quote, escape byte) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == escape && escape != quote,
			text[i] == quote && escape == quote && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return len(text)
}

// plainEnd follows the value through the text, where its white space may be any, and
// line breaks.
func plainEnd(text string, at int, value string) (end int, ok bool) {
	for _, word := range strings.FieldsFunc(value, isSpace) {
		for at < len(text) && isSpace(rune(text[at])) {
			at++
		}
		if !strings.HasPrefix(text[at:], word) {
			return 0, false
		}
		at += len(word)
	}
	return at, true
}

func isSpace(c rune) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// blockScalarEnd returns the end of a literal or folded text whose "|" or ">" stands
// at at: its lines are blank, or as indented as the first of them that is not.
func (l *layout) blockScalarEnd(at int, empty bool) (end int, ok bool) {
	header, _, _ := strings.Cut(l.text[at:l.lineEnd(at)], "#")
	if strings.ContainsAny(header, "0123456789") {
		return 0, false
	}
	keep := strings.Contains(header, "+")
	end = l.lineEnd(at)
	if empty {
		return end, true
	}
	indent := -1
	for i := l.lineAt(at) + 1; i < len(l.lines); i++ {
		line := strings.TrimRight(l.line(i), "\r\n")
		spaces := len(line) - len(strings.TrimLeft(line, " "))
		blank := strings.TrimSpace(line) == ""
		if !blank && indent < 0 {
			indent = spaces
		}
		if !blank && (spaces < indent || indent == 0) {
			break
		}
		if !blank || keep && i+1 < len(l.lines) {
			end = l.lines[i] + len(line)
		}
	}
	return end, true
}
