package install

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// update makes the guides say what their commands print now.
var update = flag.Bool("update", false, "write what the commands print into the guides")

// guide is a document whose commands are run, chapter by chapter:
//
//   - a block "yaml" that begins with a comment such as "# shop.yaml" is that file
//   - the commands of a block "sh" succeed
//   - those of a block "console" begin with "$ " and print what is below them
//
// What only reads is run again until it prints that, since much happens a moment later.
type guide struct {
	*shell
	file     string
	lines    []string
	chapters map[string]int // those not yet played, and the line of their heading
}

// pause is the time between two runs of what only reads.
const pause = 300 * time.Millisecond

// reads are the commands that change nothing.
var reads = regexp.MustCompile(`^(kubectl (-n \S+ )?(get|logs|events) |for pod in )`)

func openGuide(t *testing.T, name string) *guide {
	t.Helper()
	root, err := tools.RepoRoot()
	require.NoError(t, err)
	g := &guide{shell: openShell(t), file: filepath.Join(root, "docs", name), chapters: map[string]int{}}
	data, err := os.ReadFile(g.file)
	require.NoError(t, err)
	g.lines = strings.SplitAfter(string(data), "\n")
	for i, line := range g.lines {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			g.chapters[strings.TrimSpace(title)] = i
		}
	}
	return g
}

// play runs the commands of a chapter.
func (g *guide) play(t *testing.T, title string) {
	t.Helper()
	begin, ok := g.chapters[title]
	require.True(t, ok, "the guide has no chapter %q", title)
	delete(g.chapters, title)
	for i := begin + 1; i < len(g.lines) && !strings.HasPrefix(g.lines[i], "## "); i++ {
		kind, ok := strings.CutPrefix(g.lines[i], "```")
		if !ok {
			continue
		}
		end := i + 1
		for g.lines[end] != "```\n" {
			end++
		}
		block := g.lines[i+1 : end]
		settle(t)
		switch strings.TrimSpace(kind) {
		case "yaml":
			g.write(t, block)
		case "sh":
			for _, c := range commands(block, "") {
				g.succeeds(t, c.text)
			}
		case "console":
			var printed []string
			for _, c := range commands(block, "$ ") {
				printed = append(printed, "$ "+c.text+"\n", g.expect(t, c))
			}
			g.lines[i+1] = strings.Join(printed, "")
			clear(g.lines[i+2 : end])
		}
		i = end
	}
}

// install runs the commands of docs/install.md below a marker, <!-- install --> for example, but for
// what it fetches from the internet.
func install(t *testing.T, s *shell, marker string) {
	t.Helper()
	root, err := tools.RepoRoot()
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(root, "docs", "install.md"))
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(data), "<!-- "+marker+" -->\n```sh\n")
	require.True(t, ok, "docs/install.md has no commands below <!-- %s -->", marker)
	block, _, _ = strings.Cut(block, "```\n")
	for _, c := range commands(strings.SplitAfter(block, "\n"), "") {
		if c.text != "" && !strings.Contains(c.text, "https://") {
			s.succeeds(t, c.text)
		}
	}
}

// close holds that all was played, and writes the guide if it is to be updated.
func (g *guide) close(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return
	}
	assert.Empty(t, g.chapters, "chapters that nobody plays")
	if *update {
		require.NoError(t, os.WriteFile(g.file, []byte(strings.Join(g.lines, "")), 0o600))
	}
}

// command is one with what it should print.
type command struct{ text, output string }

// commands separates those of a block. A line that ends with a backslash goes on.
func commands(block []string, prompt string) []command {
	var all []command
	goesOn := false
	for _, line := range block {
		text, ok := strings.CutPrefix(line, prompt)
		switch {
		case goesOn:
			all[len(all)-1].text += line
		case ok:
			all = append(all, command{text: text})
		default:
			all[len(all)-1].output += line
		}
		if ok || goesOn {
			goesOn = strings.HasSuffix(line, "\\\n")
		}
	}
	for i := range all {
		all[i].text = strings.TrimSuffix(all[i].text, "\n")
	}
	return all
}

// write makes a block the file that its first line names.
func (g *guide) write(t *testing.T, block []string) {
	t.Helper()
	if name, ok := strings.CutPrefix(block[0], "# "); ok {
		file := filepath.Join(g.dir, strings.TrimSpace(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(block, "")), 0o600))
	}
}

// expect runs a command and returns what it printed.
func (g *guide) expect(t *testing.T, c command) string {
	t.Helper()
	out, _ := g.run(t, c.text)
	if *update {
		for settled := time.Now(); reads.MatchString(c.text) && time.Since(settled) < 4*time.Second; time.Sleep(pause) {
			again, _ := g.run(t, c.text)
			if again != out {
				out, settled = again, time.Now()
			}
		}
		return out
	}
	for deadline := time.Now().Add(patience); out != c.output && reads.MatchString(c.text) && time.Now().Before(deadline); time.Sleep(pause) {
		out, _ = g.run(t, c.text)
	}
	require.Equal(t, c.output, out, "%s\nwhat it prints is another text now; go test ./install -update writes it into the guide", c.text)
	return out
}
