package cli

import (
	"encoding/xml"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// JUnit's XML, as far as GitLab, Jenkins and GitHub's reporters show it: one test case
// for each object, which fails for its errors; warnings are its output.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		// Jenkins shows the class name up to its last dot as a package.
		ClassName string        `xml:"classname,attr"`
		Name      string        `xml:"name,attr"`
		File      string        `xml:"file,attr,omitempty"`
		Line      int           `xml:"line,attr,omitempty"`
		Failure   *junitFailure `xml:"failure,omitempty"`
		Out       *junitOut     `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",cdata"`
	}
	junitOut struct {
		Text string `xml:",cdata"`
	}
)

func writeJUnit(w io.Writer, in *input, v verdict) error {
	suite := junitSuite{Name: "egress-tls check"}
	at := map[finding.Object]int{}
	add := func(o finding.Object) {
		if _, dup := at[o]; dup {
			return
		}
		at[o] = len(suite.Cases)
		c := junitCase{ClassName: "egress-tls." + o.Namespace + "." + o.Kind, Name: finding.Printable(o.String())}
		if d := in.document(o); d != nil {
			c.File, c.Line = filepath.ToSlash(d.Source.File), d.Region("").Line
		}
		suite.Cases = append(suite.Cases, c)
	}
	for _, j := range v.judgements {
		add(mesh.ObjectOf(j.doc.Object))
	}
	byObject := map[finding.Object][]finding.Finding{}
	for _, f := range v.findings {
		add(f.Object) // It may be one of the background.
		byObject[f.Object] = append(byObject[f.Object], f)
	}
	for o, fs := range byObject {
		suite.Cases[at[o]].fill(in, fs)
	}
	suite.Tests = len(suite.Cases)
	for _, c := range suite.Cases {
		if c.Failure != nil {
			suite.Failures++
		}
	}
	fmt.Fprint(w, xml.Header)
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(junitSuites{Tests: suite.Tests, Failures: suite.Failures, Suites: []junitSuite{suite}}); err != nil {
		return fmt.Errorf("failed to encode: %w", err)
	}
	fmt.Fprintln(w)
	return nil
}

// fill says of an object what was found, as the text for people does.
func (c *junitCase) fill(in *input, fs []finding.Finding) {
	text := func(of finding.Severity) (title, all string) {
		var some []finding.Finding
		for _, f := range fs {
			if f.Severity == of {
				some = append(some, f)
			}
		}
		if len(some) == 0 {
			return "", ""
		}
		var b strings.Builder
		writeFindings(&b, style{width: defaultWidth}, in, some)
		title = enumerate(each(some, func(f finding.Finding) string { return f.Code.Title() }), most)
		return title, "\n" + b.String()
	}
	if title, all := text(finding.Error); all != "" {
		c.Failure = &junitFailure{Type: string(fs[0].Code), Message: title, Text: all}
	}
	if _, all := text(finding.Warning); all != "" {
		c.Out = &junitOut{all}
	}
}
