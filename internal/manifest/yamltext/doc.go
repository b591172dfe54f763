// Package yamltext changes the text of a YAML or JSON document so that it says
// something else, and leaves alone whatever need not change: comments, the order of
// keys, quotes, indentation, blank lines, line ends.
//
//	text ── read ──> before ──> after <── change
//	  │                └─────┬────┘
//	  └── yaml.v3 ── nodes ──┴── rewriter ──> []Replacement ── read again: after
//
//	rewrite.go    Rewrite, and the walk along text, before and after
//	container.go  a map or a list as pieces of text and the gaps between them
//	trivia.go     which comment belongs to which piece
//	layout.go     where a node begins and ends in the text
//	encode.go     new values in the style of those around them
//
// Positions are yaml.v3's: it scans as the library does that kubectl reads with.
package yamltext
