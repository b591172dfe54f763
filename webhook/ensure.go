package webhook

import (
	"context"
	"encoding/json"
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
// The findings are those of the last decision, and what may not be written because
// of the mode of its namespace. On an error the object must be refused.
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
			f, allowed, merr := a.mayWrite(ctx, r, c)
			if merr != nil {
				return written, nil, merr
			}
			if !allowed {
				findings = append(findings, f...)
				continue
			}
			if r.Operation == admissionv1.Create {
				c.Rule = withoutOwner(c.Rule, r.object)
			}
			if werr := a.rules.write(ctx, c, a.policy.TLS); werr != nil {
				err = werr
				break
			}
			a.metrics.wrote(c)
			written = append(written, c)
		}
		if err == nil {
			return written, findings, nil
		}
		if attempt == maxAttempts || ctx.Err() != nil || !isRace(err) {
			return written, findings, err
		}
	}
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

// mayWrite decides whether the mode of a rule's namespace allows the write: a
// managed rule may be created unless the mode is off, a user's rule is changed
// only in mode enforce. What another namespace's own rule does to its own clients
// is only warned of: it must not let one tenant block another.
func (a *Admitter) mayWrite(ctx context.Context, r *request, c mutate.RuleChange) ([]finding.Finding, bool, error) {
	labels, err := a.view.namespaceLabels(ctx, c.Rule.Namespace)
	if err != nil {
		return nil, false, fmt.Errorf("failed to read the mode of namespace %s: %w", c.Rule.Namespace, err)
	}
	mode, _ := a.policy.ModeFor(c.Rule.Namespace, labels[policy.ModeLabel])
	if mode == policy.Enforce || (c.Action == mutate.Create && mode != policy.Off) {
		return nil, true, nil
	}
	f := finding.Finding{
		Code:     finding.TLSMissing,
		Severity: finding.Warning,
		Object:   mesh.ObjectOf(r.object),
		Message: fmt.Sprintf("plaintext HTTP to %s would leave the mesh in clear: %s is needed, and namespace %s is in mode %s, in which it is not written.",
			c.Host, c, c.Rule.Namespace, mode),
		Remedy:  fmt.Sprintf("Write it yourself (`egress-tls render` prints it), or label the namespace %s=%s.", policy.ModeLabel, policy.Enforce),
		Subject: c.Rule.Namespace + "/" + c.Rule.Name,
	}
	for _, n := range c.Needs {
		if n.Client.Gateway || n.Client.Namespace == r.Namespace || n.Client.Namespace == mesh.OtherNamespaces {
			f.Severity = finding.Error
		}
	}
	return []finding.Finding{f}, false, nil
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
	if _, ok := err.(raceError); ok { //nolint:errorlint // never wrapped
		return true
	}
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

func (w *ruleWriter) write(ctx context.Context, c mutate.RuleChange, tls policy.TLS) error {
	if c.Action == mutate.Inject {
		return w.inject(ctx, c, tls)
	}
	return w.create(ctx, c)
}

// create creates a managed rule, or restores it where it was edited.
func (w *ruleWriter) create(ctx context.Context, c mutate.RuleChange) error {
	have := &networkingv1.DestinationRule{}
	switch err := w.live.Get(ctx, client.ObjectKeyFromObject(c.Rule), have); {
	case apierrors.IsNotFound(err):
		if err := w.writer.Create(ctx, c.Rule.DeepCopy(), client.FieldOwner(FieldManager)); err != nil {
			return fmt.Errorf("failed to create %s: %w", c, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("failed to get %s: %w", c, err)
	case !mesh.IsManaged(have):
		return fmt.Errorf("%s stands in the way: it has the name of a generated rule without the label %s=%s; rename or delete it",
			mesh.ObjectOf(have), mesh.ManagedByLabel, mesh.ManagedBy)
	case proto.Equal(&have.Spec, &c.Rule.Spec):
		return nil
	default:
		c.Rule.Spec.DeepCopyInto(&have.Spec)
		if err := w.writer.Update(ctx, have, client.FieldOwner(FieldManager)); err != nil {
			return fmt.Errorf("failed to restore %s: %w", c, err)
		}
		return nil
	}
}

// inject adds TLS to the rule as the API server has it, with all its fields. The
// update carries the version that was decided on, so nobody's change is lost.
func (w *ruleWriter) inject(ctx context.Context, c mutate.RuleChange, tls policy.TLS) error {
	have := &unstructured.Unstructured{}
	have.SetGroupVersionKind(schema.FromAPIVersionAndKind(mesh.APIVersion, mesh.DestinationRuleKind))
	if err := w.live.Get(ctx, client.ObjectKeyFromObject(c.Rule), have); err != nil {
		if apierrors.IsNotFound(err) {
			return raceError{fmt.Errorf("%s was deleted", c)}
		}
		return fmt.Errorf("failed to get %s: %w", c, err)
	}
	if have.GetResourceVersion() != c.Rule.ResourceVersion {
		return raceError{fmt.Errorf("%s was changed", c)}
	}
	// Numbers as encoding/json reads them, which is what edits compare with.
	tree, err := mutate.Tree(have.Object)
	if err != nil {
		return err
	}
	edits, err := mutate.InjectEdits(tree, c.Injections, tls)
	if err != nil {
		return fmt.Errorf("failed to inject TLS into %s: %w", c, err)
	}
	if _, err := mutate.Patch(tree, edits); err != nil {
		return fmt.Errorf("failed to inject TLS into %s: %w", c, err)
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return fmt.Errorf("failed to encode %s: %w", c, err)
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(raw); err != nil {
		return fmt.Errorf("failed to decode %s: %w", c, err)
	}
	if err := w.writer.Update(ctx, out, client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("failed to inject TLS into %s: %w", c, err)
	}
	return nil
}
