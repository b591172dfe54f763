package validate

import (
	"math/rand"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
)

func TestExpandRegex(t *testing.T) {
	exacts := func(values ...string) (out []shape) {
		for _, v := range values {
			out = append(out, shape{value: v})
		}
		return out
	}
	prefix := func(v string, more int) []shape { return []shape{{prefix: true, value: v, more: more}} }
	for source, tc := range map[string]struct {
		over  []shape
		exact bool
	}{
		`.*`:                              {prefix("", 0), true},
		`.+`:                              {prefix("", 1), true},
		`^/api/.*$`:                       {prefix("/api/", 0), true},
		`/api/.{2,}`:                      {prefix("/api/", 2), true},
		`/a\.b`:                           {exacts("/a.b"), true},
		`GET|POST`:                        {exacts("GET", "POST"), true},
		`/v[12]`:                          {exacts("/v1", "/v2"), true},
		`/api/v[0-9]+`:                    {append(prefix("/api/v0", 0), prefix("/api/v1", 0)[0], prefix("/api/v2", 0)[0], prefix("/api/v3", 0)[0], prefix("/api/v4", 0)[0], prefix("/api/v5", 0)[0], prefix("/api/v6", 0)[0], prefix("/api/v7", 0)[0], prefix("/api/v8", 0)[0], prefix("/api/v9", 0)[0]), false},
		`/[a-z]+/x`:                       {prefix("/", 3), false},
		`/a/\w*`:                          {prefix("/a/", 0), false},
		`/a(/.*)?`:                        {append(exacts("/a"), prefix("/a/", 0)...), true},
		`(?i)k`:                           {exacts("K", "k", "\u212a"), true},
		`(?i)abcdefgh`:                    {nil, false},
		`/(a|b)(c|d)(e|f)(g|h)(i|j)(k|l)`: {nil, false},
		`.*x`:                             {prefix("", 1), false},
		`a^b`:                             {exacts("ab"), false},
		`a{2,3}`:                          {prefix("aa", 0), false},
		`a{0}`:                            {exacts(""), true},
		`[^\x00-\x{10FFFF}]`:              {nil, true},
		`(`:                               {prefix("", 0), false},
		strings.Repeat("a", 1025):         {prefix("", 0), false},
	} {
		t.Run(source[:min(20, len(source))], func(t *testing.T) {
			over, exact, _ := expandRegex(source, headerText, newWork())
			assert.Equal(t, tc.exact, exact)
			assert.LessOrEqual(t, len(over), maxShapes)
			if tc.over != nil {
				assert.Equal(t, tc.over, over)
			}
		})
	}
}

// The shapes contain what Go's regexp matches, and equal it when they say so: on
// all strings up to five characters.
func TestExpandRegexAgreesWithGo(t *testing.T) {
	const alphabet = "/abAk"
	var all []string
	var grow func(s string, n int)
	grow = func(s string, n int) {
		all = append(all, s)
		if n == 0 {
			return
		}
		for _, c := range alphabet {
			grow(s+string(c), n-1)
		}
	}
	grow("", 4)

	r := rand.New(rand.NewSource(3))
	var random func(depth int) string
	random = func(depth int) string {
		if depth == 0 {
			return []string{"a", "b", "/", ".", "[ab]", "[^a]", "/a", "", ".*", ".+", "^", "$", `\b`, `\w`, "(?i:a)", "(?s:.)", `[^\n]`, "(?i:k)"}[r.Intn(18)]
		}
		x, y := random(depth-1), random(depth-1)
		switch r.Intn(8) {
		case 0:
			return "(" + x + "|" + y + ")"
		case 1:
			return "(?:" + x + ")" + []string{"*", "+", "?", "{2}", "{1,2}", "{2,}", "{0,1}", "{0}", "*?"}[r.Intn(9)]
		case 2:
			return "^" + x + "$"
		case 3:
			return x + "|" + y
		default:
			return x + y
		}
	}
	exacts := 0
	for range 1200 {
		source := random(r.Intn(4))
		re, err := regexp.Compile(`\A(?:` + source + `)\z`)
		if err != nil {
			continue
		}
		for _, u := range []universe{pathText, headerText, queryText} {
			w := newWork()
			l := w.language(routegen.Regex(source), u, false)
			if l.exact {
				exacts++
			}
			for i, s := range all {
				if u == pathText && !strings.HasPrefix(s, "/") || i%3 != int(u) {
					continue
				}
				if got, known := l.accepts(s, w); !known || re.MatchString(s) != got {
					require.Failf(t, "disagree", "%q on %q: Go %v, shapes %+v exact %v", source, s, !got, l.over, l.exact)
				}
			}
		}
	}
	require.Greater(t, exacts, 300)
}

// within and apart against the strings themselves.
func TestShapes(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	var all []string
	for _, a := range []string{"", "a", "A", "1", "/"} {
		for _, b := range []string{"", "a", "A", "b"} {
			for _, c := range []string{"", "a", "B", "1"} {
				all = append(all, a+b+c)
			}
		}
	}
	for range 4000 {
		random := func() shape {
			s := newShape(r.Intn(2) == 0, all[r.Intn(len(all))], r.Intn(2) == 0)
			if s.prefix {
				s.more = r.Intn(3)
			}
			return s
		}
		s, u := random(), random()
		for _, x := range all {
			inS, inU := naiveShape(s, x), naiveShape(u, x)
			if inS && (!inU && s.within(u) || inU && s.apart(u)) {
				require.Failf(t, "wrong", "%+v and %+v: %q", s, u, x)
			}
		}
	}
}

func naiveShape(s shape, x string) bool {
	if s.fold {
		x = strings.ToLower(x)
	}
	if !s.prefix {
		return x == s.value
	}
	return strings.HasPrefix(x, s.value) && len(x) >= len(s.value)+s.more
}
