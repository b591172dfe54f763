package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The line of a finding holds the field's key, or begins the item of a list; and it moves
// with the field, whatever the layout of the file.
func TestLinesOfTheCorpus(t *testing.T) {
	checked := 0
	places := func(args []string) []placed {
		var out report
		got := run("", append([]string{"check", "-o", "json"}, args...)...)
		require.NoError(t, json.Unmarshal([]byte(got.out), &out), got.err)
		return out.Findings
	}
	corpus(t, func(name string, args []string) {
		before := places(args)
		if len(before) == 0 {
			return
		}
		for _, f := range before {
			line := strings.Split(read(t, f.File), "\n")[f.Line-1]
			assert.Regexp(t, holding(f.Path), line, "%s: %s at %s:%d", name, f.Path, f.File, f.Line)
			checked++
		}
		// The same in another layout.
		moved := slices.Clone(args)
		for i, arg := range moved {
			if strings.HasPrefix(arg, "-") || filepath.Base(arg) == "policy.yaml" {
				continue
			}
			text := strings.ReplaceAll("# one\n# two\n"+read(t, arg), "\n", "\r\n")
			moved[i] = filepath.Join(t.TempDir(), filepath.Base(arg))
			require.NoError(t, os.WriteFile(moved[i], []byte("\uFEFF"+text), 0o600))
		}
		for i, f := range places(moved) {
			assert.Equal(t, before[i].Line+2, f.Line, "%s: %s", name, f.Path)
			assert.Equal(t, filepath.Base(before[i].File), filepath.Base(f.File), name)
		}
	})
	assert.Greater(t, checked, 50)
}

// holding returns what a line looks like that holds the last step of a path.
func holding(path string) *regexp.Regexp {
	switch {
	case path == "":
		return regexp.MustCompile(`^(apiVersion|kind|metadata): `)
	case strings.HasSuffix(path, "]") && !strings.Contains(path, "annotations["):
		return regexp.MustCompile(`^ *- \S|^\{`)
	}
	key, bracketed := strings.CutSuffix(path[strings.LastIndex(path, "[")+1:], "]")
	if !bracketed {
		key = path[strings.LastIndex(path, ".")+1:]
	}
	return regexp.MustCompile(`(^|[ {])` + regexp.QuoteMeta(key) + `:`)
}
