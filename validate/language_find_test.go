package validate

import (
	"math/rand"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
)

// A string that is found lies where it should by Go's regexp, and where none is
// found, no string of up to four characters does.
func TestFindAgreesWithGo(t *testing.T) {
	const alphabet = "/abA1"
	all := []string{""}
	for from := 0; len(all) < 700; {
		to := len(all)
		for _, s := range all[from:to] {
			for _, c := range alphabet {
				all = append(all, s+string(c))
			}
		}
		from = to
	}
	r := rand.New(rand.NewSource(5))
	atoms := []string{"a", "b", "/", ".", "[ab]", "[^a]", "/a", "", "(a|b/)", `\b`, "^", "$", "(?i:a)", "1", `\w`, "A", "[a-z]"}
	repeats := []string{"", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,3}"}
	var random func(depth int) string
	random = func(depth int) string {
		if depth == 0 {
			return "(?:" + atoms[r.Intn(len(atoms))] + ")" + repeats[r.Intn(len(repeats))]
		}
		return "(?:" + random(depth-1) + []string{"", "", "|"}[r.Intn(3)] + random(depth-1) + ")" + repeats[r.Intn(len(repeats))]
	}
	count := map[outcome]int{}
	for range 800 {
		w := newWork()
		var yes, no []*language
		var in, outside []*regexp.Regexp
		u := universe(r.Intn(4))
		for i := range 2 + r.Intn(2) {
			source := random(r.Intn(3))
			l, re := w.language(routegen.Regex(source), u, false), regexp.MustCompile(`\A(?:`+source+`)\z`)
			if i == 0 || r.Intn(3) == 0 {
				yes, in = append(yes, l), append(in, re)
			} else {
				no, outside = append(no, l), append(outside, re)
			}
		}
		fits := func(s string) bool {
			for _, re := range in {
				if !re.MatchString(s) {
					return false
				}
			}
			for _, re := range outside {
				if re.MatchString(s) {
					return false
				}
			}
			return true
		}
		got := w.find(u, yes, no)
		count[got.outcome]++
		switch got.outcome {
		case found:
			require.True(t, fits(got.text), "%q in %v and not in %v", got.text, in, outside)
			require.True(t, u != pathText || strings.HasPrefix(got.text, "/"))
		case none:
			for _, s := range all {
				if u == pathText && !strings.HasPrefix(s, "/") || u == tokenText && s == "" {
					continue
				}
				require.False(t, fits(s), "%q in %v and not in %v", s, in, outside)
			}
		}
	}
	assert.Greater(t, count[found], 200, "%v", count)
	assert.Greater(t, count[none], 100, "%v", count)
}

func TestFind(t *testing.T) {
	for name, tc := range map[string]struct {
		universe universe
		yes, no  []*networking.StringMatch
		fold     bool
		text     string
		outcome  outcome
	}{
		"a shortest path":                  {yes: []*networking.StringMatch{routegen.Prefix("/a")}, no: []*networking.StringMatch{routegen.Exact("/a")}, text: "/ax", outcome: found},
		"a character that stands out":      {yes: []*networking.StringMatch{routegen.Prefix("/a")}, no: []*networking.StringMatch{routegen.Exact("/a"), routegen.Prefix("/ax"), routegen.Regex("/a[^1]*")}, text: "/a1", outcome: found},
		"nothing between a prefix and all": {yes: []*networking.StringMatch{routegen.Prefix("/")}, no: []*networking.StringMatch{routegen.Regex("/.*")}, outcome: none},
		"the other case":                   {yes: []*networking.StringMatch{routegen.Exact("/ab")}, no: []*networking.StringMatch{routegen.Regex("/a[a-z]")}, fold: true, text: "/aB", outcome: found},
		"only what nobody sends":           {universe: headerText, no: []*networking.StringMatch{routegen.Regex("[^\\x01]*")}, outcome: unsure},
		"an empty method":                  {universe: tokenText, no: []*networking.StringMatch{routegen.Regex(".+")}, outcome: none},
		"an empty header":                  {universe: headerText, no: []*networking.StringMatch{routegen.Regex(".+")}, outcome: found},
		"no & in a query":                  {universe: queryText, no: []*networking.StringMatch{routegen.Regex("[^&#]*")}, outcome: none},
		"a header may hold a space":        {universe: headerText, yes: []*networking.StringMatch{routegen.Exact("a b")}, text: "a b", outcome: found},
		"a path may not":                   {yes: []*networking.StringMatch{routegen.Exact("/a b")}, outcome: unsure},
		"too many states":                  {yes: []*networking.StringMatch{routegen.Regex("/(a|b)*a(a|b){30}")}, no: []*networking.StringMatch{routegen.Regex("/(a|b)*a(a|b){29}.")}, outcome: unsure},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWork()
			languages := func(in []*networking.StringMatch) (out []*language) {
				for _, m := range in {
					out = append(out, w.language(m, tc.universe, tc.fold))
				}
				return out
			}
			assert.Equal(t, specimen{tc.text, tc.outcome}, w.find(tc.universe, languages(tc.yes), languages(tc.no)))
		})
	}
}

func TestVisible(t *testing.T) {
	for at := range 17 { // a rest, and two times eight
		for c := range 256 {
			s := []byte("/0123456789abcdef~"[:17])
			s[at] = byte(c)
			assert.Equal(t, c >= '!' && c <= '~', visible(string(s)), "%q", s)
		}
	}
	assert.True(t, visible(""))
}
