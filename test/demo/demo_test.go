package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

func TestReadmeHoldsTheTranscript(t *testing.T) {
	root, err := tools.RepoRoot()
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, play(t.Context(), root, &out, t.Output(), nil), "the demo:\n%s", &out)

	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	want, err := updated(string(readme), out.String())
	require.NoError(t, err)
	require.Equal(t, want, string(readme), "README.md does not hold what the demo prints now; `%s` writes it there", regenerate)
	assert.Contains(t, want, out.String(), "README.md should hold the whole transcript")
}

func TestFailedExpectationIsShown(t *testing.T) {
	for name, test := range map[string]struct {
		expect func(p *player)
		want   string
	}{
		"exit code": {
			func(p *player) { p.run(t.Context(), "echo no; exit 3").exits(t.Context(), 0) },
			"\n$ echo no; exit 3\nno\n\nFAILED: echo no; exit 3\n  should exit with 0, exited with 3\n",
		},
		"output": {
			func(p *player) { p.run(t.Context(), "echo 'hello'").says(t.Context(), "yes") },
			"\n$ echo 'hello'\nhello\n\nFAILED: echo 'hello'\n  should say:\n    yes\n  said:\n    hello\n",
		},
		"whole output": {
			func(p *player) { p.run(t.Context(), "echo yes; echo no >&2").prints(t.Context(), "yes") },
			"\n$ echo yes; echo no >&2\nyes\nno\n\nFAILED: echo yes; echo no >&2\n  should print:\n    yes\n  printed:\n    yes\n    no\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			p := &player{out: &out, dir: t.TempDir()}
			test.expect(p)
			assert.Equal(t, test.want, out.String())
			require.Len(t, p.failures, 1)
			assert.Error(t, p.err())
		})
	}
}

func TestKeptExpectationIsSilent(t *testing.T) {
	var out bytes.Buffer
	p := &player{out: &out, dir: t.TempDir()}
	p.run(t.Context(), "printf yes; exit 4").exits(t.Context(), 4).says(t.Context(), "yes")
	p.run(t.Context(), "true").prints(t.Context())
	assert.Equal(t, "\n$ printf yes; exit 4\nyes\n\n$ true\n", out.String())
	assert.Equal(t, 4, p.checks)
	assert.NoError(t, p.err())
}

func TestUpdatedDocument(t *testing.T) {
	const transcript = "# Start.\n\n# 1. One\n\n$ a\n\n# 2. Two\n\n$ b\n\n# End.\n"
	document := func(first, second string) string {
		return "before\n<!-- demo: 2 1 -->\n" + first + "<!-- end of demo -->\nbetween\n<!-- demo: all -->\n" + second + "<!-- end of demo -->\nafter\n"
	}
	got, err := updated(document("", "old\n"), transcript)
	require.NoError(t, err)
	want := document("```console\n# 2. Two\n\n$ b\n\n# End.\n\n# 1. One\n\n$ a\n```\n", "```console\n"+transcript+"```\n")
	assert.Equal(t, want, got)
	again, err := updated(got, transcript)
	require.NoError(t, err)
	assert.Equal(t, want, again, "twice is as once")

	_, err = updated("no marker\n", transcript)
	require.Error(t, err)
	_, err = updated(strings.Replace(document("", ""), "2 1", "3", 1), transcript)
	assert.EqualError(t, err, `the transcript has no chapter "3"`)
}
