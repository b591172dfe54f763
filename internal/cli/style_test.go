package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestColor(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	plain := run(vsOf(deadRoute), "check", "-f", "-")
	assert.NotContains(t, plain.out, "\x1b", "what is no terminal gets no colour")
	assert.Equal(t, plain, run(vsOf(deadRoute), "check", "-f", "-", "--color", "never"))

	t.Setenv("NO_COLOR", "1")
	colored := run(vsOf(deadRoute), "check", "-f", "-", "--color=always")
	assert.Contains(t, colored.out, "\x1b[1;31merror", "what the flag says counts more than the environment")
	assert.Equal(t, plain.out, withoutColor(colored.out))

	got := run("", "check", "-f", "-", "--color", "red")
	assert.Equal(t, result{Unusable, "", "egress-tls: invalid argument \"red\" for \"--color\" flag: it is one of auto, always, never\n" +
		"egress-tls: see 'egress-tls check --help'\n"}, got)
}

func withoutColor(text string) string {
	for _, sgr := range []string{"0", sgrBold, sgrRed, sgrGreen, sgrYellow, sgrBlue} {
		text = strings.ReplaceAll(text, "\x1b["+sgr+"m", "")
	}
	return text
}

func TestWrap(t *testing.T) {
	s := style{width: 10}
	assert.Equal(t, []string{"aa bb", "ccccccccccc", "d"}, s.wrap("aa  bb\nccccccccccc d", 4))
	assert.Equal(t, []string{`\x1b[2J`}, s.wrap("\x1b[2J", 0))
}

func TestColumns(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "ü": 1, "u\u0308": 1, "日本": 4, "🔒": 2} {
		assert.Equal(t, want, columns(text), text)
	}
	got := run(vsOf("  http:\n  - route: [{destination: {host: b}}]\n  - match: [{uri: {prefix: /日本}, name: x}]\n"), "check", "-f", "-")
	assert.Contains(t, got.out, `
 9 |   - match: [{uri: {prefix: /日本}, name: x}]
   |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ spec.http[1]: no request gets here
`)
}
