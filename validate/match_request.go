package validate

// An example request of a unit, for the message: a request that it provably takes,
// and the first unit before it that provably takes it instead. Where either is
// unknown there is no example.

import (
	"maps"
	"regexp/syntax"
	"slices"
	"strings"
)

type request struct {
	path    string
	headers map[string]string // with :method, :authority, :scheme
	query   map[string]string
	// port 0 is one that no entry names, and so with namespace and labels.
	port, namespace string
	labels          map[string]string
	gateway         string
}

// example returns a request that u takes, nil when none is found.
func (u *unit) example(m *meter) *request {
	r := &request{
		gateway: u.gateway,
		headers: map[string]string{":method": "GET", ":authority": "", ":scheme": "http"},
		query:   map[string]string{},
		labels:  map[string]string{},
	}
	path, ok := u.uri.sample(m)
	if !ok {
		return nil
	}
	r.path = path
	for _, d := range u.conds {
		switch d.class {
		case classPort:
			r.port = d.atoms[0].id
		case classNamespace:
			r.namespace = d.atoms[0].id
		case classLabel:
			r.labels[d.name] = d.atoms[0].id
		case classHeader:
			ok = fill(r.headers, d, m)
		case classQuery:
			ok = fill(r.query, d, m)
		default:
			ok = false
		}
		if !ok {
			return nil
		}
	}
	return r
}

// fill sets a value that fits all atoms.
func fill(values map[string]string, d condition, m *meter) bool {
	tries := make([]string, 0, 4)
	if v, ok := values[d.name]; ok {
		tries = append(tries, v)
	} else if fits(d, "", false, m) {
		return true
	}
	for _, a := range d.atoms {
		if a.kind == in {
			if v, ok := a.lang.sample(m); ok {
				tries = append(tries, v)
			}
		}
	}
	tries = append(tries, "x", "", "other")
	for _, v := range tries {
		if fits(d, v, true, m) {
			values[d.name] = v
			return true
		}
	}
	return false
}

// fits: the value, or its absence, provably satisfies the condition.
func fits(d condition, value string, there bool, m *meter) bool {
	for _, a := range d.atoms {
		if yes, known := a.test(value, there, m); !yes || !known {
			return false
		}
	}
	return true
}

func (a atom) test(value string, there bool, m *meter) (yes, known bool) {
	switch a.kind {
	case present:
		return there, true
	case absent:
		return !there, true
	case in:
		if !there {
			return false, true
		}
		return a.lang.test(value, m)
	case notIn:
		yes, known = a.lang.test(value, m)
		return !yes, known
	default:
		return false, false
	}
}

func (l *language) test(s string, m *meter) (yes, known bool) {
	if l.accepts(s, m) {
		return true, true
	}
	return false, l.rejects(s, m)
}

// takes answers for a concrete request.
func (u *unit) takes(r *request, m *meter) (yes, known bool) {
	if u.never != "" || u.gateway != r.gateway {
		return false, true
	}
	all := true // provably, so far
	if yes, known := u.uri.test(r.path, m); known && !yes {
		return false, true
	} else if !known {
		all = false
	}
	for _, d := range u.conds {
		yes, known := r.meets(d, m)
		if known && !yes {
			return false, true
		}
		all = all && known
	}
	return all, all
}

func (r *request) meets(d condition, m *meter) (yes, known bool) {
	switch d.class {
	case classPort:
		return d.atoms[0].id == r.port, true
	case classNamespace:
		return d.atoms[0].id == r.namespace, true
	case classLabel:
		v, ok := r.labels[d.name]
		return ok && v == d.atoms[0].id, true
	case classHeader, classQuery:
		values := r.headers
		if d.class == classQuery {
			values = r.query
		} else if d.name == ":path" || d.name == "host" {
			return false, false // derived from what else the request has
		}
		v, there := values[d.name]
		for _, a := range d.atoms {
			if yes, known := a.test(v, there, m); !yes || !known {
				return false, known
			}
		}
		return true, true
	default:
		return false, false
	}
}

// sample returns a string of the language.
func (l *language) sample(m *meter) (string, bool) {
	for _, s := range l.over {
		v := s.value
		if s.prefix {
			v += strings.Repeat("x", s.more)
		}
		if len(v) < maxRegex && l.accepts(v, m) {
			return v, true
		}
	}
	if l.size == 0 {
		return "", false
	}
	re, err := syntax.Parse(l.regex, syntax.Perl)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	sampleRegex(re, &b)
	return b.String(), b.Len() < maxRegex && l.accepts(b.String(), m)
}

// sampleRegex writes a short string that fits, assertions aside; the caller tries
// it.
func sampleRegex(re *syntax.Regexp, b *strings.Builder) {
	if b.Len() > maxRegex {
		return
	}
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
		return
	case syntax.OpCharClass:
		b.WriteRune(sampleClass(re.Rune))
		return
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
		return
	case syntax.OpStar, syntax.OpQuest:
		return
	case syntax.OpRepeat:
		n = re.Min
	}
	subs := re.Sub
	if re.Op == syntax.OpAlternate {
		subs = subs[:1]
	}
	for range n {
		for _, sub := range subs {
			sampleRegex(sub, b)
		}
	}
}

func sampleClass(ranges []rune) rune {
	in := func(r rune) bool {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= r && r <= ranges[i+1] {
				return true
			}
		}
		return false
	}
	for _, r := range "x1aA0-_./" {
		if in(r) {
			return r
		}
	}
	if len(ranges) > 0 {
		return ranges[0]
	}
	return 'x'
}

// text renders the request: what is not said is of no account. at is the name of
// its gateway, "" when there is only one.
func (r *request) text(at string) string {
	path := r.path
	if len(r.query) > 0 {
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(r.query)) {
			pairs = append(pairs, k+"="+r.query[k])
		}
		path += "?" + strings.Join(pairs, "&")
	}
	out := r.headers[":method"] + " " + plain(path)
	var with []string
	if v := r.headers[":authority"]; v != "" {
		with = append(with, "authority "+plain(v))
	}
	if v := r.headers[":scheme"]; v != "http" {
		with = append(with, "scheme "+plain(v))
	}
	for _, k := range slices.Sorted(maps.Keys(r.headers)) {
		if !alwaysThere(k) {
			with = append(with, "header "+plain(k)+": "+plain(r.headers[k]))
		}
	}
	if r.port != "" {
		with = append(with, "port "+r.port)
	}
	if at != "" {
		with = append(with, "gateway "+plain(at))
	}
	for _, k := range slices.Sorted(maps.Keys(r.labels)) {
		with = append(with, "source label "+plain(k+"="+r.labels[k]))
	}
	if r.namespace != "" {
		with = append(with, "source namespace "+plain(r.namespace))
	}
	if len(with) > 0 {
		out += " (" + strings.Join(with, ", ") + ")"
	}
	return out
}
