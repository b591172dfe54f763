package validate

// A language is the set of strings that one StringMatch accepts, within a
// universe of strings that can occur at all. It is held as a union of shapes
// (exact strings and prefixes) that contains it, and that equals it when exact
// is set. A regex that is no such union is also an automaton.
//
// contains and disjoint return true only for what holds for certain.

import (
	"hash/maphash"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	networking "istio.io/api/networking/v1"
)

// universe says which strings can occur.
type universe int8

const (
	// pathText starts with "/" and has no "?", no "#" and no line break: Envoy
	// cuts query and fragment off before it matches.
	pathText universe = iota
	// headerText has no line break.
	headerText
	// tokenText is headerText that is not empty: a method, a scheme.
	tokenText
	// queryText is headerText without what ends a parameter: Envoy decodes nothing
	// (RouteEntryImplBase::matchRoute, parseQueryString).
	queryText
)

// shape is one string, or all strings that begin with value and go on for at
// least more characters.
type shape struct {
	value  string
	more   int
	prefix bool
	// fold: ASCII letters match in either case, as Envoy does with ignoreUriCase;
	// value is in lower case.
	fold bool
}

type language struct {
	languageKey
	next  *language // of those that have the same hash
	over  []shape
	one   [1]shape // that over holds, unless it is a regex's
	exact bool
	// opaque: nothing is known but the name. Two of one name are equal, and no
	// string can be tried: a JWT claim, or a regex that is too large for us.
	opaque bool
	asked  bool // sampled is known

	runes   []rune             // of exact and prefix, once stepped through
	regex   *syntax.Regexp     // of a regex
	suffix  string             // that all strings of a regex end with
	dfa     *automaton         // once needed
	sampled specimen           // once asked for
	within  map[*language]bool // what contains answered for another
}

// maxRegex is the longest regex that Istio admits (validateStringRegexp).
const maxRegex = 1024

type languageKey struct {
	// kind and value are the StringMatch: exact, prefix, regex, or "" for any value.
	kind, value string
	universe    universe
	fold        bool
}

// language translates a StringMatch. fold is ignoreUriCase, which Envoy applies to
// exact and prefix only.
func (w *work) language(m *networking.StringMatch, in universe, fold bool) *language {
	kind, value := matchOf(m)
	return w.named(languageKey{kind, value, in, fold && kind != "regex"})
}

func (w *work) exactly(value string) *language {
	return w.named(languageKey{"exact", value, headerText, false})
}

const claim = "claim"

func (w *work) named(k languageKey) *language {
	// A value can be long: it is hashed once, to look and to put there what is not found.
	hash := maphash.String(w.seed, k.value)
	for l := w.languages[hash]; l != nil; l = l.next {
		if l.languageKey == k {
			return l
		}
	}
	l := w.newLanguage.next()
	*l = language{languageKey: k, exact: true}
	l.over = l.one[:1]
	switch k.kind {
	case "exact":
		l.one[0] = newShape(false, k.value, k.fold)
	case "prefix":
		l.one[0] = newShape(true, k.value, k.fold)
	case "regex":
		l.over, l.exact, l.regex = expandRegex(k.value, k.universe, w)
		l.opaque = l.regex == nil
		l.suffix = suffixOf(l.regex)
	case claim:
		l.one[0], l.exact, l.opaque = anything(), false, true
	default:
		l.one[0] = anything()
	}
	l.over = fuse(restrict(l.over, k.universe))
	l.next, w.languages[hash] = w.languages[hash], l
	return l
}

// matchOf returns the type of a match, "" for none, and its value.
func matchOf(m *networking.StringMatch) (kind, value string) {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		if t != nil {
			return "exact", t.Exact
		}
	case *networking.StringMatch_Prefix:
		if t != nil {
			return "prefix", t.Prefix
		}
	case *networking.StringMatch_Regex:
		if t != nil {
			return "regex", t.Regex
		}
	default:
	}
	return "", ""
}

// fuse makes one of a string and the longer ones, as in "/|/.+".
func fuse(in []shape) []shape {
	for i, s := range in {
		if s.prefix && s.more == 1 && slices.Contains(in, shape{value: s.value}) {
			in[i].more = 0
		}
	}
	return in
}

func newShape(prefix bool, value string, fold bool) shape {
	if fold {
		value = lower(value)
	}
	return shape{prefix: prefix, value: value, fold: fold}
}

// restrict drops what cannot occur.
func restrict(in []shape, u universe) []shape {
	out := in[:0]
	for _, s := range in {
		if !u.holds(s.value) {
			continue
		}
		if u == tokenText && s.value == "" {
			if !s.prefix {
				continue
			}
			s.more = max(s.more, 1)
		}
		if u == pathText {
			if s.prefix && s.value == "" {
				s.value, s.more = "/", max(s.more-1, 0)
			}
			if !strings.HasPrefix(s.value, "/") {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// universal: every string of the universe is accepted. A regex may be without
// being a union of shapes, as in (/[^/]*)*.
func (l *language) universal(w *work) bool {
	all := shape{prefix: true}
	switch l.universe {
	case pathText:
		all.value = "/"
	case tokenText:
		all.more = 1
	default:
	}
	if !slices.ContainsFunc(l.over, all.within) {
		return false
	}
	return l.exact || !l.opaque && w.find(l.universe, nil, []*language{l}).outcome == none
}

// empty: no string of the universe is accepted.
func (l *language) empty(w *work) bool {
	return len(l.over) == 0 || !l.exact && !l.opaque && l.sample(w).outcome == none
}

// contains: every string of b is in l. It asks the shapes only; what needs
// automata is left to search, which asks for a string.
func (l *language) contains(b *language, w *work) bool {
	if l == b {
		return true
	}
	if len(b.over) == 1 && len(l.over) == 1 {
		return l.containsShape(b.over[0], w)
	}
	if yes, ok := l.within[b]; ok {
		return yes
	}
	if !w.spend(len(l.over)*len(b.over)/2 + 5) {
		return false
	}
	yes := true
	for _, s := range b.over {
		yes = yes && l.containsShape(s, w)
	}
	if l.within == nil {
		l.within = map[*language]bool{}
	}
	l.within[b] = yes
	return yes
}

func (l *language) containsShape(s shape, w *work) bool {
	if l.exact {
		return slices.ContainsFunc(l.over, s.within)
	}
	yes, known := false, false
	if s.single() {
		yes, known = l.accepts(s.value, w)
	}
	return yes && known
}

// disjoint: no string is in both, by their shapes.
func (l *language) disjoint(b *language, w *work) bool {
	if !w.spend(len(l.over)*len(b.over)/4 + 1) {
		return false
	}
	for _, s := range l.over {
		for _, t := range b.over {
			if !s.apart(t) {
				return false
			}
		}
	}
	return true
}

// accepts tells whether s, a string of the universe, is in l; known is false when
// that is beyond us.
func (l *language) accepts(s string, w *work) (yes, known bool) {
	w.spend(len(l.over) / 4)
	if !strings.HasSuffix(s, l.suffix) || !slices.ContainsFunc(l.over, shape{value: s}.within) {
		return false, true
	}
	if l.exact {
		return true, true
	}
	if l.opaque {
		return false, false
	}
	state := l.start()
	for _, r := range s {
		if !w.spend(1) {
			return false, false
		}
		if state, known = l.step(state, r, w); !known {
			return false, false
		}
		if state == stateDead {
			return false, true
		}
	}
	return l.final(state, w)
}

// single: the shape is exactly one string, value.
func (s shape) single() bool {
	return !s.prefix && (!s.fold || !hasLetter(s.value))
}

// within: every string of s is in t.
func (s shape) within(t shape) bool {
	if s.fold && !t.fold && hasLetter(s.value) {
		// "/api" in any case is not within "/api": but the part of it that t looks
		// at may have no letters, as in "/".
		if !t.prefix || len(t.value) > len(s.value) || hasLetter(s.value[:len(t.value)]) {
			return false
		}
	}
	value := s.value
	if t.fold {
		value = lower(value)
	}
	if !t.prefix {
		return !s.prefix && value == t.value
	}
	if !strings.HasPrefix(value, t.value) {
		return false
	}
	if t.more == 0 {
		return true
	}
	have := utf8.RuneCountInString(value[len(t.value):])
	if s.prefix {
		have += s.more
	}
	return have >= t.more
}

// apart: no string is in both.
func (s shape) apart(t shape) bool {
	a, b := s.value, t.value
	if s.fold || t.fold {
		a, b = lower(a), lower(b)
	}
	switch {
	case s.prefix && t.prefix:
		return !strings.HasPrefix(a, b) && !strings.HasPrefix(b, a)
	case s.prefix:
		return !strings.HasPrefix(b, a) || utf8.RuneCountInString(b[len(a):]) < s.more
	case t.prefix:
		return !strings.HasPrefix(a, b) || utf8.RuneCountInString(a[len(b):]) < t.more
	default:
		return a != b
	}
}

// lower folds ASCII only, as Envoy does.
func lower(s string) string {
	if !hasUpper(s) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func hasUpper(s string) bool {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return true
		}
	}
	return false
}

func hasLetter(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; 'a' <= c && c <= 'z' {
			return true
		}
	}
	return false
}
