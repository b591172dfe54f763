package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// Compute decides every object of the request in the mesh with the whole request,
// and returns what comes of it, and the objects that are there afterwards.
func (s *Scenario) Compute() (Want, []Object, error) {
	got := Want{Title: s.Want.Title}
	request := cloned(s.Request)
	before := replaced(cloned(s.Mesh), request)
	objects := slices.Concat(before, request)
	request = objects[len(before):]
	site := decision.NewSite(World(objects, s.Policy), s.Policy)

	var changes []mutate.RuleChange
	var decided []decision.Decided
	for i := range request {
		o := &request[i]
		mode := s.mode(o.Typed.GetNamespace())
		if !o.Decided() || mode == policy.Off {
			continue
		}
		out, err := site.Judge(o.Typed, o.Raw, mode, s.mode)
		if err != nil {
			return got, nil, fmt.Errorf("failed to decide %s: %w", mesh.ObjectOf(o.Typed), err)
		}
		if mode != policy.Enforce {
			out.Edits, out.Changes, out.Rules = nil, nil, nil
		}
		decided = append(decided, decision.Decided{Object: o.Typed, Outcome: out})
		got.Refused = got.Refused || finding.HasErrors(out.Findings)
		got.Changes = append(got.Changes, out.Changes...)
		for _, c := range out.Rules {
			// What the request holds itself is decided by itself.
			if !holds(s.Request, c.Rule) {
				changes = append(changes, c)
			}
		}
		if _, err := mutate.Patch(o.Raw, out.Edits); err != nil {
			return got, nil, fmt.Errorf("failed to edit %s: %w", mesh.ObjectOf(o.Typed), err)
		}
	}
	for _, f := range decision.Union(decided) {
		got.Findings = append(got.Findings, Finding{
			Code: f.Code, Severity: f.Severity, Path: f.Path, CoveredBy: f.CoveredBy, Message: f.Message, Remedy: f.Remedy,
			Object: FindingObject{Kind: f.Object.Kind, Namespace: f.Object.Namespace, Name: f.Object.Name},
		})
	}
	if got.Refused {
		got.Changes = nil
		return got, nil, nil
	}
	for i := range request {
		if err := request[i].retype(); err != nil {
			return got, nil, err
		}
		got.Stored = append(got.Stored, request[i].Raw)
	}
	objects, rules, err := CarryOut(objects, changes, s.Policy)
	if err != nil {
		return got, nil, err
	}
	got.Rules = rules
	return got, objects, nil
}

// replaced returns the objects of the mesh that the request does not update. What
// it does keeps its age, as the API server holds it.
func replaced(before, request []Object) []Object {
	return slices.DeleteFunc(before, func(old Object) bool {
		for _, o := range request {
			if o.SameName(old) {
				o.Typed.SetCreationTimestamp(old.Typed.GetCreationTimestamp())
				return true
			}
		}
		return false
	})
}

// mode is that of a namespace: the label of its Namespace object, else the policy's.
func (s *Scenario) mode(namespace string) policy.Mode {
	label := ""
	for _, o := range slices.Concat(s.Mesh, s.Request) {
		if ns, ok := o.Typed.(*corev1.Namespace); ok && ns.Name == namespace {
			label = ns.Labels[policy.ModeLabel]
		}
	}
	mode, _ := s.Policy.ModeFor(namespace, label)
	return mode
}

func holds(objects []Object, rule *networkingv1.DestinationRule) bool {
	return slices.ContainsFunc(objects, func(o Object) bool {
		_, ok := o.Typed.(*networkingv1.DestinationRule)
		return ok && o.Typed.GetNamespace() == rule.Namespace && o.Typed.GetName() == rule.Name
	})
}

// World is the world that objects make under pol, as decisions are made about it.
func World(objects []Object, pol *policy.Policy) *mesh.World {
	return decision.World(typed(objects), pol)
}

// Stored is the world that Istio makes of objects: with what was injected.
func Stored(objects []Object, pol *policy.Policy) *mesh.World {
	return mesh.NewWorld(typed(objects), decision.Options(pol))
}

func typed(objects []Object) mesh.Objects {
	var out mesh.Objects
	for _, o := range objects {
		out.Add(o.Typed)
	}
	return out
}

// CarryOut writes the rule changes of all objects, each once, and returns all
// objects and the rules as they are then.
func CarryOut(objects []Object, changes []mutate.RuleChange, pol *policy.Policy) ([]Object, []map[string]any, error) {
	var rules []map[string]any
	done := map[string]bool{}
	for _, c := range changes {
		name := c.Rule.Namespace + "/" + c.Rule.Name + " " + c.Host
		if done[name] {
			continue
		}
		done[name] = true
		var err error
		if objects, err = carryOut(objects, c, pol, mutate.KeepAll); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		rules = append(rules, Shown(objects[find(objects, c.Rule)].Raw))
	}
	return objects, rules, nil
}

// carryOut writes one change; keep is as in mutate.InjectEdits.
func carryOut(objects []Object, c mutate.RuleChange, pol *policy.Policy, keep func(string) bool) ([]Object, error) {
	at := find(objects, c.Rule)
	var o Object
	switch {
	case c.Action == mutate.Inject && at < 0:
		return nil, errors.New("it is injected into, and there is none")
	case c.Action == mutate.Inject:
		o = objects[at]
		edits, err := mutate.InjectEdits(o.Raw, c.Injections, pol.TLS, keep)
		if err != nil {
			return nil, err
		}
		if _, err := mutate.Patch(o.Raw, edits); err != nil {
			return nil, err
		}
	default:
		tree, err := mutate.MarshalRule(c.Rule)
		if err != nil {
			return nil, err
		}
		o.Raw = tree
	}
	if err := o.retype(); err != nil {
		return nil, err
	}
	if at < 0 {
		return append(objects, o), nil
	}
	objects[at] = o
	return objects, nil
}

// find returns the index of the DestinationRule of the rule's name, or -1.
func find(objects []Object, rule *networkingv1.DestinationRule) int {
	return slices.IndexFunc(objects, func(o Object) bool { return holds([]Object{o}, rule) })
}

// Shown is what want.yaml shows of a rule: all but the metadata that the API
// server sets, and status.
func Shown(raw map[string]any) map[string]any {
	out := maps.Clone(raw)
	delete(out, "status")
	meta, _ := raw["metadata"].(map[string]any)
	shown := map[string]any{}
	for _, k := range []string{"name", "namespace", "labels", "annotations"} {
		if v, ok := meta[k]; ok {
			shown[k] = v
		}
	}
	out["metadata"] = shown
	return out
}

func cloned(in []Object) []Object {
	out := make([]Object, len(in))
	for i, o := range in {
		out[i] = Object{Raw: clone(o.Raw), Typed: o.Typed}
		// Raw comes from JSON and was decoded before.
		if err := out[i].retype(); err != nil {
			panic(err)
		}
	}
	return out
}

func clone(tree map[string]any) map[string]any {
	raw, err := json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		panic(err)
	}
	return out
}
