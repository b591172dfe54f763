package scenario

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

const findingsPage = "../../docs/findings.md"

// Every code is exercised by a scenario and has a section of docs/findings.md,
// whose example is what a scenario comes to, word for word.
func TestEveryCodeIsExercisedAndDocumented(t *testing.T) {
	t.Parallel()
	all, err := All(root)
	require.NoError(t, err)
	said := map[string]map[string]bool{} // texts by code
	for _, s := range all {
		for _, f := range s.Want.Findings {
			text := finding.Finding{Code: f.Code, Path: f.Path, Message: f.Message, Remedy: f.Remedy}.Text()
			if said[string(f.Code)] == nil {
				said[string(f.Code)] = map[string]bool{}
			}
			said[string(f.Code)][text] = true
		}
	}
	page, err := os.ReadFile(findingsPage)
	require.NoError(t, err)
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)\n## (\\S+)\n.*?\n```text\n(.*?)\n```\n").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = m[2]
	}

	codes := codes(t)
	for _, code := range codes {
		assert.NotEmpty(t, said[code], "%s: no scenario comes to it", code)
		if assert.Contains(t, documented, code, "%s: no section in %s", code, findingsPage) {
			assert.True(t, said[code][documented[code]], "%s: no scenario comes to the example\n%s", code, documented[code])
		}
	}
	var listed []string
	for _, r := range finding.Rules() {
		listed = append(listed, string(r.Code))
		assert.Regexp(t, "(?im)^- \\[`"+string(r.Code)+"`\\]\\(#"+strings.ToLower(string(r.Code))+"\\), "+string(r.Severity)+".*: "+r.Title+"$", string(page))
	}
	assert.Equal(t, codes, listed, "the catalogue, in its order")
	for code := range documented {
		assert.Contains(t, codes, code, "documented, and unknown")
	}
	for code := range said {
		assert.Contains(t, codes, code, "found, and not in the catalogue")
	}
}

// codes reads the catalogue from the source, so that none is forgotten here.
func codes(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../finding/finding.go", nil, 0)
	require.NoError(t, err)
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Code" {
			for i, v := range spec.Values {
				value, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				require.NoError(t, err)
				require.Equal(t, spec.Names[i].Name, value, "a code is called as it is written")
				out = append(out, value)
			}
		}
		return true
	})
	require.NotEmpty(t, out)
	return out
}
