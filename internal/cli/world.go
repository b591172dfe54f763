package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/cluster"
	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// input is all that a command has read.
type input struct {
	policy            *policy.Policy
	files, background *manifest.Set
	// labels are the mode labels of the Namespace objects.
	labels map[string]string
	// everywhere is the mode of all namespaces but the exempt ones; "": labels and policy say.
	everywhere policy.Mode
	// given are the flags that say what the input is, for the commands of remedies.
	given []string
	// cluster is what a reader knows the cluster by; policyFrom where the policy stands, "":
	// nowhere.
	cluster, policyFrom string
}

func (in *inputs) load(ctx context.Context, s Streams) (*input, error) {
	out := &input{labels: map[string]string{}, everywhere: policy.Mode(in.mode), policyFrom: in.policyFile}
	var errs [4]error
	opts := manifest.Options{Namespace: in.namespace, Stdin: s.In}
	var c *cluster.Cluster
	if in.readCluster {
		if c, errs[3] = cluster.Connect(in.access); errs[3] == nil {
			opts.Namespace = cmp.Or(in.namespace, c.Namespace)
		}
	}
	out.policy, errs[0] = in.loadPolicy()
	out.files, errs[1] = manifest.Load(in.files, opts)
	out.background, errs[2] = manifest.Load(in.background, opts)
	// What is wrong with files is said without waiting for a cluster.
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	// Nothing at all is a mistake in a pipeline, not a clean bill.
	if len(in.files) > 0 && len(out.files.Documents) == 0 {
		return nil, errors.New("the input holds no objects")
	}
	if in.readCluster {
		into := &out.background
		if len(in.files) == 0 {
			into = &out.files
		}
		out.cluster = c.Name
		var err error
		if *into, err = loadStored(ctx, c, newProgress(s.Err)); err != nil {
			return nil, err
		}
		if in.policyFile == "" && in.given == nil {
			if out.policy, out.policyFrom, err = installedPolicy(ctx, c, s.Err); err != nil {
				return nil, err
			}
		}
	}
	for _, set := range []*manifest.Set{out.background, out.files} {
		for _, d := range set.Documents {
			if ns, ok := d.Object.(*corev1.Namespace); ok {
				out.labels[ns.Name] = ns.Labels[policy.ModeLabel]
			}
		}
	}
	if in.only != "" {
		if err := out.split(in.only); err != nil {
			return nil, err
		}
	}
	out.inherit()
	return out, nil
}

// loadPolicy returns the policy that is given, else that of the file, and the defaults
// without one.
func (j *judging) loadPolicy() (*policy.Policy, error) {
	switch {
	case j.given != nil:
		return j.given, nil
	case j.policyFile != "":
		return readPolicy(j.policyFile)
	}
	return policy.Default(), nil
}

func readPolicy(file string) (*policy.Policy, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("failed to read the policy: %w", err)
	}
	return policy.Load(file, data)
}

// inherit gives an object the identity of the stored one that it replaces, as the
// API server does: Istio looks at the age, owner references hold the UID.
func (in *input) inherit() {
	for _, d := range in.files.Documents {
		if d.Object == nil {
			continue
		}
		if old := in.background.Find(manifest.KeyOf(d.Kind, d.Object)); old != nil {
			d.Object.SetCreationTimestamp(old.Object.GetCreationTimestamp())
			d.Object.SetUID(old.Object.GetUID())
		}
	}
}

// find returns the document of an object, that of -f before the background's.
func (in *input) find(k manifest.Key) *manifest.Document {
	if d := in.files.Find(k); d != nil {
		return d
	}
	return in.background.Find(k)
}

// objects are all that count: those of -f, and of the background what they leave.
func (in *input) objects() mesh.Objects {
	var objs mesh.Objects
	for _, d := range in.files.Documents {
		objs.Add(d.Object)
	}
	for _, d := range in.background.Documents {
		if d.Object != nil && in.files.Find(manifest.KeyOf(d.Kind, d.Object)) == nil {
			objs.Add(d.Object)
		}
	}
	return objs
}

// world is what all objects make together.
func (in *input) world() *mesh.World { return decision.World(in.objects(), in.policy) }
