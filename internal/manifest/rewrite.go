package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/egress-tls/egress-tls-webhook/internal/manifest/yamltext"
)

// Replacement puts Text in the place of a part of a file.
type Replacement struct {
	Start, End Position
	Text       string
}

// Position is a place in a file. Line and Column count from 1, columns in characters.
type Position struct{ Offset, Line, Column int }

// Rewrite returns what to replace in Text so that the source says what change makes
// of its tree, in which a List is one object; see yamltext.Rewrite.
//
// An error names file and line, and says why the text cannot be changed.
func (s *Source) Rewrite(change func(tree map[string]any) error) ([]yamltext.Replacement, error) {
	rs, err := yamltext.Rewrite(s.Text, s.syntax(), s.read, change)
	if err == nil {
		return rs, nil
	}
	line := s.head().Line
	if at, ok := errors.AsType[*yamltext.Error](err); ok {
		line, err = s.lineAt(at.Line), errors.New(at.Reason)
	}
	return nil, fmt.Errorf("%s:%d: %w", s.File, line, err)
}

// Changed returns Text with the change made. Where Text cannot be changed it is
// written anew, without its comments; anew then says why.
func (s *Source) Changed(change func(tree map[string]any) error) (text string, anew, err error) {
	rs, anew := s.Rewrite(change)
	if anew == nil {
		return yamltext.Apply(s.Text, rs), nil, nil
	}
	tree := s.Tree()
	if err := change(tree); err != nil {
		return "", nil, err
	}
	if s.JSON {
		text, err = yamltext.EncodeJSON(tree, s.Text)
	} else {
		text, err = yamltext.Encode(tree)
		text = strings.ReplaceAll(text, "\n", newlineOf(s.Text))
	}
	return text, anew, err
}

// Changed returns Text with the new texts of sources, and more documents behind the
// last one.
func (f *File) Changed(texts map[*Source]string, more []string) string {
	var out strings.Builder
	at := 0
	for _, s := range f.Sources {
		text, ok := texts[s]
		if !ok || text == s.Text {
			continue
		}
		end := s.offset + len(s.Text)
		if s.JSON { // Its line break is ours.
			end--
			text = strings.TrimSuffix(text, "\n")
		}
		out.WriteString(f.Text[at:s.offset])
		out.WriteString(text)
		at = end
	}
	out.WriteString(f.Text[at:])
	if newline := newlineOf(f.Text); len(more) > 0 && f.Text != "" && !strings.HasSuffix(f.Text, newline) {
		out.WriteString(newline)
	}
	for i, document := range more {
		if i > 0 || f.Text != "" {
			document = "---\n" + document
		}
		out.WriteString(strings.ReplaceAll(document, "\n", newlineOf(f.Text)))
	}
	return out.String()
}

// Before puts documents before that of text, behind comments at its start that a blank
// line sets apart, such as a licence.
func Before(text string, documents []string) string {
	at, end := 0, 0
	for line := range strings.Lines(text) {
		end += len(line)
		line = strings.TrimSpace(line)
		if line == "" {
			at = end
		} else if line[0] != '#' {
			break
		}
	}
	added := strings.ReplaceAll(strings.Join(documents, "---\n")+"---\n", "\n", newlineOf(text))
	return text[:at] + added + text[at:]
}

func newlineOf(text string) string {
	if strings.Contains(text, "\r\n") {
		return "\r\n"
	}
	return "\n"
}

func (s *Source) read(text string) map[string]any {
	raw := []byte(text)
	if !s.JSON {
		var err error
		if raw, err = toJSON(text); err != nil {
			return nil
		}
	}
	return decodeExact(raw)
}

// Reorder brings the list at path in the given order. Place goes on to tell where the
// items stand in the file as it is.
func (d *Document) Reorder(path string, order []int) error {
	object := d.Exact()
	err := reorder(object, path, order)
	if err == nil {
		d.json, err = json.Marshal(object)
	}
	if err == nil {
		d.moved = append(d.moved, move{path, order})
		d.Object, err = decode(d, d.Object.GetNamespace())
	}
	if err != nil {
		return fmt.Errorf("%s%s: %w", d.Prefix(""), d.Name(), err)
	}
	return nil
}

// A move is what Reorder has done.
type move struct {
	path  string
	order []int
}

// Moved reports whether Reorder was called.
func (d *Document) Moved() bool { return len(d.moved) > 0 }

// Move makes the object, as it was written, what Reorder has made of it.
func (d *Document) Move(object map[string]any) error {
	for _, m := range d.moved {
		if err := reorder(object, m.path, m.order); err != nil {
			return fmt.Errorf("%s%s: %w", d.Prefix(""), d.Name(), err)
		}
	}
	return nil
}

// written is path in the object as it was written.
func (d *Document) written(path string) string {
	for _, m := range slices.Backward(d.moved) {
		rest, below := strings.CutPrefix(path, m.path+"[")
		index, rest, _ := strings.Cut(rest, "]")
		if i, err := strconv.Atoi(index); below && err == nil && i >= 0 && i < len(m.order) {
			path = fmt.Sprintf("%s[%d]%s", m.path, m.order[i], rest)
		}
	}
	return path
}

// Reordering returns what to replace in the document's file so that the list at path
// has its items in the given order, each with its comments.
func (d *Document) Reordering(path string, order []int) ([]Replacement, error) {
	rs, err := d.Source.Rewrite(func(tree map[string]any) error {
		object, err := d.In(tree)
		if err != nil {
			return err
		}
		return reorder(object, path, order)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Replacement, len(rs))
	for i, r := range rs {
		out[i] = Replacement{d.Source.position(r.Start), d.Source.position(r.End), r.Text}
	}
	return out, nil
}

// position is that of a byte of Text in the file.
func (s *Source) position(offset int) Position {
	before := s.file.Text[:s.offset+offset]
	column := strings.TrimPrefix(before[strings.LastIndexByte(before, '\n')+1:], byteOrderMark)
	return Position{len(before), s.line + strings.Count(s.Text[:offset], "\n"), utf8.RuneCountInString(column) + 1}
}

// reorder brings the items of the list at path in the given order.
func reorder(tree map[string]any, path string, order []int) error {
	var parent map[string]any
	keys := steps(path)
	for at := any(tree); len(keys) > 0; keys = keys[1:] {
		var ok bool
		if parent, ok = at.(map[string]any); !ok {
			return errors.New(path + " does not exist")
		}
		if len(keys) == 1 {
			break
		}
		at = parent[keys[0]]
	}
	list, ok := parent[keys[0]].([]any)
	if !ok || len(list) != len(order) {
		return fmt.Errorf("%s is no list of %d", path, len(order))
	}
	out := make([]any, len(list))
	for i, from := range order {
		out[i] = list[from]
	}
	parent[keys[0]] = out
	return nil
}
