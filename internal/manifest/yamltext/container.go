package yamltext

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A piece is the text of one entry of a map or item of a list, with its comments.
// In block style it starts behind the indentation of its first line and ends before
// its last line break. Between two pieces is a gap: line break, blank lines and
// indentation, or in flow style the comma.
type piece struct{ start, end int }

// An element is what a map or list holds afterwards: one of its pieces, or, with old
// isNew, a new value.
type element struct {
	old   int
	key   string // of a map
	value any
}

const isNew = -1

// rebuild puts the elements in the place of all pieces of node. nested are what
// changes within the pieces, by their number.
func (r *rewriter) rebuild(node *yaml.Node, out []element, nested [][]Replacement) ([]Replacement, error) {
	c, err := r.container(node)
	if err != nil {
		return nil, err
	}
	if len(c.pieces) == 0 {
		return r.fill(node, out)
	}
	end := c.pieces[len(c.pieces)-1].end
	if c.flow && strings.Contains(r.text[c.pieces[0].start:end]+c.behind, "#") {
		for i := range c.pieces {
			if i >= len(out) || out[i].old != i {
				return nil, errAt(node, "comments may stand between what changes places in flow style")
			}
		}
	}
	var text strings.Builder
	start := c.pieces[0].start
	for i, e := range out {
		gap := ""
		if i > 0 {
			gap = c.gap(out, i)
		}
		if lead, own := r.lead(c, e); own {
			gap = gap[:strings.LastIndexByte(gap, '\n')+1] + lead
			if i == 0 {
				start = r.lines[r.lineAt(start)]
			}
		}
		text.WriteString(gap)
		if e.old == isNew {
			fresh, err := r.fresh(c, e)
			if err != nil {
				return nil, err
			}
			text.WriteString(fresh)
			continue
		}
		p := c.pieces[e.old]
		within := slices.Clone(nested[e.old])
		for k := range within {
			within[k].Start -= p.start
			within[k].End -= p.start
		}
		text.WriteString(Apply(r.text[p.start:p.end], within))
	}
	if len(out) == 0 && !c.flow {
		text.WriteString(emptyOf(node.Kind))
	} else if len(out) > 0 && out[len(out)-1].old == isNew {
		end += len(c.behind)
	}
	return []Replacement{r.shortened(Replacement{start, end, text.String()})}, nil
}

// lead is what stands on the first line of an element before it, where nothing but white
// space does: a comment may be further left than what follows it. In a container whose
// first piece begins on the line of something else it is not told.
func (r *rewriter) lead(c *container, e element) (lead string, own bool) {
	if first := c.pieces[0].start; c.flow || r.lines[r.lineAt(first)]+len(r.indentAt(first)) != first {
		return "", false
	}
	if e.old == isNew {
		return strings.TrimLeft(c.before, "\r\n"), true
	}
	return r.indentAt(c.pieces[e.old].start), true
}

// fill writes the first elements of an empty map or list, which is in flow style.
func (r *rewriter) fill(node *yaml.Node, out []element) ([]Replacement, error) {
	start, err := r.start(node)
	if err != nil {
		return nil, err
	}
	end, err := r.end(node)
	if err != nil {
		return nil, err
	}
	var value any
	if node.Kind == yaml.MappingNode {
		m := map[string]any{}
		for _, e := range out {
			m[e.key] = e.value
		}
		value = m
	} else {
		var list []any
		for _, e := range out {
			list = append(list, e.value)
		}
		value = list
	}
	text, err := r.style.flow(value, r.indentAt(start))
	return []Replacement{{r.behindProperties(start, node), end, text}}, err
}

// shortened leaves out whole lines at either end that stay as they are.
func (r *rewriter) shortened(in Replacement) Replacement {
	old := r.text[in.Start:in.End]
	for {
		i := strings.IndexByte(in.Text, '\n') + 1
		if i == 0 || i > len(old) || old[:i] != in.Text[:i] {
			break
		}
		old, in.Text, in.Start = old[i:], in.Text[i:], in.Start+i
	}
	for {
		i := strings.LastIndexByte(in.Text, '\n')
		tail := len(in.Text) - i
		if i < 0 || tail > len(old) || old[len(old)-tail:] != in.Text[i:] {
			break
		}
		old, in.Text, in.End = old[:len(old)-tail], in.Text[:i], in.End-tail
	}
	return in
}

type container struct {
	node   *yaml.Node
	pieces []piece
	gaps   []string // behind each piece but the last
	flow   bool
	// before is what stands before the first piece: in block style the line break and
	// indentation, in flow style what is behind the bracket.
	before string
	// behind is, in flow style, the comment behind the last piece, with all before it.
	behind string
}

func (r *rewriter) container(node *yaml.Node) (*container, error) {
	c := &container{node: node, flow: node.Style&yaml.FlowStyle != 0}
	step := 1
	if node.Kind == yaml.MappingNode {
		step = 2
	}
	for i := 0; i < len(node.Content); i += step {
		p, err := r.piece(c, node.Content[i], node.Content[i+step-1])
		if err != nil {
			return nil, err
		}
		c.pieces = append(c.pieces, p)
	}
	if len(c.pieces) == 0 {
		return c, nil
	}
	if first := c.pieces[0].start; c.flow {
		start, err := r.start(node)
		if err != nil {
			return nil, err
		}
		c.before = r.text[r.behindProperties(start, node)+1 : first]
		end := c.pieces[len(c.pieces)-1].end
		if line := r.text[end:r.lineEnd(end)]; strings.HasPrefix(strings.TrimLeft(line, ", \t"), "#") {
			c.behind = line
		}
	} else {
		column := first - r.lines[r.lineAt(first)]
		c.before = r.style.newline + strings.Repeat(" ", column)
		r.giveTrivia(c.pieces, column)
	}
	for i := range c.pieces[1:] {
		c.gaps = append(c.gaps, r.text[c.pieces[i].end:c.pieces[i+1].start])
	}
	return c, nil
}

// piece returns the text of an entry or item without the comments around it.
func (r *rewriter) piece(c *container, first, last *yaml.Node) (piece, error) {
	start, err := r.start(first)
	if err != nil {
		return piece{}, err
	}
	end, err := r.entryEnd(first, last)
	switch {
	case err != nil:
		return piece{}, err
	case c.flow:
		return piece{start, end}, nil
	case c.node.Kind == yaml.SequenceNode:
		start = r.dash(c.node, start)
	}
	if line := r.lineAt(start); strings.Trim(r.text[r.lines[line]:start], " -") != "" {
		return piece{}, errAt(first, "it does not begin on a line of its own")
	}
	return piece{start, r.lineEnd(end)}, nil
}

// dash returns where the dash of a list's item stands: further up than the item
// where that begins on its own line.
func (r *rewriter) dash(list *yaml.Node, item int) int {
	for i := r.lineAt(item); i >= 0; i-- {
		if at := r.lines[i] + list.Column - 1; at < len(r.text) && r.text[at] == '-' {
			return at
		}
	}
	return item
}

// gap returns what stands before out[i].
func (c *container) gap(out []element, i int) string {
	switch old := out[i].old; {
	case old == isNew:
		return c.newGap(out[i-1].old != isNew)
	case len(out) == len(c.pieces): // They change places only; blank lines stay in theirs.
		return c.gaps[i-1]
	case old > 0:
		return c.gaps[old-1]
	}
	return c.newGap(false)
}

// newGap is what stands before a new element, or the first of several.
func (c *container) newGap(first bool) string {
	last := ""
	if n := len(c.gaps); n > 0 {
		last = c.gaps[n-1]
	}
	switch {
	case c.flow && first && c.behind != "":
		return "," + strings.TrimPrefix(c.behind, ",") + c.ownLine()
	case c.flow && strings.Contains(c.before, "\n"):
		return "," + c.ownLine()
	case last != "" && (c.flow || c.node.Kind == yaml.SequenceNode):
		return last
	case c.flow:
		return ", "
	}
	return c.before
}

// ownLine begins a line in a list or map in flow style.
func (c *container) ownLine() string {
	if i := strings.LastIndexByte(strings.TrimSuffix(c.before, "\r\n"), '\n'); i >= 0 {
		return c.before[i:]
	}
	return "\n" + strings.Repeat(" ", c.node.Column)
}

// fresh is the text of a new element.
func (r *rewriter) fresh(c *container, e element) (string, error) {
	if c.flow {
		indent := ""
		if i := strings.LastIndexByte(c.before, '\n'); i >= 0 {
			indent = c.before[i+1:]
		}
		if c.node.Kind == yaml.MappingNode {
			return r.style.flowEntry(e.key, e.value, indent)
		}
		return r.style.flow(e.value, indent)
	}
	var v any = []any{e.value}
	if c.node.Kind == yaml.MappingNode {
		v = map[string]any{e.key: e.value}
	}
	return r.style.block(v, strings.TrimLeft(c.before, "\r\n"))
}
