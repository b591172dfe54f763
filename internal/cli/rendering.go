package cli

import (
	"cmp"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// rendering is the input as it would be stored.
type rendering struct {
	set *manifest.Set
	// edits are what changes in -f objects.
	edits map[*manifest.Document][]mutate.Edit
	// created are the rules that no -f object is, by namespace and name.
	created []createdRule
}

type createdRule struct {
	key  manifest.Key
	tree map[string]any
	// note says where it comes from, by what first asks for it.
	note string
	by   *manifest.Document
}

func (in *input) render(v verdict) (*rendering, error) {
	r := &rendering{set: in.files, edits: map[*manifest.Document][]mutate.Edit{}}
	for _, j := range v.judgements {
		if j.mode == policy.Enforce && len(j.outcome.Edits) > 0 {
			r.edits[j.doc] = j.outcome.Edits
		}
	}
	// Several objects may ask for the same rule; since all see the same world, they
	// ask for the same content.
	done := map[manifest.Key]struct{}{}
	for _, j := range v.judgements {
		if j.mode != policy.Enforce {
			continue
		}
		for _, c := range j.outcome.Rules {
			key := manifest.KeyOf(mesh.DestinationRuleKind, c.Rule)
			if _, dup := done[key]; dup {
				continue
			}
			done[key] = struct{}{}
			if err := in.renderRule(r, j.doc, key, c); err != nil {
				return nil, fmt.Errorf("failed to add %s: %w", c, err)
			}
		}
	}
	slices.SortFunc(r.created, func(a, b createdRule) int {
		return cmp.Or(cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name))
	})
	return r, nil
}

func (in *input) renderRule(r *rendering, by *manifest.Document, key manifest.Key, c mutate.RuleChange) error {
	mine, stored := in.files.Find(key), in.background.Find(key)
	switch {
	case mine == nil && (c.Action == mutate.Create || stored == nil):
		tree, err := mutate.MarshalRule(c.Rule)
		if err != nil {
			return err
		}
		r.created = append(r.created, createdRule{key, tree, "Created by egress-tls for TLS to " + c.Host, by})
	case mine == nil:
		edits, err := mutate.InjectEdits(stored.Tree(), c.Injections, in.policy.TLS, mutate.KeepAll)
		if err != nil {
			return err
		}
		tree := stored.Exact()
		if _, err := mutate.Patch(tree, edits); err != nil {
			return err
		}
		withoutServerFields(tree)
		complete(tree, stored)
		r.created = append(r.created, createdRule{key, tree, "As it is stored, with what egress-tls added for TLS to " + c.Host, by})
	case len(r.edits[mine]) > 0:
		// Its own decision has injected the same already.
	case c.Action == mutate.Create:
		edits, err := restore(mine, c.Rule)
		if err != nil {
			return err
		}
		r.edits[mine] = edits
	default:
		edits, err := mutate.InjectEdits(mine.Tree(), c.Injections, in.policy.TLS, mutate.KeepAll)
		if err != nil {
			return err
		}
		r.edits[mine] = edits
	}
	return nil
}

// restore returns the edit that brings a managed rule of the input back in line.
func restore(d *manifest.Document, rule *networkingv1.DestinationRule) ([]mutate.Edit, error) {
	if dr, ok := d.Object.(*networkingv1.DestinationRule); !ok || !mesh.IsManaged(dr) {
		return nil, fmt.Errorf("%s holds another object of that name", d.Place(""))
	}
	tree, err := mutate.MarshalRule(rule)
	if err != nil {
		return nil, err
	}
	return []mutate.Edit{{Path: []string{"spec"}, Value: tree["spec"]}}, nil
}

// withoutServerFields removes what only the API server sets: applied again, it
// would conflict.
func withoutServerFields(tree map[string]any) {
	delete(tree, "status")
	if meta, ok := tree["metadata"].(map[string]any); ok {
		for _, k := range []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"} {
			delete(meta, k)
		}
	}
}

// complete names the version and kind, which an item of a typed list leaves out.
func complete(tree map[string]any, d *manifest.Document) {
	for field, value := range map[string]string{"apiVersion": d.APIVersion, "kind": d.Kind} {
		if s, ok := tree[field].(string); (!ok || s == "") && value != "" {
			tree[field] = value
		}
	}
}
