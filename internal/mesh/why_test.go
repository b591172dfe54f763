package mesh_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

func ruleIn(namespace, name, spec string) string {
	return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: %s, namespace: %s}, spec: {%s}}\n---\n", name, namespace, spec)
}

// Why rules are not in force, for sidecars in a, of a ServiceEntry in egress.
func TestPassedRules(t *testing.T) {
	const own = "host: api.vendor.com"
	for _, c := range []struct {
		name, rules string
		client      mesh.Client
		want        []string
	}{
		{"none", "", mesh.Client{Namespace: "a"}, nil},
		{"in force", ruleIn("a", "r", own), mesh.Client{Namespace: "a"}, nil},
		{"merged", ruleIn("a", "r", own) + ruleIn("a", "s", own), mesh.Client{Namespace: "a"}, nil},
		{"of a fourth namespace", ruleIn("x", "r", own), mesh.Client{Namespace: "a"}, []string{"x/r NamespaceNotSearched"}},
		{"private to another client", ruleIn("b", "r", own+", exportTo: ['.']"), mesh.Client{Namespace: "a"}, []string{"b/r NamespaceNotSearched"}},
		{"private to the ServiceEntry's namespace", ruleIn("egress", "r", own+", exportTo: ['.']"), mesh.Client{Namespace: "a"}, []string{"egress/r NotExported"}},
		{"exported to others", ruleIn("egress", "r", own+", exportTo: [b, c]"), mesh.Client{Namespace: "a"}, []string{"egress/r NotExported"}},
		{"exported, and the root's comes later", ruleIn("egress", "r", own) + ruleIn("istio-system", "s", own), mesh.Client{Namespace: "a"}, []string{"istio-system/s LaterNamespace egress/r"}},
		{"not exported, and the root's counts", ruleIn("egress", "r", own+", exportTo: [b]") + ruleIn("istio-system", "s", own), mesh.Client{Namespace: "a"}, []string{"egress/r NotExported"}},
		{"the client's own first", ruleIn("a", "r", own) + ruleIn("egress", "s", own), mesh.Client{Namespace: "a"}, []string{"egress/s LaterNamespace a/r"}},
		{"later, and not exported either", ruleIn("a", "r", own) + ruleIn("egress", "s", own+", exportTo: [b]"), mesh.Client{Namespace: "a"}, []string{"egress/s NotExported"}},
		{"a wildcard of the client's own first", ruleIn("a", "r", "host: '*.com'") + ruleIn("egress", "s", own), mesh.Client{Namespace: "a"}, []string{"egress/s LaterNamespace a/r"}},
		{"the more specific host", ruleIn("a", "r", own) + ruleIn("a", "s", "host: '*.com'") + ruleIn("a", "u", "host: '*.vendor.com'"), mesh.Client{Namespace: "a"}, []string{"a/u LessSpecificHost a/r", "a/s LessSpecificHost a/r"}},
		{"the more specific one that is not seen", ruleIn("egress", "r", own+", exportTo: [b]") + ruleIn("egress", "s", "host: '*.com'"), mesh.Client{Namespace: "a"}, []string{"egress/r NotExported", "egress/s LessSpecificHost egress/r"}},
		{"other workloads", ruleIn("a", "r", own) + ruleIn("a", "s", own+", workloadSelector: {matchLabels: {x: z}}"), mesh.Client{Namespace: "a", Gateway: true}, []string{"a/s OtherWorkloads"}},
		{"some workloads", ruleIn("a", "r", own) + ruleIn("a", "s", own+", workloadSelector: {matchLabels: {x: z}}"), mesh.Client{Namespace: "a"}, nil},
		{"a selector elsewhere", ruleIn("egress", "s", own+", workloadSelector: {matchLabels: {x: z}}"), mesh.Client{Namespace: "a"}, []string{"egress/s NotExported"}},
		{"kept apart", ruleIn("a", "r", own+", exportTo: ['.']") + ruleIn("a", "s", own+", exportTo: [b, a]"), mesh.Client{Namespace: "a"}, []string{"a/r OtherExportToCounts a/s"}},
		{"the root's own clients", ruleIn("istio-system", "r", own) + ruleIn("egress", "s", own), mesh.Client{Namespace: "istio-system"}, []string{"istio-system/r LaterNamespace egress/s"}},
		{"private to the root", ruleIn("istio-system", "r", own+", exportTo: ['.']") + ruleIn("egress", "s", own), mesh.Client{Namespace: "istio-system"}, []string{"egress/s LaterNamespace istio-system/r"}},
		{"of all other namespaces", ruleIn("a", "r", own) + ruleIn("egress", "s", own+", exportTo: [a]"), mesh.Client{}, []string{"a/r NamespaceNotSearched", "egress/s NotExported"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := world(t, entry("egress", "'*'")+c.rules)
			svc := w.Service(c.client, "api.vendor.com")
			var got []string
			for _, p := range w.PassedRules(c.client, svc) {
				text := fmt.Sprintf("%s/%s %s", p.Rule.Namespace, p.Rule.Name, p.Reason)
				if p.By != nil {
					text += fmt.Sprintf(" %s/%s", p.By.Namespace, p.By.Name)
				}
				got = append(got, text)
			}
			assert.Equal(t, c.want, got)
		})
	}
}

func TestPassedEntries(t *testing.T) {
	named := func(namespace, name, spec string) string {
		return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: %s, namespace: %s}, spec: {%s, ports: [{number: 443, name: https, protocol: HTTPS}]}}\n---\n", name, namespace, spec)
	}
	const own = "hosts: [api.vendor.com]"
	for _, c := range []struct {
		name, entries string
		client        mesh.Client
		want          []string
	}{
		{"none", "", mesh.Client{}, nil},
		{"it counts", named("a", "e", own), mesh.Client{}, nil},
		{"merged", named("a", "e", own) + named("a", "f", own), mesh.Client{}, nil},
		{"not exported", named("a", "e", own+", exportTo: [b]"), mesh.Client{}, []string{"a/e NotExported"}},
		{"nowhere", named("a", "e", own+", exportTo: ['~']"), mesh.Client{Namespace: "b"}, []string{"a/e NotExported"}},
		{"the older", named("a", "e", own) + named("b", "f", own), mesh.Client{}, []string{"b/f OlderFirst"}},
		{"the sidecar's own", named("a", "e", own) + named("b", "f", own), mesh.Client{Namespace: "b"}, []string{"a/e OwnNamespaceFirst"}},
		{"not a gateway's", named("a", "e", own) + named("b", "f", own), mesh.Client{Namespace: "b", Gateway: true}, []string{"b/f OlderFirst"}},
		{"by name", named("a", "e", own) + named("b", "f", own+", exportTo: [c]"), mesh.Client{Namespace: "c"}, []string{"a/e ExportedByNameFirst"}},
		{"not merged", named("a", "e", own) + named("a", "f", own+", resolution: DNS"), mesh.Client{}, []string{"a/f NotMerged"}},
		{"a wildcard", named("a", "e", own) + named("a", "f", "hosts: ['*.vendor.com']"), mesh.Client{}, []string{"a/f LessSpecificHost"}},
		{"only a wildcard", named("a", "f", "hosts: ['*.vendor.com']"), mesh.Client{}, []string{"a/f WildcardOnly"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := world(t, c.entries)
			var got []string
			for _, p := range w.PassedEntries(c.client, "api.vendor.com", w.Service(c.client, "api.vendor.com")) {
				got = append(got, fmt.Sprintf("%s/%s %s", p.Entry.Namespace, p.Entry.Name, p.Reason))
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// Which VirtualService takes the calls of sidecars in b of api.vendor.com.
func TestCallsTakenBy(t *testing.T) {
	vs := func(namespace, name, spec string) string {
		return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: %s, namespace: %s}, spec: {%s}}\n---\n", name, namespace, spec)
	}
	const route = "http: [{route: [{destination: {host: x}}]}]"
	for _, c := range []struct {
		name, objects, want string
	}{
		{"none", "", ""},
		{"one", vs("a", "v", "hosts: [api.vendor.com], "+route), "a/v"},
		{"for a gateway", vs("a", "v", "hosts: [api.vendor.com], gateways: [g], "+route), ""},
		{"not exported", vs("a", "v", "hosts: [api.vendor.com], exportTo: ['.'], "+route), ""},
		{"another host", vs("a", "v", "hosts: [www.vendor.com], "+route), ""},
		{"the port", vs("a", "v", "hosts: [api.vendor.com], http: [{match: [{port: 443}], route: [{destination: {host: x}}]}]"), "a/v"},
		{"another port", vs("a", "v", "hosts: [api.vendor.com], http: [{match: [{port: 80}], route: [{destination: {host: x}}]}]"), ""},
		{"another source", vs("a", "v", "hosts: [api.vendor.com], http: [{match: [{sourceNamespace: a}], route: [{destination: {host: x}}]}]"), ""},
		{"some pods", vs("a", "v", "hosts: [api.vendor.com], http: [{match: [{sourceLabels: {x: z}}], route: [{destination: {host: x}}]}]"), ""},
		{"a delegate that is not there", vs("a", "v", "hosts: [api.vendor.com], http: [{delegate: {name: d}}]"), ""},
		{"of two the first with a route", vs("a", "v", "hosts: [api.vendor.com], tls: []") + vs("a", "w", "hosts: [api.vendor.com], "+route), "a/w"},
		{"the private one first", vs("a", "v", "hosts: [api.vendor.com], "+route) + vs("b", "w", "hosts: [api.vendor.com], exportTo: ['.'], "+route), "b/w"},
		{"the exact one first", vs("a", "v", "hosts: ['*.vendor.com'], "+route) + vs("a", "w", "hosts: [api.vendor.com], "+route), "a/w"},
		{"a wildcard", vs("a", "v", "hosts: ['*.vendor.com'], "+route), "a/v"},
		{"a wildcard beside an exact one without a route", vs("a", "v", "hosts: ['*.vendor.com'], "+route) + vs("a", "w", "hosts: [api.vendor.com], tls: []"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := world(t, entry("egress", "'*'")+c.objects)
			got := ""
			if vs := w.CallsTakenBy(mesh.Client{Namespace: "b"}, "api.vendor.com", 443); vs != nil {
				got = vs.Namespace + "/" + vs.Name
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// For which VirtualService sidecars in b ignore a/v; "nobody": they take no HTTP calls for its hosts.
func TestIgnored(t *testing.T) {
	const route = "http: [{route: [{destination: {host: x}}]}]"
	vs := func(namespace, name, spec string) string {
		return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: %s, namespace: %s}, spec: {%s}}\n---\n", name, namespace, spec)
	}
	entryOf := func(host, protocol string) string {
		return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: other, namespace: a}, spec: {hosts: [%s], ports: [{number: 80, name: a, protocol: %s}]}}\n---\n", host, protocol)
	}
	for _, c := range []struct {
		name, objects, want string
	}{
		{"alone", vs("a", "v", "hosts: [shop.com], "+route), ""},
		{"the first", vs("a", "v", "hosts: [shop.com], "+route) + vs("b", "w", "hosts: [shop.com], "+route), ""},
		{"the second", vs("a", "v", "hosts: [shop.com], "+route) + vs("b", "w", "hosts: [shop.com], exportTo: [b], "+route), "b/w"},
		{"with a host of its own", vs("a", "v", "hosts: [shop.com, www.com], "+route) + vs("b", "w", "hosts: [shop.com], exportTo: [b], "+route), ""},
		{"with a port of its own", vs("a", "v", "hosts: [api.vendor.com], "+route) + vs("b", "w", "hosts: [api.vendor.com], exportTo: [b], http: [{match: [{port: 80}]}]"), ""},
		{"of a gateway", vs("a", "v", "hosts: [shop.com], "+route) + vs("b", "w", "hosts: [shop.com], gateways: [g], exportTo: [b], "+route), ""},
		{"for pods with labels, before the other", vs("a", "v", "hosts: [shop.com], http: [{match: [{sourceLabels: {x: z}}]}]") + vs("b", "w", "hosts: [shop.com], "+route), ""},
		{"port 80 is for TCP", entryOf("tcp.com", "TCP") + vs("a", "v", "hosts: [tcp.com], "+route), "nobody"},
		{"port 80 is for HTTP", entryOf("http.com", "HTTP") + vs("a", "v", "hosts: [http.com], "+route), ""},
		{"port 80 is for TCP, another port for HTTP", entryOf("tcp.com", "TCP}, {number: 8080, name: b, protocol: HTTP") + vs("a", "v", "hosts: [tcp.com], "+route), ""},
		{"port 80 of one host is for TCP", entryOf("tcp.com", "TCP") + vs("a", "v", "hosts: [tcp.com, shop.com], "+route), ""},
		{"port 80 of one host is for TCP, the other is taken", entryOf("tcp.com", "TCP") + vs("a", "v", "hosts: [tcp.com, shop.com], "+route) + vs("b", "w", "hosts: [shop.com], exportTo: [b], "+route), "b/w"},
		{"port 80 of a wildcard is for TCP", entryOf("'*.tcp.com'", "TCP") + vs("a", "v", "hosts: [www.tcp.com], "+route), ""},
		{"port 80 of a host of a wildcard is for TCP", entryOf("www.tcp.com", "TCP") + vs("a", "v", "hosts: ['*.tcp.com'], "+route), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := world(t, strings.Replace(entry("egress", "'*'"), "HTTPS", "HTTP", 1)+c.objects)
			got := ""
			switch by, ignored := w.Ignored(mesh.Client{Namespace: "b"}, w.VirtualService("a", "v")); {
			case by != nil:
				got = by.Namespace + "/" + by.Name
			case ignored:
				got = "nobody"
			}
			assert.Equal(t, c.want, got)
		})
	}
}
