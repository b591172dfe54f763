package main

import (
	"github.com/spf13/cobra"

	"github.com/egress-tls/egress-tls-webhook/internal/probe"
)

const probeLong = `probe asks the API server, in dry runs, whether requests reach the webhook and get the
answer that the mode of a namespace promises. It stores nothing. It exits with 1 and
says what to do where something is wrong.

It needs the rights to get the Namespace and to create ServiceEntries and
VirtualServices in it. helm test runs it in the cluster.`

// newProbe returns the command that helm test runs.
func newProbe(build buildInfo) *cobra.Command {
	var kubeconfig, config string
	var o probe.Options
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Ask the API server in dry runs whether the webhook works",
		Long:  probeLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Policy, err = loadPolicy(config); err != nil {
				return err
			}
			if o.RESTConfig, err = restConfig(kubeconfig, build); err != nil {
				return err
			}
			return probe.Run(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&config, "config", "", "policy `file` of the server; without it the defaults apply")
	fs.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig `file`; without it the Pod's ServiceAccount is used")
	fs.StringVar(&o.Namespace, "namespace", "default", "`namespace` to make the dry runs in")
	fs.StringVar(&o.ConfigurationName, "webhook-configuration", "egress-tls-webhook", "`name` of the webhook configurations")
	return cmd
}
