package validate

// The message and the remedy of one finding. The message says what is dead, what
// takes its requests, and an example; the remedy gives the order that works.

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// maxCovering bounds the covering matches that are named.
const maxCovering = 8

func (j *judgement) detailed(it *item) finding.Finding {
	f := finding.Finding{
		Code: it.code, Severity: it.severity, Object: j.object(), Path: it.path(),
		Subject: j.subject(it.verdict.route),
	}
	by := it.by()
	for _, o := range by {
		if p := o.path(); !slices.Contains(f.CoveredBy, p) && len(f.CoveredBy) < maxCovering {
			f.CoveredBy = append(f.CoveredBy, p)
		}
	}
	sentence := j.sentence(it, by)
	f.Summary = finding.Truncate(sentence, maxMessage)
	parts := []string{sentence}
	var text string
	if f.Example, text = j.example(it); text != "" {
		parts = append(parts, text)
	}
	if o := it.rootless; o != nil {
		f.Notes = append(f.Notes, "This is a delegate: there are root matches under which Istio leaves "+httpPath(o.route)+
			" out for a conflict, or widens "+f.Path+", and then it is live.")
	}
	if text = j.dashHint(it, by); text != "" {
		f.Notes = append(f.Notes, text)
	}
	f.Message = finding.Truncate(strings.Join(append(parts, f.Notes...), " "), maxMessage)
	f.Remedy = finding.Truncate(j.remedy(it, by), maxMessage)
	if it.entry == nil && len(by) > 0 {
		if order := j.arrange().order; len(order) == len(j.flat.routes) {
			f.Order = order
		}
	}
	return f
}

func (it *item) by() []*unit {
	if it.sibling != nil {
		return []*unit{it.sibling}
	}
	if it.entry != nil {
		return it.entry.verdict.by
	}
	return it.verdict.by
}

func (j *judgement) sentence(it *item, by []*unit) string {
	what := j.subjectText(it)
	if it.sibling != nil {
		return what + " adds nothing: " + j.coveringText(by) + " of the same route takes all its requests too."
	}
	if len(by) == 0 {
		return what + " can never match: " + j.contradiction(it) + "."
	}
	covering := j.coveringText(by)
	takes := " takes"
	if strings.Contains(covering, " and spec.http[") {
		takes = " take"
	}
	if it.code != finding.CatchAllNotLast {
		return what + " can never match: " + covering + takes + " all its requests first."
	}
	lead := "A route behind a catch-all gets no request, and Istio does not say so: "
	if !slices.ContainsFunc(by, func(u *unit) bool { return !u.bare }) {
		lead = "Istio silently drops every route after a catch-all: "
	}
	return lead + covering + takes + " every request" + scope(by) + ", so " + what + " can never match."
}

// subjectText names the dead route, or match, by its place, name, condition and
// destination.
func (j *judgement) subjectText(it *item) string {
	r := j.http(it.verdict.route)
	name := ""
	if r.GetName() != "" {
		name = " " + quote(r.GetName())
	}
	if u := it.entry; u != nil {
		return u.path() + " (" + finding.Truncate(entryText(j.match(u), quote, quote), maxCondition) + ")"
	}
	return it.path() + name + " (" + routeText(r, quote) + ", to " + destination(r) + ")"
}

func (j *judgement) contradiction(it *item) string {
	if it.entry != nil {
		return it.entry.never
	}
	return j.flat.routes[it.verdict.route].judged[0].never
}

func (j *judgement) coveringText(by []*unit) string {
	var out []string
	for _, o := range by {
		text := o.path() + " ("
		if o.entry < 0 {
			text += "no match"
		} else {
			text += finding.Truncate(entryText(j.match(o), quote, quote), maxCondition)
		}
		if o.via != "" {
			text += ", through " + o.via
		}
		if text += ")"; !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	const most = 2
	if more := len(out) - most; more > 0 {
		out = append(out[:most], count(more, "other", "others"))
	}
	return strings.Join(out, " and ")
}

// scope says where a catch-all that is in force only somewhere is.
func scope(by []*unit) string {
	var out []string
	for _, u := range by {
		for _, d := range u.conds {
			text := ""
			switch d.class {
			case classPort:
				text = "on port " + d.atoms[0].lang.value
			case classLabel:
				text = "from source label " + plain(d.name+"="+d.atoms[0].lang.value)
			case classNamespace:
				text = "from source namespace " + plain(d.atoms[0].lang.value)
			default:
			}
			if text != "" && !slices.Contains(out, text) && len(out) < 3 {
				out = append(out, text)
			}
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " " + strings.Join(out, " and ")
}

// example is one request and where it goes instead, and the sentence that says so; nil
// where none is known.
func (j *judgement) example(it *item) (example *finding.Example, text string) {
	if it.sibling != nil {
		return nil, ""
	}
	route := it.verdict.route
	u := it.entry
	if u == nil {
		judged := j.flat.routes[route].judged
		i := slices.IndexFunc(judged, func(u *unit) bool { return u.never == "" })
		if i < 0 {
			return nil, ""
		}
		u = judged[i]
	}
	r, taker := u.verdict.request, u.verdict.taker
	if r == nil || taker == nil || taker.route == route {
		return nil, ""
	}
	at := ""
	if j.flat.several && !j.flat.delegate {
		at = j.flat.gatewayOf(u)
	}
	example = &finding.Example{Request: r.text(at), GoesTo: destination(j.http(taker.route)), By: taker.path()}
	if there := destination(j.http(route)); there != example.GoesTo {
		example.InsteadOf = there
	}
	text = "For example, " + example.Request + " goes to " + example.GoesTo
	if example.InsteadOf == "" || !slices.ContainsFunc(it.by(), func(o *unit) bool { return o.route == taker.route }) {
		text += " by " + example.By
	}
	if example.InsteadOf != "" {
		text += " instead of " + example.InsteadOf
	}
	return example, text + "."
}

// dashHint: a covering entry and a sibling that set different fields and, as one
// entry, would leave the dead one alone, were perhaps meant as one: a stray dash
// turns AND into OR (istio #36156, #52007).
func (j *judgement) dashHint(it *item, by []*unit) string {
	u := it.entry
	if u == nil {
		u = j.flat.routes[it.verdict.route].judged[0]
	}
	if len(by) == 0 || by[0].via != "" || it.sibling != nil {
		return ""
	}
	c := by[0]
	matches := j.http(c.route).GetMatch()
	for k, s := range matches[:min(len(matches), 2*maxCovering)] {
		a := j.match(c)
		if k == c.entry || a == nil || s == nil || c.route == u.route && k == u.entry || !apartFields(a, s) {
			continue
		}
		one := newConditions(mergeMatch(a, s), j.w)
		if one.never == "" && !one.covers(u.conditions, j.w) {
			return "The entries of a match list are alternatives: if " + c.path() + " and " + matchPath(c.route, k) +
				" are meant to hold together, make them one entry, without the second dash."
		}
	}
	return ""
}

// apartFields: no field is set in both, and each sets one.
func apartFields(a, b *networking.HTTPMatchRequest) bool {
	x, y := fields(a), fields(b)
	return x != 0 && y != 0 && x&y == 0
}

func fields(r *networking.HTTPMatchRequest) (set int) {
	for i, is := range []bool{
		r.Uri != nil || r.IgnoreUriCase, r.Scheme != nil, r.Method != nil, r.Authority != nil,
		len(r.Headers) > 0, len(r.WithoutHeaders) > 0, len(r.QueryParams) > 0, r.Port != 0,
		len(r.SourceLabels) > 0, r.SourceNamespace != "", len(r.Gateways) > 0,
	} {
		if is {
			set |= 1 << i
		}
	}
	return set
}

func (j *judgement) remedy(it *item, by []*unit) string {
	switch {
	case len(by) == 0:
		return "Correct or delete " + it.path() + "."
	case it.entry != nil && by[0].route == it.verdict.route:
		return "Delete " + it.path() + "."
	case it.entry != nil:
		return "Delete " + it.path() + ", or move it to a route before " + httpPath(by[0].route) + "."
	}
	i := it.verdict.route
	a := j.arrange()
	if o, ok := a.duplicates[i]; ok {
		text := httpPath(i) + " matches the same requests as " + httpPath(o) +
			": no order makes both live. Delete one of them."
		return text
	}
	if others, ok := a.conflicts[i]; ok {
		return "No order makes " + httpPath(i) + " live beside " + paths(others, maxCondition) +
			", since each order leaves one of them without requests. Narrow or delete one of them."
	}
	if a.order == nil {
		return "No order was found in which every route is live: narrow the match of " + by[0].path() +
			", or delete " + httpPath(i) + "."
	}
	text := ""
	for anchor, routes := range a.moved {
		if slices.Contains(routes, i) {
			text = j.moveText(anchor, routes)
		}
	}
	if j.orderSentence == "" {
		j.orderSentence = "The order that works"
		if left := len(j.flat.routes) - len(a.order); left > 0 {
			j.orderSentence += " for all but the " + count(left, "route that no order saves", "routes that no order saves")
		}
		j.orderSentence += ": " + j.orderText(a.order) + "."
	}
	return text + j.orderSentence
}

// moveText asks to put routes before another one.
func (j *judgement) moveText(anchor int, routes []int) string {
	if j.moveTexts[anchor] == "" {
		if j.moveTexts == nil {
			j.moveTexts = map[int]string{}
		}
		j.moveTexts[anchor] = "Put " + paths(routes, maxCondition) + " before " + httpPath(anchor) + ". "
	}
	return j.moveTexts[anchor]
}

// orderText lists the routes with their conditions while that stays readable.
func (j *judgement) orderText(order []int) string {
	const readable, short = 700, 6
	if len(order) <= short {
		var out []string
		for _, i := range order {
			out = append(out, httpPath(i)+" ("+routeText(j.http(i), quote)+")")
		}
		if text := strings.Join(out, ", "); len(text) <= readable {
			return text
		}
	}
	return paths(order, readable)
}
