package cli

// SARIF 2.1.0, for GitHub's code scanning and editors. The types are the part of it that
// is written, in the order of the specification:
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/docs"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
)

type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string       `json:"id"`
		Name             string       `json:"name"`
		ShortDescription sarifText    `json:"shortDescription"`
		FullDescription  sarifText    `json:"fullDescription"`
		Default          sarifDefault `json:"defaultConfiguration"`
		HelpURI          string       `json:"helpUri"`
		Help             sarifText    `json:"help"`
	}
	sarifDefault struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Related      []sarifLocation   `json:"relatedLocations,omitempty"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Fixes        []sarifFix        `json:"fixes,omitempty"`
		Properties   sarifProperties   `json:"properties"`
	}
	// sarifProperties are ours.
	sarifProperties struct {
		Object    finding.Object   `json:"object"`
		Path      string           `json:"path"`
		CoveredBy []string         `json:"coveredBy,omitempty"`
		Example   *finding.Example `json:"example,omitempty"`
		Remedy    string           `json:"remedy"`
	}
	sarifLocation struct {
		ID       int            `json:"id,omitempty"`
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations"`
		Message  *sarifText     `json:"message,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
		Context  *sarifRegion  `json:"contextRegion,omitempty"`
	}
	sarifArtifact struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		StartLine   int        `json:"startLine"`
		StartColumn int        `json:"startColumn,omitempty"`
		EndLine     int        `json:"endLine,omitempty"`
		EndColumn   int        `json:"endColumn,omitempty"`
		Snippet     *sarifText `json:"snippet,omitempty"`
	}
	sarifLogical struct {
		Name               string `json:"name"`
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
	sarifFix struct {
		Description sarifText     `json:"description"`
		Changes     []sarifChange `json:"artifactChanges"`
	}
	sarifChange struct {
		Artifact     sarifArtifact      `json:"artifactLocation"`
		Replacements []sarifReplacement `json:"replacements"`
	}
	sarifReplacement struct {
		Deleted  sarifRegion `json:"deletedRegion"`
		Inserted sarifText   `json:"insertedContent"`
	}
)

// writeSARIF prints findings as SARIF.
func writeSARIF(w io.Writer, in *input, fs []finding.Finding, version string) error {
	out := sarifReport{in: in, rules: map[finding.Code]int{}, seen: map[string]int{}, fixes: map[finding.Object][]sarifFix{}, left: maxFixed}
	driver := sarifDriver{Name: "egress-tls", Version: version, InformationURI: docs.URL + "cli.md"}
	for i, r := range finding.Rules() {
		out.rules[r.Code] = i
		driver.Rules = append(driver.Rules, sarifRuleOf(r))
	}
	run := sarifRun{Tool: sarifTool{driver}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	for _, f := range fs {
		run.Results = append(run.Results, out.result(f))
	}
	return writeJSON(w, sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func sarifRuleOf(r finding.Rule) sarifRule {
	what, more := docs.Finding(string(r.Code))
	return sarifRule{
		ID: string(r.Code), Name: string(r.Code),
		ShortDescription: sarifText{Text: r.Title}, FullDescription: sarifText{Text: docs.Plain(what)},
		Default: sarifDefault{string(r.Severity)},
		HelpURI: docs.URL + "findings.md#" + strings.ToLower(string(r.Code)),
		Help:    sarifText{Text: docs.Plain(what + "\n\n" + more), Markdown: what + "\n\n" + more},
	}
}

type sarifReport struct {
	in    *input
	rules map[finding.Code]int
	// seen counts the results of one fingerprint.
	seen map[string]int
	// fixes are those of an object: one order mends all its routes.
	fixes map[finding.Object][]sarifFix
	// left is how much more text of Lists may be read to fix objects in them.
	left int
}

// maxFixed bounds, in bytes, what is read to fix objects in Lists: for each of them that
// is the whole List. Who has that many has them not in an editor.
const maxFixed = 4 << 20

func (r *sarifReport) result(f finding.Finding) sarifResult {
	out := sarifResult{
		RuleID: string(f.Code), RuleIndex: r.rules[f.Code], Level: string(f.Severity),
		Message:      sarifMessage(f.Message + " " + f.Remedy),
		Locations:    []sarifLocation{r.location(f.Object, f.Path)},
		Fingerprints: map[string]string{"egressTLS/v1": r.fingerprint(f)},
		Properties:   sarifProperties{f.Object, f.Path, f.CoveredBy, f.Example, f.Remedy},
	}
	related := func(object finding.Object, path, text string) {
		l := r.location(object, path)
		message := sarifMessage(path + ": " + text)
		l.ID, l.Message = len(out.Related)+1, &message
		out.Related = append(out.Related, l)
	}
	for _, path := range f.CoveredBy {
		related(f.Object, path, coverText(f))
	}
	for _, p := range f.Related {
		related(p.Object, p.Path, p.Text)
	}
	out.Fixes = r.fix(f)
	return out
}

// sarifMessage is plain text: what the specification takes for a link is none.
func sarifMessage(text string) sarifText {
	return sarifText{Text: finding.Printable(strings.ReplaceAll(text, "](", "] ("))}
}

func (r *sarifReport) location(o finding.Object, path string) sarifLocation {
	name := strings.TrimSpace(o.String() + " " + path)
	out := sarifLocation{Logical: []sarifLogical{{Name: finding.Printable(o.String()), FullyQualifiedName: finding.Printable(name), Kind: "resource"}}}
	d := r.in.document(o)
	if d == nil {
		return out
	}
	at := d.Region(path)
	out.Physical = &sarifPhysical{
		Artifact: sarifFile(d.Source),
		Region:   sarifRegion{StartLine: at.Line, StartColumn: at.Column, EndLine: at.Line, EndColumn: at.EndColumn, Snippet: &sarifText{Text: at.Text}},
	}
	const most = 10
	if last := min(at.LastLine, at.Line+most); last > at.Line {
		out.Physical.Context = &sarifRegion{StartLine: at.Line, EndLine: last, Snippet: &sarifText{Text: strings.Join(d.Source.Lines(at.Line, last), "\n")}}
	}
	return out
}

// sarifFile names a file as a URI: a path below the current directory is one below the
// root of the sources.
func sarifFile(src *manifest.Source) sarifArtifact {
	path := filepath.ToSlash(filepath.Clean(src.File))
	u := url.URL{Path: path}
	if filepath.IsAbs(src.File) {
		u.Scheme, u.Path = "file", "/"+strings.TrimPrefix(path, "/")
		return sarifArtifact{URI: u.String()}
	}
	return sarifArtifact{URI: u.String(), URIBaseID: "%SRCROOT%"}
}

// fingerprint stays the same when lines or routes move.
func (r *sarifReport) fingerprint(f finding.Finding) string {
	id := fmt.Sprintf("%q", []string{string(f.Code), f.Object.Kind, f.Object.Namespace, f.Object.Name, cmp.Or(f.Subject, f.Path)})
	r.seen[id]++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", id, r.seen[id]))
	return hex.EncodeToString(sum[:16])
}

// fix returns the text of the order that works.
func (r *sarifReport) fix(f finding.Finding) []sarifFix {
	if f.Order == nil {
		return nil
	}
	if fixes, ok := r.fixes[f.Object]; ok {
		return fixes
	}
	r.fixes[f.Object] = nil
	d := r.in.document(f.Object)
	if d == nil {
		return nil
	}
	if len(d.Source.Documents()) > 1 {
		if r.left -= len(d.Source.Text); r.left < 0 {
			return nil
		}
	}
	rs, err := d.Reordering("spec.http", f.Order)
	if err != nil {
		return nil // It is said in words then.
	}
	change := sarifChange{Artifact: sarifFile(d.Source)}
	for _, p := range rs {
		change.Replacements = append(change.Replacements, sarifReplacement{
			Deleted:  sarifRegion{StartLine: p.Start.Line, StartColumn: p.Start.Column, EndLine: p.End.Line, EndColumn: p.End.Column},
			Inserted: sarifText{Text: p.Text},
		})
	}
	r.fixes[f.Object] = []sarifFix{{Description: sarifMessage("Put the routes of " + f.Object.String() + " into the order that works"), Changes: []sarifChange{change}}}
	return r.fixes[f.Object]
}
