package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// inputs are the flags that all commands on manifests share.
type inputs struct {
	files      []string
	background []string
	policyFile string
	namespace  string
}

func (in *inputs) register(cmd *cobra.Command) {
	// Not StringSlice: a comma in a file's name is no separator.
	f := cmd.Flags()
	f.StringArrayVarP(&in.files, "filename", "f", nil, "`FILE`, directory (recursively *.yaml, *.yml, *.json) or - for stdin; may be repeated")
	f.StringArrayVar(&in.background, "background", nil, "`FILE`, directory or - with what the cluster holds already: it counts, but is neither checked nor printed; may be repeated")
	f.StringVar(&in.policyFile, "policy", "", "policy `FILE` (EgressTLSPolicy) of the webhook; without it, its defaults")
	f.StringVarP(&in.namespace, "namespace", "n", "default", "`NAMESPACE` of objects that name none")
}

func (in *inputs) validate(cmd *cobra.Command) error {
	if len(in.files) == 0 {
		return usage(cmd, errors.New("no input: give at least one -f FILE"))
	}
	if slices.Contains(in.files, "-") && slices.Contains(in.background, "-") {
		return usage(cmd, errors.New("stdin can be read only once: -f - and --background - exclude each other"))
	}
	return nil
}

// format is the flag -o: one of a few words, the first is the default.
type format struct {
	value   string
	allowed []string
}

func (o *format) register(cmd *cobra.Command, allowed ...string) {
	o.allowed = allowed
	cmd.Flags().StringVarP(&o.value, "output", "o", allowed[0], "output `FORMAT`: "+strings.Join(allowed, " or "))
}

func (o *format) validate(cmd *cobra.Command) error {
	if !slices.Contains(o.allowed, o.value) {
		return usage(cmd, fmt.Errorf("unknown output format %q for -o; it is one of %s", o.value, strings.Join(o.allowed, ", ")))
	}
	return nil
}

// inputHelp explains what the shared flags do.
const inputHelp = `Input is YAML or JSON, any number of documents, List objects unfolded. Kinds other
than those of Istio that matter here are ignored. Objects see each other, whatever
file they are in, and what --background gives; an object that is in both replaces
the one in the background. Services (or gatewayNamespaces in the policy) tell where
gateways run.

Namespaces are enforced as the policy's mode says. A Namespace object in the input
with the label egress-tls.dev/mode changes that for its objects: with warn or audit,
errors count as warnings and nothing is added; with off, as for namespaces that the
policy exempts, nothing is looked at.`
