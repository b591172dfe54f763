package site

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// Order is told what is stored, write by write, and says what should never have been: a
// route to a declared host without its headers, after a catch-all, or while no rule gave it
// TLS. It judges objects of Sites only, by itself, and holds no more than is stored.
type Order struct {
	declared map[string]string          // host to namespace
	rules    map[string]map[string]bool // host to names of the rules that give it TLS
	routes   map[string]map[string]bool // host to VirtualServices that lead to it
	ruled    map[string]string          // rule to its host
	routed   map[string][]string        // VirtualService to its hosts
}

// NewOrder begins with nothing stored but the ServiceEntries of sites.
func NewOrder(sites ...Site) *Order {
	o := &Order{map[string]string{}, map[string]map[string]bool{}, map[string]map[string]bool{}, map[string]string{}, map[string][]string{}}
	for _, s := range sites {
		o.declared[s.Host] = s.Namespace
	}
	return o
}

// Size is how many names it holds.
func (o *Order) Size() int {
	return len(o.declared) + len(o.rules) + len(o.routes) + len(o.ruled) + len(o.routed)
}

// See takes note of a write, and returns what is wrong with it.
func (o *Order) See(v controlplane.Version) (wrong []string) {
	name := v.Namespace + "/" + v.Name
	report := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%d %s %s: ", v.Revision, v.Resource, name)+fmt.Sprintf(format, args...))
	}
	switch v.Resource {
	case "serviceentries": // Named by its host.
		if v.Object == nil {
			delete(o.declared, v.Name)
			return nil
		}
		o.declared[v.Name] = v.Namespace
		if len(o.routes[v.Name]) > 0 && len(o.rules[v.Name]) == 0 {
			report("declares %s, which has a route and no rule", v.Name)
		}
	case "destinationrules":
		before := o.ruled[name]
		drop(o.rules, before, name)
		delete(o.ruled, name)
		if host := tlsHost(v.Object); host != "" && (o.declared[host] == "" || o.declared[host] == v.Namespace) {
			add(o.rules, host, name)
			o.ruled[name] = host
		}
		if o.declared[before] != "" && len(o.rules[before]) == 0 && len(o.routes[before]) > 0 {
			report("leaves %s without TLS", before)
		}
	case "virtualservices":
		for _, host := range o.routed[name] {
			drop(o.routes, host, name)
		}
		delete(o.routed, name)
		hosts := map[string]bool{}
		for _, r := range routesOf(v.Object) {
			add(o.routes, r.host, name)
			hosts[r.host] = true
			if o.declared[r.host] == "" {
				continue
			}
			if r.dead {
				report("the route to %s is dead", r.host)
			}
			if r.hostHeader != r.host || r.protoHeader != "https" {
				report("the route to %s has the headers %q and %q", r.host, r.hostHeader, r.protoHeader)
			}
			if len(o.rules[r.host]) == 0 {
				report("the route to %s has no rule", r.host)
			}
		}
		if len(hosts) > 0 {
			o.routed[name] = slices.Sorted(maps.Keys(hosts))
		}
	}
	return wrong
}

func add(sets map[string]map[string]bool, key, member string) {
	if sets[key] == nil {
		sets[key] = map[string]bool{}
	}
	sets[key][member] = true
}

func drop(sets map[string]map[string]bool, key, member string) {
	delete(sets[key], member)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}

// tlsHost returns the host to whose port 443 a DestinationRule opens TLS.
func tlsHost(rule *unstructured.Unstructured) string {
	if rule == nil {
		return ""
	}
	host, _, _ := unstructured.NestedString(rule.Object, "spec", "host")
	ports, _, _ := unstructured.NestedSlice(rule.Object, "spec", "trafficPolicy", "portLevelSettings")
	for _, p := range ports {
		port, _ := p.(map[string]any)
		number, _, _ := unstructured.NestedInt64(port, "port", "number")
		mode, _, _ := unstructured.NestedString(port, "tls", "mode")
		if number == 443 && mode == "SIMPLE" {
			return host
		}
	}
	return ""
}

// httpRoute is a route of a VirtualService.
type httpRoute struct {
	host, hostHeader, protoHeader string
	dead                          bool // it follows a catch-all
}

func routesOf(virtualService *unstructured.Unstructured) []httpRoute {
	if virtualService == nil {
		return nil
	}
	var out []httpRoute
	caught := false
	routes, _, _ := unstructured.NestedSlice(virtualService.Object, "spec", "http")
	for _, item := range routes {
		route, _ := item.(map[string]any)
		r := httpRoute{dead: caught}
		r.hostHeader, _, _ = unstructured.NestedString(route, "headers", "request", "set", "Host")
		r.protoHeader, _, _ = unstructured.NestedString(route, "headers", "request", "set", "X-Forwarded-Proto")
		matches, _, _ := unstructured.NestedSlice(route, "match")
		for _, m := range matches {
			match, _ := m.(map[string]any)
			prefix, _, _ := unstructured.NestedString(match, "uri", "prefix")
			caught = caught || prefix == "/"
		}
		destinations, _, _ := unstructured.NestedSlice(route, "route")
		for _, d := range destinations {
			destination, _ := d.(map[string]any)
			r.host, _, _ = unstructured.NestedString(destination, "destination", "host")
			out = append(out, r)
		}
	}
	return out
}
