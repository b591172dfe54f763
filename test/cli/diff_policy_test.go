package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Without files the stored objects are compared, and no policy but the two is read: that
// none is installed is no news.
func TestDiffPolicyOfTheCluster(t *testing.T) {
	site(t)
	warn := filepath.Join(t.TempDir(), "warn.yaml")
	require.NoError(t, os.WriteFile(warn, []byte("apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\nrouteOrder: Warn\n"), 0o600))
	got := egressTLS(t, "", "diff-policy", warn, "default")
	assert.Equal(t, 1, got.code)
	assert.Empty(t, got.stderr)
	golden(t, "diff-policy.txt", got.stdout)
}
