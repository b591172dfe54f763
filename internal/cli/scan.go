package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/cluster"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

func newScan(s Streams) *cobra.Command {
	in := inputs{orCluster: true}
	var out format
	var color colors
	var summaryOnly, report bool
	cmd := &cobra.Command{
		Use:   "scan [flags]",
		Short: "Check what a cluster holds",
		Long: `scan checks every ServiceEntry, VirtualService and DestinationRule that is stored in a
cluster, as check does with manifests: what admission would refuse, warn of and add if
each were applied anew; and it names rules of the webhook's own that nothing needs.

It finds the cluster as kubectl does. It changes nothing there, but for the report
objects that --report asks for: one in each namespace, kept up to date. Objects see each
other whatever namespace they are in; -n says which are judged. The policy is that of
the webhook that is installed in the cluster, unless --policy names one.

Namespaces are judged as in their mode: a label egress-tls.dev/mode, or else the
policy's. With warn or audit, errors count as warnings, and what would be added is only
said; with off, as for namespaces that the policy exempts, nothing is looked at. So
before a namespace is enforced, --mode enforce tells what that would do.

Formats: text, for people; json, that of check with a summary by namespace, whose fields
are stable; sarif, SARIF 2.1.0; html, one page for the browser.

Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.`,
		Example: `  egress-tls scan
  egress-tls scan --context production -n shop
  egress-tls scan --mode enforce --summary
  egress-tls scan -o json | jq '.summary.namespaces'
  egress-tls scan -o html > report.html`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in.access.ChunkSize < 0 {
				return usage(cmd, fmt.Errorf("--chunk-size %d is less than 0", in.access.ChunkSize))
			}
			if summaryOnly && out.value != "text" {
				return usage(cmd, errors.New("--summary is for -o text; the other formats have the summary too"))
			}
			input, v, err := in.judge(cmd, &out, s, false)
			if err != nil {
				return err
			}
			result, err := input.scan(v)
			if err != nil {
				return err
			}
			var reportErr error
			if report {
				reportErr = in.report(cmd, s, input, v, result)
			}
			switch w, st := cmd.OutOrStdout(), color.style(s.Out); {
			case out.value == "json":
				err = writeJSON(w, result)
			case out.value == "sarif":
				err = writeSARIF(w, input, v.findings, cmd.Root().Version)
			case out.value == "html":
				err = in.writeHTML(w, input, v, result)
			case summaryOnly:
				writeNamespaces(w, st, result)
				writeScanSum(w, st, result)
			default:
				writeScanText(w, st, input, v, result)
			}
			switch {
			case err == nil && reportErr != nil:
				err = &unreportedError{reportErr}
			case err == nil && finding.HasErrors(v.findings):
				err = errFound
			}
			return err
		},
	}
	in.judging.register(cmd)
	f := cmd.Flags()
	f.StringVarP(&in.only, "namespace", "n", "", "judge only what is in `NAMESPACE`; without it, in all")
	f.Int64Var(&in.access.ChunkSize, "chunk-size", chunkSize, "read the objects in chunks of `N`; 0: all at once")
	f.BoolVar(&summaryOnly, "summary", false, "print only the table of namespaces")
	f.BoolVar(&report, "report", false, "write a report object into each namespace (openreports.io Report or wgpolicyk8s.io PolicyReport)")
	offerNames(cmd, "namespace", &in.access, cluster.Namespaces)
	out.register(cmd, "text", "json", "sarif", "html")
	color.register(cmd)
	return cmd
}

// split leaves only the objects of a namespace to be judged; all others still count.
func (in *input) split(namespace string) error {
	if _, ok := in.labels[namespace]; !ok {
		return fmt.Errorf("there is no namespace %q in the cluster", namespace)
	}
	in.files, in.background = in.files.SplitStored(namespace)
	return nil
}

// report writes what was found into the cluster.
func (in *inputs) report(cmd *cobra.Command, s Streams, read *input, v verdict, r scanResult) error {
	reports, err := read.reports(v, r)
	if err != nil {
		return err
	}
	c, err := cluster.Connect(in.access)
	if err != nil {
		return err
	}
	written, err := c.WriteReports(cmd.Context(), reports, in.only, metav1.Timestamp{Seconds: time.Now().Unix()})
	if err == nil || written != (cluster.Written{Kind: written.Kind}) {
		fmt.Fprintf(s.Err, "egress-tls: note: %s\n", written)
	}
	return err
}

// unreportedError says that not all reports could be written. What was found is printed all the
// same: a report is in the hands of whoever owns its namespace.
type unreportedError struct{ error }
