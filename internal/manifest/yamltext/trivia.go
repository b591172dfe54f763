package yamltext

import "strings"

// giveTrivia gives the comments around the pieces of a block to the pieces, whose
// first characters stand in the given column.
//
// A comment belongs to what follows it. It belongs to what it follows instead where
// it is indented deeper than both, or where it stands right below it, and a blank line,
// the end of the block or of the text follows. What stands above the first piece is of
// the first piece only if no blank line is between.
func (r *rewriter) giveTrivia(pieces []piece, column int) {
	first := &pieces[0]
	if at := r.lineAt(first.start); len(r.indentAt(first.start)) == column {
		for at > 0 && r.isComment(at-1) {
			at--
			first.start = r.lines[at] + len(r.indentAt(r.lines[at]))
		}
	}
	for i := range pieces {
		p, end := &pieces[i], len(r.lines)
		from := r.lineAt(p.end) + 1
		if i+1 < len(pieces) {
			end = r.lineAt(pieces[i+1].start)
		}
		at := r.foot(from, end, column)
		if at > from {
			p.end = r.lineEnd(r.lines[at-1])
		}
		for ; i+1 < len(pieces) && at < end; at++ {
			if r.isComment(at) {
				pieces[i+1].start = r.lines[at] + len(r.indentAt(r.lines[at]))
				break
			}
		}
	}
}

// foot returns the line behind the comments that belong to what is above them.
func (r *rewriter) foot(from, end, column int) int {
	deeper := from
	for deeper < end && r.isComment(deeper) && len(r.indentAt(r.lines[deeper])) > column {
		deeper++
	}
	at := deeper
	for at < end && r.isComment(at) && len(r.indentAt(r.lines[at])) >= column {
		at++
	}
	isLast := end == len(r.lines) // Then something further left ends the block.
	if at == len(r.lines) || at < end && (strings.TrimSpace(r.line(at)) == "" || isLast && len(r.indentAt(r.lines[at])) < column) {
		return at
	}
	return deeper
}

func (r *rewriter) isComment(line int) bool {
	return strings.HasPrefix(strings.TrimLeft(r.line(line), " \t"), "#")
}
