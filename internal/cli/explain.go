package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/egress-tls/egress-tls-webhook/internal/cluster"
	"github.com/egress-tls/egress-tls-webhook/internal/explain"
)

func newExplain(s Streams) *cobra.Command {
	in := inputs{orCluster: true}
	var out format
	var color colors
	var from string
	var ascii bool
	cmd := &cobra.Command{
		Use:   "explain HOST[:PORT] [-f FILE] [flags]",
		Short: "Say who reaches an external host, and whether it is encrypted",
		Long: `explain says of one external host which proxies reach it and how: the ServiceEntries
that each sees, the DestinationRule that is in force and why all others are not, the
TLS that results or that there is none, the routes and calls that lead there, and what
to beware of. The first lines are the answer, the rest is why.

HOST is exact or a wildcard (*.example.com); a URL does as well. PORT is that of the
ServiceEntry. Without -f the cluster is read, which --kubeconfig and --context choose.

` + inputHelp + `

Exit codes: 0 answered, whatever the answer is, 2 unusable input or usage.`,
		Example: `  egress-tls explain api.example.com
  egress-tls explain api.example.com:443 --from shop
  egress-tls explain https://api.example.com/v1/orders -f manifests/ -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			if len(args) == 0 {
				return usage(cmd, errors.New("no host given: explain HOST[:PORT], such as api.example.com:443"))
			}
			return usage(cmd, fmt.Errorf("unexpected argument %q: one host is explained at a time, and files are given as -f FILE", args[1]))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			host, port, err := parseHost(args[0])
			if err != nil {
				return usage(cmd, err)
			}
			if from != "" && len(validation.IsDNS1123Label(from)) > 0 {
				return usage(cmd, fmt.Errorf("--from %q is no namespace", from))
			}
			if err := out.validate(cmd); err != nil {
				return err
			}
			if err := in.validate(cmd); err != nil {
				return err
			}
			input, err := in.load(cmd.Context(), s)
			if err != nil {
				return err
			}
			input.warnOfLabels(s.Err)
			e := explain.New(explain.Input{Objects: input.objects(), Policy: input.policy, Mode: input.mode})
			answer, err := e.Explain(explain.Query{Host: host, Port: port, From: from})
			if err != nil {
				return err
			}
			if out.value == "json" {
				return writeJSON(cmd.OutOrStdout(), answer)
			}
			t := tree{w: cmd.OutOrStdout(), style: color.style(s.Out), lines: boxLines}
			if ascii {
				t.lines = asciiLines
			}
			writeExplanation(t, input, answer)
			return nil
		},
	}
	in.register(cmd)
	out.register(cmd, "text", "json")
	color.register(cmd)
	cmd.Flags().StringVar(&from, "from", "", "`NAMESPACE` of the clients; without it all")
	offerNames(cmd, "from", &in.access, cluster.Namespaces)
	cmd.Flags().BoolVar(&ascii, "ascii", false, "draw the tree with ASCII characters")
	return cmd
}
