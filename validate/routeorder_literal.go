package validate

// The shortcut for what most objects are: each match entry asks for one literal path or prefix and
// nothing else, and takes that very path before any other entry can. Then all are live, which is
// told by sorting the paths; no unit, no condition and no language is made.
//
// It only ever says yes, and only where the general decision finds nothing either.

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// A pathEntry is one entry: the path that is its request, and whether it takes longer ones too.
type pathEntry struct {
	path   string
	route  int32
	prefix bool
}

// nothingFound reports that each entry of vs is live, and none adds nothing to its route. That is
// so if the path of each reaches it past all entries of its route and those before.
func nothingFound(vs *networkingv1.VirtualService) bool {
	all, ok := pathEntries(vs)
	if !ok || foreignSemantics(vs) {
		return false
	}
	slices.SortFunc(all, func(a, b pathEntry) int { return strings.Compare(a.path, b.path) })
	// The prefixes of a path come before it, and between them and it only what they are prefixes of.
	var open []pathEntry // the prefixes of the present path, the longest last
	for i, e := range all {
		if i > 0 && all[i-1].path == e.path {
			return false
		}
		for len(open) > 0 && !strings.HasPrefix(e.path, open[len(open)-1].path) {
			open = open[:len(open)-1]
		}
		// Of the open ones, the last is the first in spec.http, or this would have ended at it.
		if len(open) > 0 && open[len(open)-1].route <= e.route {
			return false
		}
		if !visible(e.path) || !pathText.holds(e.path) {
			return false // no client sends it as it is
		}
		if e.prefix {
			open = append(open, e)
		}
	}
	return true
}

// pathEntries returns the entries of vs; false if one asks for anything else.
func pathEntries(vs *networkingv1.VirtualService) ([]pathEntry, bool) {
	out := make([]pathEntry, 0, min(len(vs.Spec.Http), maxUnits))
	for i, r := range vs.Spec.Http {
		if r == nil || r.Delegate != nil || len(out)+max(1, len(r.Match)) > maxUnits {
			return nil, false
		}
		e := pathEntry{path: "/", prefix: true, route: int32(i)} //nolint:gosec // at most maxUnits
		if len(r.Match) == 0 {
			out = append(out, e)
		}
		for _, m := range r.Match {
			var ok bool
			if e.path, e.prefix, ok = literalPath(m); !ok {
				return nil, false
			}
			out = append(out, e)
		}
	}
	return out, true
}

// literalPath returns what an entry asks of the path; false if it asks for anything else.
func literalPath(m *networking.HTTPMatchRequest) (path string, prefix, ok bool) {
	if m == nil || m.IgnoreUriCase || m.Scheme != nil || m.Method != nil || m.Authority != nil ||
		len(m.Headers) > 0 || len(m.WithoutHeaders) > 0 || len(m.QueryParams) > 0 ||
		m.Port != 0 || len(m.SourceLabels) > 0 || m.SourceNamespace != "" || len(m.Gateways) > 0 {
		return "", false, false
	}
	switch kind, value := matchOf(m.Uri); kind {
	case "", "prefix":
		path, prefix = value, true
		if path == "" {
			path = "/"
		}
	case "exact":
		path = value
	default:
		return "", false, false
	}
	return path, prefix, strings.HasPrefix(path, "/")
}
