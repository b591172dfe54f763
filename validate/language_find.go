package validate

// A string that lies in some languages and outside of others: the question behind
// every other one. Is a regex within another? No, if a string is in the one and
// not in the other. All automata are run in step, breadth first, so that the
// string found is a shortest one, and that none is found is a proof.

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

type outcome int

const (
	// unsure: past the budget, or a string exists that no client would send.
	unsure outcome = iota
	found
	none
)

// A specimen is a string, if one was found.
type specimen struct {
	text    string
	outcome outcome
}

// sample returns a string of l; the same one each time.
func (l *language) sample(w *work) specimen {
	if l.asked {
		return l.sampled
	}
	s := specimen{outcome: none}
	if len(l.over) > 0 {
		if s = l.guess(w); s.outcome != found {
			s = w.find(l.universe, []*language{l}, nil)
		}
	}
	if w.left > 0 {
		l.sampled, l.asked = s, true
	}
	return s
}

// guess reads a string off the shapes or the regex.
func (l *language) guess(w *work) specimen {
	if l.exact {
		for _, o := range l.over {
			if s := finish(o.value, l.universe); s.outcome == found && o.more == 0 {
				return s
			}
		}
	}
	if l.regex == nil || !w.spend(len(l.value)) {
		return specimen{}
	}
	var b strings.Builder
	guessRegex(l.regex, &b)
	text := b.String()
	if l.universe == pathText && !strings.HasPrefix(text, "/") {
		text = "/" + text
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !l.universe.has(r) }) {
		return specimen{}
	}
	if yes, known := l.accepts(text, w); !yes || !known {
		return specimen{}
	}
	return finish(text, l.universe)
}

// start, step and final run l as an automaton; it is not opaque.
func (l *language) start() int32 {
	if l.kind == "" || l.kind == "prefix" && l.value == "" {
		return stateAll
	}
	return stateStart
}

func (l *language) step(s int32, r rune, w *work) (int32, bool) {
	if s < 0 {
		return s, true
	}
	if l.kind == "regex" {
		if !l.compiled(w) {
			return 0, false
		}
		return l.dfa.step(s, r, w)
	}
	want := l.wants(s)
	if r != want && (!l.fold || lowerRune(r) != lowerRune(want)) {
		return stateDead, true
	}
	s++
	switch {
	case int(s) < len(l.runes):
		return s, true
	case l.kind == "prefix":
		return stateAll, true
	default:
		return s, true
	}
}

// wants returns the one character that leads on from a state of an exact or
// prefix, -1 for none.
func (l *language) wants(s int32) rune {
	if l.runes == nil {
		l.runes = []rune(l.value)
	}
	if int(s) >= len(l.runes) {
		return -1
	}
	return l.runes[s]
}

func (l *language) final(s int32, w *work) (yes, known bool) {
	switch {
	case s == stateAll:
		return true, true
	case s == stateDead:
		return false, true
	case l.kind == "regex":
		if !l.compiled(w) {
			return false, false
		}
		return l.dfa.final(s, w)
	default:
		return l.wants(s) < 0, true
	}
}

func (l *language) compiled(w *work) bool {
	if l.dfa == nil && !l.opaque {
		ok := w.spend(20 * len(l.value))
		if ok {
			l.dfa, ok = newAutomaton(l.regex)
		}
		l.opaque = !ok
	}
	return l.dfa != nil
}

func lowerRune(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// A finder runs the languages in step.
type finder struct {
	w        *work
	universe universe
	all      []*language // first those that must accept, then those that must not
	yes      int
	alphabet []letter
	nodes    []finderNode
	states   []int32 // len(all) of each node
	known    map[string]bool
	skipped  bool // a letter that is not plain was left out
}

type finderNode struct {
	parent int
	r      rune
}

// A letter stands for a class of characters that no language tells apart.
type letter struct {
	r rune
	// plain: a client would send it.
	plain bool
}

// find returns a string of the universe that all of yes accept and none of no.
func (w *work) find(u universe, yes, no []*language) specimen {
	w.spend(50)
	f := &finder{w: w, universe: u, all: slices.Concat(yes, no), yes: len(yes), known: map[string]bool{}}
	for i, l := range f.all {
		if l.opaque || l.kind == "regex" && !l.compiled(w) {
			return specimen{}
		}
		l.wants(0)
		f.states = append(f.states, l.start())
		if i >= f.yes && f.states[i] == stateAll {
			return specimen{outcome: none}
		}
	}
	f.nodes = append(f.nodes, finderNode{parent: -1})
	// First with plain letters only, then with all, to tell none from unsure.
	for _, plain := range []bool{true, false} {
		for n := 0; n < len(f.nodes); n++ { //nolint:intrange // it grows
			switch ok, known := f.accepted(n); {
			case !known:
				return specimen{}
			case ok && !plain:
				return specimen{outcome: unsure}
			case ok:
				return finish(f.text(n), u)
			}
			if !f.expand(n, plain) {
				return specimen{}
			}
		}
		if !f.skipped {
			break
		}
	}
	return specimen{outcome: none}
}

func (f *finder) at(n int) []int32 { return f.states[n*len(f.all) : (n+1)*len(f.all)] }

func (f *finder) accepted(n int) (yes, known bool) {
	if n == 0 && (f.universe == pathText || f.universe == tokenText) {
		return false, true
	}
	for i, s := range f.at(n) {
		in, known := f.all[i].final(s, f.w)
		if !known {
			return false, false
		}
		if in != (i < f.yes) {
			return false, true
		}
	}
	return true, true
}

// expand adds the successors of a node; false past the budget.
func (f *finder) expand(n int, plain bool) bool {
	if n == 0 && f.universe == pathText {
		return f.add(n, '/')
	}
	// An exact or prefix that must accept leaves one character.
	for i, s := range f.at(n)[:f.yes] {
		l := f.all[i]
		if s < 0 || l.kind == "regex" {
			continue
		}
		r := l.wants(s)
		if r < 0 {
			return true
		}
		for _, r := range cases(r, l.fold) {
			if !f.universe.has(r) {
				continue
			}
			if plain && !spoken(r, f.universe) {
				f.skipped = true
			} else if !f.add(n, r) {
				return false
			}
		}
		return true
	}
	if f.alphabet == nil {
		f.letters()
	}
	for _, l := range f.alphabet {
		if plain && !l.plain {
			f.skipped = true
		} else if !f.add(n, l.r) {
			return false
		}
	}
	return true
}

func cases(r rune, fold bool) []rune {
	if l := lowerRune(r); fold && 'a' <= l && l <= 'z' {
		return []rune{l, l - 'a' + 'A'}
	}
	return []rune{r}
}

// add appends the node behind one more character, if it is new and may lead
// anywhere.
func (f *finder) add(n int, r rune) bool {
	if !f.w.spend(3*len(f.all) + 10) {
		return false
	}
	from := len(f.states)
	for i := range f.all {
		s, ok := f.all[i].step(f.states[n*len(f.all)+i], r, f.w)
		if !ok {
			f.states = f.states[:from]
			return false
		}
		if i < f.yes && s == stateDead || i >= f.yes && s == stateAll {
			f.states = f.states[:from]
			return true
		}
		f.states = append(f.states, s)
	}
	key := make([]byte, 0, 4*len(f.all))
	for _, s := range f.states[from:] {
		key = binary.LittleEndian.AppendUint32(key, uint32(s)) //nolint:gosec // for identity
	}
	if f.known[string(key)] {
		f.states = f.states[:from]
		return true
	}
	if !f.w.spend(10 + len(f.all)) {
		return false
	}
	f.known[string(key)] = true
	f.nodes = append(f.nodes, finderNode{parent: n, r: r})
	return true
}

func (f *finder) text(n int) string {
	var out []rune
	for ; f.nodes[n].parent >= 0; n = f.nodes[n].parent {
		out = append(out, f.nodes[n].r)
	}
	slices.Reverse(out)
	return string(out)
}

// letters finds the alphabet: a representative of each class of characters.
func (f *finder) letters() {
	bounds := []rune{0, '\n', '\n' + 1, '#', '#' + 1, '&', '&' + 1, '?', '?' + 1}
	for _, l := range f.all {
		if l.kind == "regex" {
			bounds = append(bounds, l.dfa.bounds...)
			continue
		}
		for _, r := range l.runes {
			for _, r := range cases(r, l.fold) {
				bounds = append(bounds, r, r+1)
			}
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	f.w.spend(len(bounds))
	f.alphabet = make([]letter, 0, len(bounds))
	for i, lo := range bounds {
		hi := rune(unicode.MaxRune)
		if i+1 < len(bounds) {
			hi = bounds[i+1] - 1
		}
		if lo > hi || !f.universe.has(lo) {
			continue
		}
		r := representative(lo, hi, f.universe)
		f.alphabet = append(f.alphabet, letter{r, r != ' ' && spoken(r, f.universe)})
	}
	rank := func(l letter) int {
		if i := strings.IndexRune(usualLetters, l.r); i >= 0 {
			return i
		}
		return len(usualLetters) + int(l.r)
	}
	slices.SortFunc(f.alphabet, func(a, b letter) int { return rank(a) - rank(b) })
}

// usualLetters are the characters that an example is made of where any will do.
const usualLetters = "x1abcdefghijklmnopqrstuvwyz023456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_./"

func representative(lo, hi rune, u universe) rune {
	for _, r := range usualLetters {
		if lo <= r && r <= hi {
			return r
		}
	}
	for r := lo; r <= min(hi, lo+0x100); r++ {
		if spoken(r, u) {
			return r
		}
	}
	return lo
}

// excludes are the characters that cannot occur.
func (u universe) excludes() string {
	switch u {
	case pathText:
		return "\n?#"
	case queryText:
		return "\n&#"
	default:
		return "\n"
	}
}

// has: the character can occur.
func (u universe) has(r rune) bool { return !strings.ContainsRune(u.excludes(), r) }

// spoken: a client would send the character as it is.
func spoken(r rune, u universe) bool {
	switch {
	case r == ' ':
		return u == headerText
	case r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r):
		return false
	default:
		return u != queryText || !strings.ContainsRune("=+%", r)
	}
}

// finish makes a specimen of a string that is one if a client would send it.
func finish(s string, u universe) specimen {
	if visible(s) && u != queryText && s != "" {
		return specimen{s, found}
	}
	if strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return !spoken(r, u) }) || s == "" && u == tokenText {
		return specimen{outcome: unsure}
	}
	return specimen{s, found}
}

// visible: printable ASCII without the space, which a client sends as it is. Paths can be long, so
// it takes eight characters at a time, and looks at the outcome after four times.
func visible(s string) bool {
	for ; len(s) >= 32; s = s[32:] {
		if invisible(s)|invisible(s[8:])|invisible(s[16:])|invisible(s[24:]) != 0 {
			return false
		}
	}
	for ; len(s) >= 8; s = s[8:] {
		if invisible(s) != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// invisible returns 0 if the first eight characters of s are visible.
func invisible(s string) uint64 {
	const each, high = 0x0101010101010101, 0x8080808080808080
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	// Not ASCII; the last character of ASCII; below the first that is visible.
	return (x | (x + each) | (x-'!'*each)&^x) & high
}

// holds: each character of s can occur.
func (u universe) holds(s string) bool {
	for _, c := range []byte(u.excludes()) {
		if strings.IndexByte(s, c) >= 0 {
			return false
		}
	}
	return true
}
