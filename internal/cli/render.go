package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

func newRender(s Streams) *cobra.Command {
	var in inputs
	var out format
	var color colors
	cmd := &cobra.Command{
		Use:   "render -f FILE [flags]",
		Short: "Print the objects as admission would store them",
		Long: `render prints all objects of the input as admission would store them, headers and
TLS added, then the DestinationRules that would be created. Admission leaves what it
prints unchanged, and so does render. Where the policy says that you bring headers or
DestinationRules yourself (Require), render writes what is missing.

An object that is not changed is printed as it was written, comments too; one that is
changed loses its comments. JSON input is printed as YAML unless -o json is given,
which prints one List.

Findings go to stderr. With errors nothing is printed and the exit code is 1: what
admission refuses cannot be stored.

` + inputHelp + `

Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.`,
		Example: `  egress-tls render -f manifests/ | kubectl apply -f -
  egress-tls render -f virtualservice.yaml --background cluster.yaml -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			input, v, err := in.judge(cmd, &out, s, true)
			if err != nil {
				return err
			}
			writeFindings(s.Err, color.style(s.Err), input, v.findings)
			if finding.HasErrors(v.findings) {
				complain(s.Err, fmt.Errorf("nothing is rendered: admission would refuse the input (%s)", count(v.summary().Errors, "error")))
				return errFound
			}
			r, err := input.render(v)
			if err != nil {
				return err
			}
			if out.value == "json" {
				return r.writeJSON(cmd.OutOrStdout())
			}
			return r.writeYAML(cmd.OutOrStdout())
		},
	}
	in.register(cmd)
	out.register(cmd, "yaml", "json")
	color.register(cmd)
	return cmd
}

// bringing returns the policy under which what the user must bring is written:
// admission under Require names render as the way to get it.
func bringing(p *policy.Policy) *policy.Policy {
	out := *p
	if out.Headers == policy.RequireHeaders {
		out.Headers = policy.InjectHeaders
	}
	if out.DestinationRules == policy.RequireRules {
		out.DestinationRules = policy.CreateRules
	}
	return &out
}
