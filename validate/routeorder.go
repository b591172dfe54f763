package validate

// Route order: no route of a VirtualService may be dead.
//
// Reads spec.http and spec.gateways of one VirtualService, and the delegates it
// names. Refuses (error) a route that no request can reach: CatchAllNotLast when an
// earlier match takes every request, because Istio drops the rest in silence;
// UnreachableRoute when earlier matches, alone or together, take all requests of
// this one, or when it contradicts itself. Warns (IneffectiveMatch) of a match that
// is dead in a live route, or that a later one of the route makes superfluous.
// Allows whatever it cannot prove: users were refused right orders before, and lost
// trust (istio #36729).
//
// In a delegate, judged without its roots, an earlier route counts for an error only
// if no root can leave it out; otherwise the finding is a warning (see survives).

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// Delegates looks up the VirtualService that a delegate names; nil when unknown.
type Delegates func(namespace, name string) *networkingv1.VirtualService

// maxDetailed bounds the findings that are spelt out; one more of each severity
// counts the rest.
const maxDetailed = 20

// RouteOrder returns a finding for each dead route and each dead match of vs, in
// their order, errors first, at most maxDetailed of them and two that count the rest.
func RouteOrder(vs *networkingv1.VirtualService, delegates Delegates) []finding.Finding {
	findings, _ := RouteOrderUpdate(nil, vs, delegates)
	return findings
}

// RouteOrderUpdate is RouteOrder for an update: errors that the old object had
// already are warnings. It does what finding.Ratchet does, but before the bound, so
// that a finding which was only counted is known too. old may be nil or tell nil, and is
// asked only if there are errors.
//
// undecided are the places of match entries of which the work budget did not tell
// whether a request reaches them. Nothing is found about those.
func RouteOrderUpdate(old func() *networkingv1.VirtualService, vs *networkingv1.VirtualService, delegates Delegates) (findings []finding.Finding, undecided []string) {
	if vs != nil && nothingFound(vs) {
		return nil, nil
	}
	j := newJudgement(vs, delegates)
	if j == nil {
		return nil, []string{"spec.http"}
	}
	if old != nil && j.hasErrors() {
		if o := newJudgement(old(), delegates); o != nil {
			j.ratchet(o)
		}
	}
	return j.findings(), j.undecided
}

// WorkingOrder returns the order of spec.http, as indices, in which every route is
// live that an order can make live beside those that are live already: the given one
// where none is found that does better, else the one in which routes move only to get
// in front of those that cover them, and those that stay dead come last. ok says that
// none stays dead. order is nil for an object that is not judged.
func WorkingOrder(vs *networkingv1.VirtualService, delegates Delegates) (order []int, ok bool) {
	j := newJudgement(vs, delegates)
	if j == nil {
		return nil, false
	}
	dead := 0
	for _, it := range j.items {
		if it.verdict.dead {
			dead++
		}
	}
	given := make([]int, len(vs.Spec.Http))
	for i := range given {
		given[i] = i
	}
	if dead == 0 {
		return given, true
	}
	placed := map[int]bool{}
	for _, i := range j.arrange().order {
		placed[i] = true
	}
	left := len(given) - len(placed)
	if left >= dead {
		return given, false
	}
	return slices.Concat(j.plan.order, slices.DeleteFunc(given, func(i int) bool { return placed[i] })), left == 0
}

// Overtaking returns the routes that are live as vs has them and that an order of them puts
// in front of others that are live too, ahead of which they were not: such a route may take
// requests that others had. It is rare that an order needs that.
func Overtaking(vs *networkingv1.VirtualService, delegates Delegates, order []int) []int {
	j := newJudgement(vs, delegates)
	if j == nil {
		return nil
	}
	dead := map[int]bool{}
	for _, it := range j.items {
		if it.verdict.dead {
			dead[it.verdict.route] = true
		}
	}
	var out []int
	least := len(order)
	for _, i := range slices.Backward(order) {
		if dead[i] {
			continue
		}
		if i > least {
			out = append(out, i)
		}
		least = min(least, i)
	}
	slices.Sort(out)
	return out
}

// An item is a finding before it is put into words.
type item struct {
	code     finding.Code
	severity finding.Severity
	verdict  routeVerdict
	entry    *unit // of IneffectiveMatch
	// sibling is a later entry of the same route that makes a live one superfluous.
	sibling *unit
	// rootless: dead only if no root leaves this earlier unit out.
	rootless *unit
}

func (it *item) path() string {
	if it.entry != nil {
		return it.entry.path()
	}
	return httpPath(it.verdict.route)
}

type judgement struct {
	flat  *flat
	items []*item
	// undecided are the places of entries that are not known to be dead or live.
	undecided []string
	w         *work
	core      *core // holds all routes
	plan      *arrangement
	// subjects holds those of routes already asked for: a route can be large.
	subjects map[int]string
	// orderSentence and moveTexts, by route, are parts of remedies, which many findings have in
	// common.
	orderSentence string
	moveTexts     map[int]string
}

func (j *judgement) subject(route int) string {
	s, ok := j.subjects[route]
	if !ok {
		s = subject(j.http(route))
		j.subjects[route] = s
	}
	return s
}

func newJudgement(vs *networkingv1.VirtualService, delegates Delegates) *judgement {
	if vs == nil || foreignSemantics(vs) {
		return nil
	}
	w := newWork()
	f, ok := flatten(vs, delegates, w)
	if !ok {
		return nil
	}
	j := &judgement{flat: f, w: w, subjects: map[int]string{}}
	c := newCore(w, f.usual, f.cover(nil))
	j.core = c
	var newItem slab[item]
	for i := range f.routes {
		if f.routes[i].http == nil {
			continue
		}
		v := judge(c, f, i)
		if v.dead {
			it := newItem.next()
			j.items = append(j.items, it)
			*it = j.deadRoute(v)
		}
		for _, e := range v.entries {
			it := newItem.next()
			j.items = append(j.items, it)
			*it = item{code: finding.IneffectiveMatch, severity: finding.Warning, verdict: v, entry: e.unit, sibling: e.sibling}
		}
		for units := range byEntry(f.routes[i].judged) {
			if stateOf(units) == Unknown {
				j.undecided = append(j.undecided, units[0].path())
			}
		}
	}
	return j
}

func (j *judgement) hasErrors() bool {
	return slices.ContainsFunc(j.items, func(it *item) bool { return it.severity == finding.Error })
}

// foreignSemantics: istiod marks what it makes of an Ingress or a Gateway API route
// so, and then takes a prefix for whole path segments (UseGatewaySemantics).
func foreignSemantics(vs *networkingv1.VirtualService) bool {
	switch vs.Annotations["internal.istio.io/route-semantics"] {
	case "gateway", "ingress":
		return true
	default:
		return false
	}
}

func (j *judgement) deadRoute(v routeVerdict) item {
	it := item{code: finding.UnreachableRoute, severity: finding.Error, verdict: v}
	if len(v.by) > 0 && !slices.ContainsFunc(v.by, func(u *unit) bool { return !u.catchAll }) {
		it.code = finding.CatchAllNotLast
	}
	if !j.flat.delegate {
		return it
	}
	for _, u := range j.flat.routes[v.route].judged {
		for _, o := range v.by {
			if !survives(j.http(o.route), j.match(u)) {
				it.severity, it.rootless = finding.Warning, o
				return it
			}
		}
	}
	return it
}

func (j *judgement) http(i int) *networking.HTTPRoute { return j.flat.routes[i].http }

// match is the unit's entry as the user wrote it.
func (j *judgement) match(u *unit) *networking.HTTPMatchRequest {
	if matches := j.http(u.route).GetMatch(); u.entry >= 0 && u.entry < len(matches) {
		return matches[u.entry]
	}
	return nil
}

// ratchet lowers what old has too.
func (j *judgement) ratchet(old *judgement) {
	key := func(j *judgement, it *item) string {
		return string(it.code) + "\n" + j.subject(it.verdict.route)
	}
	had := map[string]int{}
	for _, it := range old.items {
		if it.severity == finding.Error {
			had[key(old, it)]++
		}
	}
	if len(had) == 0 {
		return
	}
	for _, it := range j.items {
		if it.severity != finding.Error {
			continue
		}
		if k := key(j, it); had[k] > 0 {
			had[k]--
			it.severity = finding.Warning
		}
	}
}

func (j *judgement) findings() []finding.Finding {
	items := j.items
	bySeverity := func(a, b *item) int { return cmp.Compare(a.severity, b.severity) } // "error" first
	if !slices.IsSortedFunc(items, bySeverity) {
		items = slices.Clone(items)
		slices.SortStableFunc(items, bySeverity)
	}
	var out []finding.Finding
	for _, it := range items[:min(maxDetailed, len(items))] {
		out = append(out, j.detailed(it))
	}
	rest := items[len(out):]
	if len(rest) == 1 {
		return append(out, j.detailed(rest[0]))
	}
	errors := slices.IndexFunc(rest, func(it *item) bool { return it.severity != finding.Error })
	if errors < 0 {
		errors = len(rest)
	}
	out = j.counted(out, rest[:errors])
	return j.counted(out, rest[errors:])
}

// counted appends one finding for all of rest, which have one severity.
func (j *judgement) counted(out []finding.Finding, rest []*item) []finding.Finding {
	if len(rest) == 0 {
		return out
	}
	var routes, entries []int
	for _, it := range rest {
		if it.entry == nil {
			routes = append(routes, it.verdict.route)
		} else {
			entries = append(entries, it.verdict.route)
		}
	}
	f := finding.Finding{
		Code: finding.UnreachableRoute, Severity: rest[0].severity, Object: j.object(), Path: "spec.http",
		Remedy: "Correct the routes named one by one first.",
	}
	var what []string
	if n := len(routes); n > 0 {
		what = append(what, count(n, "more dead route", "more dead routes")+": "+paths(routes, maxCondition))
	} else {
		f.Code = finding.IneffectiveMatch
	}
	if n := len(entries); n > 0 {
		what = append(what, count(n, "more dead match", "more dead matches")+" in "+paths(slices.Compact(entries), maxCondition))
	}
	f.Message = "And " + strings.Join(what, "; and ") + "."
	return append(out, f)
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}

func (j *judgement) object() finding.Object {
	vs := j.flat.vs
	return finding.Object{
		APIVersion: cmp.Or(vs.APIVersion, "networking.istio.io/v1"), Kind: cmp.Or(vs.Kind, "VirtualService"),
		Namespace: vs.Namespace, Name: vs.Name,
	}
}

// arrange works the order out once.
func (j *judgement) arrange() arrangement {
	if j.plan == nil {
		deadBy, never := make([][]*unit, len(j.flat.routes)), map[int]bool{}
		for _, it := range j.items {
			switch v := &it.verdict; {
			case v.never:
				never[v.route] = true
			case v.dead:
				deadBy[v.route] = v.by
			}
		}
		w := &work{left: budget / 2, memory: j.w.memory}
		a := arrange(j.flat, j.core, deadBy, never, w)
		j.plan = &a
	}
	return *j.plan
}
