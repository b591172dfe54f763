package cli

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

var stored sync.Once

// site stores testdata/site.yaml, once.
func site(t *testing.T) {
	t.Helper()
	stored.Do(func() {
		text, err := os.ReadFile("testdata/site.yaml")
		require.NoError(t, err)
		kubectl(t, strings.ReplaceAll(string(text), "egress-tls-gone-example-com-NAME", mesh.RuleName("gone.example.com", nil)), "apply", "-f", "-")
	})
}

const noPolicy = "egress-tls: note: no webhook is installed in the cluster, so the defaults of the policy count; --policy FILE names another\n"

func TestScan(t *testing.T) {
	site(t)
	text := egressTLS(t, "", "scan")
	assert.Equal(t, 1, text.code)
	assert.Equal(t, noPolicy, text.stderr)
	documented(t, "scan", "egress-tls scan", text.stdout)

	lines := strings.Split(kubectl(t, "", "get", "virtualservices", "-n", "shop", "catalog", "-o", "yaml"), "\n")
	shown := regexp.MustCompile(`(?m)^(\d+) \| (.*(?:cart|catalog))$`).FindAllStringSubmatch(text.stdout, -1)
	require.Len(t, shown, 2)
	for _, shown := range shown {
		n, err := strconv.Atoi(shown[1])
		require.NoError(t, err)
		assert.Equal(t, lines[n-1], shown[2], "lines are those that kubectl prints")
	}

	asJSON := egressTLS(t, "", "scan", "-o", "json")
	assert.Equal(t, 1, asJSON.code)
	golden(t, "scan.json", asJSON.stdout)

	// Where nothing stands in a file, SARIF names the objects alone.
	sarif := egressTLS(t, "", "scan", "-o", "sarif")
	assert.Equal(t, 1, sarif.code)
	var log struct {
		Version string
		Runs    []struct {
			Results []struct{ Locations json.RawMessage }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(sarif.stdout), &log))
	assert.Equal(t, "2.1.0", log.Version)
	require.Len(t, log.Runs, 1)
	require.Len(t, log.Runs[0].Results, 2)
	assert.JSONEq(t, `[{"logicalLocations": [{"name": "VirtualService shop/catalog", "fullyQualifiedName": "VirtualService shop/catalog spec.http[1]", "kind": "resource"}]}]`,
		string(log.Runs[0].Results[0].Locations))

	pages := egressTLS(t, "", "scan", "-o", "json", "--chunk-size", "1")
	assert.Equal(t, asJSON, pages, "it does not matter how objects are read")
}
