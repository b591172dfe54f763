package validate

// A trie holds units by the uri shapes that enclose them, so that the units which
// can possibly cover another are found along one walk: those whose value is a
// prefix of the other's. Edges are whole strings; a walk reads each byte once, and
// n units make at most 2n nodes.

import "strings"

type trieNode struct {
	edge     string
	children map[byte]*trieNode
	units    []*unit
}

// insert adds u under value.
func (n *trieNode) insert(value string, u *unit) {
	for value != "" {
		child := n.children[value[0]]
		if child == nil {
			child = &trieNode{edge: value}
			n.attach(child)
			n = child
			break
		}
		k := commonLen(child.edge, value)
		if k < len(child.edge) {
			upper := &trieNode{edge: child.edge[:k]}
			child.edge = child.edge[k:]
			upper.attach(child)
			n.attach(upper)
			child = upper
		}
		n, value = child, value[k:]
	}
	n.units = append(n.units, u)
}

func (n *trieNode) attach(child *trieNode) {
	if n.children == nil {
		n.children = map[byte]*trieNode{}
	}
	n.children[child.edge[0]] = child
}

// walk visits the units of each node whose value is a prefix of value, shortest
// first, until yield returns false.
func (n *trieNode) walk(value string, yield func([]*unit) bool) bool {
	for {
		if len(n.units) > 0 && !yield(n.units) {
			return false
		}
		if value == "" {
			return true
		}
		child := n.children[value[0]]
		if child == nil || !strings.HasPrefix(value, child.edge) {
			return true
		}
		n, value = child, value[len(child.edge):]
	}
}

func commonLen(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
