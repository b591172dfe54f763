package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// onTerminal returns what a command prints on a terminal of 60 columns.
func onTerminal(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { _ = user.Close() }()
	require.NoError(t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 60, Row: 20}))

	done := make(chan string)
	go func() {
		printed, _ := io.ReadAll(user) // It ends with EIO, since nobody has the other end open.
		done <- string(printed)
	}()
	assert.Equal(t, Found, Run(args, Streams{In: strings.NewReader(stdin), Out: program, Err: program}, "test"))
	require.NoError(t, program.Close())
	return strings.ReplaceAll(<-done, "\r\n", "\n")
}

func TestTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	got := onTerminal(t, vsOf(deadRoute), "check", "-f", "-")
	assert.Contains(t, got, "\x1b[1;31merror[CatchAllNotLast]\x1b[0m")
	assert.Contains(t, withoutColor(got), `
   = Istio silently drops every route after a catch-all:
     spec.http[0] (no match) takes every request, so
     spec.http[1] (uri prefix "/c", to c) can never match.
`, "as wide as the terminal")

	plain := onTerminal(t, vsOf(deadRoute), "check", "-f", "-", "--color=never")
	assert.NotContains(t, plain, "\x1b[1")
	t.Setenv("TERM", "dumb")
	assert.Equal(t, plain, onTerminal(t, vsOf(deadRoute), "check", "-f", "-"))
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	assert.Equal(t, plain, onTerminal(t, vsOf(deadRoute), "check", "-f", "-"))
}
