package browser

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
)

// report returns the report about manifests.
func report(t *testing.T, manifests string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cli.Run([]string{"check", "-f", "-", "-o", "html"}, cli.Streams{In: bytes.NewBufferString(manifests), Out: &out, Err: &errs}, "test")
	assert.Empty(t, errs.String())
	require.NotEmpty(t, out.String())
	return out.String()
}

func site(t *testing.T) string {
	t.Helper()
	manifests, err := os.ReadFile("testdata/site.yaml")
	require.NoError(t, err)
	return report(t, string(manifests))
}
