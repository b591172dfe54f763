package imports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/egress-tls/egress-tls-webhook/"

// The pure packages, each with those of ours that it may import: the law's one
// direction is cmd -> webhook, cli -> decision -> mutate, validate -> mesh, policy ->
// finding.
var pure = map[string][]string{
	"internal/finding":      {},
	"internal/policy":       {"internal/finding"},
	"internal/mesh":         {"internal/finding"},
	"mutate":                {"internal/finding", "internal/mesh", "internal/policy"},
	"validate":              {"internal/finding", "internal/mesh"},
	"internal/decision":     {"internal/finding", "internal/mesh", "internal/policy", "mutate", "validate"},
	"internal/report":       {"internal/explain", "internal/finding", "internal/mesh"},
	"internal/policyreport": {"internal/finding"},
	"internal/explain":      {"internal/decision", "internal/finding", "internal/mesh", "internal/policy", "mutate", "validate"},
}

// Nothing behind them, however far, talks to a cluster.
var neverBehind = []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}

// They themselves wait for nothing, read no file, no clock and no network. The
// types of others may: metav1 brings time along.
var neverDirect = []string{"context", "io/fs", "io/ioutil", "net", "net/http", "os", "os/exec", "time"}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestPurePackagesReadNothingButTheirArguments(t *testing.T) {
	for path, allowed := range pure {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			p := list(t, module+path)
			require.NotEmpty(t, p.Imports)
			for _, dep := range p.Deps {
				for _, never := range neverBehind {
					assert.False(t, dep == never || strings.HasPrefix(dep, never+"/"), "%s is behind %s", dep, path)
				}
			}
			for _, imported := range p.Imports {
				assert.NotContains(t, neverDirect, imported)
				if ours, ok := strings.CutPrefix(imported, module); ok {
					assert.Contains(t, allowed, ours, "imports go one way")
				}
			}
		})
	}
}

// A new package below the pure ones, or one that a pure one starts to import, has
// to take its place in the law.
func TestEveryPackageBehindADecisionIsPure(t *testing.T) {
	for _, dep := range list(t, module+"internal/decision").Deps {
		if ours, ok := strings.CutPrefix(dep, module); ok {
			assert.Contains(t, pure, ours)
		}
	}
}

func list(t *testing.T, path string) pkg {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Deps", path)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var found []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			require.NoError(t, err)
		}
		found = append(found, p)
	}
	i := slices.IndexFunc(found, func(p pkg) bool { return p.ImportPath == path })
	require.GreaterOrEqual(t, i, 0, "go list knows no %s", path)
	return found[i]
}
