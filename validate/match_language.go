package validate

// A language is the set of strings that one StringMatch accepts, within a
// universe of strings that can occur at all. It is held as a union of shapes
// (exact strings and prefixes) that contains it, and that equals it when exact
// is set. A regex that is no such union keeps its source, for the equality of
// two regexes and for trying single strings.
//
// Every answer is a proof: contains, disjoint, accepts and rejects return true
// only for what holds for certain. accepts and rejects can both be false.

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	networking "istio.io/api/networking/v1"
)

// universe says which strings can occur.
type universe int

const (
	// pathText starts with "/" and has no "?", no "#" and no line break: Envoy
	// cuts query and fragment off before it matches.
	pathText universe = iota
	// headerText has no line break.
	headerText
	// anyText can be anything.
	anyText
)

// shape is one string, or all strings that begin with value and go on for at
// least more characters.
type shape struct {
	prefix bool
	value  string
	more   int
	// fold: ASCII letters match in either case, as Envoy does with ignoreUriCase;
	// value is in lower case.
	fold bool
}

type language struct {
	over  []shape
	exact bool
	// regex is the source; "" when the match is no regex.
	regex string
	// size is the number of nodes of the regex, 0 when Go cannot compile it.
	size int
	re   *regexp.Regexp
}

// maxRegex is the longest regex that Istio admits (validateStringRegexp).
const maxRegex = 1024

// newLanguage translates a StringMatch with a match type. fold is ignoreUriCase,
// which Envoy applies to exact and prefix only.
func newLanguage(m *networking.StringMatch, in universe, fold bool) *language {
	l := &language{exact: true}
	switch kind, value := matchOf(m); kind {
	case "exact":
		l.over = []shape{newShape(false, value, fold)}
	case "prefix":
		l.over = []shape{newShape(true, value, fold)}
	case "regex":
		l.regex = value
		l.over, l.exact, l.size = expandRegex(value, in)
	default:
		l.over = []shape{{prefix: true}}
	}
	l.over = fuse(restrict(l.over, in))
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
	if u == anyText {
		return in
	}
	out := in[:0]
	for _, s := range in {
		if strings.Contains(s.value, "\n") {
			continue
		}
		if u == pathText {
			if s.prefix && s.value == "" {
				s.value, s.more = "/", max(s.more-1, 0)
			}
			if !strings.HasPrefix(s.value, "/") || strings.ContainsAny(s.value, "?#") {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// universal: every string of the universe is accepted.
func (l *language) universal(u universe) bool {
	if !l.exact {
		return false
	}
	all := shape{prefix: true}
	if u == pathText {
		all.value = "/"
	}
	return slices.ContainsFunc(l.over, all.within)
}

// empty: no string of the universe is accepted.
func (l *language) empty() bool { return len(l.over) == 0 }

// contains: every string of b is in l.
func (l *language) contains(b *language, m *meter) bool {
	if l.regex != "" && l.regex == b.regex {
		return true
	}
	if !m.spend(len(l.over)*len(b.over)/4 + 1) {
		return false
	}
	for _, s := range b.over {
		if !l.containsShape(s, m) {
			return false
		}
	}
	return true
}

func (l *language) containsShape(s shape, m *meter) bool {
	if l.exact {
		return slices.ContainsFunc(l.over, s.within)
	}
	return s.single() && l.accepts(s.value, m)
}

// disjoint: no string is in both.
func (l *language) disjoint(b *language, m *meter) bool {
	if !m.spend(len(l.over)*len(b.over)/4 + 1) {
		return false
	}
	apart := true
	for _, s := range l.over {
		for _, t := range b.over {
			apart = apart && s.apart(t)
		}
	}
	return apart || b.rejectsAllOf(l, m) || l.rejectsAllOf(b, m)
}

// rejectsAllOf: o is a list of strings, and l rejects each.
func (l *language) rejectsAllOf(o *language, m *meter) bool {
	for _, s := range o.over {
		if !s.single() || !l.rejects(s.value, m) {
			return false
		}
	}
	return true
}

// accepts: s, a string of the universe, is in l.
func (l *language) accepts(s string, m *meter) bool {
	if l.exact {
		return l.mayAccept(s)
	}
	matched, known := l.try(s, m)
	return known && matched
}

// rejects: s, a string of the universe, is not in l.
func (l *language) rejects(s string, m *meter) bool {
	if !l.mayAccept(s) {
		return true
	}
	if l.exact {
		return false
	}
	matched, known := l.try(s, m)
	return known && !matched
}

func (l *language) mayAccept(s string) bool {
	return slices.ContainsFunc(l.over, shape{value: s}.within)
}

// try runs the regex as Envoy does: RE2, on the whole string.
func (l *language) try(s string, m *meter) (matched, known bool) {
	if l.size == 0 || !utf8.ValidString(s) || !m.spend(10+l.size*(len(s)+1)/8) {
		return false, false
	}
	if !l.mayAccept(s) {
		return false, true
	}
	if l.re == nil {
		if !m.spend(20 * l.size) {
			return false, false
		}
		re, err := regexp.Compile(`\A(?:` + l.regex + `)\z`)
		if err != nil {
			l.size = 0
			return false, false
		}
		l.re = re
	}
	return l.re.MatchString(s), true
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
