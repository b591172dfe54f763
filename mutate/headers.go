package mutate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// The headers that a TLS target needs, as they are written.
const (
	HostHeader           = "Host"
	ForwardedProtoHeader = "X-Forwarded-Proto"
)

// HeaderEdit is one header that lacks.
type HeaderEdit struct {
	Edit
	// Route and Destination are the place; Destination -1: the route itself.
	Route, Destination int
	Name, Value        string
}

// Place returns the field that gets the header, such as spec.http[0] or
// spec.http[0].route[1].
func (e HeaderEdit) Place() string { return routePath(e.Route, e.Destination) }

// Headers decides which request headers the routes of a VirtualService lack: Host with the
// target's host, so that the external server recognises the request, and
// X-Forwarded-Proto: https, for each destination that is a target in its world.
//
// They go on the route when all its destinations are targets of one host, else
// on the destination. What the user sets, adds or removes is never overwritten;
// header names compare without case, ":authority" is Host. Where any authority
// is set for a destination, none is added: Istio refuses two
// (validateAuthorityRewrite), and an authority on the route silently wins over
// the destination's (processDestination). A Host by the user that is not the
// target's is the warning HostHeaderMismatch.
//
// A delegate's route without headers or rewrite has those of its root
// (mergeHTTPRoute), and would lose them to headers of its own: there they go on
// the destinations.
func Headers(leads *mesh.Leads) ([]HeaderEdit, []finding.Finding) {
	w, vs := leads.World, leads.VirtualService
	var edits []HeaderEdit
	var findings []finding.Finding
	var hosts []string // of the targets of one route
	for ri, r := range vs.Spec.GetHttp() {
		if !mesh.Sends(r) {
			continue
		}
		var some bool
		if hosts, some = targetHosts(hosts[:0], leads, vs, r); !some {
			continue
		}
		above := inherited(w, vs, r)
		lack := lacking(r, above, ri, hosts, HostHeader, func(host string) string { return host })
		lack = append(lack, lacking(r, above, ri, hosts, ForwardedProtoHeader, func(string) string { return "https" })...)
		// By place: one line of text and one look of the reader each.
		slices.SortStableFunc(lack, func(a, b HeaderEdit) int { return cmp.Compare(a.Destination, b.Destination) })
		edits = append(edits, lack...)
		findings = append(findings, mismatches(vs, r, ri, hosts)...)
	}
	return edits, findings
}

// inherited returns what a route of a delegate takes from the root routes that
// lead to it, and that is not empty: headers where it has none of its own, and the
// rewrite likewise.
func inherited(w *mesh.World, vs *networkingv1.VirtualService, r *networking.HTTPRoute) []*networking.HTTPRoute {
	if !mesh.IsDelegate(vs) {
		return nil
	}
	var out []*networking.HTTPRoute
	for _, s := range w.RootRoutes(vs) {
		root := s.VirtualService.Spec.GetHttp()[s.Route]
		from := &networking.HTTPRoute{}
		if r.GetHeaders() == nil {
			from.Headers = root.GetHeaders()
		}
		if r.GetRewrite() == nil {
			from.Rewrite = root.GetRewrite()
		}
		if from.GetHeaders() != nil || from.GetRewrite() != nil {
			out = append(out, from)
		}
	}
	return out
}

// targetHosts appends the target host of each destination to hosts, "" for those that are
// no target, and reports whether there is one.
func targetHosts(hosts []string, leads *mesh.Leads, vs *networkingv1.VirtualService, r *networking.HTTPRoute) (all []string, some bool) {
	for _, d := range r.GetRoute() {
		host := ""
		if len(leads.Targets(r, d.GetDestination())) > 0 {
			host, some = mesh.ResolveHost(d.GetDestination().GetHost(), vs.Namespace), true
		}
		hosts = append(hosts, host)
	}
	return hosts, some
}

func lacking(r *networking.HTTPRoute, above []*networking.HTTPRoute, ri int, hosts []string, name string, value func(host string) string) []HeaderEdit {
	uniform := true
	for _, on := range append([]*networking.HTTPRoute{r}, above...) {
		if touches(on.GetHeaders(), name) || (name == HostHeader && on.GetRewrite().GetAuthority() != "") {
			return nil
		}
		uniform = uniform && (on == r || on.GetHeaders() == nil)
	}
	for i, d := range r.GetRoute() {
		// A header on the route would override what a destination says itself.
		if hosts[i] == "" || hosts[i] != hosts[0] || touches(d.GetHeaders(), name) {
			uniform = false
		}
	}
	if uniform {
		return []HeaderEdit{headerEdit(ri, -1, name, value(hosts[0]))}
	}
	var out []HeaderEdit
	for i, d := range r.GetRoute() {
		if hosts[i] != "" && !touches(d.GetHeaders(), name) {
			out = append(out, headerEdit(ri, i, name, value(hosts[i])))
		}
	}
	return out
}

func headerEdit(route, destination int, name, value string) HeaderEdit {
	path := []string{"spec", "http", strconv.Itoa(route)}
	if destination >= 0 {
		path = append(path, "route", strconv.Itoa(destination))
	}
	path = append(path, "headers", "request", "set", name)
	return HeaderEdit{Edit{Path: path, Value: value}, route, destination, name, value}
}

// mismatches finds the authorities that the user set for a target and that are
// not its host.
func mismatches(vs *networkingv1.VirtualService, r *networking.HTTPRoute, ri int, hosts []string) []finding.Finding {
	var out []finding.Finding
	routeAuthority, onRoute := authority(r.GetHeaders())
	if a := r.GetRewrite().GetAuthority(); a != "" {
		routeAuthority, onRoute = a, true
	}
	for i, d := range r.GetRoute() {
		if hosts[i] == "" {
			continue
		}
		got, on := routeAuthority, -1
		if !onRoute {
			var set bool
			if got, set = authority(d.GetHeaders()); !set {
				continue
			}
			on = i
		}
		if sameHost(got, hosts[i]) {
			continue
		}
		out = append(out, finding.Finding{
			Code:     finding.HostHeaderMismatch,
			Severity: finding.Warning,
			Object:   mesh.ObjectOf(vs),
			Path:     routePath(ri, on),
			Message: fmt.Sprintf("the route sets Host %q but leads to %q; the external server may answer for another site, or with 404 or 421.",
				got, hosts[i]),
			Remedy:  fmt.Sprintf("Set Host to %q, or remove it and it is added.", hosts[i]),
			Subject: hosts[i] + " " + got,
			Host:    hosts[i],
		})
		if onRoute {
			break
		}
	}
	return out
}

// Arriving is what requests bring to a destination in the headers of which Headers decides.
type Arriving struct {
	// Host and ForwardedProto are what they are set to, "" when they stay as they came.
	Host, ForwardedProto string
	// ProtoRemoved says that X-Forwarded-Proto is taken away.
	ProtoRemoved bool
}

// Arrive returns what arrives at destination di of route ri of vs. What the route sets wins
// over what the destination sets, and a delegate's route may have it from its root.
func Arrive(w *mesh.World, vs *networkingv1.VirtualService, ri, di int) Arriving {
	r := vs.Spec.GetHttp()[ri]
	var levels []*networking.Headers
	var out Arriving
	for _, on := range append([]*networking.HTTPRoute{r}, inherited(w, vs, r)...) {
		levels = append(levels, on.GetHeaders())
		out.Host = cmp.Or(out.Host, on.GetRewrite().GetAuthority())
	}
	for _, h := range append(levels, r.GetRoute()[di].GetHeaders()) {
		if value, ok := authority(h); ok {
			out.Host = cmp.Or(out.Host, value)
		}
		if out.ForwardedProto == "" && !out.ProtoRemoved && touches(h, ForwardedProtoHeader) {
			value, ok := setTo(h, ForwardedProtoHeader)
			out.ForwardedProto, out.ProtoRemoved = value, !ok
		}
	}
	return out
}

// touches reports whether the user sets, adds or removes the named request
// header.
func touches(h *networking.Headers, name string) bool {
	req := h.GetRequest()
	for _, m := range [...]map[string]string{req.GetSet(), req.GetAdd()} {
		for k := range m {
			if sameHeader(k, name) {
				return true
			}
		}
	}
	for _, k := range req.GetRemove() {
		if sameHeader(k, name) {
			return true
		}
	}
	return false
}

// authority returns the Host that h sets.
func authority(h *networking.Headers) (string, bool) { return setTo(h, HostHeader) }

// setTo returns what h sets the named request header to; set wins over add, as in Istio.
func setTo(h *networking.Headers, name string) (string, bool) {
	for _, m := range [...]map[string]string{h.GetRequest().GetSet(), h.GetRequest().GetAdd()} {
		least, found := "", false // of the names that differ in case
		for k := range m {
			if sameHeader(k, name) && (!found || k < least) {
				least, found = k, true
			}
		}
		if found {
			return m[least], true
		}
	}
	return "", false
}

func sameHeader(a, b string) bool {
	if strings.EqualFold(a, ":authority") {
		a = HostHeader
	}
	return strings.EqualFold(a, b)
}

// sameHost compares an authority with a host: case and a port do not count, and
// a value with an Envoy command operator is not judged.
func sameHost(authority, host string) bool {
	if strings.Contains(authority, "%") {
		return true
	}
	name, _, _ := strings.Cut(authority, ":")
	return strings.EqualFold(name, host)
}

func routePath(route, destination int) string {
	if destination < 0 {
		return fmt.Sprintf("spec.http[%d]", route)
	}
	return fmt.Sprintf("spec.http[%d].route[%d]", route, destination)
}
