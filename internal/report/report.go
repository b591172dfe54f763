package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // For the parts of the page.
	"encoding/base64"
	"fmt"
	"html/template"
	"io"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// Report is what the page tells.
type Report struct {
	// Facts say what was looked at: when, which cluster, under which policy.
	Facts []Fact
	// Hosts are the external hosts.
	Hosts []explain.Host
	// Findings are sorted, errors first.
	Findings []Finding
	// Changes are what the webhook would add and take away.
	Changes []Change
	// Namespaces are those in which something was judged.
	Namespaces []Namespace
	// Namespace is the one that hosts must have to do with, "": any.
	Namespace string
	// Notes are what the reader should know before believing the rest.
	Notes []string
}

// Fact is a name and a value.
type Fact struct{ Name, Value string }

// Finding is one, and where it stands: "file:line", "" for an object of a cluster.
type Finding struct {
	finding.Finding
	Place string
}

// Change is what would be changed at an object or beside it, a line each.
type Change struct {
	Object finding.Object
	Lines  []string
}

// Namespace counts what was judged and found in one.
type Namespace struct {
	Name, Mode                         string
	Objects, Errors, Warnings, Changes int
	Codes                              []CodeCount
}

// CodeCount is how often a code was found.
type CodeCount struct {
	Code  finding.Code
	Count int
}

var (
	//go:embed page.html
	page string
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	parsed = template.Must(template.New("page").Funcs(template.FuncMap{
		"entry":    entryText,
		"more":     func(ways []explain.Way) int { return max(0, len(ways)-maxWays) },
		"shown":    func(ways []explain.Way) []explain.Way { return ways[:min(len(ways), maxWays)] },
		"severity": func(s finding.Severity) look { return severities[s] },
		"state":    stateOf,
		"tls":      tlsText,
	}).Parse(page))
)

// security forbids the page to load anything, and to run or obey anything but its own
// script and style: what objects hold is untrusted.
func security() string {
	return fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", hash(script), hash(style))
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Write writes the page.
func (r *Report) Write(w io.Writer) error {
	var out bytes.Buffer
	if err := parsed.Execute(&out, newView(r)); err != nil {
		return fmt.Errorf("failed to write the page: %w", err)
	}
	// The template escapes what HTML would obey; what turns the direction of text, or
	// cannot be seen, is no markup.
	for line := range bytes.Lines(out.Bytes()) {
		if _, err := fmt.Fprintln(w, finding.Printable(string(bytes.TrimSuffix(line, []byte("\n"))))); err != nil {
			return err
		}
	}
	return nil
}
