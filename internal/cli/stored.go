package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/egress-tls/egress-tls-webhook/internal/cluster"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// loadStored reads what the cluster holds, as if it stood in manifests.
func loadStored(ctx context.Context, c *cluster.Cluster, p progress) (*manifest.Set, error) {
	defer p.erase()
	objects, err := c.Objects(ctx, p.show)
	if err != nil {
		return nil, err
	}
	out := manifest.Stored()
	var errs []error
	for _, o := range objects {
		errs = append(errs, out.AddStored(o.APIVersion, o.Kind, o.Raw))
	}
	return out, errors.Join(errs...)
}

// installedPolicy returns the policy of the webhook in the cluster, and where it stands.
// Where there is none for this user it says so and takes the defaults: who may read the routes
// need not be let near the webhook. Any other reason may be gone in a moment, and the defaults
// be another answer.
func installedPolicy(ctx context.Context, c *cluster.Cluster, w io.Writer) (_ *policy.Policy, place string, err error) {
	file, place, err := c.Policy(ctx)
	switch {
	case errors.Is(err, cluster.ErrNotInstalled):
		fmt.Fprintln(w, "egress-tls: note: no webhook is installed in the cluster, so the defaults of the policy count; --policy FILE names another")
		return policy.Default(), "", nil
	case errors.As(err, new(*cluster.UnreadError)):
		fmt.Fprintf(w, "egress-tls: note: the policy of the installed webhook cannot be read, so the defaults count: %v; --policy FILE names another\n", err)
		return policy.Default(), "", nil
	case err != nil:
		return nil, "", fmt.Errorf("failed to read the policy of the installed webhook: %w", err)
	}
	pol, err := policy.Load(place, file)
	return pol, place, err
}
