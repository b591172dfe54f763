package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// FieldManager owns what is written by us.
const FieldManager = "egress-tls-webhook"

// maxAttempts bounds how often a write that met another writer is decided anew.
const maxAttempts = 5

// ensure writes the DestinationRules of out: rule before route. It decides again
// on the rules that the API server has now, since the informers may not know one
// that a user or another replica has just stored, and again whenever a write
// meets another writer.
//
// The findings are those of the last decision. On an error the object must be
// refused. What the stored object lacks as well refuses no update of it: that would
// forbid to label it, or to take its finalizers away.
//
// A dry run decides and checks all the same, and writes nothing.
func (a *Admitter) ensure(ctx context.Context, r *request, out decision.Outcome) ([]mutate.RuleChange, []finding.Finding, error) {
	var written []mutate.RuleChange
	fresh := map[string]struct{}{}
	for attempt := 1; ; attempt++ {
		for _, c := range out.Rules {
			for _, ns := range a.ruleNamespaces(c) {
				fresh[ns] = struct{}{}
			}
		}
		var err error
		if out, err = a.decide(ctx, r, fresh); err != nil {
			return written, nil, err
		}
		if attempt < maxAttempts && slices.ContainsFunc(out.Rules, func(c mutate.RuleChange) bool {
			_, ok := fresh[c.Rule.Namespace]
			return !ok
		}) {
			continue // It moved to a namespace that was not read yet.
		}
		// A rule that only the API server knew may be the user's word against TLS.
		findings, err := a.ratchet(ctx, r, out)
		if err != nil || finding.HasErrors(findings) {
			return written, findings, err
		}
		for _, c := range out.Rules {
			if r.Operation == admissionv1.Create {
				c.Rule = withoutOwner(c.Rule, r.object)
			}
			changed, werr := a.rules.write(ctx, c, a.policy.TLS, r.dryRun)
			switch {
			case werr == nil && !changed:
			case werr == nil:
				written = append(written, c)
				if !r.dryRun {
					a.metrics.wrote(c)
				}
			case (attempt == maxAttempts || !isRace(werr)) && a.neededBefore(ctx, r, c, fresh):
				findings = append(findings, finding.Finding{
					Code:     finding.TLSMissing,
					Severity: finding.Warning,
					Object:   mesh.ObjectOf(r.object),
					Message:  fmt.Sprintf("plaintext HTTP to %s leaves the mesh in clear: it needs a DestinationRule that cannot be written: %v.", c.Host, werr),
					Subject:  c.Rule.Namespace + "/" + c.Rule.Name,
				})
			default:
				err = errors.Join(err, werr)
			}
		}
		if err == nil {
			return written, findings, nil
		}
		if attempt == maxAttempts || ctx.Err() != nil || !isRace(err) {
			return written, findings, err
		}
	}
}

// neededBefore reports whether the stored object of an update needs the same change
// of the same rule already.
func (a *Admitter) neededBefore(ctx context.Context, r *request, c mutate.RuleChange, fresh map[string]struct{}) bool {
	if r.old == nil {
		return false
	}
	was, err := a.decide(ctx, r.before(), fresh)
	return err == nil && slices.ContainsFunc(was.Rules, func(o mutate.RuleChange) bool { return o.String() == c.String() })
}

// ruleNamespaces are where Istio looks for a rule on behalf of the needs of c.
func (a *Admitter) ruleNamespaces(c mutate.RuleChange) []string {
	out := map[string]struct{}{c.Rule.Namespace: {}, a.policy.RootNamespace: {}}
	for _, n := range c.Needs {
		out[n.Service.Namespace] = struct{}{}
		if n.Client.Namespace != mesh.OtherNamespaces {
			out[n.Client.Namespace] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// withoutOwner drops an owner reference to an object that is not stored yet: the
// garbage collector would find no such owner and delete the rule.
func withoutOwner(dr *networkingv1.DestinationRule, unstored metav1.Object) *networkingv1.DestinationRule {
	out := dr.DeepCopy()
	out.OwnerReferences = slices.DeleteFunc(out.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.UID == unstored.GetUID()
	})
	return out
}

// ruleWriter writes DestinationRules.
type ruleWriter struct {
	writer client.Writer
	live   client.Reader
}

// raceError says that another writer was first; deciding again helps.
type raceError struct{ error }

func isRace(err error) bool {
	if _, ok := errors.AsType[raceError](err); ok {
		return true
	}
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

// write carries out c and reports whether that changed anything: another request
// may have been first. In a dry run it only finds out what stands in the way.
func (w *ruleWriter) write(ctx context.Context, c mutate.RuleChange, tls policy.TLS, dryRun bool) (changed bool, err error) {
	if c.Action == mutate.Inject {
		return w.inject(ctx, c, tls, dryRun)
	}
	return w.create(ctx, c, dryRun)
}

// create creates a managed rule, or restores it where it was edited.
func (w *ruleWriter) create(ctx context.Context, c mutate.RuleChange, dryRun bool) (changed bool, err error) {
	have := &networkingv1.DestinationRule{}
	switch err := w.live.Get(ctx, client.ObjectKeyFromObject(c.Rule), have); {
	case apierrors.IsNotFound(err):
		if dryRun {
			return true, nil
		}
		if err := w.writer.Create(ctx, c.Rule.DeepCopy(), client.FieldOwner(FieldManager)); err != nil {
			return false, fmt.Errorf("failed to create %s: %w", c, err)
		}
		return true, nil
	case err != nil:
		return false, fmt.Errorf("failed to get %s: %w", c, err)
	case !mesh.IsManaged(have):
		return false, fmt.Errorf("%s stands in the way: it has the name of a generated rule without the label %s=%s; rename or delete it",
			mesh.ObjectOf(have), mesh.ManagedByLabel, mesh.ManagedBy)
	case proto.Equal(&have.Spec, &c.Rule.Spec):
		return false, nil
	case dryRun:
		return true, nil
	default:
		c.Rule.Spec.DeepCopyInto(&have.Spec)
		if err := w.writer.Update(ctx, have, client.FieldOwner(FieldManager)); err != nil {
			return false, fmt.Errorf("failed to restore %s: %w", c, err)
		}
		return true, nil
	}
}

// inject adds TLS to the rule as the API server has it, with all its fields. The
// update carries the version that was decided on, so nobody's change is lost.
func (w *ruleWriter) inject(ctx context.Context, c mutate.RuleChange, tls policy.TLS, dryRun bool) (changed bool, err error) {
	have := &unstructured.Unstructured{}
	have.SetGroupVersionKind(schema.FromAPIVersionAndKind(mesh.APIVersion, mesh.DestinationRuleKind))
	if err := w.live.Get(ctx, client.ObjectKeyFromObject(c.Rule), have); err != nil {
		if apierrors.IsNotFound(err) {
			return false, raceError{fmt.Errorf("%s was deleted", mesh.ObjectOf(c.Rule))}
		}
		return false, fmt.Errorf("failed to get %s: %w", c, err)
	}
	if have.GetResourceVersion() != c.Rule.ResourceVersion {
		return false, raceError{fmt.Errorf("%s was changed", mesh.ObjectOf(c.Rule))}
	}
	// Numbers as encoding/json reads them, which is what edits compare with.
	tree, err := mutate.Tree(have.Object)
	if err != nil {
		return false, err
	}
	edits, err := mutate.InjectEdits(tree, c.Injections, tls)
	if err != nil {
		return false, fmt.Errorf("failed to inject %s: %w", c, err)
	}
	if _, err := mutate.Patch(tree, edits); err != nil {
		return false, fmt.Errorf("failed to inject %s: %w", c, err)
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return false, fmt.Errorf("failed to encode %s: %w", c, err)
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(raw); err != nil {
		return false, fmt.Errorf("failed to decode %s: %w", c, err)
	}
	if dryRun {
		return true, nil
	}
	if err := w.writer.Update(ctx, out, client.FieldOwner(FieldManager)); err != nil {
		return false, fmt.Errorf("failed to inject %s: %w", c, err)
	}
	return true, nil
}
