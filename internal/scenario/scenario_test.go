package scenario

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const root = "../../test/scenarios"

// Read what it wrote: want.yaml is the specification, not a recording.
var update = flag.Bool("update", false, "rewrite want.yaml of every scenario from what is computed")

// Every scenario comes out as its want.yaml says, and coming to the same again
// changes nothing.
func TestScenarios(t *testing.T) {
	if *update {
		rewrite(t)
	}
	all, err := All(root)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			got, after, err := s.Compute()
			require.NoError(t, err)
			assert.Equal(t, text(t, s.Want), text(t, got))

			if got.Refused {
				return
			}
			again := &Scenario{Policy: s.Policy}
			for _, o := range after {
				if inRequest(s, o) {
					again.Request = append(again.Request, o)
				} else {
					again.Mesh = append(again.Mesh, o)
				}
			}
			second, _, err := again.Compute()
			require.NoError(t, err)
			assert.False(t, second.Refused)
			assert.Empty(t, second.Changes)
			assert.Empty(t, second.Rules)
			assert.Equal(t, got.Stored, second.Stored)
		})
	}
}

// The reconciler comes to the same end whether admission has seen the request or not, and
// then has nothing to do.
func TestScenariosConverge(t *testing.T) {
	all, err := All(root)
	require.NoError(t, err)
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			request := cloned(s.Request)
			unseen, err := s.Converge(append(replaced(cloned(s.Mesh), request), request...))
			require.NoError(t, err)
			again, err := s.Converge(unseen)
			require.NoError(t, err)
			assert.Equal(t, shown(unseen), shown(again))
			got, after, err := s.Compute()
			require.NoError(t, err)
			if !got.Refused {
				admitted, err := s.Converge(after)
				require.NoError(t, err)
				assert.Equal(t, shown(admitted), shown(unseen))
			}
		})
	}
}

func shown(objects []Object) map[string]any {
	out := map[string]any{}
	for _, o := range objects {
		out[fmt.Sprintf("%s %s/%s", o.Raw["kind"], o.Typed.GetNamespace(), o.Typed.GetName())] = Shown(o.Raw)
	}
	return out
}

func inRequest(s *Scenario, o Object) bool {
	return slices.ContainsFunc(s.Request, o.SameName)
}

// text is w as want.yaml holds it: the order of the fields is that of reading.
func text(t *testing.T, w Want) string {
	t.Helper()
	var b bytes.Buffer
	for _, part := range []struct {
		name  string
		value any
		empty bool
	}{
		{"title", w.Title, false},
		{"refused", w.Refused, false},
		{"findings", w.Findings, len(w.Findings) == 0},
		{"changes", w.Changes, len(w.Changes) == 0},
		{"stored", w.Stored, len(w.Stored) == 0},
		{"rules", w.Rules, len(w.Rules) == 0},
	} {
		if part.empty {
			continue
		}
		out, err := yaml.Marshal(map[string]any{part.name: part.value})
		require.NoError(t, err)
		b.Write(out)
	}
	return b.String()
}

func rewrite(t *testing.T) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(root, "*"))
	require.NoError(t, err)
	for _, dir := range dirs {
		s, err := loadInput(dir)
		require.NoError(t, err, dir)
		path := filepath.Join(dir, wantFile)
		if old, err := os.ReadFile(path); err == nil {
			require.NoError(t, yaml.Unmarshal(old, &s.Want), dir)
		}
		got, _, err := s.Compute()
		require.NoError(t, err, dir)
		require.NoError(t, os.WriteFile(path, []byte(text(t, got)), 0o600))
	}
}
