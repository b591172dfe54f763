package security

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each threat names the tests that show what holds, and they exist; each test of this
// package is named.
func TestEveryThreatNamesItsTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	require.NoError(t, err)
	_, threats, ok := strings.Cut(string(page), "\n## Threats\n")
	require.True(t, ok)
	threats, _, ok = strings.Cut(threats, "\n## ")
	require.True(t, ok)

	named, rows := map[string]bool{}, 0
	for line := range strings.Lines(threats) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| threat |") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		require.Len(t, cells, 4, line)
		tests := regexp.MustCompile("`(\\w+)\\.(Test\\w+)`").FindAllStringSubmatch(cells[3], -1)
		assert.NotEmpty(t, tests, line)
		for _, test := range tests {
			named[test[1]+"."+test[2]] = true
		}
	}
	assert.Greater(t, rows, 20)

	functions := map[string]bool{}
	for name := range named {
		pkg, _, _ := strings.Cut(name, ".")
		for _, test := range testsOf(t, "../"+pkg) {
			functions[pkg+"."+test] = true
		}
	}
	for name := range named {
		assert.True(t, functions[name], "docs/security.md names %s, which is no test", name)
	}
	for _, test := range testsOf(t, ".") {
		assert.True(t, named["security."+test] || test == "TestEveryThreatNamesItsTests" || test == "TestMain", "docs/security.md does not name security.%s", test)
	}
}

func testsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	var tests []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(data, -1) {
			tests = append(tests, string(match[1]))
		}
	}
	return tests
}
