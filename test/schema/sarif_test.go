package schema

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
)

// What check -o sarif prints of every scenario is what the official schema takes, and what a library that
// reads SARIF reads.
func TestSARIF(t *testing.T) {
	schema := sarifSchema(t)
	require.Error(t, schema.Validate(map[string]any{"version": "2.1.0", "runs": []any{map[string]any{}}}), "a run without a tool")

	scenarios, err := filepath.Glob("../scenarios/*")
	require.NoError(t, err)
	results, located := 0, 0
	for _, dir := range scenarios {
		args := []string{"check", "-o", "sarif", "-f", dir + "/request.yaml"}
		for flag, name := range map[string]string{"--background": "/mesh.yaml", "--policy": "/policy.yaml"} {
			if _, err := os.Stat(dir + name); err == nil {
				args = append(args, flag, dir+name)
			}
		}
		var out, errOut bytes.Buffer
		code := cli.Run(args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errOut}, "v1")
		require.NotEqual(t, cli.Unusable, code, errOut.String())

		decoded, err := jsonschema.UnmarshalJSON(bytes.NewReader(out.Bytes()))
		require.NoError(t, err)
		require.NoError(t, schema.Validate(decoded), dir)

		report, err := sarif.FromBytes(out.Bytes())
		require.NoError(t, err)
		require.Len(t, report.Runs, 1)
		for _, r := range report.Runs[0].Results {
			results++
			rule := report.Runs[0].Tool.Driver.Rules[r.RuleIndex]
			assert.Equal(t, *r.RuleID, *rule.ID)
			if p := r.Locations[0].PhysicalLocation; p != nil {
				located++
				assert.Contains(t, []string{dir + "/request.yaml", dir + "/mesh.yaml"}, *p.ArtifactLocation.URI)
				text, err := os.ReadFile(*p.ArtifactLocation.URI)
				require.NoError(t, err)
				line := []rune(strings.Split(string(text), "\n")[*p.Region.StartLine-1])
				assert.Equal(t, *p.Region.Snippet.Text, string(line[*p.Region.StartColumn-1:*p.Region.EndColumn-1]), dir)
			}
		}
	}
	assert.Greater(t, results, 50)
	assert.Equal(t, results, located)
}

// sarifSchema is sarif-schema-2.1.0.json of OASIS, which the library holds.
func sarifSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3").Output()
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "pkg/report/v210/sarif/schema.go"), nil, 0)
	require.NoError(t, err)
	text := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			text, err = strconv.Unquote(l.Value)
			require.NoError(t, err)
		}
		return true
	})
	const id = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	require.Contains(t, text, id)
	decoded, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource(id, decoded))
	schema, err := compiler.Compile(id)
	require.NoError(t, err)
	return schema
}
