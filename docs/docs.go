// Package docs holds the pages that the programs quote.
package docs

import (
	_ "embed"
	"regexp"
	"strings"
)

//go:embed findings.md
var findings string

// URL is where people read the pages.
const URL = "https://github.com/egress-tls/egress-tls-webhook/blob/main/docs/"

// Finding returns what findings.md says of a code: its first paragraph, and the others
// without the example, in Markdown whose links are left out. Both are empty for a code that
// has no section.
func Finding(code string) (what, more string) {
	_, section, _ := strings.Cut(findings, "\n## "+code+"\n")
	section, _, _ = strings.Cut(section, "\n```")
	section = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(section, "$1")
	what, more, _ = strings.Cut(strings.TrimSpace(section), "\n\n")
	return what, more
}

// Plain leaves the marks of Markdown out.
func Plain(markdown string) string { return strings.NewReplacer("`", "", "**", "").Replace(markdown) }
