package validate

// Conditions are what one match entry asks of a request, as Istio translates it
// (TranslateRouteMatch, sourceMatchHTTP): a set of paths, and per header, query
// parameter, claim, port, source label a conjunction of atoms. These vary
// independently: an entry is a box in the space of requests, and whether earlier
// boxes cover it is all that order.go and search.go decide. An entry whose atoms
// contradict each other takes no request at all: never says why.

import (
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// A class separates what a condition is about.
type class int

// Port, label and namespace say where an entry is in force; the rest looks at the
// request.
const (
	classPath class = iota
	classPort
	classLabel
	classNamespace
	classHeader
	classQuery
	classClaim
)

// An atom is a set of values, the missing one among them or not.
type atom struct {
	// missing: a request without the header fits.
	missing bool
	kind    atomKind
	lang    *language // of in and out
	// field is the place in the entry, such as headers, for the message.
	field string
	match *networking.StringMatch
}

// atomKind says which values fit that are there.
type atomKind int

const (
	anyValue atomKind = iota
	noValue
	in  // those of lang
	out // those outside of lang
)

// not returns the complement.
func (a atom) not() atom {
	a.missing = !a.missing
	a.kind = [...]atomKind{anyValue: noValue, noValue: anyValue, in: out, out: in}[a.kind]
	return a
}

func (a atom) equal(b atom) bool {
	return a.missing == b.missing && a.kind == b.kind && (a.lang == b.lang || a.kind < in)
}

// test tells whether a value, or its absence, fits.
func (a atom) test(value string, there bool, w *work) (yes, known bool) {
	switch {
	case !there:
		return a.missing, true
	case a.kind == anyValue || a.kind == noValue:
		return a.kind == anyValue, true
	}
	yes, known = a.lang.accepts(value, w)
	return yes == (a.kind == in), known
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
	// vague: it holds what we cannot try (see header and query).
	vague bool
	// bare: Istio's IsCatchAllRoute, behind which it emits nothing.
	bare bool
	// catchAll: every request is taken, on the ports and from the sources concerned.
	catchAll bool
}

// uriAtom is uri as what is asked of the path.
func (c *conditions) uriAtom() atom { return atom{kind: in, lang: c.uri} }

func (c *conditions) takesAll(w *work) bool {
	if c.never != "" || c.vague || !c.uri.universal(w) {
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
func newConditions(r *networking.HTTPMatchRequest, w *work) *conditions {
	c := w.newConditions.next()
	c.uri = w.language(r.GetUri(), pathText, r.GetIgnoreUriCase())
	if r == nil {
		c.bare, c.catchAll = true, true
		return c
	}
	b := builder{w: w}
	if r.Port != 0 {
		b.exactly(classPort, "", strconv.Itoa(int(r.Port)), "port")
	}
	if len(r.Gateways) == 0 {
		// With gateways, Istio looks at neither (sourceMatchHTTP).
		for _, k := range sortedKeys(r.SourceLabels) {
			b.exactly(classLabel, k, r.SourceLabels[k], "sourceLabels")
		}
		if r.SourceNamespace != "" {
			b.exactly(classNamespace, "", r.SourceNamespace, "sourceNamespace")
		}
	}
	request := 0
	for _, k := range sortedKeys(r.Headers) {
		b.header(k, "headers", r.Headers[k], false)
		request++
	}
	for _, k := range sortedKeys(r.WithoutHeaders) {
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
	for _, k := range sortedKeys(r.QueryParams) {
		b.query(k, r.QueryParams[k])
		request++
	}
	c.conds, c.vague = b.finish(), b.vague
	for _, d := range c.conds {
		c.mask |= bit(d.class, d.name)
	}
	c.never = c.contradiction(r, w)
	c.catchAll = c.takesAll(w)
	c.bare = request == 0 && barePath(r.Uri)
	return c
}

// sortedKeys is for maps of which most are empty, or have one key.
func sortedKeys[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// barePath is the path part of IsCatchAllRoute. A uri without a match type leaves
// the prefix "/" in place.
func barePath(uri *networking.StringMatch) bool {
	kind, value := matchOf(uri)
	return kind == "" || kind == "prefix" && value == "/" || kind == "regex" && value == ".*"
}

type builder struct {
	w     *work
	conds []condition
	vague bool
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

func (b *builder) exactly(c class, name, value, field string) {
	b.add(c, name, atom{kind: in, lang: b.w.exactly(value), field: field})
}

// claimPrefix is HeaderJWTClaim: such a name is matched against the token, not
// against a header (translateMetadataMatch).
const claimPrefix = "@request.auth.claims"

// claimName is ToRoutingClaim: the claim a.b is written ".a.b" or "[a][b]".
func claimName(header string) (string, bool) {
	if !strings.HasPrefix(lower(header), claimPrefix) {
		return "", false
	}
	name := header[len(claimPrefix):]
	switch {
	case strings.HasPrefix(name, ".") && len(name) > 1:
		return claimPrefix + "[" + strings.ReplaceAll(name[1:], ".", "][") + "]", true
	case strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") && len(name) > 2:
		return claimPrefix + name, true
	default:
		return "", false
	}
}

func (b *builder) header(name, field string, m *networking.StringMatch, without bool) {
	a := atom{field: field, match: m}
	if claim, ok := claimName(name); ok {
		// A claim may have several values: all that is known is whether it fits.
		a.kind, a.lang = in, claimLanguage(m, b.w)
		if without {
			a = a.not()
		}
		b.add(classClaim, claim, a)
		return
	}
	name = lower(name)
	if name == "host" {
		name = ":authority" // Envoy keeps the old header there
	}
	switch {
	case isPresentMatch(m) && without:
		a.missing, a.kind = true, noValue
	case isPresentMatch(m):
		a.kind = anyValue
	default:
		a.kind, a.lang = in, b.w.language(m, universeOf(name), false)
		if name == ":path" {
			a.lang = claimLanguage(m, b.w) // with the query: it follows from what else is asked
		}
		if without {
			empty, known := a.lang.accepts("", b.w)
			b.vague = b.vague || !known && !alwaysThere(name)
			a.kind, a.missing = out, !empty
		} else if a.lang.universal(b.w) {
			a.kind, a.lang = anyValue, nil
		}
	}
	if a.kind == anyValue && alwaysThere(name) {
		return
	}
	b.add(classHeader, name, a)
}

func universeOf(header string) universe {
	if header == ":method" || header == ":scheme" {
		return tokenText
	}
	return headerText
}

func (b *builder) query(name string, m *networking.StringMatch) {
	// Envoy refuses an empty name, and none holds what separates parameters.
	b.vague = b.vague || name == "" || strings.ContainsAny(name, "&=#")
	a := atom{kind: anyValue, field: "queryParams", match: m}
	if !isPresentMatch(m) {
		a.kind, a.lang = in, b.w.language(m, queryText, false)
		if a.lang.universal(b.w) {
			a.kind, a.lang = anyValue, nil
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

// covers: every request that b takes, c takes; proved without automata.
func (c *conditions) covers(b *conditions, w *work) bool {
	if c.never != "" || c.vague || c.mask&^b.mask != 0 || len(c.conds) > len(b.conds) {
		return false
	}
	j := 0
	for i := range c.conds {
		x := &c.conds[i]
		for j < len(b.conds) && (b.conds[j].class < x.class || b.conds[j].class == x.class && b.conds[j].name < x.name) {
			j++
		}
		if j == len(b.conds) || b.conds[j].class != x.class || b.conds[j].name != x.name || !impliedAll(x.atoms, b.conds[j].atoms, w) {
			return false
		}
	}
	return c.uri.contains(b.uri, w)
}

// impliedAll: each of want follows from one of have.
func impliedAll(want, have []atom, w *work) bool {
	for _, y := range want {
		if !w.spend(len(have)) || !slices.ContainsFunc(have, func(x atom) bool { return implies(x, y, w) }) {
			return false
		}
	}
	return true
}

// implies: a header or parameter that fits x fits y.
func implies(x, y atom, w *work) bool {
	if x.missing && !y.missing {
		return false
	}
	switch {
	case y.kind == anyValue || x.kind == noValue:
		return true
	case y.kind == noValue || x.kind == anyValue:
		return false
	case y.kind == in:
		return x.kind == in && y.lang.contains(x.lang, w)
	case x.kind == in:
		return y.lang.disjoint(x.lang, w)
	default:
		return x.lang.contains(y.lang, w)
	}
}

// contradiction says why no request fits, "" when one may.
func (c *conditions) contradiction(r *networking.HTTPMatchRequest, w *work) string {
	if c.uri.empty(w) {
		return "no path fits uri " + shown(r.GetUri()) + `: a path begins with "/", and Istio matches it whole and without the query`
	}
	for _, d := range c.conds {
		for i := range d.atoms {
			if d.unsatisfiable(d.atoms[i:i+1], w) {
				return impossible(d, d.atoms[i])
			}
			for j := range i {
				if d.unsatisfiable([]atom{d.atoms[j], d.atoms[i]}, w) {
					return atomText(d, d.atoms[j]) + " and " + atomText(d, d.atoms[i]) + " exclude each other"
				}
			}
		}
		if len(d.atoms) > 2 && d.unsatisfiable(d.atoms, w) {
			var all []string
			for _, a := range d.atoms {
				all = append(all, atomText(d, a))
			}
			return finding.Truncate(strings.Join(all, ", "), maxCondition) + " exclude each other"
		}
	}
	return ""
}

func (d *condition) unsatisfiable(atoms []atom, w *work) bool {
	x := dimension{class: d.class, name: d.name, atoms: atoms}
	return x.choose(nil, w) == none
}

func impossible(d condition, a atom) string {
	switch a.kind {
	case noValue:
		return atomText(d, a) + " excludes every request, since each has it"
	case out:
		return atomText(d, a) + " excludes every request, since Istio takes a missing header for an empty one"
	default:
		return atomText(d, a) + " fits no value"
	}
}
