package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// report is the output of check -o json. Its fields are stable.
type report struct {
	Findings []finding.Finding `json:"findings"`
	Summary  summary           `json:"summary"`
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

func writeCheckJSON(w io.Writer, v verdict) error {
	return writeJSON(w, report{Findings: v.findings, Summary: v.summary()})
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
