package mesh

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// Effective is the DestinationRule that Istio applies for a client to a host:
// one object, or several of one namespace and host merged.
type Effective struct {
	// Host is the host of the rule: exact, or a wildcard.
	Host string
	// Members are the objects behind it; the first gave it its identity.
	Members []*networkingv1.DestinationRule
	// Selector is the workloadSelector; nil: the rule is for every workload.
	Selector map[string]string
	// PolicyFrom is the member whose trafficPolicy won whole, nil without one.
	PolicyFrom *networkingv1.DestinationRule

	exportTo []string // sorted
	subsets  []subset
	one      [1]*networkingv1.DestinationRule // room for Members
}

type subset struct {
	*networking.Subset
	from  *networkingv1.DestinationRule
	index int
}

// Namespace returns the namespace of the rule.
func (e *Effective) Namespace() string { return e.Members[0].Namespace }

// FitsAll reports whether the rule applies to every pod of client for certain.
func (e *Effective) FitsAll(client Client) bool {
	return e.Selector == nil || containsAll(client.Labels, e.Selector)
}

// EffectiveRules returns the rules that istiod applies for client to svc: one a
// workloadSelector that may fit the client's pods, and one for all other
// workloads, which comes last. A selector that surely fits them ends the list.
// Nothing: no rule fits. hidden is a rule that fits no workload of the client but
// still hides those of other namespaces from it; nil unless workloads remain that
// the result holds no rule for.
//
// The lookup is PushContext.destinationRule: the client's namespace (for a proxy
// in the root namespace only what is private to it), then the service's, then the
// root namespace; in each the most specific host. SidecarScope.DestinationRule
// picks among what that finds by workload.
func (w *World) EffectiveRules(client Client, svc *Service) (rules []*Effective, hidden *Effective) {
	found := w.lookupRules(client.Namespace, svc)
	if len(found) == 0 {
		return nil, nil
	}
	hidden, rules = found[0], found[:0]
	var all *Effective
	for _, e := range found {
		switch {
		case e.Selector == nil:
			// Of several, kept apart by exportTo, istiod takes the last.
			all = e
		case e.Namespace() != client.Namespace:
			// A selector counts only in the rule's own namespace.
		case e.FitsAll(client):
			// All of the client's pods: it applies before any rule without a selector.
			return append(rules, e), nil
		case client.Gateway:
			// Not proved to select the gateway's pods.
		default:
			rules = append(rules, e)
		}
	}
	if all != nil {
		return append(rules, all), nil
	}
	return rules, hidden
}

func (w *World) lookupRules(clientNamespace string, svc *Service) []*Effective {
	for p := range w.places(clientNamespace, svc) {
		if found := w.visibleRules(p, clientNamespace, svc.Host); len(found) > 0 {
			return found
		}
	}
	return nil
}

// place is a step of the lookup: a namespace, and those of its rules that count there.
type place struct {
	namespace string
	pool      pool
}

// places yields the steps of the lookup for a client, in their order.
func (w *World) places(clientNamespace string, svc *Service) iter.Seq[place] {
	return func(yield func(place) bool) {
		root := w.opts.RootNamespace
		switch clientNamespace {
		case root:
			if !yield(place{root, poolRootPrivate}) {
				return
			}
		case OtherNamespaces:
		default:
			if !yield(place{clientNamespace, poolLocal}) {
				return
			}
		}
		_ = yield(place{svc.Namespace, poolExported}) && yield(place{root, poolExported})
	}
}

// visibleRules returns the rules of a place that the client sees.
func (w *World) visibleRules(p place, clientNamespace, host string) []*Effective {
	found := w.poolLookup(p.namespace, p.pool, host)
	if p.pool != poolExported {
		return found
	}
	return slices.DeleteFunc(found, func(e *Effective) bool {
		return len(e.exportTo) > 0 && !slices.Contains(e.exportTo, ExportPublic) &&
			(clientNamespace == OtherNamespaces || !slices.Contains(e.exportTo, clientNamespace))
	})
}

// pool is one of the indexes that istiod's setDestinationRules sorts the rules
// of a namespace into.
type pool int

const (
	// poolLocal is seen by clients of the rule's own namespace.
	poolLocal pool = iota
	// poolRootPrivate holds what is private to the root namespace.
	poolRootPrivate
	// poolExported is looked up from other namespaces.
	poolExported
)

func (p pool) holds(exportTo []string, namespace string) bool {
	private := len(exportTo) == 1 && (slices.Contains(exportTo, ExportPrivate) || slices.Contains(exportTo, namespace))
	switch p {
	case poolLocal:
		return len(exportTo) == 0 || slices.Contains(exportTo, ExportPublic) || slices.Contains(exportTo, ExportPrivate) || slices.Contains(exportTo, namespace)
	case poolRootPrivate:
		return private
	default:
		return !private
	}
}

// poolLookup merges the rules of one namespace's pool for the most specific host
// that fits (MostSpecificHostMatch). The visibility of a rule is judged after
// that: an exact rule that a client may not see still hides a wildcard one.
func (w *World) poolLookup(namespace string, p pool, host string) []*Effective {
	if found := merged(w.RulesFor(host), host, namespace, p); len(found) > 0 {
		return found
	}
	for tail := range tails(host) {
		if rules := w.rulesForTail(tail); len(rules) > 0 {
			if found := merged(rules, "*"+tail, namespace, p); len(found) > 0 {
				return found
			}
		}
	}
	return nil
}

// merged merges those of the rules for host that are in the namespace's pool.
func merged(rules []*networkingv1.DestinationRule, host, namespace string, p pool) []*Effective {
	var out []*Effective
	for _, dr := range rules {
		if dr.Namespace != namespace {
			continue
		}
		exportTo := ruleExportTo(dr)
		if p.holds(exportTo, namespace) {
			out = mergeRule(out, host, dr, exportTo)
		}
	}
	return out
}

// ruleExportTo: a rule with a workloadSelector is never exported.
func ruleExportTo(dr *networkingv1.DestinationRule) []string {
	if dr.Spec.GetWorkloadSelector() != nil {
		return []string{ExportPrivate}
	}
	return sorted(dr.Spec.GetExportTo())
}

// mergeRule adds dr to the rules of its host as istiod's mergeDestinationRule
// does (with ENABLE_ENHANCED_DESTINATIONRULE_MERGE, the default): it joins every
// rule whose exportTo its own equals or contains and whose workloadSelector is
// the same; joining adds subsets with new names, and the trafficPolicy if there
// is none yet. Otherwise it stands beside them.
func mergeRule(list []*Effective, host string, dr *networkingv1.DestinationRule, exportTo []string) []*Effective {
	separate := true
	selector := ruleSelector(dr)
	for _, e := range list {
		if slices.Equal(exportTo, e.exportTo) {
			separate = false
		} else {
			separate = true
			if len(e.exportTo) == 0 || !contains(exportTo, e.exportTo) {
				continue
			}
		}
		bothSelect := selector != nil && e.Selector != nil
		if bothSelect && !maps.Equal(selector, e.Selector) {
			separate = true
			continue
		}
		if bothSelect || (selector == nil && e.Selector == nil) {
			separate = false
		}
		e.join(dr)
	}
	if !separate {
		return list
	}
	e := &Effective{Host: host, exportTo: exportTo, Selector: selector}
	e.Members = e.one[:0]
	e.join(dr)
	return append(list, e)
}

// ruleSelector returns the labels of the workloads that dr is for, nil if it is for
// all. An empty workloadSelector selects all workloads of its namespace.
func ruleSelector(dr *networkingv1.DestinationRule) map[string]string {
	if dr.Spec.GetWorkloadSelector() == nil {
		return nil
	}
	out := maps.Clone(dr.Spec.GetWorkloadSelector().GetMatchLabels())
	if out == nil {
		out = map[string]string{}
	}
	return out
}

func (e *Effective) join(dr *networkingv1.DestinationRule) {
	e.Members = append(e.Members, dr)
	if e.PolicyFrom == nil && dr.Spec.GetTrafficPolicy() != nil {
		e.PolicyFrom = dr
	}
	for i, s := range dr.Spec.GetSubsets() {
		if s != nil && !slices.ContainsFunc(e.subsets, func(o subset) bool { return o.GetName() == s.GetName() }) {
			e.subsets = append(e.subsets, subset{s, dr, i})
		}
	}
}

// istioRuleOrder is sortConfigBySelectorAndCreationTime: rules with a
// workloadSelector first, then by age.
func istioRuleOrder(a, b *networkingv1.DestinationRule) int {
	return cmp.Or(
		cmp.Compare(btoi(a.Spec.GetWorkloadSelector() == nil), btoi(b.Spec.GetWorkloadSelector() == nil)),
		olderFirst(a, b),
	)
}

func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(v string) bool { return !slices.Contains(all, v) })
}

// Policy returns the trafficPolicy that won, nil without one.
func (e *Effective) Policy() *networking.TrafficPolicy {
	if e.PolicyFrom == nil {
		return nil
	}
	return e.PolicyFrom.Spec.GetTrafficPolicy()
}

// Subsets returns the merged subsets.
func (e *Effective) Subsets() []*networking.Subset {
	out := make([]*networking.Subset, len(e.subsets))
	for i, s := range e.subsets {
		out[i] = s.Subset
	}
	return out
}
