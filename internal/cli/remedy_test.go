package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The command of a finding names the input as it was given, for a shell.
func TestCommandOfRemedy(t *testing.T) {
	t.Chdir(t.TempDir())
	names := []string{"it's a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml"}
	for i, name := range names {
		text := strings.Replace(vsOf(deadRoute), "name: a", "name: vs-"+string(rune('a'+i)), 1)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	require.NoError(t, os.WriteFile("cluster.yaml", []byte(vsOf("")), 0o600))
	files := func(n int) (out []string) {
		for _, name := range names[:n] {
			out = append(out, "-f", name)
		}
		return out
	}
	for want, args := range map[string][]string{
		`-f 'it'\''s a.yaml' --fix-order --in-place`:                                        files(1),
		`-f 'it'\''s a.yaml' -f b.yaml -f c.yaml -f d.yaml --fix-order --in-place`:          files(4),
		`-f 'it'\''s a.yaml' -f b.yaml -f c.yaml ... --fix-order --in-place`:                files(5),
		`-f b.yaml -n shop --background cluster.yaml --mode enforce --fix-order --in-place`: {"--mode", "enforce", "--color=never", "--background=cluster.yaml", "-n", "shop", "-f", "b.yaml"},
		`-f - --fix-order`: {"-f", "-"},
	} {
		got := run(vsOf(deadRoute), append([]string{"check"}, args...)...)
		assert.Equal(t, Found, got.code, got.err)
		assert.Contains(t, got.out, "   = or run: egress-tls render "+want+"\n")
	}
}
