package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const cliPage = "../../docs/cli.md"

// What docs/cli.md shows is what is printed.
func TestCheckInDocs(t *testing.T) {
	page := read(t, cliPage)
	block := regexp.MustCompile("(?s)(<!-- check: [^\n]*\n```console\n)(.*?)(```\n<!-- end of check -->)")
	m := block.FindStringSubmatch(page)
	require.NotNil(t, m)
	command, _, _ := strings.Cut(m[2], "\n")

	t.Chdir("testdata")
	got := run("", strings.Fields(strings.TrimPrefix(command, "$ egress-tls "))...)
	require.Equal(t, Found, got.code, got.err)
	want := command + "\n" + got.out
	if *update {
		require.NoError(t, os.WriteFile("../"+cliPage, []byte(strings.Replace(page, m[0], m[1]+want+m[3], 1)), 0o600))
	}
	assert.Equal(t, want, m[2])
}

// The page names every command, and what check prints its formats.
func TestDocsNameEverything(t *testing.T) {
	page := read(t, cliPage)
	for _, cmd := range newRoot(Streams{}, nil, "test").Commands() {
		if !cmd.Hidden && cmd.Name() != "help" {
			assert.Regexp(t, "(?m)^\\| \\[?`"+cmd.Name()+"`", page)
		}
	}
	cmd := newCheck(Streams{})
	for _, format := range formatsOf(cmd.Flags().Lookup("output").Usage) {
		assert.Contains(t, page, "\n| `"+format+"` | ", format)
	}
}

// formatsOf reads the words behind the colon.
func formatsOf(usage string) []string {
	_, words, _ := strings.Cut(usage, ": ")
	return strings.FieldsFunc(strings.ReplaceAll(words, " or ", ", "), func(r rune) bool { return r == ',' || r == ' ' })
}
