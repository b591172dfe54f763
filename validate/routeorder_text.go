package validate

// The words of the findings. A value of the user's is quoted and cut; a message is
// below 1 KB whatever the object holds.

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"

	networking "istio.io/api/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

const (
	maxMessage   = 1000
	maxValue     = 100 // one quoted value
	maxCondition = 240 // the conditions of one route
)

func httpPath(route int) string { return "spec.http[" + strconv.Itoa(route) + "]" }

func matchPath(route, entry int) string {
	if entry < 0 {
		return httpPath(route)
	}
	return httpPath(route) + ".match[" + strconv.Itoa(entry) + "]"
}

func (u *unit) path() string { return matchPath(u.route, u.entry) }

// quote cuts first: a value can be megabytes long.
func quote(s string) string { return strconv.Quote(finding.Truncate(s, maxValue)) }

// plain leaves out the quotes where none are needed.
func plain(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == '"' }) {
		return quote(s)
	}
	return finding.Truncate(s, maxValue)
}

// matchText is a StringMatch in full, for identity; shown is for reading.
func matchText(m *networking.StringMatch) string { return stringMatch(m, strconv.Quote) }

func shown(m *networking.StringMatch) string { return stringMatch(m, quote) }

func stringMatch(m *networking.StringMatch, quote func(string) string) string {
	kind, value := matchOf(m)
	if kind == "" {
		return "present"
	}
	return kind + " " + quote(value)
}

func atomText(d condition, a atom) string {
	switch a.field {
	case "headers", "withoutHeaders", "queryParams":
		return a.field + " " + quote(d.name) + " " + shown(a.match)
	default:
		return a.field + " " + shown(a.match)
	}
}

// entryText lists the conditions of one entry. Values of headers and parameters may be
// secrets: value writes them, quote all else.
func entryText(r *networking.HTTPMatchRequest, quote, value func(string) string) string {
	if r == nil {
		return "any request"
	}
	var out []string
	add := func(field string, m *networking.StringMatch) {
		if m != nil {
			out = append(out, field+" "+stringMatch(m, quote))
		}
	}
	add("uri", r.Uri)
	if r.IgnoreUriCase {
		out = append(out, "ignoreUriCase")
	}
	add("method", r.Method)
	add("authority", r.Authority)
	add("scheme", r.Scheme)
	for _, f := range []struct {
		name string
		of   map[string]*networking.StringMatch
	}{{"headers", r.Headers}, {"withoutHeaders", r.WithoutHeaders}, {"queryParams", r.QueryParams}} {
		for _, k := range sortedKeys(f.of) {
			out = append(out, f.name+" "+quote(k)+" "+stringMatch(f.of[k], value))
		}
	}
	if r.Port != 0 {
		out = append(out, "port "+strconv.Itoa(int(r.Port)))
	}
	for _, g := range r.Gateways {
		out = append(out, "gateway "+quote(g))
	}
	for _, k := range sortedKeys(r.SourceLabels) {
		out = append(out, "sourceLabels "+quote(k+"="+r.SourceLabels[k]))
	}
	if r.SourceNamespace != "" {
		out = append(out, "sourceNamespace "+quote(r.SourceNamespace))
	}
	if len(out) == 0 {
		return "any request"
	}
	return strings.Join(out, ", ")
}

// RouteText lists the conditions of a route, cut, for who may read them.
func RouteText(r *networking.HTTPRoute) string {
	if len(r.GetMatch()) == 0 {
		return entryText(nil, quote, quote)
	}
	return routeText(r, quote)
}

// TLSRouteText lists the conditions of a TLS route, cut.
func TLSRouteText(r *networking.TLSRoute) string {
	var out []string
	for _, m := range r.GetMatch() {
		text := "sniHosts " + quote(strings.Join(m.GetSniHosts(), ", "))
		if m.GetPort() != 0 {
			text += ", port " + strconv.Itoa(int(m.GetPort()))
		}
		out = append(out, text)
	}
	return finding.Truncate(strings.Join(out, " or "), maxCondition)
}

// routeText lists the conditions of a route, cut; value is as in entryText.
func routeText(r *networking.HTTPRoute, value func(string) string) string {
	if len(r.GetMatch()) == 0 {
		return "no match"
	}
	const most = 3
	var out []string
	for _, m := range r.Match[:min(most, len(r.Match))] {
		out = append(out, entryText(m, quote, value))
	}
	text := finding.Truncate(strings.Join(out, " or "), maxCondition)
	if more := len(r.Match) - most; more > 0 {
		text += " or " + strconv.Itoa(more) + " more"
	}
	return text
}

// matchesText is the identity of a route's matches.
func matchesText(r *networking.HTTPRoute) string {
	var b strings.Builder
	for _, m := range r.GetMatch() {
		b.WriteString(entryText(m, strconv.Quote, strconv.Quote))
		b.WriteByte('\n')
	}
	return b.String()
}

// subject identifies a route wherever it stands: its matches and where it goes.
func subject(r *networking.HTTPRoute) string {
	var b strings.Builder
	b.WriteString(matchesText(r))
	for _, d := range r.GetRoute() {
		b.WriteString("-> " + strconv.Quote(d.GetDestination().GetHost()) + "\n")
	}
	if d := r.GetDelegate(); d != nil {
		b.WriteString("delegate " + strconv.Quote(d.GetNamespace()+"/"+d.GetName()))
	}
	if b.Len() <= 256 {
		return b.String()
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// destination says where a route sends its requests.
func destination(r *networking.HTTPRoute) string {
	switch {
	case r.GetRedirect() != nil:
		return "a redirect"
	case r.GetDirectResponse() != nil:
		return "a direct response " + strconv.Itoa(int(r.GetDirectResponse().GetStatus()))
	case r.GetDelegate() != nil:
		d := r.GetDelegate()
		name := d.GetName()
		if d.GetNamespace() != "" {
			name = d.GetNamespace() + "/" + name
		}
		return "delegate " + plain(name)
	case len(r.GetRoute()) == 0:
		return "no destination"
	}
	d := r.Route[0].GetDestination()
	text := plain(d.GetHost())
	if p := d.GetPort().GetNumber(); p != 0 {
		text += ":" + strconv.Itoa(int(p))
	}
	if s := d.GetSubset(); s != "" {
		text += " subset " + plain(s)
	}
	if more := len(r.Route) - 1; more > 0 {
		text += " and " + strconv.Itoa(more) + " more"
	}
	return text
}

// paths lists route paths, runs of three and more as "spec.http[1] to spec.http[9]", cut.
func paths(routes []int, most int) string {
	var b strings.Builder
	for i := 0; i < len(routes) && b.Len() <= most; { // what is behind is cut off
		j := i
		for j+1 < len(routes) && routes[j+1] == routes[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(httpPath(routes[i]))
		if j-i >= 2 {
			b.WriteString(" to " + httpPath(routes[j]))
			i = j
		}
		i++
	}
	return finding.Truncate(b.String(), most)
}
