package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
)

func TestReport(t *testing.T) {
	r := &report{
		Date: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), Commit: "abc", Command: "go run ./bench",
		Machine: machine{CPU: "Z80", Cores: 2, MemoryGiB: 24, Kernel: "Linux 6", Go: "go1.26"},
		Figures: []figure.Figure{
			{ID: "a", Group: "One", What: "ours", Against: "theirs", Unit: "ns", Compare: figure.Faster, Goal: figure.Goal{AtLeast: 20}, Pairs: []figure.Pair{{This: 1, Other: 30}, {This: 2, Other: 50}}},
			{ID: "b", Group: "Two", What: "with", Against: "without", Unit: "ms", Compare: figure.Difference, Goal: figure.Goal{AtMost: 3}, Pairs: []figure.Pair{{This: 1204, Other: 100}}},
			{ID: "c", Group: "One", What: "alone", Unit: "bytes", Compare: figure.Alone, Pairs: []figure.Pair{{This: 123.4}}},
		},
		Plots: []figure.Plot{{ID: "growth", Group: "One", Title: "Growth", X: "n", Y: "times", LogX: true, Series: []figure.Series{{Name: "s", Points: []figure.Point{{X: 1, Y: 2}, {X: 10, Y: 3}}}}}},
	}
	dir := t.TempDir()
	require.NoError(t, r.write(dir))
	markdown, err := os.ReadFile(filepath.Join(dir, "report.md"))
	require.NoError(t, err)
	assert.Contains(t, string(markdown), "Commit abc, 2026-01-02 03:04 UTC, on Z80 (2 cores, 24 GiB), Linux 6, go1.26; `go run ./bench` in `test/`.")
	assert.Contains(t, string(markdown), `## One

| what | against | median | middle half | runs | goal | |
|---|---|---|---|---|---|---|
| ours | theirs | 27.5 times faster | 26.2 to 28.8 | 2 | at least 20 | met |
| alone | - | 123 bytes | 123 to 123 | 1 | - |  |

![Growth](growth.svg)

## Two

| what | against | median | middle half | runs | goal | |
|---|---|---|---|---|---|---|
| with | without | 1104 ms | 1104 to 1104 | 1 | at most 3 | **missed** |
`)
	for _, name := range []string{"growth.svg", "goals.svg"} {
		picture, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.True(t, bytes.HasPrefix(picture, []byte("<?xml")), name)
	}

	again, err := readReport(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	var goals bytes.Buffer
	require.NoError(t, again.printGoals(&goals))
	assert.Equal(t, "met     a  27.5 times faster  (at least 20)\nMISSED  b  1104 ms            (at most 3)\n1 of 2 goals are met\n", goals.String())
}

// When a stage fails there may be nothing to tell of goals.
func TestReportWithoutGoals(t *testing.T) {
	require.NoError(t, (&report{}).write(t.TempDir()))
}
