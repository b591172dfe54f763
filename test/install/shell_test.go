package install

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// shell runs commands as an administrator of the cluster would, who has the repository's deploy/ in
// the working directory.
type shell struct {
	dir string
	env []string
}

func openShell(t *testing.T) *shell {
	t.Helper()
	root, err := tools.RepoRoot()
	require.NoError(t, err)
	s := &shell{dir: t.TempDir()}
	require.NoError(t, os.Symlink(filepath.Join(root, "deploy"), filepath.Join(s.dir, "deploy")))
	path := []string{helmDir, filepath.Dir(plane.KubectlPath), cliDir, os.Getenv("PATH")}
	s.env = []string{
		"PATH=" + strings.Join(path, string(os.PathListSeparator)),
		"KUBECONFIG=" + plane.Kubeconfig, "KUBERC=off", "LC_ALL=C", "HOME=" + t.TempDir(),
	}
	t.Cleanup(func() {
		if t.Failed() { // The next test begins without it.
			_, _ = s.run(t, "helm uninstall egress-tls-webhook --namespace egress-tls-system --ignore-not-found --wait")
			_, _ = s.run(t, "kubectl delete namespace egress-tls-system --ignore-not-found")
		}
	})
	return s
}

// succeeds runs commands that must end well.
func (s *shell) succeeds(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		out, err := s.run(t, c)
		require.NoError(t, err, "%s\n%s", c, out)
	}
}

// run runs a shell command and returns all that a terminal would show.
func (s *shell) run(t *testing.T, text string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", text)
	cmd.Dir, cmd.Env, cmd.WaitDelay = s.dir, s.env, time.Second
	// A timeout is for all that the shell has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("%.1f s: %s", time.Since(begun).Seconds(), text)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err, text)
	}
	return refused.ReplaceAllString(string(out), "dial tcp 10.96.0.17:443: connect: connection refused"), err
}

// refused is what kube-apiserver says here where no replica is ready: its connections go through a
// proxy, while in other clusters the network refuses them.
var refused = regexp.MustCompile(`proxy error from \S+ while dialing \S+, code 503: 503 connection refused`)

// settle waits until no replica is about to end: as long as one is, kube-apiserver may ask it, which
// knows an old policy. Whoever reads on is slower.
func settle(t *testing.T) {
	t.Helper()
	eventually(t, func() bool {
		for _, p := range plane.Pods(system) {
			if p.Ending() {
				return false
			}
		}
		return true
	}, "replicas that end are gone")
}
