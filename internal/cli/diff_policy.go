package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// defaultPolicyName stands for the policy in force without a file.
const defaultPolicyName = "default"

func newDiffPolicy(s Streams) *cobra.Command {
	in := inputs{judging: judging{policyArgs: true}, orCluster: true}
	var out format
	var color colors
	cmd := &cobra.Command{
		Use:   "diff-policy OLD NEW [-f FILE] [flags]",
		Short: "Say which objects another policy would answer otherwise",
		Long: `diff-policy judges every object of the input under two policy files, and prints those
that admission would answer otherwise under the new one: first those that it would
newly refuse, then those that it would no longer refuse, then all others that it would
change, or warn of, in another way. What begins with - is gone under the new policy,
what begins with + is new.

OLD and NEW are files (EgressTLSPolicy), or the word default for the built-in defaults.

Without -f the objects of the cluster are compared.

Each object is judged as if it were created. An update of a stored object is refused
only for what it makes worse, whatever the policy.

` + inputHelp + `

Exit codes: 0 no object newly refused, 1 some are, 2 unusable input or usage.`,
		Example: `  egress-tls diff-policy default policy.yaml -f manifests/
  egress-tls diff-policy policy.yaml strict.yaml --context production -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage(cmd, errors.New("two policies are compared: give OLD and NEW, each a file or the word default"))
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) < 2 {
				return []string{defaultPolicyName}, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.validate(cmd); err != nil {
				return err
			}
			if err := in.validate(cmd); err != nil {
				return err
			}
			before, beforeErr := namedPolicy(args[0])
			after, afterErr := namedPolicy(args[1])
			if err := errors.Join(beforeErr, afterErr); err != nil {
				return err
			}
			in.given = after
			input, err := in.load(cmd.Context(), s)
			if err != nil {
				return err
			}
			input.warnOfLabels(s.Err)
			if !slices.Equal(before.Exemptions.Usernames, after.Exemptions.Usernames) {
				fmt.Fprintln(s.Err, "egress-tls: note: exemptions.usernames differ; that is not compared, since objects do not tell who writes them")
			}
			d, err := input.diffPolicy(before, after)
			if err != nil {
				return err
			}
			d.Old, d.New = args[0], args[1]
			if out.value == "json" {
				err = writeJSON(cmd.OutOrStdout(), d)
			} else {
				err = d.writeText(cmd.OutOrStdout(), color.style(s.Out))
			}
			if err == nil && d.Summary.NewlyRefused > 0 {
				err = errFound
			}
			return err
		},
	}
	in.register(cmd)
	out.register(cmd, "text", "json")
	color.register(cmd)
	return cmd
}

func namedPolicy(name string) (*policy.Policy, error) {
	if name == defaultPolicyName {
		return policy.Default(), nil
	}
	return readPolicy(name)
}
