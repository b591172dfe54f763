package cli

import (
	"github.com/spf13/cobra"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

func newCheck(s Streams) *cobra.Command {
	var in inputs
	var out format
	var color colors
	cmd := &cobra.Command{
		Use:   "check -f FILE [flags]",
		Short: "Say what admission would refuse, warn of and add",
		Long: `check decides about every ServiceEntry, VirtualService and DestinationRule of the
input as admission would, and prints what it finds: errors, which admission refuses,
and warnings; and, as text, what admission would add.

Formats: text, for people; json, whose fields are stable; sarif, SARIF 2.1.0 for code
scanning and editors; junit, XML for test reports, a test case for each object; github,
annotations of a GitHub workflow; html, the page of scan -o html.

` + inputHelp + `

Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.`,
		Example: `  egress-tls check -f virtualservice.yaml
  egress-tls check -f manifests/ --policy policy.yaml -o json
  kubectl get se,vs,dr,gw,svc,ns -A -o yaml > cluster.yaml
  kustomize build . | egress-tls check -f - --background cluster.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			input, v, err := in.judge(cmd, &out, s, false)
			if err != nil {
				return err
			}
			switch w := cmd.OutOrStdout(); out.value {
			case "json":
				err = writeCheckJSON(w, input, v)
			case "sarif":
				err = writeSARIF(w, input, v.findings, cmd.Root().Version)
			case "junit":
				err = writeJUnit(w, input, v)
			case "github":
				writeGitHub(w, input, v.findings)
			case "html":
				var result scanResult
				if result, err = input.scan(v); err == nil {
					err = in.writeHTML(w, input, v, result)
				}
			default:
				writeCheckText(w, color.style(s.Out), input, v)
			}
			if err == nil && finding.HasErrors(v.findings) {
				err = errFound
			}
			return err
		},
	}
	in.register(cmd)
	out.register(cmd, "text", "json", "sarif", "junit", "github", "html")
	color.register(cmd)
	return cmd
}
