package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// report is the output of check -o json. Its fields are stable.
type report struct {
	Findings []placed `json:"findings"`
	Summary  summary  `json:"summary"`
}

// placed is a finding and where it stands; an object of the cluster stands in no file.
type placed struct {
	finding.Finding
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

type summary struct {
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Objects  int `json:"objects"` // that were checked
}

func (v verdict) summary() summary {
	out := summary{Objects: len(v.judgements)}
	for _, f := range v.findings {
		if f.Severity == finding.Error {
			out.Errors++
		} else {
			out.Warnings++
		}
	}
	return out
}

func writeCheckJSON(w io.Writer, in *input, v verdict) error {
	out := report{Findings: []placed{}, Summary: v.summary()}
	for _, f := range v.findings {
		p := placed{Finding: f}
		if d := in.document(f.Object); d != nil {
			p.File, p.Line = d.Source.File, d.Region(f.Path).Line
		}
		out.Findings = append(out.Findings, p)
	}
	return writeJSON(w, out)
}

// writeJSON prints for people too: indented, and < as itself.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("failed to encode: %w", err)
	}
	return nil
}
