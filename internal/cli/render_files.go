package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
)

// fileChange is one file, and what it comes to.
type fileChange struct {
	path          string
	before, after string
	isNew         bool
}

// files are the files that change, in the order of the input. Created rules go to
// rulesFile, or before the document that first asks for them if that is "".
func (r *rendering) files(rulesFile string, notes io.Writer) ([]fileChange, error) {
	rules := map[*manifest.Source][]string{}
	var ruled []string // for rulesFile
	for _, c := range r.created {
		text, err := c.yaml()
		switch home := c.by.Source; {
		case err != nil:
			return nil, err
		case rulesFile != "":
			ruled = append(ruled, text)
		case home.JSON:
			return nil, fmt.Errorf("%s is JSON, so DestinationRule %s/%s cannot be added to it: say where it goes with --rules-file FILE", home.File, c.key.Namespace, c.key.Name)
		default:
			rules[home] = append(rules[home], text)
		}
	}
	var out []fileChange
	for _, f := range r.set.Files {
		texts := map[*manifest.Source]string{}
		for _, src := range f.Sources {
			text, err := r.text(src, notes)
			if err != nil {
				return nil, err
			}
			if len(rules[src]) > 0 {
				text = manifest.Before(text, rules[src])
			}
			texts[src] = text
		}
		var more []string
		if len(ruled) > 0 && samePath(f.Path, rulesFile) {
			if slices.ContainsFunc(f.Sources, func(s *manifest.Source) bool { return s.JSON }) {
				return nil, fmt.Errorf("--rules-file %s holds JSON, and DestinationRules are added as YAML: name another file", rulesFile)
			}
			more, ruled = ruled, nil
		}
		if after := f.Changed(texts, more); after != f.Text {
			out = append(out, fileChange{path: f.Path, before: f.Text, after: after})
		}
	}
	if len(ruled) > 0 {
		out = append(out, fileChange{path: rulesFile, after: strings.Join(ruled, separator), isNew: true})
	}
	return out, nil
}

func samePath(a, b string) bool {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a == b
}

// writeDiff prints a unified diff of each file that changes.
func (r *rendering) writeDiff(w, notes io.Writer, rulesFile string, look style) error {
	changes, err := r.files(rulesFile, notes)
	if err != nil {
		return err
	}
	for _, c := range changes {
		name := strings.TrimPrefix(filepath.ToSlash(filepath.Clean(c.path)), "/")
		if c.path == manifest.Stdin {
			name = "stdin"
		}
		before := diffLabel("a/" + name)
		if c.isNew {
			before = "/dev/null"
		}
		const context = 3
		text, err := udiff.ToUnified(before, diffLabel("b/"+name), c.before, udiff.Lines(c.before, c.after), context)
		if err != nil {
			return fmt.Errorf("failed to compare %s: %w", c.path, err)
		}
		for line := range strings.Lines(text) {
			fmt.Fprint(w, look.diff(line))
		}
	}
	return nil
}

// diffLabel quotes a file's name as git does, where patch would not read it.
func diffLabel(name string) string {
	if strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f || c == '"' || c == '\\' }) {
		var out strings.Builder
		for i := range len(name) {
			switch c := name[i]; {
			case c == '"', c == '\\':
				out.WriteString(`\` + name[i:i+1])
			case c < ' ', c == 0x7f:
				fmt.Fprintf(&out, `\%03o`, c)
			default:
				out.WriteByte(c)
			}
		}
		return `"` + out.String() + `"`
	}
	if strings.Contains(name, " ") {
		return name + "\t" // Else it ends there.
	}
	return name
}

// writeFiles writes the files that change, and says which.
func (r *rendering) writeFiles(w, notes io.Writer, rulesFile string) error {
	changes, err := r.files(rulesFile, notes)
	if err != nil {
		return err
	}
	if err := replaceFiles(changes); err != nil {
		return err
	}
	for _, c := range changes {
		fmt.Fprintf(w, "wrote %s\n", finding.Printable(c.path))
	}
	return nil
}

// replaceFiles writes each file beside its old one and, when all are there, puts them
// in their place: no file is ever half written, and none that has changed since it was
// read.
func replaceFiles(changes []fileChange) (err error) {
	var temporary []string
	defer func() {
		for _, path := range temporary {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	targets := make([]string, len(changes))
	for i, c := range changes {
		target, mode, err := c.target()
		if err != nil {
			return fmt.Errorf("nothing is written: %w", err)
		}
		targets[i] = target
		path, err := writeBeside(target, c.after, mode)
		if path != "" {
			temporary = append(temporary, path)
		}
		if err != nil {
			return fmt.Errorf("nothing is written: failed to write %s: %w", c.path, err)
		}
	}
	for i, target := range targets {
		if err := os.Rename(temporary[0], target); err != nil {
			return fmt.Errorf("%d of %d files are written: %w", i, len(changes), err)
		}
		temporary = temporary[1:]
	}
	return nil
}

// target returns the file that is written, behind links, and its mode: one that is still as
// it was read.
func (c fileChange) target() (path string, mode os.FileMode, err error) {
	if c.isNew {
		if _, err := os.Lstat(c.path); err == nil {
			return "", 0, fmt.Errorf("%s is there by now", c.path)
		}
		return c.path, 0o644, nil
	}
	if path, err = filepath.EvalSymlinks(c.path); err != nil {
		return "", 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	if !info.Mode().IsRegular() {
		return "", 0, fmt.Errorf("%s is no regular file", c.path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // One that is read-only is meant to stay.
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }() // It was only read.
	now, err := io.ReadAll(f)
	if err == nil && string(now) != c.before {
		err = fmt.Errorf("%s has changed since it was read", c.path)
	}
	return path, info.Mode().Perm(), err
}

// writeBeside writes a temporary file, whose path it returns as soon as there is one.
func writeBeside(target, text string, mode os.FileMode) (path string, err error) {
	f, err := os.CreateTemp(filepath.Dir(target), ".egress-tls-*")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	return f.Name(), errors.Join(err, f.Chmod(mode), f.Close())
}

// diff writes a line of a unified diff as git does: coloured, and without what a
// terminal would obey. Off the terminal it must stay as it is, to be applied.
func (s style) diff(line string) string {
	if !s.color {
		return line
	}
	text := strings.TrimRight(line, "\r\n")
	end := line[len(text):]
	text = finding.Printable(text)
	switch {
	case strings.HasPrefix(text, "--- "), strings.HasPrefix(text, "+++ "):
		return s.bold(text) + end
	case strings.HasPrefix(text, "@@"):
		return s.paint(sgrCyan, text) + end
	case strings.HasPrefix(text, "-"):
		return s.paint(sgrGone, text) + end
	case strings.HasPrefix(text, "+"):
		return s.paint(sgrCome, text) + end
	}
	return text + end
}

const sgrCyan = "36"
