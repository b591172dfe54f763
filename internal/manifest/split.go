package manifest

import "strings"

// chunk is the text of one YAML document.
type chunk struct {
	// separator is the line that stood before text, with its line end; "": none.
	separator string
	text      string
	line      int // of the first line of text
	offset    int // of the first byte of text in the file
}

const byteOrderMark = "\uFEFF"

// split cuts a YAML stream at its document markers, as the YAML specification has
// them: "---" and "..." at the start of a line, alone or before a space. These
// can be nothing else there, not even within a block scalar or a quoted string.
// Chunks of only white space are dropped, and directives (%YAML) with them.
func split(data string) []chunk {
	if rest, marked := strings.CutPrefix(data, byteOrderMark); marked {
		out := split(rest)
		for i := range out {
			out[i].offset += len(byteOrderMark)
		}
		return out
	}
	var out []chunk
	cur := chunk{line: 1}
	start, line := 0, 1
	flush := func(end int) {
		cur.text, cur.offset = withoutDirectives(data[start:end]), start
		if strings.TrimSpace(cur.text) != "" {
			out = append(out, cur)
		}
	}
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := strings.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		text := data[at:end]
		switch {
		case isMarker(text, "---"):
			flush(at)
			rest := strings.TrimLeft(text[3:], " \t")
			if t := strings.TrimSpace(rest); t == "" || t[0] == '#' {
				cur = chunk{separator: strings.TrimRight(text, "\r\n") + "\n", line: line + 1}
				start = end
			} else {
				cur = chunk{separator: "---\n", line: line}
				start = end - len(rest)
			}
		case isMarker(text, "..."):
			flush(at)
			cur = chunk{line: line + 1}
			start = end
		}
		at = end
	}
	flush(len(data))
	return out
}

func isMarker(line, marker string) bool {
	if !strings.HasPrefix(line, marker) {
		return false
	}
	return len(line) == len(marker) || strings.ContainsRune(" \t\r\n", rune(line[len(marker)]))
}

// withoutDirectives removes the directives from what is no document but their
// place before one.
func withoutDirectives(text string) string {
	if !strings.HasPrefix(strings.TrimLeft(text, "\r\n"), "%") {
		return text
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch t := strings.TrimSpace(line); {
		case strings.HasPrefix(line, "%"):
		case t == "", t[0] == '#':
			out.WriteString(line)
		default:
			return text
		}
	}
	return out.String()
}

// isComment reports whether text holds nothing but comments.
func isComment(text string) bool {
	for line := range strings.FieldsFuncSeq(text, isBreak) {
		if t := strings.TrimSpace(line); t != "" && t[0] != '#' {
			return false
		}
	}
	return true
}

// isBreak reports whether the parser ends a line at r.
func isBreak(r rune) bool { return strings.ContainsRune("\n\r\u0085\u2028\u2029", r) }
