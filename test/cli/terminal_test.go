package cli

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal returns both ends of a pseudo terminal.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = user.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	return user, program
}

// On a terminal scan says what it does, and leaves nothing of it behind.
func TestProgress(t *testing.T) {
	site(t)
	user, program := terminal(t)
	cmd := command(t, "scan", "--summary", "-n", "legacy")
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, program
	require.NoError(t, cmd.Run())
	require.NoError(t, program.Close())
	said, _ := io.ReadAll(user) // It ends with EIO, since nobody has the other end open.
	assert.Contains(t, string(said), "\r\x1b[Kreading virtualservices: 4 of 4\r\x1b[K")
	assert.Contains(t, string(said), "\r\x1b[Kjudging 1 object\r\x1b[K")
	assert.NotContains(t, stdout.String(), "\x1b")
}

// silent listens without a word, and returns a kubeconfig for what it takes for a cluster.
func silent(t *testing.T) (listener net.Listener, kubeconfig string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, fmt.Appendf(nil,
		"{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: %q}}]}", "http://"+listener.Addr().String()), 0o600))
	return listener, kubeconfig
}

func TestRequestTimeout(t *testing.T) {
	_, kubeconfig := silent(t)
	got := egressTLS(t, "", "scan", "--kubeconfig", kubeconfig, "--request-timeout=100ms")
	assert.Equal(t, 2, got.code)
	assert.Regexp(t, `^egress-tls: failed to ask the cluster for the versions of networking\.istio\.io: Get ".*": (context deadline exceeded|.*Client\.Timeout exceeded.*)\n$`, got.stderr)
}

func TestInterruptEndsAtOnce(t *testing.T) {
	listener, kubeconfig := silent(t)
	cmd := command(t, "scan", "--kubeconfig", kubeconfig)
	require.NoError(t, cmd.Start())
	_, err := listener.Accept()
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	assert.Equal(t, syscall.SIGINT, status.Signal(), "which a shell reports as 130")
}
