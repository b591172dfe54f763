package mutate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

const (
	twoPorts = "ServiceEntry egress/vendor {hosts: [api.vendor.com], ports: [{number: 443, name: a, protocol: HTTPS}, {number: 8443, name: b, protocol: HTTPS}]}"
	tls443   = "{port: {number: 443}, tls: {mode: SIMPLE, sni: api.vendor.com, subjectAltNames: [api.vendor.com]}}"
	tls8443  = "{port: {number: 8443}, tls: {mode: SIMPLE, sni: api.vendor.com, subjectAltNames: [api.vendor.com]}}"
)

func managedRule(exportTo string, entries ...string) string {
	return fmt.Sprintf("DestinationRule egress/%s {host: api.vendor.com, exportTo: [%s], trafficPolicy: {portLevelSettings: [%s]}}", managed, exportTo, strings.Join(entries, ", "))
}

// ports returns the ports in the entries of a change's rule.
func ports(c mutate.RuleChange) []uint32 {
	var out []uint32
	for _, e := range c.Rule.Spec.GetTrafficPolicy().GetPortLevelSettings() {
		out = append(out, e.GetPort().GetNumber())
	}
	return out
}

// An admission writes what its object needs, and the rule for another object, that is
// about to be stored, keeps what that one needs.
func TestChangesTakeNothingAway(t *testing.T) {
	route8443 := strings.Replace(meshRoute, "port: {number: 443}", "port: {number: 8443}", 1)
	for _, c := range []struct {
		name    string
		objects []string
		ports   []uint32
		export  []string
		unused  bool
		surplus []uint32
	}{
		{"a port of another route", []string{twoPorts, route8443, managedRule("", tls443)}, []uint32{443, 8443}, nil, true, []uint32{8443}},
		{"clients of another route", []string{entryHTTP, managedRule("shop", tls443)}, []uint32{443}, nil, false, nil},
		{"more clients than needed", []string{strings.Replace(entryHTTP, "{hosts", "{exportTo: [.], hosts", 1), managedRule("shop", tls443)}, []uint32{443}, []string{".", "shop"}, true, []uint32{443}},
		{"an entry that was edited", []string{twoPorts, route8443, managedRule("", strings.Replace(tls443, "SIMPLE", "DISABLE", 1))}, []uint32{8443}, nil, false, nil},
		{"an entry for another name", []string{twoPorts, route8443, managedRule("", strings.Replace(tls443, "sni: api", "sni: www", 1))}, []uint32{8443}, nil, false, nil},
		{"in another order", []string{twoPorts, meshRoute, strings.Replace(route8443, "shop/mesh", "shop/more", 1), managedRule("", tls8443, tls443)}, []uint32{443, 8443}, nil, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(t, c.objects...)
			require.Len(t, got.Changes, 1)
			assert.Equal(t, mutate.Create, got.Changes[0].Action)
			assert.Equal(t, c.ports, ports(got.Changes[0]))
			assert.Equal(t, c.export, got.Changes[0].Rule.Spec.GetExportTo())
			assert.Equal(t, c.unused, got.Changes[0].Unused)
			if c.surplus == nil {
				assert.Empty(t, got.Surplus)
				return
			}
			require.Len(t, got.Surplus, 1)
			assert.Equal(t, c.surplus, ports(*got.Surplus[0].Want))
			assert.False(t, got.Surplus[0].Yields)
		})
	}
}

func TestSurplusYields(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []string
		want    bool
	}{
		{"nothing is needed", []string{entryHTTPS, managedRule("", tls443)}, false},
		{"a user's rule with TLS beside it", []string{entryHTTP, managedRule("", tls443), "DestinationRule egress/user {host: api.vendor.com, trafficPolicy: {tls: {mode: SIMPLE}}}"}, true},
		{"a user's rule beside it, and nothing is needed", []string{entryHTTPS, managedRule("", tls443), "DestinationRule egress/user {host: api.vendor.com, subsets: [{name: v1}]}"}, true},
		{"a user's wildcard with TLS behind it", []string{entryHTTP, managedRule("", tls443), "DestinationRule egress/user {host: '*.vendor.com', trafficPolicy: {tls: {mode: SIMPLE}}}"}, true},
		{"a user's wildcard that it follows, and nothing is needed yet", []string{entryHTTPS, "DestinationRule egress/user {host: '*.vendor.com', trafficPolicy: {loadBalancer: {simple: RANDOM}}}", strings.Replace(managedRule("", "{loadBalancer: {simple: RANDOM}, "+tls443[1:]), "{portLevel", "{loadBalancer: {simple: RANDOM}, portLevel", 1)}, false},
		{"a user's wildcard that it does not follow, and nothing is needed", []string{entryHTTPS, "DestinationRule egress/user {host: '*.vendor.com', trafficPolicy: {loadBalancer: {simple: RANDOM}}}", managedRule("", tls443)}, true},
		{"a user's rule elsewhere that nobody has", []string{entryHTTPS, managedRule("", tls443), "DestinationRule other/user {host: api.vendor.com, exportTo: [.], subsets: [{name: v1}]}"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(t, c.objects...)
			require.Len(t, got.Surplus, 1)
			assert.Equal(t, c.want, got.Surplus[0].Yields)
		})
	}
}

// What an admission creates together stays together.
func TestSurplusOfOneAdmissionDoesNotYield(t *testing.T) {
	for name, objects := range map[string][]string{
		"a wildcard for some workloads": {entryHTTPS, "DestinationRule egress/user {host: '*.vendor.com', workloadSelector: {matchLabels: {app: x}}}"},
		"a wildcard for all":            {entryHTTPS, "DestinationRule egress/user {host: '*.vendor.com', trafficPolicy: {loadBalancer: {simple: RANDOM}}}"},
	} {
		t.Run(name, func(t *testing.T) {
			before := objects
			for _, c := range plan(t, append(objects, strings.Replace(meshRoute, "shop", "egress", 1))...).Changes {
				spec, err := json.Marshal(&c.Rule.Spec)
				require.NoError(t, err)
				before = append(before, fmt.Sprintf("DestinationRule %s/%s %s", c.Rule.Namespace, c.Rule.Name, spec))
			}
			require.Greater(t, len(before), len(objects))
			got := plan(t, before...)
			assert.Empty(t, got.Changes)
			assert.Len(t, got.Surplus, len(before)-len(objects))
			for _, s := range got.Surplus {
				assert.False(t, s.Yields, s.Rule.Name)
			}
		})
	}
}

// A mark is taken away by what needs the rule again, with nothing else changed.
func TestMarkedRuleIsAChange(t *testing.T) {
	marked := func(objects ...string) []scenario.Object {
		out := parse(t, objects...)
		rule := out[len(out)-1].Typed
		annotations := rule.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[mutate.UnusedAnnotation] = "2026-01-01T00:00:00Z none"
		rule.SetAnnotations(annotations)
		return out
	}
	for _, c := range []struct {
		name    string
		objects []string
		want    []string
	}{
		{"needed", []string{entryHTTP, managedRule("", tls443)}, []string{"create DestinationRule egress/" + managed + " with TLS to api.vendor.com on port 443"}},
		{"not needed", []string{entryHTTPS, managedRule("", tls443)}, nil},
		{"a user's rule, with nothing of ours", []string{entryHTTP, "DestinationRule egress/user {host: api.vendor.com, trafficPolicy: {tls: {mode: SIMPLE}}}"}, []string{"inject TLS to api.vendor.com on port  in DestinationRule egress/user"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := mutate.Rules(scenario.World(marked(c.objects...), policy.Default()), host, policy.Default())
			require.NoError(t, err)
			var texts []string
			for _, change := range got.Changes {
				texts = append(texts, fmt.Sprintf("%s %s", change.Action, change))
			}
			assert.Equal(t, c.want, texts)
		})
	}
}

// The owners of a managed rule follow the ServiceEntries, and nothing waits for that.
func TestManagedRuleIsAdopted(t *testing.T) {
	objects := parse(t, entryHTTP, managedRule("", tls443))
	objects[0].Typed.SetUID("1234")
	other := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "5678"}
	objects[1].Typed.SetOwnerReferences([]metav1.OwnerReference{other, {APIVersion: "networking.istio.io/v1", Kind: "ServiceEntry", Name: "gone", UID: "9"}})
	got, err := mutate.Rules(scenario.World(objects, policy.Default()), host, policy.Default())
	require.NoError(t, err)
	require.Len(t, got.Changes, 1)
	assert.Equal(t, mutate.Adopt, got.Changes[0].Action)
	entry := metav1.OwnerReference{APIVersion: "networking.istio.io/v1", Kind: "ServiceEntry", Name: "vendor", UID: "1234"}
	have := scenario.World(objects, policy.Default()).RulesFor(host)[0]
	assert.Equal(t, []metav1.OwnerReference{entry, other}, mutate.WithOwnersOf(have, got.Changes[0].Rule))
}

// What an admission under way relies on also stays where the rule carries entries along
// in which we only set tls.
func TestChangesKeepTLSInCarriedEntries(t *testing.T) {
	route := func(name, port, subset string) string {
		return fmt.Sprintf("VirtualService shop/%s {hosts: [api.vendor.com], http: [{route: [{destination: {host: api.vendor.com, port: {number: %s}%s}}]}]}", name, port, subset)
	}
	const entries = "portLevelSettings: [{port: {number: 443}, connectionPool: {tcp: {maxConnections: 3}}}, {port: {number: 8443}, connectionPool: {tcp: {maxConnections: 3}}}]"
	for name, c := range map[string]struct{ wildcard, other string }{
		"entries without tls":             {"trafficPolicy: {" + entries + "}", route("more", "8443", "")},
		"entries under a tls":             {"trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c}, " + entries + "}", route("more", "8443", "")},
		"entries of a subset":             {"subsets: [{name: v1, trafficPolicy: {" + entries + "}}]", route("more", "443", ", subset: v1")},
		"entries of a subset under a tls": {"trafficPolicy: {tls: {mode: SIMPLE, sni: x.y}}, subsets: [{name: v1, trafficPolicy: {" + entries + "}}]", route("more", "443", ", subset: v1")},
		"an entry of a subset like that of the rule": {
			"trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE, sni: x.y}}]}, subsets: [{name: v1, trafficPolicy: {" + entries + "}}]",
			route("more", "443", ", subset: v1"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []string{twoPorts, route("mesh", "443", ""), "DestinationRule egress/user {host: '*.vendor.com', " + c.wildcard + "}"}
			both := plan(t, append(objects, c.other)...)
			require.Len(t, both.Changes, 1)
			spec, err := json.Marshal(&both.Changes[0].Rule.Spec)
			require.NoError(t, err)
			have := "DestinationRule egress/" + managed + " " + string(spec)

			got := plan(t, append(objects, have)...)
			assert.Empty(t, got.Changes)
			require.Len(t, got.Surplus, 1)
			assert.False(t, got.Surplus[0].Yields)
		})
	}
	objects := []string{twoPorts, route("more", "8443", ""), "DestinationRule egress/user {host: '*.vendor.com', trafficPolicy: {" + entries + "}}"}
	for _, tls := range []string{"{mode: DISABLE}", "{mode: SIMPLE, sni: www.vendor.com}"} {
		edited := "DestinationRule egress/" + managed + " {host: api.vendor.com, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: " + tls + "}]}}"
		got := plan(t, append(objects, edited)...)
		require.Len(t, got.Changes, 1)
		assert.Nil(t, got.Changes[0].Rule.Spec.GetTrafficPolicy().GetPortLevelSettings()[0].GetTls(), "edited by hand")
		assert.Empty(t, got.Surplus)
	}
}

// A rule that is as it should be is not written, also one that carries along what makes
// little sense: two entries for one port, the second without the tls of the first.
func TestEqualIsLeftAlone(t *testing.T) {
	wildcard := "DestinationRule egress/wildcard {host: '*.vendor.com', subsets: [{name: v1, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: ISTIO_MUTUAL}}, {port: {number: 443}}]}}]}"
	first := plan(t, twoPorts, meshRoute, wildcard)
	require.Len(t, first.Changes, 1)
	spec, err := json.Marshal(&first.Changes[0].Rule.Spec)
	require.NoError(t, err)

	again := plan(t, twoPorts, meshRoute, wildcard, fmt.Sprintf("DestinationRule egress/%s %s", managed, spec))
	assert.Empty(t, again.Changes)
	assert.Empty(t, again.Surplus)
}
