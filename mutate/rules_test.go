package mutate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// plan plans the rules of api.vendor.com. Objects are lines "kind namespace/name
// spec".
func plan(t *testing.T, objects ...string) mutate.RulePlan {
	t.Helper()
	return planUnder(t, policy.Default(), objects...)
}

func planUnder(t *testing.T, pol *policy.Policy, objects ...string) mutate.RulePlan {
	t.Helper()
	out, err := mutate.Rules(scenario.World(parse(t, objects...), pol), host, pol)
	require.NoError(t, err)
	return out
}

func parse(t *testing.T, objects ...string) []scenario.Object {
	t.Helper()
	var text strings.Builder
	for _, o := range objects {
		kind, rest, _ := strings.Cut(o, " ")
		id, spec, _ := strings.Cut(rest, " ")
		ns, name, _ := strings.Cut(id, "/")
		meta := fmt.Sprintf("name: %s, namespace: %s", name, ns)
		if strings.HasPrefix(name, "egress-tls-") {
			meta += ", labels: {app.kubernetes.io/managed-by: egress-tls-webhook}"
		}
		fmt.Fprintf(&text, "---\n{apiVersion: networking.istio.io/v1, kind: %s, metadata: {%s}, spec: %s}\n", kind, meta, spec)
	}
	out, err := scenario.Parse([]byte(text.String()))
	require.NoError(t, err)
	return out
}

const (
	entryHTTP  = "ServiceEntry egress/vendor {hosts: [api.vendor.com], ports: [{number: 443, name: h, protocol: HTTP}]}"
	entryHTTPS = "ServiceEntry egress/vendor {hosts: [api.vendor.com], ports: [{number: 443, name: h, protocol: HTTPS}]}"
	meshRoute  = "VirtualService shop/mesh {hosts: [api.vendor.com], http: [{route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}"
	gwRoute    = "VirtualService shop/gw {hosts: [example.com], gateways: [in], http: [{route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}"
	gwIn       = "Gateway shop/in {selector: {istio: in}}"
	gwService  = "Service edge/in {selector: {istio: in}}"
)

func texts(changes []mutate.RuleChange) []string {
	var out []string
	for _, c := range changes {
		out = append(out, fmt.Sprintf("%s %s exportTo %v", c.Action, c, c.Rule.Spec.GetExportTo()))
	}
	return out
}

var managed = mesh.RuleName(host, nil)

func TestRulesPlan(t *testing.T) {
	name := func(ns string) string { return ns + "/" + managed }
	const good = "{host: api.vendor.com, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE, sni: api.vendor.com, subjectAltNames: [api.vendor.com]}}]}}"
	for _, c := range []struct {
		name                    string
		objects                 []string
		desired, changes, stale []string
	}{
		{
			name: "nothing routes to an HTTPS port", objects: []string{entryHTTPS},
		},
		{
			name: "every client of HTTP on 443", objects: []string{entryHTTP},
			desired: []string{"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 443 exportTo []"},
			changes: []string{"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 443 exportTo []"},
		},
		{
			name: "it is there", objects: []string{entryHTTP, "DestinationRule " + name("egress") + " " + good},
			desired: []string{"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 443 exportTo []"},
		},
		{
			name: "it is there and was edited", objects: []string{entryHTTP, "DestinationRule " + name("egress") + " {host: api.vendor.com}"},
			desired: []string{"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 443 exportTo []"},
			changes: []string{"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 443 exportTo []"},
		},
		{
			name: "it is there in a namespace that needs it no more", objects: []string{entryHTTP, "DestinationRule " + name("egress") + " " + good, "DestinationRule " + name("edge") + " " + good},
			desired: []string{"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 443 exportTo []"},
			stale:   []string{name("edge")},
		},
		{
			name: "nothing needs it any more", objects: []string{entryHTTPS, "DestinationRule " + name("egress") + " " + good},
			stale: []string{name("egress")},
		},
		{
			name: "a user's rule with TLS takes its place", objects: []string{entryHTTP, "DestinationRule " + name("egress") + " " + good, "DestinationRule egress/user {host: api.vendor.com, trafficPolicy: {tls: {mode: SIMPLE}}}"},
			stale: []string{name("egress")},
		},
		{
			name: "a user's rule without TLS takes its place, and gets it", objects: []string{entryHTTP, "DestinationRule " + name("egress") + " " + good, "DestinationRule egress/user {host: api.vendor.com}"},
			desired: []string{"inject TLS to api.vendor.com on port 443 in DestinationRule egress/user exportTo []"},
			changes: []string{"inject TLS to api.vendor.com on port 443 in DestinationRule egress/user exportTo []"},
			stale:   []string{name("egress")},
		},
		{
			name: "a gateway whose namespace is known", objects: []string{entryHTTPS, gwRoute, gwIn, gwService},
			desired: []string{"create DestinationRule " + name("edge") + " with TLS to api.vendor.com on port 443 exportTo [.]"},
			changes: []string{"create DestinationRule " + name("edge") + " with TLS to api.vendor.com on port 443 exportTo [.]"},
		},
		{
			name: "a gateway, and sidecars on another port: private and shared are one rule in one namespace",
			objects: []string{
				"ServiceEntry edge/vendor {hosts: [api.vendor.com], exportTo: [., shop], ports: [{number: 443, name: a, protocol: HTTPS}, {number: 80, name: b, protocol: HTTP, targetPort: 443}]}",
				strings.Replace(gwRoute, "host: api.vendor.com}", "host: api.vendor.com, port: {number: 443}}", 1), gwIn, gwService,
			},
			desired: []string{"create DestinationRule " + name("edge") + " with TLS to api.vendor.com on port 80, 443 exportTo [. shop]"},
			changes: []string{"create DestinationRule " + name("edge") + " with TLS to api.vendor.com on port 80, 443 exportTo [. shop]"},
		},
		{
			name: "gateways on a port of their own and on a shared one: the private rule hides the shared one, and has both",
			objects: []string{
				"ServiceEntry egress/vendor {hosts: [api.vendor.com], ports: [{number: 443, name: a, protocol: HTTPS}, {number: 80, name: b, protocol: HTTP, targetPort: 443}]}",
				gwRoute, strings.NewReplacer("shop/gw", "shop/more", "443", "80").Replace(gwRoute), gwIn, gwService,
			},
			desired: []string{
				"create DestinationRule " + name("edge") + " with TLS to api.vendor.com on port 80, 443 exportTo [.]",
				"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 80 exportTo []",
			},
			changes: []string{
				"create DestinationRule " + name("edge") + " with TLS to api.vendor.com on port 80, 443 exportTo [.]",
				"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 80 exportTo []",
			},
		},
		{
			name: "DISABLE is left alone", objects: []string{entryHTTP, "DestinationRule egress/user {host: api.vendor.com, trafficPolicy: {tls: {mode: DISABLE}}}"},
		},
		{
			name: "two members of one merged rule: the one whose policy decides", objects: []string{
				entryHTTP, "DestinationRule egress/a {host: api.vendor.com, subsets: [{name: v1}]}", "DestinationRule egress/b {host: api.vendor.com, trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
			},
			desired: []string{"inject TLS to api.vendor.com on port 443 in DestinationRule egress/b exportTo []"},
			changes: []string{"inject TLS to api.vendor.com on port 443 in DestinationRule egress/b exportTo []"},
		},
		{
			name: "a wildcard rule of the same namespace for some clients, none for others: an exact rule carries its policy, and the others get theirs in the root namespace",
			objects: []string{
				entryHTTP, "DestinationRule egress/wild {host: '*.vendor.com', exportTo: [.], trafficPolicy: {loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 443}, connectionPool: {tcp: {maxConnections: 3}}}]}}",
			},
			desired: []string{
				"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 443 exportTo [.]",
				"create DestinationRule " + name("istio-system") + " with TLS to api.vendor.com on port 443 exportTo []",
			},
			changes: []string{
				"create DestinationRule " + name("egress") + " with TLS to api.vendor.com on port 443 exportTo [.]",
				"create DestinationRule " + name("istio-system") + " with TLS to api.vendor.com on port 443 exportTo []",
			},
		},
		{
			name: "the root namespace's own ServiceEntry keeps its rule, whatever a tenant's says of the host",
			objects: []string{
				strings.Replace(entryHTTP, "egress/", "istio-system/", 1), "DestinationRule " + name("istio-system") + " " + good,
				"ServiceEntry shop/claim {hosts: [api.vendor.com], exportTo: [.], ports: [{number: 443, name: tls, protocol: TLS}]}",
			},
			desired: []string{"create DestinationRule " + name("istio-system") + " with TLS to api.vendor.com on port 443 exportTo []"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(t, c.objects...)
			assert.Equal(t, c.desired, texts(got.Desired))
			assert.Equal(t, c.changes, texts(got.Changes))
			var stale []string
			for _, s := range got.Surplus {
				assert.Nil(t, s.Want)
				stale = append(stale, s.Rule.Namespace+"/"+s.Rule.Name)
			}
			assert.Equal(t, c.stale, stale)
			assert.Empty(t, got.Unmet)
		})
	}
}

// The carried policy of the last case above, in full.
func TestRulesCarryThePolicyOfAWildcard(t *testing.T) {
	got := plan(t, entryHTTP, "DestinationRule egress/wild {host: '*.vendor.com', exportTo: [.], trafficPolicy: {loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 443}, connectionPool: {tcp: {maxConnections: 3}}}]}}")
	require.Len(t, got.Changes, 2)
	tree, err := mutate.MarshalRule(got.Changes[0].Rule)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"apiVersion": "networking.istio.io/v1",
		"kind":       "DestinationRule",
		"metadata": map[string]any{
			"name": managed, "namespace": "egress", "labels": map[string]any{"app.kubernetes.io/managed-by": "egress-tls-webhook"},
		},
		"spec": map[string]any{
			"host": host, "exportTo": []any{"."},
			"trafficPolicy": map[string]any{
				"loadBalancer": map[string]any{"simple": "RANDOM"},
				"portLevelSettings": []any{map[string]any{
					"port":           map[string]any{"number": 443.0},
					"connectionPool": map[string]any{"tcp": map[string]any{"maxConnections": 3.0}},
					"tls":            map[string]any{"mode": "SIMPLE", "sni": host, "subjectAltNames": []any{host}},
				}},
			},
		},
	}, tree)
}

// A rule of the root namespace that its own ServiceEntry needs gets no port for a tenant's that
// would change another tenant's connections: that need stays unmet.
func TestRulesOfTheRootNamespaceDoNotStray(t *testing.T) {
	got := plan(t,
		"ServiceEntry istio-system/shared {hosts: [api.vendor.com], ports: [{number: 443, name: a, protocol: HTTP}]}",
		"ServiceEntry other/claim {hosts: [api.vendor.com], ports: [{number: 8443, name: a, protocol: HTTP, targetPort: 443}]}",
		"DestinationRule other/in-the-way {host: api.vendor.com, exportTo: [nobody]}",
		"ServiceEntry shop/own {hosts: [api.vendor.com], exportTo: [.], ports: [{number: 8443, name: a, protocol: TLS}]}")
	assert.Equal(t, []string{"create DestinationRule istio-system/" + managed + " with TLS to api.vendor.com on port 443 exportTo []"}, texts(got.Desired))
	for _, n := range got.Unmet {
		assert.Equal(t, "other", n.Service.Namespace)
	}
	assert.NotEmpty(t, got.Unmet)
}

// A rule is shared when others than gateways of known namespaces see it.
func TestRulesShared(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []string
		want    bool
	}{
		{"private to a gateway's namespace", []string{entryHTTPS, gwRoute, gwIn, gwService}, false},
		{"a gateway guessed", []string{entryHTTPS, gwRoute, gwIn}, true},
		{"sidecars", []string{entryHTTPS, meshRoute}, true},
		{"a user's public rule", []string{entryHTTPS, gwRoute, gwIn, gwService, "DestinationRule edge/user {host: api.vendor.com}"}, true},
		{"a user's private rule at the gateway", []string{entryHTTPS, gwRoute, gwIn, gwService, "DestinationRule edge/user {host: api.vendor.com, exportTo: [.]}"}, false},
		{"private by name", []string{entryHTTPS, gwRoute, gwIn, gwService, "DestinationRule edge/user {host: api.vendor.com, exportTo: [edge]}"}, false},
		{"a user's private rule, of sidecars", []string{entryHTTPS, strings.Replace(meshRoute, "{hosts", "{exportTo: [.], hosts", 1), "DestinationRule shop/user {host: api.vendor.com, exportTo: [.]}"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(t, c.objects...)
			require.Len(t, got.Desired, 1)
			assert.Equal(t, c.want, got.Desired[0].Shared)
		})
	}
}

// What is created goes with the ServiceEntry, where both are in one namespace and
// the ServiceEntry is stored: an owner elsewhere is not allowed.
func TestRulesOwner(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []string
		want    int
	}{
		{"the ServiceEntry's namespace", []string{entryHTTP}, 1},
		{"another namespace", []string{entryHTTPS, gwRoute, gwIn, gwService}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects := parse(t, c.objects...)
			objects[0].Typed.SetUID(types.UID("1234"))
			got, err := mutate.Rules(scenario.World(objects, policy.Default()), host, policy.Default())
			require.NoError(t, err)
			require.Len(t, got.Changes, 1)
			owners := got.Changes[0].Rule.OwnerReferences
			require.Len(t, owners, c.want)
			for _, o := range owners {
				assert.Equal(t, "networking.istio.io/v1 ServiceEntry vendor 1234", fmt.Sprintf("%s %s %s %s", o.APIVersion, o.Kind, o.Name, o.UID))
				assert.Nil(t, o.Controller)
			}
		})
	}
}

func TestRulesOfNoTarget(t *testing.T) {
	pol := policy.Default()
	pol.Exemptions.Hosts = []string{"*.vendor.com"}
	assert.Empty(t, planUnder(t, pol, entryHTTP, meshRoute).Needs)
	w := scenario.World(parse(t, entryHTTP), policy.Default())
	for _, h := range []string{"unknown.com", "", "*", "*.vendor.com"} {
		got, err := mutate.Rules(w, h, policy.Default())
		require.NoError(t, err)
		assert.Equal(t, mutate.RulePlan{Host: h}, got)
	}
}

func TestHeaderEditsAreDeterministic(t *testing.T) {
	objects := parse(t, entryHTTP, "VirtualService shop/vs {hosts: [x], http: [{headers: {request: {set: {Host: a.com, HOST: b.com, ':authority': c.com}}}, route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}")
	w := scenario.World(objects, policy.Default())
	for range 50 {
		edits, findings := mutate.Headers(w.LeadsOf(objects[1].Typed.(*networkingv1.VirtualService)))
		require.Len(t, edits, 1)
		require.Len(t, findings, 1)
		require.Equal(t, `the route sets Host "c.com" but leads to "api.vendor.com"; the external server may answer for another site, or with 404 or 421.`, findings[0].Message)
	}
}

// An authority is compared as a server reads it.
func TestHostHeaderMismatch(t *testing.T) {
	for value, mismatch := range map[string]bool{
		"api.vendor.com":        false,
		"API.vendor.COM":        false,
		"api.vendor.com:443":    false,
		"%REQ(x-original)%":     false,
		"www.vendor.com":        true,
		"api.vendor.com.":       true,
		"":                      true,
		"api.vendor.com.evil":   true,
		"www.vendor.com:443":    true,
		"xn--api.vendor.com":    true,
		"user@api.vendor.com":   true,
		"api.vendor.com/v1":     true,
		"api.vendor.com:443:80": false,
	} {
		objects := parse(t, entryHTTP, fmt.Sprintf("VirtualService shop/vs {hosts: [x], http: [{headers: {request: {set: {Host: %q}}}, route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}", value))
		_, findings := mutate.Headers(scenario.World(objects, policy.Default()).LeadsOf(objects[1].Typed.(*networkingv1.VirtualService)))
		assert.Equal(t, mismatch, len(findings) == 1, "%q", value)
	}
}

// Istio's types encode 64-bit numbers as strings, which its CRD refuses.
func TestMarshalRuleKeepsNumbers(t *testing.T) {
	const hash = `{"httpHeaderName":"x","minimumRingSize":1024,"ringHash":{"minimumRingSize":2000}}`
	got := plan(t, entryHTTP, "DestinationRule egress/user {host: '*.vendor.com', trafficPolicy: {loadBalancer: {consistentHash: "+hash+"}},"+
		" subsets: [{name: v1, labels: {minimumRingSize: '5'}, trafficPolicy: {loadBalancer: {consistentHash: {maglev: {tableSize: 65537}}}}}]}")
	require.Len(t, got.Changes, 1)
	tree, err := mutate.MarshalRule(got.Changes[0].Rule)
	require.NoError(t, err)
	raw, err := json.Marshal(tree["spec"])
	require.NoError(t, err)
	assert.JSONEq(t, `{"host":"api.vendor.com",
		"trafficPolicy":{"loadBalancer":{"consistentHash":`+hash+`},"portLevelSettings":[
			{"port":{"number":443},"loadBalancer":{"consistentHash":`+hash+`},"tls":{"mode":"SIMPLE","sni":"api.vendor.com","subjectAltNames":["api.vendor.com"]}}]},
		"subsets":[{"name":"v1","labels":{"minimumRingSize":"5"},"trafficPolicy":{"loadBalancer":{"consistentHash":{"maglev":{"tableSize":65537}}}}}]}`, string(raw))
}

// No rule can be for a ServiceEntry's host without a dot: one that is created would be for
// another host, at which it is not needed, and removed again for ever.
func TestNoRuleForAShortHost(t *testing.T) {
	pol := policy.Default()
	got, err := mutate.Rules(scenario.World(parse(t, strings.Replace(entryHTTP, "api.vendor.com", "vendor", 1)), pol), "vendor", pol)
	require.NoError(t, err)
	assert.Empty(t, got.Changes)
	assert.Len(t, got.Unmet, len(got.Needs))
	assert.NotEmpty(t, got.Unmet)
}
