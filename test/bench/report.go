package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
)

// report is all that one run found out, and where.
type report struct {
	Date    time.Time       `json:"date"`
	Commit  string          `json:"commit"`
	Command string          `json:"command"`
	Machine machine         `json:"machine"`
	Figures []figure.Figure `json:"figures"`
	Plots   []figure.Plot   `json:"plots"`
}

type machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryGiB int    `json:"memoryGiB"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
}

func newReport(ctx context.Context, b *bench, args string) (*report, error) {
	commit, err := exec.CommandContext(ctx, "git", "-C", b.root, "describe", "--always", "--abbrev=12", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown") // As of an archive.
	}
	var name unix.Utsname
	var info unix.Sysinfo_t
	if err := unix.Uname(&name); err != nil {
		return nil, err
	}
	if err := unix.Sysinfo(&info); err != nil {
		return nil, err
	}
	return &report{
		Date:    time.Now().UTC().Truncate(time.Minute),
		Commit:  strings.TrimSpace(string(commit)),
		Command: strings.TrimSpace("go run ./bench " + args),
		Machine: machine{
			CPU:       cpuModel(),
			Cores:     runtime.NumCPU(),
			MemoryGiB: int(math.Round(float64(info.Totalram) * float64(info.Unit) / (1 << 30))),
			Kernel:    unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:]),
			Go:        runtime.Version(),
		},
	}, nil
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close() //nolint:errcheck // Only read.
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func readReport(path string) (*report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s is no report: %w", path, err)
	}
	return r, nil
}

// write writes the report into dir.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // For all to read.
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"report.json": append(data, '\n'), "report.md": r.markdown()}
	if goals := r.withGoal(); len(goals) > 0 {
		if files["goals.svg"], err = drawGoals(goals); err != nil {
			return err
		}
	}
	for _, p := range r.Plots {
		if files[p.ID+".svg"], err = drawPlot(p); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // As above.
			return err
		}
	}
	return nil
}

func (r *report) withGoal() []figure.Figure {
	return slices.DeleteFunc(slices.Clone(r.Figures), func(f figure.Figure) bool { return f.Goal == figure.Goal{} })
}

// printGoals tells which goals are met, the missed ones too.
func (r *report) printGoals(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	met, all := 0, r.withGoal()
	for _, f := range all {
		verdict := "MISSED"
		if f.Met() {
			met++
			verdict = "met"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t(%s)\n", verdict, f.ID, value(f, f.Median()), f.Goal)
	}
	_, _ = fmt.Fprintf(t, "%d of %d goals are met\n", met, len(all))
	return t.Flush()
}

func (r *report) markdown() []byte {
	var b bytes.Buffer
	m := r.Machine
	fmt.Fprintf(&b, "# Performance report\n\n")
	fmt.Fprintf(&b, "Commit %s, %s, on %s (%d cores, %d GiB), %s, %s; `%s` in `test/`.\n\n",
		r.Commit, r.Date.Format("2006-01-02 15:04 MST"), m.CPU, m.Cores, m.MemoryGiB, m.Kernel, m.Go, r.Command)
	b.WriteString("Each figure compares two sides that ran in turns, one right after the other: \"1.10 times\" is this side in\n" +
		"multiples of the other, \"20 times faster\" the other way round. The middle half is what lies between the first\n" +
		"and the third quartile of the runs. All single values are in [report.json](report.json).\n\n")
	if len(r.withGoal()) > 0 {
		fmt.Fprintf(&b, "![How far each median is from its goal](goals.svg)\n\n")
	}
	var groups []string
	for _, f := range r.Figures {
		if !slices.Contains(groups, f.Group) {
			groups = append(groups, f.Group)
		}
	}
	for _, group := range groups {
		fmt.Fprintf(&b, "## %s\n\n| what | against | median | middle half | runs | goal | |\n|---|---|---|---|---|---|---|\n", group)
		for _, f := range r.Figures {
			if f.Group != group {
				continue
			}
			verdict := ""
			if goal := f.Goal.String(); goal != "" {
				verdict = "**missed**"
				if f.Met() {
					verdict = "met"
				}
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s to %s | %d | %s | %s |\n", f.What, or(f.Against, "-"), value(f, f.Median()),
				number(f.Quantile(0.25)), number(f.Quantile(0.75)), len(f.Pairs), or(f.Goal.String(), "-"), verdict)
		}
		b.WriteString("\n")
		for _, p := range r.Plots {
			if p.Group == group {
				fmt.Fprintf(&b, "![%s](%s.svg)\n\n", p.Title, p.ID)
			}
		}
	}
	return append(bytes.TrimSpace(b.Bytes()), '\n')
}

// value is a value of f with what it is in.
func value(f figure.Figure, v float64) string {
	switch f.Compare {
	case figure.Times:
		return number(v) + " times"
	case figure.Faster:
		return number(v) + " times faster"
	case figure.Difference, figure.Alone:
	}
	return number(v) + " " + f.Unit
}

// number prints three significant digits.
func number(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case size >= 1000:
		return strconv.Itoa(int(math.Round(v)))
	case size >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
