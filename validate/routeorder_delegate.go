package validate

// A delegate's routes are judged within the root's match, exactly as Istio merges
// them (pilot/pkg/model/virtualservice.go): the cross product of the root's and
// the delegate's entries; of a field that both set, the delegate's value stands; a
// pair that conflicts is dropped, and a delegate route with an entry that conflicts
// with every root entry is dropped whole. A regex on either side always conflicts,
// and so does a difference in ignoreUriCase.
//
// Such routes only ever cover. A root's own entry is not refused for what a
// delegate holds today.

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// isDelegate: no hosts, hence used by no gateway but through a root. One that
// names gateways is none; Istio refuses it for the missing hosts.
func isDelegate(vs *networkingv1.VirtualService) bool {
	return len(vs.Spec.Hosts) == 0 && len(vs.Spec.Gateways) == 0
}

// findDelegate returns the VirtualService that a route of vs delegates to, nil when
// Istio drops the route: unknown, no delegate itself, or not exported to here.
func findDelegate(vs *networkingv1.VirtualService, d *networking.Delegate, delegates Delegates) *networkingv1.VirtualService {
	if d == nil || delegates == nil || isDelegate(vs) {
		return nil
	}
	namespace := d.Namespace
	if namespace == "" {
		namespace = vs.Namespace
	}
	found := delegates(namespace, d.Name)
	if found == nil || len(found.Spec.Hosts) > 0 {
		return nil
	}
	for _, to := range found.Spec.ExportTo {
		if to == "*" || to == vs.Namespace || to == "." && found.Namespace == vs.Namespace {
			return found
		}
	}
	if len(found.Spec.ExportTo) > 0 {
		return nil
	}
	return found
}

// merged is one entry of a root with a delegate's; entry is the root's.
type merged struct {
	match *networking.HTTPMatchRequest
	entry int
}

// mergeMatches is mergeHTTPMatchRequests. A nil entry, at which istiod would not
// survive, drops the route.
func mergeMatches(root, leaf []*networking.HTTPMatchRequest) []merged {
	var out []merged
	switch {
	case len(root) == 0 && len(leaf) == 0:
		return []merged{{entry: -1}}
	case len(root) == 0:
		for _, l := range leaf {
			out = append(out, merged{l, -1})
		}
		return out
	case len(leaf) == 0:
		for i, r := range root {
			out = append(out, merged{r, i})
		}
		return out
	}
	for _, l := range leaf {
		found := false
		for i, r := range root {
			if l == nil || r == nil {
				return nil
			}
			if conflict(r, l) {
				continue
			}
			out = append(out, merged{mergeMatch(r, l), i})
			found = true
		}
		if !found {
			return nil
		}
	}
	return out
}

func mergeMatch(root, leaf *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	out := &networking.HTTPMatchRequest{
		Uri:             or(leaf.Uri, root.Uri),
		Scheme:          or(leaf.Scheme, root.Scheme),
		Method:          or(leaf.Method, root.Method),
		Authority:       or(leaf.Authority, root.Authority),
		Headers:         union(root.Headers, leaf.Headers),
		WithoutHeaders:  union(root.WithoutHeaders, leaf.WithoutHeaders),
		QueryParams:     union(root.QueryParams, leaf.QueryParams),
		SourceLabels:    union(root.SourceLabels, leaf.SourceLabels),
		Port:            leaf.Port,
		SourceNamespace: leaf.SourceNamespace,
		Gateways:        leaf.Gateways,
		IgnoreUriCase:   leaf.IgnoreUriCase,
	}
	if out.Port == 0 {
		out.Port = root.Port
	}
	if out.SourceNamespace == "" {
		out.SourceNamespace = root.SourceNamespace
	}
	if len(out.Gateways) == 0 {
		out.Gateways = root.Gateways
	}
	return out
}

func or(a, b *networking.StringMatch) *networking.StringMatch {
	if a != nil {
		return a
	}
	return b
}

func union[V any](a, b map[string]V) map[string]V {
	if len(a) == 0 {
		return b
	}
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// conflict is hasConflict.
func conflict(root, leaf *networking.HTTPMatchRequest) bool {
	if stringConflict(root.Uri, leaf.Uri) || stringConflict(root.Scheme, leaf.Scheme) ||
		stringConflict(root.Method, leaf.Method) || stringConflict(root.Authority, leaf.Authority) ||
		mapConflict(root.Headers, leaf.Headers) ||
		mapConflict(root.WithoutHeaders, leaf.WithoutHeaders) ||
		mapConflict(root.QueryParams, leaf.QueryParams) ||
		root.IgnoreUriCase != leaf.IgnoreUriCase ||
		root.Port > 0 && leaf.Port > 0 && root.Port != leaf.Port ||
		root.SourceNamespace != "" && leaf.SourceNamespace != root.SourceNamespace {
		return true
	}
	for k, v := range leaf.SourceLabels {
		if r, ok := root.SourceLabels[k]; ok && r != v {
			return true
		}
	}
	if len(root.Gateways) == 0 || len(leaf.Gateways) == 0 {
		return false
	}
	return len(root.Gateways) < len(leaf.Gateways) ||
		slices.ContainsFunc(leaf.Gateways, func(g string) bool { return !slices.Contains(root.Gateways, g) })
}

func mapConflict(root, leaf map[string]*networking.StringMatch) bool {
	for k, v := range leaf {
		if stringConflict(root[k], v) {
			return true
		}
	}
	return false
}

// stringConflict is stringMatchConflict.
func stringConflict(root, leaf *networking.StringMatch) bool {
	if root == nil || leaf == nil {
		return false
	}
	rootKind, r := matchOf(root)
	leafKind, l := matchOf(leaf)
	switch {
	case r == "" || l == "": // Istio takes an empty value for none
		return true
	case rootKind == "exact":
		return leafKind != "exact" || l != r
	case rootKind == "prefix":
		return leafKind == "regex" || !strings.HasPrefix(l, r)
	default:
		return true
	}
}

// widened is what a delegate can make of a root's entry. The merge lets a
// delegate's withoutHeaders and queryParams of one name replace the root's, and its
// gateways switch the root's source conditions off; all else it only narrows (a null
// header would not, but Istio refuses one).
func widened(r *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	if r == nil {
		return nil
	}
	return &networking.HTTPMatchRequest{
		Uri: r.Uri, Scheme: r.Scheme, Method: r.Method, Authority: r.Authority, Headers: r.Headers,
		Port: r.Port, Gateways: r.Gateways, IgnoreUriCase: r.IgnoreUriCase,
	}
}

// survives reports whether, in a delegate judged by itself, the entries of an
// earlier route stay in force, and at least as wide, wherever a root keeps the later
// entry. A root "/api" drops the delegate's route "/" for a conflict, and a route
// "/api" behind it is live: such a pair proves nothing without the root. An entry
// is safe when each of its fields is unset or the later one's own, and a route
// without a match always is, as long as the later one does not widen the root.
func survives(route *networking.HTTPRoute, later *networking.HTTPMatchRequest) bool {
	if len(route.GetMatch()) == 0 {
		return len(later.GetGateways()) == 0 && len(later.GetWithoutHeaders()) == 0 &&
			!holdsNull(later.GetHeaders()) && !holdsNull(later.GetQueryParams())
	}
	for _, e := range route.GetMatch() {
		if e == nil || later == nil || !generalises(e, later) {
			return false
		}
	}
	return true
}

// holdsNull: Istio lets a null replace the root's value, and takes it for present.
func holdsNull(of map[string]*networking.StringMatch) bool {
	for _, m := range of {
		if m == nil {
			return true
		}
	}
	return false
}

func generalises(e, later *networking.HTTPMatchRequest) bool {
	unset := func(a, b *networking.StringMatch) bool { return a == nil || matchText(a) == matchText(b) && b != nil }
	sub := func(a, b map[string]*networking.StringMatch) bool {
		for k, v := range a {
			if w, ok := b[k]; !ok || !unset(v, w) {
				return false
			}
		}
		return true
	}
	same := func(a, b *networking.StringMatch) bool {
		return matchText(a) == matchText(b) && (a == nil) == (b == nil)
	}
	return !holdsNull(later.Headers) && unset(e.Uri, later.Uri) && unset(e.Scheme, later.Scheme) && unset(e.Method, later.Method) &&
		unset(e.Authority, later.Authority) && sub(e.Headers, later.Headers) &&
		maps.EqualFunc(e.WithoutHeaders, later.WithoutHeaders, same) &&
		maps.EqualFunc(e.QueryParams, later.QueryParams, same) &&
		(e.Port == 0 || e.Port == later.Port) &&
		maps.Equal(e.SourceLabels, later.SourceLabels) && e.SourceNamespace == later.SourceNamespace &&
		slices.Equal(e.Gateways, later.Gateways) && e.IgnoreUriCase == later.IgnoreUriCase
}
