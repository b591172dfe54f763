package validate

// Conditions are what one match entry asks of a request, as Istio translates it
// (TranslateRouteMatch, sourceMatchHTTP): a set of paths, and per header, query
// parameter, claim, port, source label a conjunction of atoms. Since these vary
// independently, one entry covers another when each of its atoms follows from the
// other's: covers is that proof. An entry whose atoms contradict each other takes
// no request at all: never says why.

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1"
)

// A class separates what a condition is about.
type class int

// Port, label and namespace say where an entry is in force; the rest looks at the
// request.
const (
	classPort class = iota
	classLabel
	classNamespace
	classHeader
	classQuery
	classClaim
)

type atomKind int

const (
	// opaque atoms are equal or not comparable: JWT claims; and equal or
	// contradictory by their class: port, label, namespace.
	opaque atomKind = iota
	present
	absent
	in    // present, with a value of the language
	notIn // value not of the language; a missing header counts as ""
)

type atom struct {
	kind atomKind
	id   string // of opaque
	lang *language
	// field is the place in the entry, such as headers, for the message.
	field string
	match *networking.StringMatch
}

type condition struct {
	class class
	name  string
	atoms []atom
}

type conditions struct {
	uri   *language
	conds []condition // sorted by class and name
	mask  uint64      // one bit a condition, to tell most pairs apart at once
	never string      // why no request fits; "" when one may
	// bare: Istio's IsCatchAllRoute, behind which it emits nothing.
	bare bool
	// catchAll: every request is taken, on the ports and from the sources concerned.
	catchAll bool
}

func (c *conditions) takesAll() bool {
	if c.never != "" || !c.uri.universal(pathText) {
		return false
	}
	for _, d := range c.conds {
		if d.class >= classHeader {
			return false
		}
	}
	return true
}

// newConditions reads one entry; nil takes every request, as in Istio.
func newConditions(r *networking.HTTPMatchRequest, m *meter) *conditions {
	c := &conditions{}
	c.uri = newLanguage(r.GetUri(), pathText, r.GetIgnoreUriCase())
	if r == nil {
		c.bare, c.catchAll = true, true
		return c
	}
	b := builder{}
	if r.Port != 0 {
		b.add(classPort, "", atom{id: strconv.Itoa(int(r.Port)), field: "port"})
	}
	if len(r.Gateways) == 0 {
		// With gateways, Istio looks at neither (sourceMatchHTTP).
		for _, k := range slices.Sorted(maps.Keys(r.SourceLabels)) {
			b.add(classLabel, k, atom{id: r.SourceLabels[k], field: "sourceLabels"})
		}
		if r.SourceNamespace != "" {
			b.add(classNamespace, "", atom{id: r.SourceNamespace, field: "sourceNamespace"})
		}
	}
	request := 0
	for _, k := range slices.Sorted(maps.Keys(r.Headers)) {
		b.header(k, "headers", r.Headers[k], false)
		request++
	}
	for _, k := range slices.Sorted(maps.Keys(r.WithoutHeaders)) {
		b.header(k, "withoutHeaders", r.WithoutHeaders[k], true)
		request++
	}
	for _, p := range []struct {
		name, field string
		match       *networking.StringMatch
	}{
		{":method", "method", r.Method},
		{":authority", "authority", r.Authority},
		{":scheme", "scheme", r.Scheme},
	} {
		if p.match != nil {
			b.header(p.name, p.field, p.match, false)
			request++
		}
	}
	for _, k := range slices.Sorted(maps.Keys(r.QueryParams)) {
		b.query(k, r.QueryParams[k])
		request++
	}
	c.conds = b.finish()
	for _, d := range c.conds {
		c.mask |= bit(d.class, d.name)
	}
	c.never = c.contradiction(r, m)
	c.catchAll = c.takesAll()
	c.bare = request == 0 && barePath(r.Uri)
	return c
}

// barePath is the path part of IsCatchAllRoute. A uri without a match type leaves
// the prefix "/" in place.
func barePath(uri *networking.StringMatch) bool {
	kind, value := matchOf(uri)
	return kind == "" || kind == "prefix" && value == "/" || kind == "regex" && value == ".*"
}

type builder struct {
	conds []condition
}

func (b *builder) add(c class, name string, a atom) {
	for i := range b.conds {
		if b.conds[i].class == c && b.conds[i].name == name {
			b.conds[i].atoms = append(b.conds[i].atoms, a)
			return
		}
	}
	b.conds = append(b.conds, condition{class: c, name: name, atoms: []atom{a}})
}

// claimPrefix is HeaderJWTClaim: such a name is matched against the token, not
// against a header (translateMetadataMatch).
const claimPrefix = "@request.auth.claims"

func (b *builder) header(name, field string, m *networking.StringMatch, without bool) {
	if strings.HasPrefix(lower(name), claimPrefix) {
		id := strconv.FormatBool(without) + " " + matchText(m)
		b.add(classClaim, name, atom{id: id, field: field, match: m})
		return
	}
	name = lower(name)
	a := atom{field: field, match: m}
	switch {
	case isPresentMatch(m) && without:
		a.kind = absent
	case isPresentMatch(m):
		a.kind = present
	default:
		a.lang = newLanguage(m, headerText, false)
		a.kind = in
		if without {
			a.kind = notIn
		} else if a.lang.universal(headerText) {
			a.kind, a.lang = present, nil
		}
	}
	if a.kind == present && alwaysThere(name) {
		return
	}
	b.add(classHeader, name, a)
}

func (b *builder) query(name string, m *networking.StringMatch) {
	a := atom{kind: present, field: "queryParams", match: m}
	if !isPresentMatch(m) {
		a.kind, a.lang = in, newLanguage(m, anyText, false)
		if a.lang.universal(anyText) {
			a.kind, a.lang = present, nil
		}
	}
	b.add(classQuery, name, a)
}

func (b *builder) finish() []condition {
	slices.SortFunc(b.conds, func(x, y condition) int {
		if x.class != y.class {
			return int(x.class - y.class)
		}
		return strings.Compare(x.name, y.name)
	})
	return b.conds
}

// alwaysThere: Envoy answers a request without these before it routes.
func alwaysThere(header string) bool {
	switch header {
	case ":method", ":authority", ":scheme", ":path":
		return true
	default:
		return false
	}
}

// isPresentMatch is canBeConvertedToPresentMatch: "*" is no regex.
func isPresentMatch(m *networking.StringMatch) bool {
	kind, value := matchOf(m)
	return kind == "" || kind == "regex" && value == "*"
}

func bit(c class, name string) uint64 {
	h := uint32(2166136261) ^ uint32(c) //nolint:gosec // a small enum
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return 1 << (h % 64)
}

// covers: every request that b takes, c takes.
func (c *conditions) covers(b *conditions, m *meter) bool {
	if c.never != "" || c.mask&^b.mask != 0 || len(c.conds) > len(b.conds) {
		return false
	}
	j := 0
	for i := range c.conds {
		x := &c.conds[i]
		for j < len(b.conds) && (b.conds[j].class < x.class || b.conds[j].class == x.class && b.conds[j].name < x.name) {
			j++
		}
		if j == len(b.conds) || b.conds[j].class != x.class || b.conds[j].name != x.name || !impliedAll(x.atoms, b.conds[j].atoms, m) {
			return false
		}
	}
	return c.uri.contains(b.uri, m)
}

// impliedAll: each of want follows from one of have.
func impliedAll(want, have []atom, m *meter) bool {
	for _, w := range want {
		if !m.spend(len(have)) || !slices.ContainsFunc(have, func(h atom) bool { return implies(h, w, m) }) {
			return false
		}
	}
	return true
}

// implies: a header or parameter that fits x fits y.
func implies(x, y atom, m *meter) bool {
	switch y.kind {
	case opaque:
		return x.kind == opaque && x.id == y.id
	case present:
		return x.kind == present || x.kind == in || x.kind == notIn && x.lang.accepts("", m)
	case absent:
		return x.kind == absent
	case in:
		return x.kind == in && y.lang.contains(x.lang, m)
	default: // notIn
		switch x.kind {
		case absent:
			return y.lang.rejects("", m)
		case in:
			return y.lang.disjoint(x.lang, m)
		case notIn:
			return x.lang.contains(y.lang, m)
		default:
			return false
		}
	}
}

// contradiction says why no request fits.
func (c *conditions) contradiction(r *networking.HTTPMatchRequest, m *meter) string {
	if c.uri.empty() {
		return "no path fits uri " + shown(r.GetUri()) + `: a path begins with "/", and Istio matches it whole and without the query`
	}
	for _, d := range c.conds {
		if d.class == classClaim {
			continue
		}
		for i, x := range d.atoms {
			if why := impossibleAtom(d, x); why != "" {
				return why
			}
			for _, y := range d.atoms[:i] {
				if exclude(x, y, m) || exclude(y, x, m) {
					return atomText(d, y) + " and " + atomText(d, x) + " exclude each other"
				}
			}
		}
	}
	return ""
}

func impossibleAtom(d condition, x atom) string {
	switch {
	case x.kind == notIn && x.lang.universal(headerText):
		return atomText(d, x) + " excludes every request, since Istio takes a missing header for an empty one"
	case x.kind == in && x.lang.empty():
		return atomText(d, x) + " fits no value"
	case x.kind == absent && alwaysThere(d.name):
		return atomText(d, x) + " excludes every request, since each has it"
	default:
		return ""
	}
}

// exclude: nothing fits both.
func exclude(x, y atom, m *meter) bool {
	switch {
	case x.kind == absent && y.kind == notIn:
		return y.lang.accepts("", m)
	case x.kind == absent:
		return y.kind == present || y.kind == in
	case x.kind == in && y.kind == in:
		return x.lang.disjoint(y.lang, m)
	case x.kind == in && y.kind == notIn:
		return y.lang.contains(x.lang, m)
	default:
		return false
	}
}
