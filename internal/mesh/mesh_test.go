package mesh_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

func TestWildcardsOf(t *testing.T) {
	for host, want := range map[string][]string{
		"edition.cnn.com":   {"*.cnn.com", "*.com", "*"},
		"a-b.example.com":   {"*-b.example.com", "*.example.com", "*.com", "*"},
		"localhost":         {"*"},
		"":                  {"*"},
		"trailing.dot.":     {"*.dot.", "*.", "*"},
		"xn--bcher-kva.com": {"*--bcher-kva.com", "*-bcher-kva.com", "*-kva.com", "*.com", "*"},
	} {
		assert.Equal(t, want, mesh.WildcardsOf(host), host)
	}
}

// Whatever Istio would store as a wildcard and match, WildcardsOf lists, and in
// the order of Istio's preference: the longest first.
func TestWildcardsOfAreAllThatFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.StringMatching(`[a-z]{1,3}([.-][a-z]{1,2}){0,4}`).Draw(t, "host")
		pattern := rapid.StringMatching(`\*([.-][a-z]{1,2}){0,3}`).Draw(t, "pattern")
		all := mesh.WildcardsOf(host)
		assert.Equal(t, strings.HasSuffix(host, pattern[1:]), mesh.WildcardFits(pattern, host))
		if mesh.WildcardFits(pattern, host) {
			assert.Contains(t, all, pattern)
		}
		for i, w := range all {
			assert.True(t, mesh.WildcardFits(w, host))
			if i > 0 {
				assert.Greater(t, len(all[i-1]), len(w))
			}
		}
	})
}

func TestWildcardFits(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"*.cnn.com", "edition.cnn.com", true},
		{"*.cnn.com", "a.b.cnn.com", true},
		{"*.cnn.com", "cnn.com", false},
		{"*.com", "com", false},
		{"*", "anything", true},
		{"edition.cnn.com", "edition.cnn.com", false},
		{"", "edition.cnn.com", false},
	} {
		assert.Equal(t, c.want, mesh.WildcardFits(c.pattern, c.host), "%s fits %s", c.pattern, c.host)
	}
}

func TestResolveHost(t *testing.T) {
	for _, c := range []struct{ host, namespace, want string }{
		{"reviews", "shop", "reviews.shop.svc.cluster.local"},
		{"reviews.shop", "other", "reviews.shop"},
		{"edition.cnn.com", "shop", "edition.cnn.com"},
		{"*.cnn.com", "shop", "*.cnn.com"},
		{"*", "shop", "*"},
		{"", "shop", ""},
		{"10.0.0.1", "shop", "10.0.0.1"},
		{"2001:db8::1", "shop", "2001:db8::1"},
	} {
		assert.Equal(t, c.want, mesh.ResolveHost(c.host, c.namespace), c.host)
	}
}

func TestIsExternal(t *testing.T) {
	for host, want := range map[string]bool{
		"edition.cnn.com":                true,
		"reviews.shop.svc.cluster.local": false,
		"reviews":                        false,
		"*.cnn.com":                      false,
		"":                               false,
	} {
		assert.Equal(t, want, mesh.IsExternal(host), host)
	}
}

func TestRuleName(t *testing.T) {
	assert.Equal(t, "egress-tls-edition-cnn-com-3198e25ac27f46c8", mesh.RuleName("edition.cnn.com", nil),
		"never to change: the rules of older releases have it")
	names := map[string]string{}
	for _, host := range []string{
		"", "*", ".", "---", "edition.cnn.com", "edition-cnn.com", "EDITION.cnn.com", "edition.cnn.com.", "bücher.example",
		"буки.рф", "例え.jp", "a\x00b", "\xff\xfe", strings.Repeat("a", 300), strings.Repeat("a", 301), strings.Repeat("例", 300), "-a-", "10.0.0.1", "2001:db8::1",
	} {
		for _, selector := range []map[string]string{nil, {"app": "a"}, {"app": "a", "v": "1"}} {
			name := mesh.RuleName(host, selector)
			assert.Empty(t, validation.IsDNS1123Subdomain(name), "%q gives %q", host, name)
			id := fmt.Sprint(host, selector)
			assert.NotContains(t, names, name, "%q collides with %q", id, names[name])
			names[name] = id
			assert.Equal(t, name, mesh.RuleName(host, selector))
		}
	}
	assert.NotEqual(t, mesh.RuleName("a.b", nil), mesh.RuleName("a.b", map[string]string{}), "an empty selector is one of a namespace")
	rapid.Check(t, func(t *rapid.T) {
		name := mesh.RuleName(rapid.String().Draw(t, "host"), nil)
		assert.Empty(t, validation.IsDNS1123Subdomain(name))
	})
}

func TestIsManaged(t *testing.T) {
	dr := &networkingv1.DestinationRule{}
	dr.Spec.Host = "api.vendor.com"
	dr.Name = mesh.RuleName("api.vendor.com", nil)
	assert.False(t, mesh.IsManaged(dr), "no label")
	dr.Labels = map[string]string{mesh.ManagedByLabel: mesh.ManagedBy}
	assert.True(t, mesh.IsManaged(dr))
	dr.Name = "vendor"
	assert.False(t, mesh.IsManaged(dr), "a name of the user's")
}

func TestParseOriginate(t *testing.T) {
	for value, want := range map[string]mesh.Originate{
		"":           {},
		"  ":         {},
		"never":      {Never: true},
		" always ":   {Always: true},
		"443":        {Ports: []uint32{443}},
		"443, 8443":  {Ports: []uint32{443, 8443}},
		"1,65535":    {Ports: []uint32{1, 65535}},
		"443,443,80": {Ports: []uint32{443, 443, 80}},
	} {
		got, ok := mesh.ParseOriginate(value)
		assert.True(t, ok, value)
		assert.Equal(t, want, got, value)
	}
	for _, value := range []string{"Never", "yes", "0", "65536", "-1", "443,", ",", "443;80", "https", "4 43", "+443", "0x1bb"} {
		got, ok := mesh.ParseOriginate(value)
		assert.False(t, ok, value)
		assert.Equal(t, mesh.Originate{}, got, "it counts as absent")
	}
}

// Which ports want TLS: with a route, and before any.
func TestOriginates(t *testing.T) {
	for _, c := range []struct {
		name           string
		port           *networking.ServicePort
		internal       bool
		annotation     string
		routed, before bool
	}{
		{name: "HTTPS", port: &networking.ServicePort{Number: 443, Protocol: "HTTPS"}, routed: true},
		{name: "https in lower case, on any port", port: &networking.ServicePort{Number: 8443, Protocol: "https"}, routed: true},
		{name: "TLS", port: &networking.ServicePort{Number: 443, Protocol: "TLS"}, routed: true},
		{name: "HTTP on 443", port: &networking.ServicePort{Number: 443, Protocol: "HTTP"}, routed: true, before: true},
		{name: "HTTP2 with targetPort 443", port: &networking.ServicePort{Number: 80, TargetPort: 443, Protocol: "HTTP2"}, routed: true, before: true},
		{name: "GRPC", port: &networking.ServicePort{Number: 443, Protocol: "GRPC"}, routed: true, before: true},
		{name: "no protocol", port: &networking.ServicePort{Number: 443}, routed: true, before: true},
		{name: "HTTP on 80", port: &networking.ServicePort{Number: 80, Protocol: "HTTP"}},
		{name: "TCP on 443", port: &networking.ServicePort{Number: 443, Protocol: "TCP"}},
		{name: "MONGO on 443", port: &networking.ServicePort{Number: 443, Protocol: "MONGO"}},
		{name: "inside of the mesh", port: &networking.ServicePort{Number: 443, Protocol: "HTTPS"}, internal: true},
		{name: "never", port: &networking.ServicePort{Number: 443, Protocol: "HTTP"}, annotation: "never"},
		{name: "always", port: &networking.ServicePort{Number: 443, Protocol: "HTTPS"}, annotation: "always", routed: true, before: true},
		{name: "always is judged by the port too", port: &networking.ServicePort{Number: 80, Protocol: "HTTP"}, annotation: "always"},
		{name: "always, inside of the mesh", port: &networking.ServicePort{Number: 443, Protocol: "HTTPS"}, annotation: "always", internal: true},
		{name: "listed", port: &networking.ServicePort{Number: 9000, Protocol: "TCP"}, annotation: "443,9000", routed: true, before: true},
		{name: "not listed", port: &networking.ServicePort{Number: 443, Protocol: "HTTP"}, annotation: "9000"},
		{name: "invalid counts as absent", port: &networking.ServicePort{Number: 443, Protocol: "HTTPS"}, annotation: "nope", routed: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			se := &networkingv1.ServiceEntry{}
			se.Annotations = map[string]string{mesh.OriginateAnnotation: c.annotation}
			if c.internal {
				se.Spec.Location = networking.ServiceEntry_MESH_INTERNAL
			}
			routed, before := mesh.Port{ServicePort: c.port, Entry: se}.Originates()
			assert.Equal(t, c.routed, routed)
			assert.Equal(t, c.before, before)
		})
	}
}

// world reads objects; the root namespace is istio-system.
func world(t *testing.T, objects string, change ...func(*policy.Policy)) (*mesh.World, []scenario.Object) {
	t.Helper()
	parsed, err := scenario.Parse([]byte(objects))
	require.NoError(t, err)
	pol := policy.Default()
	for _, f := range change {
		f(pol)
	}
	return scenario.World(parsed, pol), parsed
}

const (
	vendor  = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: vendor, namespace: %s}, spec: {hosts: [api.vendor.com], exportTo: [%s], ports: [{number: 443, name: https, protocol: HTTPS}]}}\n---\n"
	gateway = "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: %s, namespace: %s}, spec: {selector: {istio: %s}}}\n---\n"
	service = "{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: %s}, spec: {selector: {app: x, istio: %s}}}\n---\n"
)

func entry(namespace, exportTo string) string { return fmt.Sprintf(vendor, namespace, exportTo) }
func gatewayIn(namespace, name, selector string) string {
	return fmt.Sprintf(gateway, name, namespace, selector)
}

func serviceIn(namespace, selector string) string {
	return fmt.Sprintf(service, "gw-"+selector, namespace, selector)
}

func route(spec string) string {
	return "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: vs, namespace: shop}, spec: " + spec + "}\n---\n"
}

const (
	destination = "route: [{destination: {host: api.vendor.com, port: {number: 443}}}]"
	hosts       = "hosts: [example.com]"
)

func TestClients(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects string
		vs      string
		policy  func(*policy.Policy)
		// "gateway ns", "gateway ns?" for a guess, "sidecar ns"; "*" for all other
		// namespaces.
		want string
	}{
		{
			name:    "mesh by default: the namespaces with something of their own, and all others as one",
			objects: entry("egress", ""),
			vs:      "{" + hosts + ", http: [{" + destination + "}]}",
			want:    "sidecar *, sidecar egress, sidecar shop",
		},
		{
			name:    "mesh: a namespace that a rule, or an exportTo, names is looked at by itself",
			objects: entry("egress", "a, b") + "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: x, namespace: c}, spec: {host: '*.com', exportTo: [d]}}",
			vs:      "{" + hosts + ", http: [{" + destination + "}]}",
			want:    "sidecar *, sidecar a, sidecar b, sidecar c, sidecar d, sidecar egress, sidecar shop",
		},
		{
			name:    "mesh: exported to its own namespace",
			objects: entry("egress", ""),
			vs:      "{" + hosts + ", exportTo: [.], http: [{" + destination + "}]}",
			want:    "sidecar shop",
		},
		{
			name:    "mesh: exported by name, and ~ hides",
			objects: entry("egress", ""),
			vs:      "{" + hosts + ", exportTo: [egress, '~'], http: [{" + destination + "}]}",
			want:    "",
		},
		{
			name:    "mesh: limited to source namespaces",
			objects: entry("egress", ""),
			vs:      "{" + hosts + ", http: [{match: [{sourceNamespace: a}, {sourceNamespace: b}], " + destination + "}]}",
			want:    "sidecar a, sidecar b",
		},
		{
			name:    "mesh: one match without a source namespace opens it to all",
			objects: entry("egress", ""),
			vs:      "{" + hosts + ", http: [{match: [{sourceNamespace: a}, {port: 80}], " + destination + "}]}",
			want:    "sidecar *, sidecar egress, sidecar shop",
		},
		{
			name:    "mesh: a match that names the gateway is not judged by its source (sourceMatchHTTP)",
			objects: entry("egress", ""),
			vs:      "{" + hosts + ", http: [{match: [{sourceNamespace: a, gateways: [mesh]}], " + destination + "}]}",
			want:    "sidecar *, sidecar egress, sidecar shop",
		},
		{
			name:    "gateway: the Service tells",
			objects: entry("egress", "") + gatewayIn("shop", "in", "edge") + serviceIn("edge-ns", "edge") + serviceIn("other", "other"),
			vs:      "{" + hosts + ", gateways: [in], http: [{" + destination + "}]}",
			want:    "gateway edge-ns",
		},
		{
			name:    "gateway: Services in two namespaces, and the policy's beside them",
			objects: entry("egress", "") + gatewayIn("shop", "in", "edge") + serviceIn("b", "edge") + serviceIn("a", "edge"),
			vs:      "{" + hosts + ", gateways: [in], http: [{" + destination + "}]}",
			policy:  func(p *policy.Policy) { p.GatewayNamespaces = []string{"a", "c"} },
			want:    "gateway a, gateway b, gateway c",
		},
		{
			name:    "gateway: the policy alone, even for a Gateway that nobody knows",
			objects: entry("egress", ""),
			vs:      "{" + hosts + ", gateways: [nowhere/in], http: [{" + destination + "}]}",
			policy:  func(p *policy.Policy) { p.GatewayNamespaces = []string{"c"} },
			want:    "gateway c",
		},
		{
			name:    "gateway: guessed in its own namespace if that sees the ServiceEntry",
			objects: entry("egress", "shop") + gatewayIn("shop", "in", "edge"),
			vs:      "{" + hosts + ", gateways: [in], http: [{" + destination + "}]}",
			want:    "gateway shop?",
		},
		{
			name:    "gateway: else in the root namespace",
			objects: entry("istio-system", ".") + gatewayIn("shop", "in", "edge"),
			vs:      "{" + hosts + ", gateways: [in], http: [{" + destination + "}]}",
			want:    "gateway istio-system?",
		},
		{
			name:    "gateway: a Service that selects less than the Gateway does not tell",
			objects: entry("istio-system", ".") + "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: in, namespace: shop}, spec: {selector: {istio: edge, tier: one}}}\n---\n" + serviceIn("edge-ns", "edge"),
			vs:      "{" + hosts + ", gateways: [in], http: [{" + destination + "}]}",
			want:    "gateway istio-system?",
		},
		{
			name:    "gateway: one without a selector fits every proxy, so nothing is known",
			objects: entry("istio-system", ".") + "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: in, namespace: shop}, spec: {}}\n---\n" + serviceIn("edge-ns", "edge"),
			vs:      "{" + hosts + ", gateways: [in], http: [{" + destination + "}]}",
			want:    "gateway istio-system?",
		},
		{
			name:    "gateway: by all its names, each once",
			objects: entry("egress", "") + gatewayIn("shop", "in", "edge") + gatewayIn("edge-ns", "in", "edge") + serviceIn("edge-ns", "edge"),
			vs:      "{" + hosts + ", gateways: [in, ./in, shop/in, in.edge-ns, in.edge-ns.svc.cluster.local], http: [{" + destination + "}]}",
			want:    "gateway edge-ns",
		},
		{
			name:    "gateway: named per match in place of those of the VirtualService",
			objects: entry("egress", "") + gatewayIn("shop", "in", "edge") + serviceIn("edge-ns", "edge") + gatewayIn("shop", "two", "two") + serviceIn("two-ns", "two"),
			vs:      "{" + hosts + ", gateways: [in, two], http: [{match: [{gateways: [two]}, {gateways: [mesh]}], " + destination + "}]}",
			want:    "gateway two-ns, sidecar *, sidecar egress, sidecar shop",
		},
		{
			name:    "gateway: a match without gateways keeps to its source namespace there too",
			objects: entry("egress", "") + gatewayIn("shop", "in", "edge") + serviceIn("edge-ns", "edge") + serviceIn("b", "edge"),
			vs:      "{" + hosts + ", gateways: [in], http: [{match: [{sourceNamespace: b}], " + destination + "}]}",
			want:    "gateway b",
		},
		{
			name:    "gateway: does not load what is not exported to it",
			objects: entry("egress", "") + gatewayIn("shop", "in", "edge") + serviceIn("edge-ns", "edge") + serviceIn("shop", "edge"),
			vs:      "{" + hosts + ", exportTo: [.], gateways: [in], http: [{" + destination + "}]}",
			want:    "gateway shop",
		},
		{
			name: "delegate: executed by its roots",
			objects: entry("egress", "") + gatewayIn("shop", "in", "edge") + serviceIn("edge-ns", "edge") +
				"{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: root, namespace: shop}, spec: {hosts: [example.com], gateways: [in], http: [{delegate: {name: vs}}]}}",
			vs:   "{http: [{" + destination + "}]}",
			want: "gateway edge-ns",
		},
		{
			name: "delegate: not by a root that it is not exported to, nor by one that is a delegate itself",
			objects: entry("egress", "") +
				"{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: root, namespace: other}, spec: {hosts: [example.com], http: [{delegate: {name: vs, namespace: shop}}]}}\n---\n" +
				"{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: middle, namespace: shop}, spec: {http: [{delegate: {name: vs}}]}}",
			vs:   "{exportTo: [.], http: [{" + destination + "}]}",
			want: "",
		},
		{
			name:    "delegate: without a root by nobody",
			objects: entry("egress", ""),
			vs:      "{http: [{" + destination + "}]}",
			want:    "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			change := c.policy
			if change == nil {
				change = func(*policy.Policy) {}
			}
			w, objects := world(t, route(c.vs)+c.objects, change)
			vs := objects[0].Typed.(*networkingv1.VirtualService)
			var got []string
			for _, c := range w.Clients(vs, vs.Spec.GetHttp()[0], "api.vendor.com") {
				kind, ns := "sidecar", c.Namespace
				if c.Gateway {
					kind = "gateway"
				}
				if ns == mesh.OtherNamespaces {
					ns = "*"
				}
				if !c.Known {
					ns += "?"
				}
				got = append(got, kind+" "+ns)
			}
			assert.Equal(t, c.want, strings.Join(got, ", "))
		})
	}
}

func TestTLSClients(t *testing.T) {
	w, objects := world(t, route("{"+hosts+", gateways: [in, mesh], tls: [{match: [{sniHosts: [a], gateways: [in]}], "+destination+"}, {match: [{sniHosts: [b], sourceNamespace: a}], "+destination+"}]}")+
		entry("egress", "")+gatewayIn("shop", "in", "edge")+serviceIn("edge-ns", "edge"))
	vs := objects[0].Typed.(*networkingv1.VirtualService)
	assert.Equal(t, []mesh.Client{{Namespace: "edge-ns", Gateway: true, Known: true, Labels: map[string]string{"istio": "edge"}}},
		w.TLSClients(vs, vs.Spec.GetTls()[0], "api.vendor.com"))
	assert.Equal(t, []mesh.Client{{Namespace: "a", Known: true}}, w.TLSClients(vs, vs.Spec.GetTls()[1], "api.vendor.com"))
	assert.Equal(t, []*networkingv1.VirtualService{vs}, w.TLSRoutesTo("api.vendor.com"))
	assert.Equal(t, "[shop/in]", fmt.Sprint(mesh.GatewayNames(vs)))
}

// No decision is about TCP routes and mirrors, but they lead to hosts.
func TestBeside(t *testing.T) {
	const to = "{host: api.vendor.com}"
	w, objects := world(t, route("{"+hosts+", http: ["+
		"{mirror: "+to+"}, {mirror: "+to+", mirrorPercentage: {value: 0}}, {mirror: "+to+", mirrorPercent: 0}, {mirror: "+to+", redirect: {uri: /}}, "+
		"{mirrors: [{destination: "+to+", percentage: {value: 0}}, {destination: "+to+"}]}], "+
		"tcp: [{match: [{sourceNamespace: a}], route: [{destination: {host: db.vendor.com}}]}]}"))
	vs := objects[0].Typed.(*networkingv1.VirtualService)
	var got []string
	for _, r := range vs.Spec.GetHttp() {
		got = append(got, strings.Join(slices.Sorted(maps.Keys(maps.Collect(mesh.Mirrors(r)))), " "))
	}
	assert.Equal(t, []string{"mirror", "", "", "", "mirrors[1].destination"}, got)
	for _, host := range []string{"api.vendor.com", "db.vendor.com"} {
		assert.Equal(t, []*networkingv1.VirtualService{vs}, w.BesideTo(host))
	}
	assert.Equal(t, []string{"api.vendor.com", "db.vendor.com"}, w.ExternalHosts())
	assert.Equal(t, []mesh.Client{{Namespace: "a", Known: true}}, w.TCPClients(vs, vs.Spec.GetTcp()[0], "db.vendor.com"))
}

// The facts of istio-facts.md on the lookup, one by one: which objects are behind
// the rule in force, and what it says about TLS on 443.
func TestEffectiveRules(t *testing.T) {
	rule := func(name, namespace, spec string) string {
		return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: %s, namespace: %s}, spec: {host: api.vendor.com, %s}}\n---\n", name, namespace, spec)
	}
	const simple = "trafficPolicy: {tls: {mode: SIMPLE}}"
	const plain = "trafficPolicy: {loadBalancer: {simple: RANDOM}}"
	aged := func(yaml string, year int) string {
		return strings.Replace(yaml, "metadata: {", fmt.Sprintf("metadata: {creationTimestamp: '%d-01-01T00:00:00Z', ", year), 1)
	}
	for _, c := range []struct {
		name   string
		client mesh.Client
		rules  string
		want   string
		hidden bool
	}{
		{name: "none", client: mesh.Client{Namespace: "shop"}},
		{name: "the client's namespace first", client: mesh.Client{Namespace: "shop"}, rules: rule("a", "shop", plain) + rule("b", "egress", simple), want: "shop/a plain"},
		{name: "then the service's", client: mesh.Client{Namespace: "shop"}, rules: rule("b", "egress", simple) + rule("c", "istio-system", plain), want: "egress/b SIMPLE"},
		{name: "then the root's", client: mesh.Client{Namespace: "shop"}, rules: rule("c", "istio-system", simple), want: "istio-system/c SIMPLE"},
		{name: "nowhere else", client: mesh.Client{Namespace: "shop"}, rules: rule("d", "fourth", "exportTo: ['*'], "+simple)},
		{name: "the other namespaces see only what is public", client: mesh.Client{}, rules: rule("b", "egress", "exportTo: [shop], "+simple) + rule("c", "istio-system", simple), want: "istio-system/c SIMPLE"},
		{name: "a wildcard of the client's namespace before an exact one elsewhere", client: mesh.Client{Namespace: "shop"}, rules: strings.Replace(rule("w", "shop", plain), "api.vendor.com", "'*.com'", 1) + rule("b", "egress", simple), want: "shop/w plain"},
		{name: "an exact one that the client may not see hides a wildcard (MostSpecificHostMatch)", client: mesh.Client{Namespace: "shop"}, rules: strings.Replace(rule("w", "egress", simple), "api.vendor.com", "'*.com'", 1) + rule("b", "egress", "exportTo: [other], "+simple)},
		{name: "a proxy in the root namespace prefers the service's namespace", client: mesh.Client{Namespace: "istio-system", Gateway: true}, rules: rule("c", "istio-system", plain) + rule("b", "egress", simple), want: "egress/b SIMPLE"},
		{name: "unless its own is private", client: mesh.Client{Namespace: "istio-system", Gateway: true}, rules: rule("c", "istio-system", "exportTo: [.], "+plain) + rule("b", "egress", simple), want: "istio-system/c plain"},
		{name: "private by name is private", client: mesh.Client{Namespace: "istio-system", Gateway: true}, rules: rule("c", "istio-system", "exportTo: [istio-system], "+plain) + rule("b", "egress", simple), want: "istio-system/c plain"},
		{name: "the older policy wins whole, subsets join", client: mesh.Client{Namespace: "shop"}, rules: aged(rule("z", "shop", plain+", subsets: [{name: v1}]"), 2020) + aged(rule("a", "shop", simple+", subsets: [{name: v2}]"), 2024), want: "shop/z+shop/a plain"},
		{name: "an object that is not stored yet is the youngest", client: mesh.Client{Namespace: "shop"}, rules: rule("a", "shop", plain) + aged(rule("z", "shop", simple), 2024), want: "shop/z+shop/a SIMPLE"},
		{name: "different exportTo are kept apart, the last counts", client: mesh.Client{Namespace: "shop"}, rules: aged(rule("a", "shop", simple), 2020) + aged(rule("b", "shop", "exportTo: [.], "+plain), 2024), want: "shop/b plain"},
		{name: "a workloadSelector may fit a sidecar, or not", client: mesh.Client{Namespace: "shop"}, rules: rule("a", "shop", "workloadSelector: {matchLabels: {app: x}}, "+simple) + rule("b", "egress", simple), want: "shop/a{app=x} SIMPLE", hidden: true},
		{name: "a workloadSelector does not fit a gateway without the label, and still hides", client: mesh.Client{Namespace: "shop", Gateway: true, Labels: map[string]string{"istio": "in"}}, rules: rule("a", "shop", "workloadSelector: {matchLabels: {app: x}}, "+simple) + rule("b", "egress", simple), hidden: true},
		{name: "a workloadSelector that fits the gateway decides alone", client: mesh.Client{Namespace: "shop", Gateway: true, Labels: map[string]string{"istio": "in", "app": "x"}}, rules: rule("a", "shop", "workloadSelector: {matchLabels: {app: x}}, "+simple) + rule("b", "shop", plain), want: "shop/a{app=x} SIMPLE"},
		{name: "an empty workloadSelector fits all", client: mesh.Client{Namespace: "shop"}, rules: rule("a", "shop", "workloadSelector: {}, "+simple) + rule("b", "egress", plain), want: "shop/a{} SIMPLE"},
		{name: "a workloadSelector is never exported", client: mesh.Client{Namespace: "shop"}, rules: rule("b", "egress", "exportTo: ['*'], workloadSelector: {matchLabels: {app: x}}, "+simple)},
		{name: "~ is seen by nobody", client: mesh.Client{Namespace: "shop"}, rules: rule("a", "shop", "exportTo: ['~'], "+simple)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := world(t, c.rules)
			found, hidden := w.EffectiveRules(c.client, &mesh.Service{Host: "api.vendor.com", Namespace: "egress"})
			var got []string
			for _, e := range found {
				var members []string
				for _, m := range e.Members {
					members = append(members, m.Namespace+"/"+m.Name)
				}
				text := strings.Join(members, "+")
				if e.Selector != nil {
					text += strings.TrimPrefix(strings.ReplaceAll(fmt.Sprint(e.Selector), ":", "="), "map")
					text = strings.NewReplacer("[", "{", "]", "}").Replace(text)
				}
				if tls := e.TLS(443, ""); tls.Settings == nil {
					text += " plain"
				} else {
					text += " " + tls.Mode().String()
				}
				got = append(got, text)
			}
			assert.Equal(t, c.want, strings.Join(got, ", "))
			assert.Equal(t, c.hidden, hidden != nil)
		})
	}
}

func TestTLSLevels(t *testing.T) {
	const text = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r, namespace: shop}
spec:
  host: api.vendor.com
  trafficPolicy:
    tls: {mode: SIMPLE}
    portLevelSettings:
    - {port: {number: 80}, loadBalancer: {simple: RANDOM}}
    - {port: {number: 443}, tls: {mode: DISABLE}}
    - {port: {number: 443}, tls: {mode: MUTUAL}}
    - {tls: {mode: MUTUAL}}
  subsets:
  - {name: silent}
  - {name: balanced, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
  - {name: mutual, trafficPolicy: {tls: {mode: MUTUAL}}}
  - name: ports
    trafficPolicy:
      tls: {mode: ISTIO_MUTUAL}
      portLevelSettings:
      - {port: {number: 443}, tls: {mode: SIMPLE}}
      - {port: {number: 80}, loadBalancer: {simple: RANDOM}}
  - {name: entry, trafficPolicy: {portLevelSettings: [{port: {number: 8443}, loadBalancer: {simple: RANDOM}}]}}
`
	w, _ := world(t, text)
	rules, _ := w.EffectiveRules(mesh.Client{Namespace: "shop"}, &mesh.Service{Host: "api.vendor.com", Namespace: "shop"})
	require.Len(t, rules, 1)
	type answer struct {
		level    mesh.Level
		mode     string
		entry    int
		disabled bool
	}
	for _, c := range []struct {
		port   uint32
		subset string
		want   answer
	}{
		{8443, "", answer{mesh.LevelDestination, "SIMPLE", 0, false}},
		{80, "", answer{mesh.LevelPort, "none", 0, false}},
		{443, "", answer{mesh.LevelPort, "DISABLE", 1, true}}, // the first entry of a port counts
		{8443, "silent", answer{mesh.LevelDestination, "SIMPLE", 0, false}},
		{8443, "balanced", answer{mesh.LevelDestination, "SIMPLE", 0, false}},
		{80, "balanced", answer{mesh.LevelPort, "none", 0, false}},
		{443, "mutual", answer{mesh.LevelSubset, "MUTUAL", 0, false}},
		{443, "ports", answer{mesh.LevelSubsetPort, "SIMPLE", 0, false}},
		{80, "ports", answer{mesh.LevelSubsetPort, "none", 1, false}},
		{8443, "ports", answer{mesh.LevelSubset, "ISTIO_MUTUAL", 0, false}},
		{8443, "entry", answer{mesh.LevelSubsetPort, "none", 0, false}},
		{443, "unknown", answer{mesh.LevelNoSubset, "none", 0, false}},
	} {
		got := rules[0].TLS(c.port, c.subset)
		mode := "none"
		if got.Settings != nil {
			mode = got.Mode().String()
		}
		assert.Equal(t, c.want, answer{got.Level, mode, got.Entry, got.Disabled()}, "%d %s", c.port, c.subset)
	}
}

func TestCredentialIgnored(t *testing.T) {
	for _, c := range []struct {
		name, tls, selector string
		gateway, want       bool
	}{
		{name: "a sidecar's", tls: "{mode: SIMPLE, credentialName: c}", want: true},
		{name: "a sidecar's, MUTUAL", tls: "{mode: MUTUAL, credentialName: c}", want: true},
		{name: "a gateway's", tls: "{mode: SIMPLE, credentialName: c}", gateway: true},
		{name: "with a workloadSelector", tls: "{mode: SIMPLE, credentialName: c}", selector: "workloadSelector: {matchLabels: {}}, "},
		{name: "a ConfigMap is for everybody", tls: "{mode: SIMPLE, credentialName: 'configmap://ns/c'}"},
		{name: "ISTIO_MUTUAL has no use for it", tls: "{mode: ISTIO_MUTUAL, credentialName: c}"},
		{name: "none", tls: "{mode: SIMPLE}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := world(t, "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: r, namespace: shop}, spec: {host: api.vendor.com, "+c.selector+"trafficPolicy: {tls: "+c.tls+"}}}")
			client := mesh.Client{Namespace: "shop", Gateway: c.gateway}
			rules, _ := w.EffectiveRules(client, &mesh.Service{Host: "api.vendor.com", Namespace: "shop"})
			require.Len(t, rules, 1)
			assert.Equal(t, c.want, rules[0].CredentialIgnored(client, rules[0].TLS(443, "")))
		})
	}
}

func TestSends(t *testing.T) {
	assert.True(t, mesh.Sends(&networking.HTTPRoute{}))
	assert.False(t, mesh.Sends(&networking.HTTPRoute{Redirect: &networking.HTTPRedirect{}}))
	assert.False(t, mesh.Sends(&networking.HTTPRoute{DirectResponse: &networking.HTTPDirectResponse{}}))
	assert.False(t, mesh.Sends(&networking.HTTPRoute{Delegate: &networking.Delegate{}}))
}

func TestHosts(t *testing.T) {
	w, _ := world(t, entry("shop", "")+"{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: two, namespace: shop}, spec: {hosts: [www.vendor.com, '*.vendor.com', other.org]}}")
	assert.Equal(t, []string{"api.vendor.com", "www.vendor.com"}, w.Hosts("*.vendor.com"))
	assert.Equal(t, []string{"api.vendor.com", "other.org", "www.vendor.com"}, w.Hosts("*"))
	assert.Equal(t, []string{"unknown.com"}, w.Hosts("unknown.com"))
}

// Broken objects are read, not stumbled over.
func TestNilsInObjects(t *testing.T) {
	se := &networkingv1.ServiceEntry{}
	se.Spec.Hosts = []string{"api.vendor.com"}
	se.Spec.Ports = []*networking.ServicePort{nil, {Number: 443, Protocol: "HTTPS"}}
	vs := &networkingv1.VirtualService{}
	vs.Spec.Hosts = []string{"x"}
	vs.Spec.Http = []*networking.HTTPRoute{nil, {Match: []*networking.HTTPMatchRequest{nil}, Route: []*networking.HTTPRouteDestination{nil, {}, {Destination: &networking.Destination{Host: "api.vendor.com"}}}}}
	vs.Spec.Tls = []*networking.TLSRoute{nil, {Match: []*networking.TLSMatchAttributes{nil}, Route: []*networking.RouteDestination{nil, {}}}}
	dr := &networkingv1.DestinationRule{}
	dr.Spec.Host = "api.vendor.com"
	dr.Spec.Subsets = []*networking.Subset{nil, {}}
	dr.Spec.TrafficPolicy = &networking.TrafficPolicy{PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{nil, {}}}
	w := mesh.NewWorld(mesh.Objects{
		ServiceEntries: []*networkingv1.ServiceEntry{se}, VirtualServices: []*networkingv1.VirtualService{vs},
		DestinationRules: []*networkingv1.DestinationRule{dr}, Gateways: []*networkingv1.Gateway{{}},
	}, mesh.Options{RootNamespace: "istio-system"})
	assert.NotPanics(t, func() {
		needs := w.Needs("api.vendor.com", true)
		assert.NotEmpty(t, needs)
		mesh.GatewayNames(vs)
	})
}
