package validate

// One dimension of a request: its path, one header, one query parameter, its port.
// A search asks atoms of it, and it chooses a value that fits them all.

import (
	"slices"

	networking "istio.io/api/networking/v1"
)

type dimension struct {
	class class
	name  string
	atoms []atom

	value string
	there bool
	// blurred: that a value fits is all that is known, or not even that.
	blurred bool
}

// usual are the values tried first. For what no entry names, they are the values
// of a request that says nothing of it.
type usual struct {
	authority       []string
	port, namespace string
}

var (
	usualMethods = []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"}
	usualSchemes = []string{"http", "https"}
	usualValues  = []string{"x", "1", "other"}
)

func (u *usual) values(c class, name string) []string {
	switch {
	case c == classPort:
		return []string{u.port}
	case c == classNamespace:
		return []string{u.namespace}
	case c != classHeader:
		return usualValues
	case name == ":method":
		return usualMethods
	case name == ":scheme":
		return usualSchemes
	case name == ":authority":
		return u.authority
	default:
		return usualValues
	}
}

// always: each request has a value.
func (d *dimension) always() bool {
	return d.class == classPath || d.class == classPort || d.class == classNamespace || d.class == classHeader && alwaysThere(d.name)
}

// unnamed returns the dimension of a request that says nothing of it.
func unnamed(c class, name string, u *usual) dimension {
	d := dimension{class: c, name: name}
	if d.there = d.always(); d.there {
		if name == ":path" {
			d.blurred = true // it follows from path and query
		} else {
			d.value = u.values(c, name)[0]
		}
	}
	return d
}

func (d *dimension) universe() universe {
	switch d.class {
	case classPath:
		return pathText
	case classQuery:
		return queryText
	case classHeader:
		return universeOf(d.name)
	default:
		return headerText
	}
}

// choose sets a value that fits all atoms. none is a proof that there is none;
// unsure leaves the dimension blurred.
func (d *dimension) choose(u *usual, w *work) outcome {
	d.value, d.blurred = "", false
	missing, there := !d.always(), true
	for _, a := range d.atoms {
		missing = missing && a.missing
		there = there && a.kind != noValue
	}
	d.there = !missing
	if missing {
		return found
	}
	if !there {
		return none
	}
	var yes, no []*language
	opaque := false
	for _, a := range d.atoms {
		switch {
		case a.kind == anyValue:
		case a.kind == in && !slices.Contains(yes, a.lang):
			yes = append(yes, a.lang)
		case a.kind == out && !slices.Contains(no, a.lang):
			no = append(no, a.lang)
		}
		opaque = opaque || a.lang != nil && a.lang.opaque
	}
	if !w.spend(10 + len(d.atoms) + 4*len(yes)*len(no)) {
		d.blurred = true
		return unsure
	}
	for i, y := range yes {
		if slices.ContainsFunc(no, func(n *language) bool { return n.contains(y, w) }) ||
			slices.ContainsFunc(yes[:i], func(z *language) bool { return z.disjoint(y, w) }) {
			return none
		}
	}
	s := specimen{}
	switch {
	case d.class == classClaim:
		s = d.claim()
	case opaque:
	case len(yes) == 1 && len(no) == 0 && len(yes[0].over) == 1 && yes[0].over[0].single():
		s = yes[0].sample(w)
	default:
		s = d.guess(yes, no, u, w)
	}
	d.value, d.blurred = s.text, s.outcome == unsure
	return s.outcome
}

// guess tries the usual values, then searches.
func (d *dimension) guess(yes, no []*language, u *usual, w *work) specimen {
	if u != nil && d.class != classPath {
		for _, v := range u.values(d.class, d.name) {
			if d.fits(v, w) {
				return specimen{v, found}
			}
		}
	}
	if len(yes) == 1 {
		s := yes[0].sample(w)
		if s.outcome == none || s.outcome == found && (len(no) == 0 || d.fits(s.text, w)) {
			return s
		}
	}
	return w.find(d.universe(), yes, no)
}

// fits: the value is proved to fit all atoms.
func (d *dimension) fits(value string, w *work) bool {
	for _, a := range d.atoms {
		if yes, known := a.test(value, true, w); !yes || !known {
			return false
		}
	}
	return true
}

// claim returns a value of a JWT claim that a single atom asks for. Whether
// several hold together, a token may decide that has the claim several times.
func (d *dimension) claim() specimen {
	a := d.atoms[0]
	for _, b := range d.atoms[1:] {
		if !b.equal(a) {
			return specimen{}
		}
	}
	if a.kind != in {
		return specimen{}
	}
	switch kind, value := matchOf(a.match); {
	case kind == "exact" || kind == "prefix" && value != "":
		return finish(value, headerText)
	default: // of a claim that is only to be present, Istio makes a matcher without a pattern
		return specimen{}
	}
}

// meets tells whether the chosen value fits one more atom.
func (d *dimension) meets(a atom, w *work) (yes, known bool) {
	if !d.there {
		return a.missing, true
	}
	if !d.blurred {
		if yes, known = a.test(d.value, true, w); known {
			return yes, true
		}
	}
	if a.kind == anyValue || a.kind == noValue {
		return a.kind == anyValue, true
	}
	for _, b := range d.atoms {
		if b.lang == a.lang && (b.kind == in || b.kind == out) {
			return b.kind == a.kind, true
		}
	}
	return false, false
}

// claimLanguage is opaque: known by its text alone.
func claimLanguage(m *networking.StringMatch, w *work) *language {
	return w.named(languageKey{universe: headerText, kind: claim, value: matchText(m)})
}
