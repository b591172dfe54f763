package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
)

// writeGitHub prints findings as commands of a GitHub workflow, which show them beside
// the changed lines of a pull request:
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
func writeGitHub(w io.Writer, in *input, fs []finding.Finding) {
	value := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	for _, f := range fs {
		properties := []string{"title=" + value.Replace(string(f.Code)+": "+f.Code.Title())}
		message := finding.Printable(f.Message) + "\n" + finding.Printable(f.Remedy)
		d := in.document(f.Object)
		if d != nil && d.Source.File != manifest.StdinName {
			at := d.Region(f.Path)
			properties = append([]string{
				"file=" + value.Replace(filepath.ToSlash(d.Source.File)),
				fmt.Sprintf("line=%d", at.Line), fmt.Sprintf("endLine=%d", at.LastLine),
			}, properties...)
		}
		where := strings.TrimSpace(f.Object.String() + " " + f.Path)
		fmt.Fprintf(w, "::%s %s::%s\n", f.Severity, strings.Join(properties, ","), data.Replace(finding.Printable(where)+"\n"+message))
	}
}
