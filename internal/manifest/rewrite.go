package manifest

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

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
	rs, err := yamltext.Rewrite(s.Text, s.read, change)
	if err == nil {
		return rs, nil
	}
	line := s.head().Line
	if at, ok := errors.AsType[*yamltext.Error](err); ok {
		line, err = s.lineAt(at.Line), errors.New(at.Reason)
	}
	return nil, fmt.Errorf("%s:%d: %w", s.File, line, err)
}

func (s *Source) read(text string) map[string]any {
	raw := []byte(text)
	if !s.JSON {
		var err error
		if raw, err = yaml.YAMLToJSONStrict(raw); err != nil {
			return nil
		}
	}
	return decodeExact(raw)
}

// Reordering returns what to replace in the document's file so that the list at path
// has its items in the given order, each with its comments.
func (d *Document) Reordering(path string, order []int) ([]Replacement, error) {
	rs, err := d.Source.Rewrite(func(tree map[string]any) error {
		object, err := d.In(tree)
		if err != nil {
			return err
		}
		return Reorder(object, path, order)
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

// Reorder brings the items of the list at path in the given order.
func Reorder(tree map[string]any, path string, order []int) error {
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
