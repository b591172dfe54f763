package cli

// Fragments of files, with what matters marked:
//
//	   |
//	38 |     - match:
//	39 |         - uri:
//	40 |             prefix: /
//	   |             --------- spec.http[0].match[0]: takes every request
//	...

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
)

// A mark is a field in a file and what is said of it.
type mark struct {
	doc  *manifest.Document
	path string
	text string
	// line is what the field is underlined with, in a colour.
	line  string
	paint func(string) string

	focus manifest.Region
	// first and last are the lines that are shown.
	first, last int
}

// around bounds the lines that are shown before and behind a mark.
const around = 3

func newMark(doc *manifest.Document, path, text, line string, paint func(string) string) mark {
	m := mark{doc: doc, path: path, text: finding.Printable(text), line: line, paint: paint, focus: doc.Focus(path)}
	m.first = doc.Region(path).Line
	if parent := doc.Region(path[:max(strings.LastIndexAny(path, ".["), 0)]).Line; parent < m.first && m.first-parent <= around {
		m.first = parent
	}
	m.first = min(max(m.first, m.focus.Line-2*around), m.focus.Line)
	m.last = min(m.focus.LastLine, m.focus.Line+around)
	return m
}

// frames are the fragments that belong to one headline.
type frames struct {
	style  style
	marks  []mark
	gutter int // the width of line numbers
}

func (fr *frames) add(m mark) {
	if !slices.ContainsFunc(fr.marks, func(o mark) bool { return o.doc == m.doc && o.focus == m.focus }) {
		fr.marks = append(fr.marks, m)
		fr.gutter = max(fr.gutter, len(strconv.Itoa(m.last)))
	}
}

// write prints the fragments, file by file, beginning with that of the first mark.
func (fr *frames) write(w io.Writer) {
	type key struct {
		file   string
		stored *manifest.Source // where there is no file
	}
	var files []key
	marks := map[key][]mark{}
	for _, m := range fr.marks {
		file := key{file: m.doc.Source.File}
		if file.file == "" {
			file.stored = m.doc.Source
		}
		if marks[file] == nil {
			files = append(files, file)
		}
		marks[file] = append(marks[file], m)
	}
	for i, file := range files {
		if i > 0 {
			m := marks[file][0]
			fmt.Fprintf(w, "%*s%s %s\n", fr.gutter, "", fr.style.blue(":::"), finding.Printable(m.doc.Prefix(m.path)+m.doc.Name()))
		}
		fr.writeFile(w, marks[file])
	}
}

func (fr *frames) writeFile(w io.Writer, marks []mark) {
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.focus.Column, b.focus.Column) })
	shown := map[int]*manifest.Source{}
	for _, m := range marks {
		for n := m.first; n <= m.last; n++ {
			shown[n] = m.doc.Source
		}
	}
	empty := strings.Repeat(" ", fr.gutter)
	fmt.Fprintln(w, empty, fr.style.blue("|"))
	before := 0
	for _, n := range slices.Sorted(maps.Keys(shown)) {
		switch {
		case before == 0 || n == before+1:
		case n == before+2:
			fr.writeLine(w, shown[n], n-1, 0)
		default:
			fmt.Fprintln(w, fr.style.blue("..."))
		}
		before = n
		var here []mark
		from := 0
		for _, m := range marks {
			if m.focus.Line == n {
				here = append(here, m)
				from = fr.window(here[0].focus)
			}
		}
		fr.writeLine(w, shown[n], n, from)
		for _, m := range here {
			fr.writeMark(w, m, from)
		}
	}
	fmt.Fprintln(w, empty, fr.style.blue("|"))
}

// room is how many columns a line of a file has.
func (fr *frames) room() int { return max(fr.style.width-fr.gutter-len(" | "), 4*around) }

// window returns the column at which a line is cut on the left, so that a mark is seen:
// a file may be one long line.
func (fr *frames) window(focus manifest.Region) int {
	const before, least = 20, 30
	if focus.Column+least <= fr.room() {
		return 0
	}
	return max(focus.Column-before, 0)
}

func (fr *frames) writeLine(w io.Writer, src *manifest.Source, n, from int) {
	text := fr.cut(src.Row(n), from)
	fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s %s", fr.style.blue(fmt.Sprintf("%*d |", fr.gutter, n)), text), " "))
}

// cut makes of a line what a terminal shows in one row, each character in its column.
func (fr *frames) cut(line []rune, from int) string {
	const more = '…'
	from = min(from, len(line))
	text := slices.Clone(line[from:min(from+fr.room()+1, len(line))])
	for i, r := range text {
		switch {
		case r == '\t':
			text[i] = ' '
		case !unicode.IsPrint(r):
			text[i] = unicode.ReplacementChar
		}
	}
	if from > 0 && len(text) > 0 {
		text[0] = more
	}
	if room := fr.room(); len(text) > room {
		text = append(text[:room-1], more)
	}
	return string(text)
}

func (fr *frames) writeMark(w io.Writer, m mark, from int) {
	line := []rune(fr.cut(m.doc.Source.Row(m.focus.Line), from))
	start := min(m.focus.Column-1-from, len(line))
	end := max(min(m.focus.EndColumn-1-from, len(line)), start)
	before, length := columns(string(line[:start])), max(columns(string(line[start:end])), 1)
	row := strings.Repeat(" ", before) + m.paint(strings.Repeat(m.line, length))
	bar := strings.Repeat(" ", fr.gutter) + " " + fr.style.blue("|") + " "
	if before+length+1+columns(m.text) > fr.room() {
		fmt.Fprintln(w, bar+row)
		row = strings.Repeat(" ", max(min(before, fr.room()-columns(m.text)), 0))
	} else {
		row += " "
	}
	fmt.Fprintln(w, bar+row+m.paint(m.text))
}
