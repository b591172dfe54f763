package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// The hooks of .pre-commit-hooks.yaml run as pre-commit runs them: entry and args, in the
// root of a repository, without the names of files.
func TestPreCommitHooks(t *testing.T) {
	var hooks []struct {
		ID            string   `json:"id"`
		Name          string   `json:"name"`
		Description   string   `json:"description"`
		Entry         string   `json:"entry"`
		Args          []string `json:"args"`
		Language      string   `json:"language"`
		TypesOr       []string `json:"types_or"`
		PassFilenames bool     `json:"pass_filenames"`
	}
	require.NoError(t, yaml.UnmarshalStrict([]byte(read(t, "../../.pre-commit-hooks.yaml")), &hooks))
	seed := read(t, "testdata/ingress-author.yaml") // Refused: check says why, and render writes nothing.
	want := map[string]int{"egress-tls-check": Found, "egress-tls-render": Found}
	for _, h := range hooks {
		t.Run(h.ID, func(t *testing.T) {
			binary, args, _ := strings.Cut(h.Entry, " ")
			assert.DirExists(t, filepath.Join("../../cmd", binary), "go install makes no other")
			assert.Equal(t, "golang", h.Language)
			assert.False(t, h.PassFilenames)
			t.Chdir(t.TempDir())
			require.NoError(t, os.WriteFile("s3.yaml", []byte(seed), 0o600))
			got := run("", append(strings.Fields(args), h.Args...)...)
			assert.Equal(t, want[h.ID], got.code, got.err)
			delete(want, h.ID)
		})
	}
	assert.Empty(t, want, "these are no hooks")
}
