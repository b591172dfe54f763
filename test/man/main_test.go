package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
)

func TestPages(t *testing.T) {
	root := cli.Command("v1.2.3")
	root.DisableAutoGenTag = true
	dir := t.TempDir()
	require.NoError(t, write(dir, root, "v1.2.3", time.Unix(1751241600, 0).UTC()))

	want := []string{"egress-tls.1"}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			want = append(want, "egress-tls-"+c.Name()+".1")
		}
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	got := []string{}
	for _, f := range files {
		got = append(got, f.Name())
	}
	assert.ElementsMatch(t, want, got)

	check, err := os.ReadFile(filepath.Join(dir, "egress-tls-check.1"))
	require.NoError(t, err)
	page := string(check)
	assert.Contains(t, page, `.TH "EGRESS-TLS-CHECK" "1" "Jun 2025" "egress-tls v1.2.3" "egress-tls-webhook"`+"\n")
	assert.Contains(t, page, "\negress-tls-check - Say what admission would refuse, warn of and add\n")
	assert.Contains(t, page, "\\fB-f\\fP, \\fB--filename\\fP=[]\n")
	assert.Contains(t, page, "Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.")

	// The same pages every time.
	again, err := render(find(t, root, "check"), "v1.2.3", time.Unix(1751241600, 0).UTC())
	require.NoError(t, err)
	assert.Equal(t, page, string(again))
}

func find(t *testing.T, root *cobra.Command, name string) *cobra.Command {
	t.Helper()
	cmd, _, err := root.Find([]string{name})
	require.NoError(t, err)
	return cmd
}
