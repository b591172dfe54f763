package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// FieldManager owns what is written by us.
const FieldManager = "egress-tls-webhook"

// ruleWriter writes DestinationRules, and what is injected into objects of the user's.
// Every write carries the version that was decided on: nobody's change is lost, and
// nothing is taken from under an admission that has just made sure of it.
type ruleWriter struct {
	writer client.Writer
	live   client.Reader
	tls    policy.TLS
}

// verb says what a write did.
type verb string

const (
	verbCreate   verb = "create"
	verbRestore  verb = "restore"
	verbInject   verb = "inject"
	verbAdopt    verb = "adopt"     // owner references
	verbKeep     verb = "keep"      // it is needed again before it was removed
	verbTakeBack verb = "take back" // what nothing needs, out of a rule
	verbDelete   verb = "delete"
)

// past is the verb in the message about what was done; a dry run would do it. Whoever
// applied an object is not told of what changed nothing for its requests.
func (v verb) past(dryRun bool) (text string, tell bool) {
	done := map[verb]string{verbCreate: "created", verbRestore: "restored", verbInject: "injected"}[v]
	if dryRun && done != "" {
		done = "would " + string(v)
	}
	return done, done != ""
}

// written is a change that was carried out.
type written struct {
	verb   verb
	change mutate.RuleChange
}

// raceError says that another writer was first; deciding again helps.
type raceError struct{ error }

// inTheWayError says that an object of somebody else's has the name of a generated rule.
type inTheWayError struct{ error }

func isRace(err error) bool {
	if _, ok := errors.AsType[raceError](err); ok {
		return true
	}
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

// write carries out c and says what it did, "" if another request was first. In a dry
// run it only finds out what stands in the way.
func (w *ruleWriter) write(ctx context.Context, c mutate.RuleChange, dryRun bool) (verb, error) {
	if c.Action == mutate.Inject {
		return w.inject(ctx, c, mutate.KeepAll, dryRun)
	}
	return w.create(ctx, c, dryRun)
}

// create creates a managed rule, or restores it where it was edited.
func (w *ruleWriter) create(ctx context.Context, c mutate.RuleChange, dryRun bool) (verb, error) {
	have := &networkingv1.DestinationRule{}
	err := w.live.Get(ctx, client.ObjectKeyFromObject(c.Rule), have)
	if apierrors.IsNotFound(err) {
		if dryRun {
			return verbCreate, nil
		}
		rule := c.Rule.DeepCopy()
		rule.ResourceVersion = ""
		out, err := untyped(rule)
		if err != nil {
			return "", err
		}
		if err := w.writer.Create(ctx, out, client.FieldOwner(FieldManager)); err != nil {
			return "", fmt.Errorf("failed to create %s: %w", c, err)
		}
		return verbCreate, nil
	}
	if err != nil {
		return "", fmt.Errorf("failed to get %s: %w", c, err)
	}
	if have.Labels[mesh.ManagedByLabel] != mesh.ManagedBy {
		return "", inTheWayError{fmt.Errorf("%s stands in the way: it has the name of a generated rule without the label %s=%s; rename or delete it",
			mesh.ObjectOf(have), mesh.ManagedByLabel, mesh.ManagedBy)}
	}
	did := verb("")
	_, marked := have.Annotations[mutate.UnusedAnnotation]
	switch {
	case !proto.Equal(&have.Spec, &c.Rule.Spec):
		did = verbRestore
	case marked && !c.Unused:
		did = verbKeep
	case c.Action == mutate.Adopt && !mutate.SameOwners(have, c.Rule):
		did = verbAdopt
	}
	switch {
	case did == "":
		return "", nil
	case have.ResourceVersion != c.Rule.ResourceVersion && mesh.IsManaged(have):
		// Restored to what this decision knows, it could lose what another one has added. One
		// whose host was edited was out of its sight.
		return "", raceError{fmt.Errorf("%s was changed", mesh.ObjectOf(have))}
	case dryRun:
		return did, nil
	}
	c.Rule.Spec.DeepCopyInto(&have.Spec)
	have.OwnerReferences = mutate.WithOwnersOf(have, c.Rule)
	if !c.Unused {
		delete(have.Annotations, mutate.UnusedAnnotation)
	}
	out, err := untyped(have)
	if err != nil {
		return "", err
	}
	if err := w.writer.Update(ctx, out, client.FieldOwner(FieldManager)); err != nil {
		return "", fmt.Errorf("failed to %s %s: %w", did, c, err)
	}
	return did, nil
}

// untyped returns a rule as the API server takes it, see mutate.Tree.
func untyped(dr *networkingv1.DestinationRule) (*unstructured.Unstructured, error) {
	tree, err := mutate.Tree(dr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", mesh.ObjectOf(dr), err)
	}
	tree["apiVersion"], tree["kind"] = mesh.APIVersion, mesh.DestinationRuleKind
	return decoded(tree)
}

func decoded(tree map[string]any) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("failed to encode: %w", err)
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("failed to decode: %w", err)
	}
	return out, nil
}

// inject brings what we injected into the rule, as the API server has it with all its
// fields, to c. What it holds beyond that stays if keep says so.
func (w *ruleWriter) inject(ctx context.Context, c mutate.RuleChange, keep func(place string) bool, dryRun bool) (verb, error) {
	did := verbInject
	switch {
	case keep == nil:
		did = verbTakeBack
	case len(c.Injections) == 0:
		did = verbKeep
	}
	changed, err := w.edit(ctx, mesh.DestinationRuleKind, c.Rule, dryRun, func(tree map[string]any) ([]mutate.Edit, error) {
		edits, err := mutate.InjectEdits(tree, c.Injections, w.tls, keep)
		if keep == nil || !c.Unused {
			edits = append(edits, mutate.Edit{Path: []string{"metadata", "annotations", mutate.UnusedAnnotation}, Remove: true})
		}
		return edits, err
	})
	if err != nil {
		return "", fmt.Errorf("failed to %s %s: %w", did, c, err)
	}
	if !changed {
		return "", nil
	}
	return did, nil
}

// edit writes edits into an object of the user's, as the API server has it with all its
// fields: those of the version that o is, else it is a race. It reports whether they
// change anything.
func (w *ruleWriter) edit(ctx context.Context, kind string, o metav1.Object, dryRun bool, edits func(tree map[string]any) ([]mutate.Edit, error)) (changed bool, err error) {
	have := &unstructured.Unstructured{}
	have.SetGroupVersionKind(schema.FromAPIVersionAndKind(mesh.APIVersion, kind))
	if err := w.live.Get(ctx, keyOf(o), have); err != nil {
		if apierrors.IsNotFound(err) {
			return false, raceError{fmt.Errorf("%s was deleted", mesh.ObjectOf(o))}
		}
		return false, fmt.Errorf("failed to get %s: %w", mesh.ObjectOf(o), err)
	}
	if have.GetResourceVersion() != o.GetResourceVersion() {
		return false, raceError{fmt.Errorf("%s was changed", mesh.ObjectOf(o))}
	}
	owners := have.GetManagedFields()
	// Numbers as encoding/json reads them, which is what edits compare with.
	tree, err := mutate.Tree(have.Object)
	if err != nil {
		return false, fmt.Errorf("%s: %w", mesh.ObjectOf(o), err)
	}
	list, err := edits(tree)
	if err != nil {
		return false, err
	}
	ops, err := mutate.Patch(tree, list)
	if err != nil || len(ops) == 0 || dryRun {
		return len(ops) > 0, err
	}
	out, err := decoded(tree)
	if err != nil {
		return false, fmt.Errorf("%s: %w", mesh.ObjectOf(o), err)
	}
	if err := w.writer.Update(ctx, out, client.FieldOwner(FieldManager)); err != nil {
		return false, err
	}
	w.giveBack(ctx, out, owners)
	return true, nil
}

// giveBack leaves the fields of an object that we wrote to with those whose they were.
// Istio's CRDs have lists that are owned whole: as our own, the next server-side apply of
// the object's owner would be a conflict. At admission the API server does the same by
// itself. A failure costs just that, and whoever wrote in between comes first. The mark
// of what is unused was ours, and is no longer there.
func (w *ruleWriter) giveBack(ctx context.Context, o *unstructured.Unstructured, owners []metav1.ManagedFieldsEntry) {
	owners = slices.DeleteFunc(owners, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == FieldManager && o.GetAnnotations()[mutate.UnusedAnnotation] == ""
	})
	patch, err := json.Marshal([]mutate.Operation{
		{Op: "replace", Path: "/metadata/managedFields", Value: owners},
		{Op: "replace", Path: "/metadata/resourceVersion", Value: o.GetResourceVersion()},
	})
	if err == nil && len(owners) > 0 {
		_ = w.writer.Patch(ctx, o, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(FieldManager))
	}
}

// markUnused writes the mark of what nothing needs any more onto a rule, unless it will
// stay all the same, see remove.
func (w *ruleWriter) markUnused(ctx context.Context, s mutate.Surplus, mark string) error {
	dr := s.Rule
	if s.Managed() {
		have := &networkingv1.DestinationRule{}
		if err := w.live.Get(ctx, client.ObjectKeyFromObject(dr), have); apierrors.IsNotFound(err) {
			return raceError{fmt.Errorf("%s was deleted", mesh.ObjectOf(dr))}
		} else if err != nil {
			return fmt.Errorf("failed to get %s: %w", mesh.ObjectOf(dr), err)
		}
		if appliedByOthers(have) {
			return nil
		}
	}
	// Merged: of a user's rule only the annotation is ours.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": dr.ResourceVersion,
		"annotations":     map[string]any{mutate.UnusedAnnotation: mark},
	}})
	if err != nil {
		return fmt.Errorf("failed to encode: %w", err)
	}
	o := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: dr.Namespace, Name: dr.Name}}
	if err := w.writer.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("failed to mark %s as unused: %w", mesh.ObjectOf(dr), err)
	}
	return nil
}

// remove takes away what s has too much. It does nothing to a managed rule whose spec
// somebody else has applied: it is in their files, and would come back.
func (w *ruleWriter) remove(ctx context.Context, s mutate.Surplus) (verb, error) {
	if !s.Managed() {
		return w.inject(ctx, *s.Want, nil, false)
	}
	if s.Want != nil {
		did, err := w.create(ctx, *s.Want, false)
		if did == verbRestore {
			did = verbTakeBack
		}
		return did, err
	}
	have := &networkingv1.DestinationRule{}
	if err := w.live.Get(ctx, client.ObjectKeyFromObject(s.Rule), have); err != nil {
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return "", fmt.Errorf("failed to get %s: %w", mesh.ObjectOf(s.Rule), err)
	}
	if have.ResourceVersion != s.Rule.ResourceVersion {
		return "", raceError{fmt.Errorf("%s was changed", mesh.ObjectOf(have))}
	}
	if appliedByOthers(have) {
		return "", nil
	}
	// An admission that needs it again has changed its version.
	if err := w.writer.Delete(ctx, have, client.Preconditions{UID: &have.UID, ResourceVersion: &have.ResourceVersion}); err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("failed to delete %s: %w", mesh.ObjectOf(have), err)
	}
	return verbDelete, nil
}

// appliedByOthers reports whether another field manager owns the host of the rule, or
// kubectl apply has noted in it what it applied: where that was what stood there already,
// it owns nothing but the note.
func appliedByOthers(o metav1.Object) bool {
	if o.GetAnnotations()[corev1.LastAppliedConfigAnnotation] != "" {
		return true
	}
	for _, m := range o.GetManagedFields() {
		var fields struct {
			Spec struct {
				Host *struct{} `json:"f:host"`
			} `json:"f:spec"`
		}
		if m.Manager != FieldManager && m.FieldsV1 != nil && json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) == nil && fields.Spec.Host != nil {
			return true
		}
	}
	return false
}
