package mesh

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// RuleReason is why a DestinationRule that fits a host is not in force for a client.
type RuleReason string

// The reasons, in the order of the lookup.
const (
	// RuleElsewhere: it is in a namespace that istiod does not look into for this client.
	RuleElsewhere RuleReason = "NamespaceNotSearched"
	// RuleNotExported: its exportTo, or its workloadSelector, keeps it from the client.
	RuleNotExported RuleReason = "NotExported"
	// RuleNamespaceLater: a namespace that istiod looks into earlier has a rule.
	RuleNamespaceLater RuleReason = "LaterNamespace"
	// RuleLessSpecific: its namespace has a rule for a more specific host.
	RuleLessSpecific RuleReason = "LessSpecificHost"
	// RuleOtherWorkloads: its workloadSelector does not select the client's pods, or
	// is not known to.
	RuleOtherWorkloads RuleReason = "OtherWorkloads"
	// RuleKeptApart: of rules of one host and namespace with different exportTo the
	// last counts.
	RuleKeptApart RuleReason = "OtherExportToCounts"
)

// PassedRule is a DestinationRule that fits a host and is not in force.
type PassedRule struct {
	Rule   *networkingv1.DestinationRule
	Reason RuleReason
	// By is the rule that counts in its place, nil where none does.
	By *networkingv1.DestinationRule
}

// PassedRules returns all DestinationRules that fit the host of svc and are not among
// those that EffectiveRules returns, the most specific host first, and why.
func (w *World) PassedRules(client Client, svc *Service) []PassedRule {
	inForce, _ := w.EffectiveRules(client, svc)
	places := slices.Collect(w.places(client.Namespace, svc))
	end, found := len(places), []*Effective(nil)
	for i, p := range places {
		if found = w.visibleRules(p, client.Namespace, svc.Host); len(found) > 0 {
			end = i
			break
		}
	}
	var out []PassedRule
	for _, h := range HostAndWildcards(svc.Host) {
		for _, dr := range w.RulesFor(h) {
			if memberOf(inForce, dr) == nil {
				reason, by := w.passed(dr, h, client, svc.Host, places, end, found)
				out = append(out, PassedRule{dr, reason, by})
			}
		}
	}
	return out
}

// passed follows the lookup for the rule dr of host h: it ends at places[end], where
// found is.
func (w *World) passed(dr *networkingv1.DestinationRule, h string, client Client, host string, places []place, end int, found []*Effective) (RuleReason, *networkingv1.DestinationRule) {
	if e := memberOf(found, dr); e != nil {
		// It was found, and EffectiveRules did not take it.
		if e.Selector != nil {
			return RuleOtherWorkloads, nil
		}
		return RuleKeptApart, lastForAll(found)
	}
	reason := RuleElsewhere
	for i, p := range places {
		if dr.Namespace != p.namespace {
			continue
		}
		if reason == RuleElsewhere {
			reason = RuleNotExported
		}
		if !p.pool.holds(ruleExportTo(dr), p.namespace) {
			continue
		}
		if best := w.poolLookup(p.namespace, p.pool, host); i <= end && best[0].Host != h {
			return RuleLessSpecific, best[0].Members[0]
		}
		if i > end && memberOf(w.visibleRules(p, client.Namespace, h), dr) != nil {
			reason = RuleNamespaceLater
		}
	}
	if reason == RuleNamespaceLater {
		return reason, found[0].Members[0]
	}
	return reason, nil
}

func memberOf(list []*Effective, dr *networkingv1.DestinationRule) *Effective {
	for _, e := range list {
		if slices.Contains(e.Members, dr) {
			return e
		}
	}
	return nil
}

// lastForAll returns the rule for all workloads that counts.
func lastForAll(found []*Effective) *networkingv1.DestinationRule {
	for _, e := range slices.Backward(found) {
		if e.Selector == nil {
			return e.Members[0]
		}
	}
	return nil
}

// EntryReason is why a ServiceEntry that fits a host is not what a client sees.
type EntryReason string

// The reasons, in the order of preference.
const (
	EntryNotExported EntryReason = "NotExported"
	// EntryWildcard: it lists a wildcard, and routes lead only to exact hosts.
	EntryWildcard EntryReason = "WildcardOnly"
	// EntryLessSpecific: it lists a wildcard, and the client sees a more specific host.
	EntryLessSpecific EntryReason = "LessSpecificHost"
	// EntryOwnNamespaceFirst: a sidecar prefers those of its own namespace.
	EntryOwnNamespaceFirst EntryReason = "OwnNamespaceFirst"
	// EntryNamedFirst: one is exported to the client's namespace by name.
	EntryNamedFirst EntryReason = "ExportedByNameFirst"
	// EntryOlderFirst: another one is older.
	EntryOlderFirst EntryReason = "OlderFirst"
	// EntryNotMerged: it is of the same namespace, but says other things than its ports.
	EntryNotMerged EntryReason = "NotMerged"
)

// PassedEntry is a ServiceEntry that fits a host, which it lists as Host.
type PassedEntry struct {
	Entry  *networkingv1.ServiceEntry
	Host   string
	Reason EntryReason
}

// PassedEntries returns the ServiceEntries that fit host and are not behind svc, what
// client sees of it, which may be nil; the most specific host first, and why.
func (w *World) PassedEntries(client Client, host string, svc *Service) []PassedEntry {
	var out []PassedEntry
	for _, h := range HostAndWildcards(host) {
		for _, se := range w.entries.at(h) {
			if svc != nil && svc.Host == h && slices.Contains(svc.Entries, se) {
				continue
			}
			out = append(out, PassedEntry{se, h, entryReason(client, h, svc, se)})
		}
	}
	return out
}

func entryReason(client Client, host string, svc *Service, se *networkingv1.ServiceEntry) EntryReason {
	seen := exportedTo(se.Spec.GetExportTo(), se.Namespace, client.Namespace)
	switch {
	case seen == invisible:
		return EntryNotExported
	case svc == nil:
		return EntryWildcard
	}
	first := svc.Entries[0]
	switch {
	case svc.Host != host:
		return EntryLessSpecific
	case first.Namespace == se.Namespace:
		return EntryNotMerged
	case !client.Gateway && first.Namespace == client.Namespace:
		return EntryOwnNamespaceFirst
	case seen == visibleToAll && exportedTo(first.Spec.GetExportTo(), first.Namespace, client.Namespace) == visibleByName:
		return EntryNamedFirst
	}
	return EntryOlderFirst
}
