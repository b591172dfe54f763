package scenario

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

const (
	aRequest = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [x]}\n"
	aWant    = "title: a\nrefused: false\n"
)

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "one")
	require.NoError(t, os.Mkdir(dir, 0o750))
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"mesh.yaml":    "# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\n---\n",
		"request.yaml": aRequest + "---\napiVersion: networking.istio.io/v1alpha3\nkind: Gateway\nmetadata: {name: g}\nspec: {future: 1}\n",
		"policy.yaml":  "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nmode: warn\n",
		"want.yaml":    aWant,
	})
	s, err := Load(dir)
	require.NoError(t, err)
	assert.Equal(t, "one", s.Name)
	assert.Equal(t, filepath.Join(dir, "mesh.yaml"), s.MeshFile)
	assert.Equal(t, "a", s.Want.Title)
	assert.EqualValues(t, "warn", s.Policy.Mode)
	require.Len(t, s.Mesh, 2)
	assert.Empty(t, s.Mesh[0].Typed.GetNamespace(), "a Namespace has none")
	require.Len(t, s.Request, 2)
	assert.True(t, s.Request[0].Decided())
	assert.Equal(t, "default", s.Request[0].Typed.GetNamespace())
	assert.Equal(t, "default", s.Request[0].Raw["metadata"].(map[string]any)["namespace"])
	assert.False(t, s.Request[1].Decided())
	assert.IsType(t, &networkingv1.Gateway{}, s.Request[1].Typed)
	assert.Equal(t, map[string]any{"future": 1.0}, s.Request[1].Raw["spec"], "what no type knows is in the raw object")
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	good := func() map[string]string { return map[string]string{"request.yaml": aRequest, "want.yaml": aWant} }
	for _, c := range []struct {
		name   string
		change func(map[string]string)
		want   string
	}{
		{"no want.yaml", func(f map[string]string) { delete(f, "want.yaml") }, "want.yaml: no such file"},
		{"no request.yaml", func(f map[string]string) { delete(f, "request.yaml") }, "scenario one: request.yaml: holds no object that is decided about"},
		{"an orphan file", func(f map[string]string) { f["meshh.yaml"] = "" }, "scenario one: meshh.yaml: no file of a scenario"},
		{"an unknown field of want.yaml", func(f map[string]string) { f["want.yaml"] += "wants: 1\n" }, `unknown field "wants"`},
		{"an unknown field of a finding", func(f map[string]string) { f["want.yaml"] += "findings: [{codes: x}]\n" }, `unknown field "codes"`},
		{"no title", func(f map[string]string) { f["want.yaml"] = "refused: false\n" }, "title: must say what the scenario shows"},
		{"refused and stored", func(f map[string]string) { f["want.yaml"] = "title: a\nrefused: true\nstored: [{}]\n" }, "a refused request changes and stores nothing"},
		{"a kind without a place", func(f map[string]string) {
			f["mesh.yaml"] = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
		}, `mesh.yaml: document 1: kind "Pod" has no place in a scenario`},
		{"an object without a name", func(f map[string]string) { f["mesh.yaml"] = "apiVersion: v1\nkind: Service\n" }, "mesh.yaml: document 1: Service without a name"},
		{"a key twice", func(f map[string]string) { f["mesh.yaml"] = "a: 1\na: 2\n" }, "mesh.yaml: document 1:"},
		{"a wrong type", func(f map[string]string) {
			f["request.yaml"] = aRequest + "---\n" + "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: []\n"
		}, "request.yaml: document 2: json:"},
		{"a policy that cannot be read", func(f map[string]string) { f["policy.yaml"] = "mode: x\n" }, `policy.yaml:1: mode: unknown value "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := good()
			c.change(files)
			_, err := Load(folder(t, files))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestAllRefusesWhatIsNoScenario(t *testing.T) {
	t.Parallel()
	dir := filepath.Dir(folder(t, map[string]string{"request.yaml": aRequest, "want.yaml": aWant}))
	all, err := All(dir)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "two"), 0o750))
	_, err = All(dir)
	require.ErrorContains(t, err, "README.md: not the folder of a scenario")
	require.ErrorContains(t, err, "scenario two: request.yaml: holds no object")
}
