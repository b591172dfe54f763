package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// goes runs the go command.
func goes(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

// schema is CycloneDX's own, with the two that it refers to.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir := filepath.Join(goes(t, ".", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go"), "schema")
	compiler := jsonschema.NewCompiler()
	for url, file := range map[string]string{
		"http://cyclonedx.org/schema/bom-1.6.schema.json":  "bom-1.6.schema.json",
		"http://cyclonedx.org/schema/spdx.schema.json":     "spdx.schema.json",
		"http://cyclonedx.org/schema/jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		require.NoError(t, err)
		require.NoError(t, compiler.AddResource(url, doc))
	}
	compiled, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	require.NoError(t, err)
	return compiled
}

func TestBOMNamesWhatTheBinariesAreBuiltFrom(t *testing.T) {
	root, err := tools.RepoRoot()
	require.NoError(t, err)
	dir := t.TempDir()
	goes(t, root, "build", "-o", dir+"/", "./cmd/...")
	valid := schema(t)
	for _, name := range []string{"egress-tls-webhook", "egress-tls"} {
		binary := filepath.Join(dir, name)
		require.NoError(t, write(binary, "v1.2.3+dirty"))
		data, err := os.ReadFile(binary + ".cdx.json")
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		require.NoError(t, err)
		require.NoError(t, valid.Validate(doc))

		var bom struct {
			SpecVersion string
			Metadata    struct {
				Component struct{ Name, Version, PURL string }
			}
			Components []struct{ Name, Version, PURL string }
		}
		require.NoError(t, json.Unmarshal(data, &bom))
		assert.Equal(t, "1.6", bom.SpecVersion)
		assert.Equal(t, "pkg:golang/"+tools.RootModule+"@v1.2.3%2Bdirty", bom.Metadata.Component.PURL)
		assert.Equal(t, tools.RootModule+"/cmd/"+name, bom.Metadata.Component.Name)
		assert.Equal(t, "v1.2.3+dirty", bom.Metadata.Component.Version)
		var got, want []string
		for _, c := range bom.Components {
			got = append(got, c.Name+" "+c.Version)
		}
		// What the go command says of the binary.
		said := strings.Split(goes(t, root, "version", "-m", binary), "\n")
		want = append(want, "std "+strings.TrimPrefix(said[0][strings.LastIndex(said[0], " ")+1:], "go"))
		for _, line := range said {
			if fields := strings.Fields(line); fields[0] == "dep" {
				want = append(want, fields[1]+" "+fields[2])
			}
		}
		assert.Greater(t, len(want), 20)
		assert.Equal(t, want, got)
	}
}

func TestWhatIsNoGoBinaryIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(file, []byte("text"), 0o600))
	assert.EqualError(t, write(file, "v1"), "could not read Go build info from "+file+": unrecognized file format")
}
