package validate

// Requests as answers: the witness of a live match entry, the example of a dead
// one.

import (
	"slices"
	"strconv"
	"strings"
)

// A Request is one HTTP request as a proxy routes it.
type Request struct {
	Method, Scheme, Authority string
	// Path is without the query.
	Path string
	// Headers are by their name in lower case; Query by the name of the parameter.
	Headers, Query map[string]string
	// Port is the one that the client calls.
	Port uint32
	// Gateway is the gateway by which the proxy executes the VirtualService: mesh,
	// or namespace/name.
	Gateway string
	// SourceLabels and SourceNamespace are those of the calling workload.
	SourceLabels    map[string]string
	SourceNamespace string
}

// request is a Request by dimensions; what it does not list is as usual.
type request struct {
	path    string
	gateway string
	values  []requestValue
	usual   *usual
}

type requestValue struct {
	class       class
	name, value string
}

// says: the value is more than the usual one.
func (r *request) says(c class, name string) bool {
	return slices.ContainsFunc(r.values, func(v requestValue) bool { return v.class == c && v.name == name })
}

// telling adds the usual values that are why o takes the request.
func (r *request) telling(o *unit) *request {
	for i := range o.conds {
		d := unnamed(o.conds[i].class, o.conds[i].name, r.usual)
		if d.there && !d.blurred && !r.says(d.class, d.name) {
			r.values = append(r.values, requestValue{d.class, d.name, d.value})
		}
	}
	return r
}

func (r *request) full(gateway string) *Request {
	out := &Request{
		Method: usualMethods[0], Scheme: usualSchemes[0], Authority: r.usual.authority[0], Path: r.path,
		Headers: map[string]string{}, Query: map[string]string{}, SourceLabels: map[string]string{},
		Gateway: gateway, SourceNamespace: r.usual.namespace,
	}
	port := r.usual.port
	for _, v := range r.values {
		switch {
		case v.class == classPort:
			port = v.value
		case v.class == classNamespace:
			out.SourceNamespace = v.value
		case v.class == classLabel:
			out.SourceLabels[v.name] = v.value
		case v.class == classQuery:
			out.Query[v.name] = v.value
		case v.name == ":method":
			out.Method = v.value
		case v.name == ":scheme":
			out.Scheme = v.value
		case v.name == ":authority":
			out.Authority = v.value
		default:
			out.Headers[v.name] = v.value
		}
	}
	n, _ := strconv.ParseUint(port, 10, 32)
	out.Port = uint32(n)
	return out
}

// text renders the request: what is not said is of no account. at is the name of
// its gateway, "" when there is only one.
func (r *request) text(at string) string {
	f := r.full(at)
	path := f.Path
	if len(f.Query) > 0 {
		var pairs []string
		for _, k := range sortedKeys(f.Query) {
			pairs = append(pairs, k+"="+f.Query[k])
		}
		path += "?" + strings.Join(pairs, "&")
	}
	out := f.Method + " " + plain(path)
	var with []string
	if r.says(classHeader, ":authority") {
		with = append(with, "authority "+plain(f.Authority))
	}
	if f.Scheme != usualSchemes[0] {
		with = append(with, "scheme "+plain(f.Scheme))
	}
	for _, k := range sortedKeys(f.Headers) {
		with = append(with, "header "+plain(k)+": "+plain(f.Headers[k]))
	}
	if r.says(classPort, "") {
		with = append(with, "port "+strconv.Itoa(int(f.Port)))
	}
	if at != "" {
		with = append(with, "gateway "+plain(at))
	}
	for _, k := range sortedKeys(f.SourceLabels) {
		with = append(with, "source label "+plain(k+"="+f.SourceLabels[k]))
	}
	if r.says(classNamespace, "") {
		with = append(with, "source namespace "+plain(f.SourceNamespace))
	}
	if len(with) > 0 {
		out += " (" + strings.Join(with, ", ") + ")"
	}
	return out
}
