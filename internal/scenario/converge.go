package scenario

import (
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// Converge returns objects as the reconciler leaves them, when all has been carried out
// and every grace period is over.
func (s *Scenario) Converge(objects []Object) ([]Object, error) {
	objects = cloned(objects)
	for i := range objects {
		vs, ok := objects[i].Typed.(*networkingv1.VirtualService)
		if !ok || s.mode(vs.Namespace) != policy.Enforce {
			continue
		}
		edits, _ := decision.HeaderEdits(World(objects, s.Policy), s.Policy, vs)
		if _, err := mutate.Patch(objects[i].Raw, edits); err != nil {
			return nil, fmt.Errorf("failed to edit %s: %w", mesh.ObjectOf(vs), err)
		}
		if err := objects[i].retype(); err != nil {
			return nil, err
		}
	}
	for _, host := range hosts(objects) {
		out, err := decision.Converge(World(objects, s.Policy), s.Policy, host, s.mode)
		if err != nil {
			return nil, fmt.Errorf("failed to converge %s: %w", host, err)
		}
		for _, c := range out.Changes {
			if objects, err = carryOut(objects, c, s.Policy, mutate.KeepAll); err != nil {
				return nil, fmt.Errorf("%s: %w", c, err)
			}
		}
		for _, surplus := range out.Surplus {
			if surplus.Want != nil {
				objects, err = carryOut(objects, *surplus.Want, s.Policy, nil)
			} else {
				objects = slices.DeleteFunc(objects, func(o Object) bool { return holds([]Object{o}, surplus.Rule) })
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", surplus.Want, err)
			}
		}
	}
	return objects, nil
}

// hosts are all that some DestinationRule may be for, sorted.
func hosts(objects []Object) []string {
	var out []string
	for _, o := range objects {
		switch o := o.Typed.(type) {
		case *networkingv1.ServiceEntry:
			out = append(out, mesh.ServiceEntryHosts(o)...)
		case *networkingv1.DestinationRule:
			out = append(out, mesh.RuleHost(o))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
