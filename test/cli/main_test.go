// Package cli tests what the command line does with a cluster: the real binary, an API
// server, and rights that are no more than the documentation asks for. No webhook runs,
// so objects are stored as they are.
package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

var update = flag.Bool("update", false, "rewrite testdata")

var plane *controlplane.ControlPlane

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(controlplane.RunTests(m, controlplane.Options{AuditUser: scanner}, func(cp *controlplane.ControlPlane) { plane = cp }))
}

// result is what a process leaves.
type result struct {
	code           int
	stdout, stderr string
}

// command is the binary with the administrator's kubeconfig as the default one.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := plane.Build(context.WithoutCancel(t.Context()), "./cmd/egress-tls")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{"KUBECONFIG=" + plane.Kubeconfig, "HOME=/nowhere"}
	return cmd
}

// egressTLS runs the binary to its end.
func egressTLS(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	cmd := command(t, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// kubectl runs kubectl as the administrator; it must succeed.
func kubectl(t *testing.T, stdin string, args ...string) (stdout string) {
	t.Helper()
	got := plane.Kubectl(t.Context(), stdin, args...)
	require.Zero(t, got.ExitCode, got.Stderr)
	return got.Stdout
}

// after runs kubectl when the test is over.
func after(t *testing.T, stdin string, args ...string) {
	t.Helper()
	t.Cleanup(func() {
		got := plane.Kubectl(context.WithoutCancel(t.Context()), stdin, args...)
		assert.Zero(t, got.ExitCode, got.Stderr)
	})
}

// Nothing asserts how long something takes; these only end a test that hangs.
const (
	patience = time.Minute
	tick     = 100 * time.Millisecond
)

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, patience, tick, what)
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// normal replaces what differs from one run to the next.
func normal(yaml string) string {
	var out strings.Builder
	for line := range strings.Lines(yaml) {
		key, _, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "uid", "resourceVersion", "creationTimestamp", "seconds":
			line = key + ": ...\n"
		}
		out.WriteString(line)
	}
	return out.String()
}

const page = "../../docs/scan.md"

// section returns the block of code behind a mark in docs/scan.md, and what is around it.
func section(t *testing.T, mark string) (before, block, behind string) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	start := strings.Index(string(text), "<!-- "+mark+": ")
	require.GreaterOrEqual(t, start, 0, mark)
	for range 2 { // the mark and the fence
		start += strings.Index(string(text)[start:], "\n") + 1
	}
	size := strings.Index(string(text)[start:], "```\n<!-- end of "+mark+" -->\n")
	require.GreaterOrEqual(t, size, 0, mark)
	return string(text)[:start], string(text)[start : start+size], string(text)[start+size:]
}

// documented holds that docs/scan.md shows a command with its output.
func documented(t *testing.T, mark, command, output string) {
	t.Helper()
	before, block, behind := section(t, mark)
	want := "$ " + command + "\n" + output
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(before+want+behind), 0o644)) //nolint:gosec // A page of the repository.
		return
	}
	require.Equal(t, want, block)
}
