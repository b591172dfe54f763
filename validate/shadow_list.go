package validate

// The list of routes that Istio makes of several VirtualServices, decided in its
// order.

import (
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1"
)

// A fate is what becomes of one route of a member; by is what takes its requests,
// none when some reach it.
type fate struct {
	by   []taker
	live bool
}

// fates are those of the routes that are emitted, and not dead by themselves.
type fates map[int]fate

// note adds the verdict about one unit of a route.
func (fs fates) note(route int, v verdict, as func(*unit) taker) {
	f := fs[route]
	f.live = f.live || v.state != Dead
	for _, o := range v.by {
		f.by = append(f.by, as(o))
	}
	fs[route] = f
}

type taker struct {
	of   *member
	unit *unit
	// moved: it is younger, and before only because the other is a catch-all.
	moved bool
}

// merge decides the routes of all members in order, at a gateway.
func (s *shadows) merge(order []*member, gateway string, port uint32) map[*member]fates {
	key := s.mergeKey(order, gateway, port)
	if out, known := s.merged[key]; known {
		return out
	}
	owner := map[*unit]int{}
	out := map[*member]fates{}
	var all []piece
	var cover []*unit
	for _, m := range order {
		out[m] = fates{}
	}
	for _, bare := range []bool{false, true} {
		for k, m := range order {
			for _, p := range s.piecesAt(m, gateway, port) {
				if p.unit.bare != bare || p.idle {
					continue
				}
				p.unit = at(p.unit, gateway)
				owner[p.unit] = k
				all = append(all, p)
				if p.covers {
					cover = append(cover, p.unit)
				}
			}
		}
	}
	c := newCore(s.w, s.self.flat.usual, cover)
	for _, p := range all {
		k := owner[p.unit]
		out[order[k]].note(p.route, c.decide(p.unit), func(o *unit) taker {
			return taker{of: order[owner[o]], unit: o, moved: owner[o] > k}
		})
		if p.covers {
			c.add(p.unit)
		}
	}
	settle(out)
	s.merged[key] = out
	return out
}

// settle drops the takers of routes that some requests reach, and those of itself.
func settle(out map[*member]fates) {
	for m, fs := range out {
		for i, f := range fs {
			f.by = slices.DeleteFunc(f.by, func(t taker) bool { return t.of == m || f.live })
			fs[i] = f
		}
	}
}

func (s *shadows) mergeKey(order []*member, gateway string, port uint32) string {
	var b strings.Builder
	b.WriteString(gateway + " " + strconv.Itoa(int(port)))
	for _, m := range order {
		b.WriteString(" " + m.vs.Namespace + "/" + m.vs.Name)
	}
	return b.String()
}

// own decides the routes of all members in order, at sidecars.
func (s *shadows) own(order []*member) map[*member]fates {
	key := s.mergeKey(order, meshGateway, 0)
	if out, known := s.merged[key]; known {
		return out
	}
	owner := map[*unit]*member{}
	out := map[*member]fates{}
	var cover []*unit
	for _, m := range order {
		for _, u := range owned(s.piecesAt(m, meshGateway, 0), s.w) {
			owner[u] = m
			cover = append(cover, u)
		}
	}
	c := newCore(s.w, s.self.flat.usual, cover)
	for _, m := range order {
		out[m] = fates{}
		for _, p := range s.piecesAt(m, meshGateway, 0) {
			if p.idle {
				continue
			}
			out[m].note(p.route, c.decide(at(p.unit, meshGateway)), func(o *unit) taker { return taker{of: owner[o], unit: o} })
		}
		for len(cover) > 0 && owner[cover[0]] == m {
			c.add(cover[0])
			cover = cover[1:]
		}
	}
	settle(out)
	s.merged[key] = out
	return out
}

// owned are units that take every request of the ports and pods for which there is a
// route: sidecars ask no other VirtualService then.
func owned(pieces []piece, w *work) []*unit {
	var out []*unit
	seen := map[string]bool{}
	for _, p := range pieces {
		r := &networking.HTTPMatchRequest{}
		var key strings.Builder
		for _, d := range p.unit.conds {
			switch d.class {
			case classPort:
				n, _ := strconv.ParseUint(d.atoms[0].lang.value, 10, 32)
				r.Port = uint32(n)
			case classLabel:
				if r.SourceLabels == nil {
					r.SourceLabels = map[string]string{}
				}
				r.SourceLabels[d.name] = d.atoms[0].lang.value
			case classNamespace:
				r.SourceNamespace = d.atoms[0].lang.value
			default:
				continue
			}
			key.WriteString(strconv.Quote(d.name) + strconv.Quote(d.atoms[0].lang.value))
		}
		if !seen[key.String()] {
			seen[key.String()] = true
			out = append(out, &unit{conditions: newConditions(r, w), gateway: meshGateway, route: p.route, entry: p.unit.entry, via: p.unit.via})
		}
	}
	return out
}
