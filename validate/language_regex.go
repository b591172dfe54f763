package validate

// A regex as a union of exacts and prefixes. "/.*" is the prefix "/", "GET|POST"
// two exacts, "/v[12]/.*" two prefixes, "/.+" the prefix "/" with one more
// character. What is no such union is enclosed in one: "/api/v[0-9]+" lies within
// the prefix "/api/v". Envoy matches the whole string (RE2 FullMatch), so anchors
// at the ends change nothing.

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
)

const (
	// maxShapes bounds the union; a larger one becomes its common prefix.
	maxShapes = 32
	// maxNodes bounds the size of a regex that is ever compiled, repetitions
	// multiplied out.
	maxNodes = 4000
)

// expandRegex returns shapes that contain the language of the regex, whether they
// equal it, and the regex itself, nil when Go cannot or must not compile it.
func expandRegex(source string, u universe, w *work) (over []shape, exact bool, re *syntax.Regexp) {
	everything := []shape{anything()}
	if len(source) > maxRegex || !w.spend(5*len(source)) {
		return everything, false, nil
	}
	re, err := syntax.Parse(source, syntax.Perl)
	if err != nil || nodes(re) > maxNodes {
		return everything, false, nil
	}
	x := expander{universe: u, steps: maxNodes}
	over, exact = x.expand(re, true, true)
	w.spend(maxNodes - x.steps)
	if x.steps <= 0 {
		return everything, false, re
	}
	return over, exact, re
}

// nodes counts, with repetitions multiplied out, and stops counting at the bound.
func nodes(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += nodes(sub)
		if n > maxNodes {
			return maxNodes + 1
		}
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxNodes+1)
}

type expander struct {
	universe universe
	steps    int
}

// anything is the shape of all strings.
func anything() shape { return shape{prefix: true} }

// expand returns the shapes of one node. start and end say that the node begins
// or ends the string, where anchors hold.
func (x *expander) expand(re *syntax.Regexp, start, end bool) ([]shape, bool) {
	x.steps--
	if x.steps <= 0 {
		return []shape{anything()}, false
	}
	switch re.Op {
	case syntax.OpNoMatch:
		return nil, true
	case syntax.OpEmptyMatch:
		return []shape{{}}, true
	case syntax.OpBeginText, syntax.OpBeginLine:
		return []shape{{}}, start
	case syntax.OpEndText, syntax.OpEndLine:
		return []shape{{}}, end
	case syntax.OpLiteral:
		return literal(re)
	case syntax.OpCharClass:
		return charClass(re)
	case syntax.OpCapture:
		return x.expand(re.Sub[0], start, end)
	case syntax.OpConcat:
		return x.concat(re.Sub, start, end)
	case syntax.OpAlternate:
		return x.alternate(re.Sub, start, end)
	case syntax.OpQuest:
		over, exact := x.expand(re.Sub[0], false, false)
		return enclose(append([]shape{{}}, over...), exact)
	case syntax.OpStar:
		return x.repeat(re.Sub[0], 0, -1)
	case syntax.OpPlus:
		return x.repeat(re.Sub[0], 1, -1)
	case syntax.OpRepeat:
		return x.repeat(re.Sub[0], re.Min, re.Max)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return []shape{{prefix: true, more: 1}}, false
	default: // word boundaries take no character
		return []shape{{}}, false
	}
}

func literal(re *syntax.Regexp) ([]shape, bool) {
	over := []shape{{}}
	for i, r := range re.Rune {
		variants := []rune{r}
		if re.Flags&syntax.FoldCase != 0 {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				variants = append(variants, f)
			}
		}
		if len(over)*len(variants) > maxShapes {
			rest := len(re.Rune) - i
			for j := range over {
				over[j].prefix, over[j].more = true, rest
			}
			return over, false
		}
		next := make([]shape, 0, len(over)*len(variants))
		for _, s := range over {
			for _, v := range variants {
				next = append(next, shape{value: s.value + string(v)})
			}
		}
		over = next
	}
	return over, true
}

// charClass returns the characters of a small class as exacts.
func charClass(re *syntax.Regexp) ([]shape, bool) {
	var over []shape
	for i := 0; i+1 < len(re.Rune); i += 2 {
		lo, hi := re.Rune[i], re.Rune[i+1]
		if int(hi-lo)+len(over) >= maxShapes/2 {
			return []shape{{prefix: true, more: 1}}, false
		}
		for r := lo; r <= hi; r++ {
			over = append(over, shape{value: string(r)})
		}
	}
	return over, true
}

// anyChar: the node is one character, and any of the universe will do.
func (x *expander) anyChar(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar:
		return true
	case syntax.OpAnyCharNotNL:
		return true
	case syntax.OpCapture:
		return x.anyChar(re.Sub[0])
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if x.anyChar(sub) && onlyChars(re.Sub) {
				return true
			}
		}
		return false
	case syntax.OpCharClass:
		missing := rune(0) // the first character not yet seen
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if !x.impossible(missing, re.Rune[i]-1) {
				return false
			}
			missing = re.Rune[i+1] + 1
		}
		return x.impossible(missing, unicode.MaxRune)
	default:
		return false
	}
}

// onlyChars: each node is one character, as in (.|\n).
func onlyChars(subs []*syntax.Regexp) bool {
	for _, re := range subs {
		switch re.Op {
		case syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpCharClass:
		case syntax.OpLiteral:
			if len(re.Rune) != 1 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// impossible: no character from lo to hi occurs in the universe.
func (x *expander) impossible(lo, hi rune) bool {
	if hi-lo >= 4 {
		return false
	}
	for r := lo; r <= hi; r++ {
		if x.universe.has(r) {
			return false
		}
	}
	return true
}

func (x *expander) repeat(sub *syntax.Regexp, low, high int) ([]shape, bool) {
	if high == 0 {
		return []shape{{}}, true
	}
	if x.anyChar(sub) {
		return []shape{{prefix: true, more: low}}, high == -1
	}
	over, exact := x.expand(sub, false, false)
	if len(over) == 1 && over[0] == anything() {
		return over, exact // (.*)*
	}
	const unroll = 4
	all, allExact := []shape{{}}, true
	for range min(low, unroll) {
		all, allExact = join(all, allExact, over, exact)
	}
	if low == high && low <= unroll {
		return all, allExact
	}
	return join(all, allExact, []shape{anything()}, false)
}

func (x *expander) concat(subs []*syntax.Regexp, start, end bool) ([]shape, bool) {
	// An anchor holds when nothing but anchors stands between it and the end.
	last := len(subs) - 1
	for last >= 0 && isEnd(subs[last]) {
		last--
	}
	over, exact := []shape{{}}, true
	for i, sub := range subs {
		s, e := x.expand(sub, start, end && i >= last)
		over, exact = join(over, exact, s, e)
		start = start && isBegin(sub)
	}
	return over, exact
}

func isBegin(re *syntax.Regexp) bool {
	return re.Op == syntax.OpBeginText || re.Op == syntax.OpBeginLine
}

func isEnd(re *syntax.Regexp) bool {
	return re.Op == syntax.OpEndText || re.Op == syntax.OpEndLine
}

func (x *expander) alternate(subs []*syntax.Regexp, start, end bool) ([]shape, bool) {
	var over []shape
	exact := true
	for _, sub := range subs {
		s, e := x.expand(sub, start, end)
		over, exact = enclose(append(over, s...), exact && e)
	}
	return over, exact
}

// join concatenates. Behind a prefix, only what may be empty or is itself
// anything leaves a prefix.
func join(a []shape, aExact bool, b []shape, bExact bool) ([]shape, bool) {
	exact := aExact && bExact
	nullable := false
	for _, t := range b {
		nullable = nullable || t == shape{}
	}
	out := make([]shape, 0, len(a)*len(b))
	for _, s := range a {
		for _, t := range b {
			switch {
			case !s.prefix:
				out = append(out, shape{prefix: t.prefix, value: s.value + t.value, more: t.more})
			case t.prefix && t.value == "":
				out = append(out, shape{prefix: true, value: s.value, more: s.more + t.more})
			case nullable && t != shape{}: // lies within the case of t empty
			case t == shape{}:
				out = append(out, s)
			default:
				out = append(out, shape{prefix: true, value: s.value, more: s.more + least(t)})
				exact = false
			}
		}
		if len(out) > 2*maxShapes {
			// The rest is enclosed by the common prefix of a.
			over, _ := enclose(slices.Concat(out, a), false)
			return []shape{{prefix: true, value: common(over)}}, false
		}
	}
	return enclose(out, exact)
}

func least(s shape) int { return len([]rune(s.value)) + s.more }

// enclose removes doubles and bounds the union by its common prefix.
func enclose(in []shape, exact bool) ([]shape, bool) {
	var out []shape
	seen := make(map[shape]bool, len(in))
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	if len(out) <= maxShapes {
		return out, exact
	}
	return []shape{{prefix: true, value: common(out)}}, false
}

func common(in []shape) string {
	if len(in) == 0 {
		return ""
	}
	p := in[0].value
	for _, s := range in[1:] {
		for !strings.HasPrefix(s.value, p) {
			p = p[:len(p)-1]
		}
	}
	return strings.ToValidUTF8(p, "")
}

// suffixOf returns what each string that fits ends with, as far as the last
// literal tells. Most strings are told apart by it.
func suffixOf(re *syntax.Regexp) string {
	for re != nil {
		switch {
		case re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0:
			return string(re.Rune)
		case re.Op == syntax.OpConcat:
			last := len(re.Sub) - 1
			for last > 0 && isEnd(re.Sub[last]) {
				last--
			}
			re = re.Sub[last]
		case re.Op == syntax.OpCapture:
			re = re.Sub[0]
		default:
			return ""
		}
	}
	return ""
}

// guessRegex writes a short string that fits, assertions and negations aside; the
// caller tries it.
func guessRegex(re *syntax.Regexp, b *strings.Builder) {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
		return
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if r := representative(re.Rune[i], re.Rune[i+1], pathText); spoken(r, pathText) {
				b.WriteRune(r)
				return
			}
		}
		return
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
		return
	case syntax.OpStar, syntax.OpQuest:
		return
	case syntax.OpRepeat:
		n = re.Min
	}
	subs := re.Sub
	if re.Op == syntax.OpAlternate {
		subs = subs[:1]
	}
	for range n {
		for _, sub := range subs {
			if b.Len() > maxRegex {
				return
			}
			guessRegex(sub, b)
		}
	}
}
