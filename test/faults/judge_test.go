package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// violations replays what was stored, and returns what should never have been: a route
// to one of the hosts without its headers, after a catch-all, or while no rule gave it
// TLS. It judges the objects of this package only, by itself.
func violations(versions []controlplane.Version, sites []site) []string {
	hosts := map[string]string{} // host to namespace
	for _, s := range sites {
		hosts[s.host] = s.namespace
	}
	var found []string
	rules := map[string]map[string]bool{}  // host to names of the rules that give it TLS
	routes := map[string]map[string]bool{} // host to VirtualServices that lead to it
	for _, v := range versions {
		name := v.Namespace + "/" + v.Name
		report := func(format string, args ...any) {
			found = append(found, fmt.Sprintf("%d %s %s: ", v.Revision, v.Resource, name)+fmt.Sprintf(format, args...))
		}
		switch v.Resource {
		case "destinationrules":
			for host := range rules {
				delete(rules[host], name)
			}
			if host := tlsHost(v.Object); v.Namespace == hosts[host] {
				add(rules, host, name)
			}
			for _, host := range slices.Sorted(maps.Keys(routes)) {
				if len(rules[host]) == 0 && len(routes[host]) > 0 {
					report("leaves %s without TLS", host)
				}
			}
		case "virtualservices":
			for host := range routes {
				delete(routes[host], name)
			}
			for _, r := range routesOf(v.Object) {
				if _, ok := hosts[r.host]; !ok {
					continue
				}
				add(routes, r.host, name)
				if r.dead {
					report("the route to %s is dead", r.host)
				}
				if r.hostHeader != r.host || r.protoHeader != "https" {
					report("the route to %s has the headers %q and %q", r.host, r.hostHeader, r.protoHeader)
				}
				if len(rules[r.host]) == 0 {
					report("the route to %s has no rule", r.host)
				}
			}
		}
	}
	return found
}

func add(sets map[string]map[string]bool, key, member string) {
	if sets[key] == nil {
		sets[key] = map[string]bool{}
	}
	sets[key][member] = true
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

func TestJudgeFindsEveryViolation(t *testing.T) {
	s := site{"r0", "shop-00", "h0.r0.example.com"}
	elsewhere := s.rule()
	elsewhere.SetNamespace("shop-01")
	plaintext := s.rule()
	unstructured.RemoveNestedField(plaintext.Object, "spec", "trafficPolicy")
	deleted := func(o *unstructured.Unstructured) *unstructured.Unstructured {
		return s.object(`{apiVersion: v1, kind: ` + o.GetKind() + `, metadata: {name: ` + o.GetName() + `, namespace: NAMESPACE, deletionTimestamp: "2000-01-01T00:00:00Z"}}`)
	}
	rule, route, inner := s.rule(), s.asStored("web", "/keys", "/"), s.asStored("web", "/")
	for _, test := range []struct {
		name   string
		writes []*unstructured.Unstructured
		want   []string
	}{
		{"rule before route", []*unstructured.Unstructured{rule, route}, nil},
		{"route before rule", []*unstructured.Unstructured{route, rule}, []string{"1 virtualservices shop-00/web: the route to HOST has no rule"}},
		{"route changed before rule", []*unstructured.Unstructured{inner, route, rule}, []string{"2 virtualservices shop-00/web: the route to HOST has no rule"}},
		{"rule in another namespace", []*unstructured.Unstructured{elsewhere, route}, []string{"2 virtualservices shop-00/web: the route to HOST has no rule"}},
		{"rule without TLS", []*unstructured.Unstructured{plaintext, route}, []string{"2 virtualservices shop-00/web: the route to HOST has no rule"}},
		{"rule deleted", []*unstructured.Unstructured{rule, route, deleted(rule), rule}, []string{"3 destinationrules shop-00/RULE: leaves HOST without TLS"}},
		{"rule changed", []*unstructured.Unstructured{rule, route, plaintext, rule}, []string{"3 destinationrules shop-00/RULE: leaves HOST without TLS"}},
		{"rule deleted after route", []*unstructured.Unstructured{rule, route, deleted(route), deleted(rule)}, nil},
		{"rule deleted after route was changed", []*unstructured.Unstructured{rule, route, inner, deleted(rule)}, nil},
		{"no headers", []*unstructured.Unstructured{rule, s.route("web", "/keys", "/")}, []string{`2 virtualservices shop-00/web: the route to HOST has the headers "" and ""`}},
		{"dead route", []*unstructured.Unstructured{rule, s.asStored("web", "/", "/keys")}, []string{"2 virtualservices shop-00/web: the route to HOST is dead"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var versions []controlplane.Version
			for i, o := range test.writes {
				v := controlplane.Version{Revision: int64(i + 1), Resource: strings.ToLower(o.GetKind()) + "s", Namespace: o.GetNamespace(), Name: o.GetName()}
				if o.GetDeletionTimestamp() == nil {
					v.Object = o
				}
				versions = append(versions, v)
			}
			var want []string
			for _, w := range test.want {
				want = append(want, strings.NewReplacer("RULE", rule.GetName(), "HOST", s.host).Replace(w))
			}
			assert.Equal(t, want, violations(versions, []site{s}))
		})
	}
}

func TestWhatIsMissingIsNoticed(t *testing.T) {
	l := newLoad(newSites(t, 1))
	s := l.sites[0]
	l.right(s, "web", "/keys", "/")
	_, wrong := l.compare(t)
	assert.Equal(t, []string{"VirtualService " + s.namespace + "/web is missing", s.host + " has 0 DestinationRules"}, wrong)
}
