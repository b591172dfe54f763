package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"

	yamlv3 "go.yaml.in/yaml/v3"
	sigsjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Source is one YAML or JSON document as it was written: an object, a List of
// objects, or nothing but comments.
type Source struct {
	// File is its name as messages say it.
	File string
	// Separator is the line that stood before it, "" without one.
	Separator string
	// Text is all that stood between its separator and the next.
	Text string
	// JSON says that it is written in JSON. It may then hold what a YAML parser
	// does not take, such as tabs, so it cannot be put into a YAML stream as is.
	JSON bool

	file      *File
	line      int    // of the first line of Text
	offset    int    // of the first byte of Text in the file
	json      []byte // the document as JSON; nil: only comments
	documents []*Document
	// Worked out once, and only where somebody asks.
	syntax    func() *yamlv3.Node
	starts    func() []int // offsets of the lines
	oddBreaks func() bool
	row       row
}

// row is a line that was asked for.
type row struct {
	line int
	text []rune
}

// File is the content of a file or of stdin.
type File struct {
	Path, Text string
	Sources    []*Source
}

// Documents returns the objects of the source, a List's one by one.
func (s *Source) Documents() []*Document { return s.documents }

// Tree decodes the document anew, with numbers as json.Number, so that none
// loses a digit when it is printed again. It is nil for comments.
func (s *Source) Tree() map[string]any { return decodeExact(s.json) }

func newSource(file string, c chunk, text string, line int, raw []byte, isJSON bool) *Source {
	s := &Source{File: display(file), Separator: c.separator, Text: text, JSON: isJSON, line: line, offset: c.offset, json: raw}
	s.syntax = sync.OnceValue(func() *yamlv3.Node { return parseSyntax(s.Text, isJSON) })
	s.starts = sync.OnceValue(func() []int { return lineStarts(s.Text) })
	s.oddBreaks = sync.OnceValue(func() bool { return hasOddBreaks(s.Text) })
	return s
}

// parse reads the documents of one file. Those before and behind one with an
// error are returned with it.
func parse(file, text string) ([]*Source, error) {
	var out []*Source
	var errs []error
	for _, c := range split(text) {
		sources, err := parseChunk(file, c)
		if err != nil {
			errs = append(errs, err)
		}
		out = append(out, sources...)
	}
	return out, errors.Join(errs...)
}

func parseChunk(file string, c chunk) ([]*Source, error) {
	if isComment(c.text) {
		return []*Source{newSource(file, c, c.text, c.line, nil, false)}, nil
	}
	if strings.HasPrefix(strings.TrimSpace(c.text), "{") {
		if out, ok, err := parseJSON(file, c); ok {
			return out, err
		}
	}
	if hasOddBreaks(c.text) {
		if at := oddMarker().FindStringIndex(c.text); at != nil {
			line := c.line + strings.Count(c.text[:at[0]], "\n")
			return nil, fmt.Errorf("%s:%d: invalid YAML: a document begins or ends behind a line break that is no line feed, where kubectl ignores the rest", display(file), line)
		}
	}
	raw, err := toJSON(c.text)
	if err != nil {
		return nil, yamlError(file, c, err)
	}
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return nil, nil
	}
	s := newSource(file, c, c.text, c.line, raw, false)
	if raw[0] != '{' {
		return nil, notAnObject(s, s.head().Line, raw)
	}
	return []*Source{s}, nil
}

// parseJSON reads JSON documents one behind another. ok is false when the first is
// none: a YAML map in flow style starts with "{" too.
func parseJSON(file string, c chunk) (out []*Source, ok bool, err error) {
	dec := json.NewDecoder(strings.NewReader(c.text))
	line, at := c.line, 0
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return out, true, nil
		}
		if err != nil {
			end := len(c.text)
			if syntaxErr, ok := errors.AsType[*json.SyntaxError](err); ok {
				end = min(int(syntaxErr.Offset), end)
			}
			line = c.line + strings.Count(c.text[:end], "\n")
			return out, len(out) > 0, fmt.Errorf("%s:%d: invalid JSON: %w", display(file), line, err)
		}
		start := int(dec.InputOffset()) - len(raw)
		line += strings.Count(c.text[at:start], "\n")
		at = start
		s := newSource(file, c, string(raw)+"\n", line, raw, true)
		s.offset += start
		if len(out) > 0 {
			s.Separator = ""
		}
		if raw[0] != '{' {
			return out, true, notAnObject(s, line, raw)
		}
		var tree any
		twice, err := sigsjson.UnmarshalStrict(raw, &tree)
		if err == nil && len(twice) > 0 {
			err = twice[0]
		}
		if err != nil {
			return out, true, fmt.Errorf("%s:%d: invalid JSON: %w", s.File, line, err)
		}
		out = append(out, s)
	}
}

func notAnObject(s *Source, line int, raw []byte) error {
	what := "a scalar"
	if raw[0] == '[' {
		what = "a list"
	}
	return fmt.Errorf("%s:%d: expected a Kubernetes object, got %s", s.File, line, what)
}

// toJSON reads YAML strictly: a key twice in one map is an error. The parser takes a key
// for twice that a map has besides the one it merges in (<<), too, which is what merging
// is for.
func toJSON(text string) ([]byte, error) {
	raw, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil && strings.Contains(text, "<<") && !hasKeyTwice(parseSyntax(text, false)) {
		return yaml.YAMLToJSON([]byte(text))
	}
	return raw, err
}

// hasKeyTwice reports whether a map below node, or what is no syntax at all, has one.
func hasKeyTwice(node *yamlv3.Node) bool {
	if node == nil {
		return true
	}
	seen := map[string]bool{}
	for i, c := range node.Content {
		if node.Kind == yamlv3.MappingNode && i%2 == 0 && c.Kind == yamlv3.ScalarNode {
			if seen[c.Value] {
				return true
			}
			seen[c.Value] = true
		}
		if hasKeyTwice(c) {
			return true
		}
	}
	return false
}

// yamlError turns a parser's error into one that names the line in the file.
// Parsing once more behind empty lines makes the parser count from the file's
// first line.
func yamlError(file string, c chunk, err error) error {
	if _, e := toJSON(strings.Repeat("\n", c.line-1) + c.text); e != nil {
		err = e
	}
	msg := err.Error()
	for _, frame := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n  "} {
		msg = strings.TrimPrefix(msg, frame)
	}
	// Several may follow; one at a time is enough to go on.
	msg, _, _ = strings.Cut(msg, "\n")
	line := c.line
	if m := yamlLine().FindStringSubmatch(msg); m != nil {
		if n, e := strconv.Atoi(m[1]); e == nil {
			line, msg = max(n, c.line), msg[len(m[0]):]
		}
	}
	return fmt.Errorf("%s:%d: invalid YAML: %s", display(file), line, msg)
}

// oddMarker finds a document marker on what is a line to the parser, but not to split.
func oddMarker() *regexp.Regexp {
	return regexp.MustCompile(`[\r\x{85}\x{2028}\x{2029}](---|\.\.\.)([\s\x{85}\x{2028}\x{2029}]|$)`)
}

// yamlLine finds the line that go-yaml puts before a message.
func yamlLine() *regexp.Regexp { return regexp.MustCompile(`^line (\d+): `) }

func decodeExact(raw []byte) map[string]any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree map[string]any
	if dec.Decode(&tree) != nil {
		return nil // No document: it was valid when it was read.
	}
	return tree
}
