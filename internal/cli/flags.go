package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/egress-tls/egress-tls-webhook/internal/cluster"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// inputs are the flags that all commands on manifests share.
type inputs struct {
	judging
	files      []string
	background []string
	namespace  string
	// fixOrder says that the routes are brought in the order that works.
	fixOrder bool
	// orCluster says that without -f the objects of the cluster are taken.
	orCluster bool
	// only is the namespace whose stored objects are judged; "": all.
	only string

	readCluster bool // says validate
}

// judging are the flags that all commands which judge objects share.
type judging struct {
	access     cluster.Access
	policyFile string
	mode       string
	// policyArgs says that policies are arguments and not a flag; input is then loaded with
	// given.
	policyArgs bool
	given      *policy.Policy
}

// chunkSize is how many objects are asked for at once, as in kubectl.
const chunkSize = 500

// judgingModes are those that --mode takes: in mode off nothing is judged.
func judgingModes() []string {
	return []string{string(policy.Enforce), string(policy.Warn), string(policy.Audit)}
}

func (j *judging) register(cmd *cobra.Command) {
	j.access.ChunkSize, j.access.UserAgent = chunkSize, "egress-tls"
	f := cmd.Flags()
	if !j.policyArgs {
		f.StringVar(&j.policyFile, "policy", "", "policy `FILE` (EgressTLSPolicy) of the webhook; without it, that of the webhook in the cluster, if one is read, else its defaults")
		offerManifests(cmd, "policy")
	}
	f.StringVar(&j.mode, "mode", "", "judge every namespace as in `MODE`, enforce, warn or audit, whatever its label and the policy say; exempt ones stay exempt")
	f.StringVar(&j.access.Kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the cluster to read; without it $KUBECONFIG or ~/.kube/config")
	f.StringVar(&j.access.Context, "context", "", "`CONTEXT` of the kubeconfig; without it its current one")
	f.StringVar(&j.access.RequestTimeout, "request-timeout", "0", "`TIME`, such as 30s, after which a request to the cluster is given up; 0: never")
	offerWords(cmd, "mode", judgingModes()...)
	offerFiles(cmd, "kubeconfig")
	offerNames(cmd, "context", &j.access, cluster.Contexts)
}

func (j *judging) validate(cmd *cobra.Command) error {
	if j.mode == "" || slices.Contains(judgingModes(), j.mode) {
		return nil
	}
	return usage(cmd, fmt.Errorf("unknown mode %q for --mode; it is one of %s", j.mode, strings.Join(judgingModes(), ", ")))
}

// named reports whether the command line names a cluster: with an empty value it is that
// of the default kubeconfig.
func (j *judging) named(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("kubeconfig") || cmd.Flags().Changed("context")
}

func (in *inputs) register(cmd *cobra.Command) {
	in.judging.register(cmd)
	// Not StringSlice: a comma in a file's name is no separator.
	f := cmd.Flags()
	f.StringArrayVarP(&in.files, "filename", "f", nil, "`FILE`, directory (recursively *.yaml, *.yml, *.json) or - for stdin; may be repeated")
	f.StringArrayVar(&in.background, "background", nil, "`FILE`, directory or - with what the cluster holds already: it counts, but is neither checked nor printed; may be repeated")
	f.StringVarP(&in.namespace, "namespace", "n", "", "`NAMESPACE` of objects that name none; without it that of the context, if a cluster is read, else default")
	offerManifests(cmd, "filename")
	offerManifests(cmd, "background")
	offerNames(cmd, "namespace", &in.access, cluster.Namespaces)
}

func (in *inputs) validate(cmd *cobra.Command) error {
	if len(in.files) == 0 && !in.orCluster {
		return usage(cmd, errors.New("no input: give at least one -f FILE"))
	}
	in.readCluster = len(in.files) == 0 || in.named(cmd)
	if len(in.background) > 0 && in.readCluster {
		return usage(cmd, errors.New("the background is either --background or the cluster (--kubeconfig, --context)"))
	}
	if slices.Contains(in.files, "-") && slices.Contains(in.background, "-") {
		return usage(cmd, errors.New("stdin can be read only once: -f - and --background - exclude each other"))
	}
	return in.judging.validate(cmd)
}

// format is the flag -o: one of a few words, the first is the default.
type format struct {
	value   string
	allowed []string
}

func (o *format) register(cmd *cobra.Command, allowed ...string) {
	o.allowed = allowed
	cmd.Flags().StringVarP(&o.value, "output", "o", allowed[0], "output `FORMAT`: "+strings.Join(allowed[:len(allowed)-1], ", ")+" or "+allowed[len(allowed)-1])
	offerWords(cmd, "output", allowed...)
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
file they are in, and what --background or the cluster (--kubeconfig, --context) gives;
an object that is in both replaces the one in the background. Services (or
gatewayNamespaces in the policy) tell where gateways run.

Namespaces are enforced as the policy's mode says. A Namespace object in the input
with the label egress-tls.dev/mode changes that for its objects: with warn or audit,
errors count as warnings and nothing is added; with off, as for namespaces that the
policy exempts, nothing is looked at.`
