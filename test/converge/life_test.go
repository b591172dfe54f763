package converge

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
)

// What becomes of the objects when one of them is deleted or changes.

// routedSite is a site with everything, as it is stored.
func routedSite(t *testing.T) site {
	t.Helper()
	s := newSite(t)
	apply(t, s.entry(), s.gateway(), s.route())
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
	return s
}

const unusedSince = "egress-tls.dev/unused-since"

func TestServiceEntryIsDeletedAndComesBack(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	route := version(t, s.routeKey())
	remove(t, s.entryKey())
	s.comes(t, s.gateway(), s.routed())
	assert.Equal(t, route, version(t, s.routeKey()), "the headers are the user's to take away")
	assertRemovedAfterTheMark(t, s.ruleKey())
	apply(t, s.entry())
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
	stays(t, s.namespace)
}

// assertRemovedAfterTheMark: the last version of the rule had the mark, and all
// before it had none.
func assertRemovedAfterTheMark(t *testing.T, rule key) {
	t.Helper()
	past := cluster.history(rule)
	marked := func(i int) bool { return past[i].object.GetAnnotations()[unusedSince] != "" }
	n := len(past)
	require.True(t, past[n-1].deleted)
	require.GreaterOrEqual(t, n, 3)
	assert.True(t, marked(n-2), "it was marked before it was removed")
	for i := range past[:n-2] {
		assert.False(t, marked(i), "it was marked once")
	}
}

func TestRouteIsDeleted(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	entry := version(t, s.entryKey())
	remove(t, s.routeKey())
	s.comes(t, s.entry(), s.gateway())
	assertRemovedAfterTheMark(t, s.ruleKey())
	assert.Equal(t, entry, version(t, s.entryKey()))
	stays(t, s.namespace)
}

// A port that all clients send plaintext to has its rule with or without routes.
func TestRouteOfAPlaintextPortIsDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	apply(t, s.meshEntry(), s.meshRoute())
	s.comes(t, s.meshEntry(), s.meshRouted(), s.meshRule())
	rule := version(t, s.ruleKey())
	remove(t, s.routeKey())
	s.comes(t, s.meshEntry(), s.meshRule())
	stays(t, s.namespace)
	assert.Equal(t, rule, version(t, s.ruleKey()))
}

func TestMarkedRuleIsNeededAgain(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	uid := cluster.get(s.ruleKey()).GetUID()
	remove(t, s.routeKey())
	eventually(t, func() string {
		if o := cluster.get(s.ruleKey()); o == nil || o.GetAnnotations()[unusedSince] == "" {
			return "the rule has no mark"
		}
		return ""
	})
	apply(t, s.route())
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
	stays(t, s.namespace)
	assert.Equal(t, uid, cluster.get(s.ruleKey()).GetUID(), "it is the same rule")
}

func TestRouteLeadsToAnotherHost(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	other := site{s.namespace, "other." + s.host}
	others := func(manifest string) string {
		return strings.NewReplacer("name: external", "name: other", "ServiceEntry external", "ServiceEntry other").Replace(manifest)
	}
	reroute := func(manifest string) string {
		return strings.NewReplacer("{host: "+s.host, "{host: "+other.host, "Host: "+s.host, "Host: "+other.host).Replace(manifest)
	}
	apply(t, others(other.entry()), reroute(s.route()))
	s.comes(t, s.entry(), others(other.entry()), s.gateway(), reroute(s.routed()), others(other.rule()))
	assertRemovedAfterTheMark(t, s.ruleKey())
	stays(t, s.namespace)
}

func TestHostOfTheServiceEntryIsRenamed(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	other := site{s.namespace, "other." + s.host}
	apply(t, other.entry())
	s.comes(t, other.entry(), s.gateway(), s.routed())

	// The author follows, and leaves the other host's header to us.
	rename := strings.NewReplacer("{host: "+s.host, "{host: "+other.host, "Host: "+s.host, "Host: "+other.host)
	apply(t, rename.Replace(s.route()))
	s.comes(t, other.entry(), s.gateway(), rename.Replace(s.routed()), other.rule())
	stays(t, s.namespace)
}

func TestPortIsRenumbered(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	uid := cluster.get(s.ruleKey()).GetUID()
	renumber := func(manifest string) string { return strings.ReplaceAll(manifest, "number: 443", "number: 8443") }
	apply(t, renumber(s.entry()), renumber(s.route()))
	s.comes(t, renumber(s.entry()), s.gateway(), renumber(s.routed()), renumber(s.rule()))
	assert.Equal(t, uid, cluster.get(s.ruleKey()).GetUID(), "the rule is changed, not replaced")
	stays(t, s.namespace)
}

func TestPortIsRenamed(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	rule, route := version(t, s.ruleKey()), version(t, s.routeKey())
	renamed := strings.Replace(s.entry(), "name: https", "name: https-2", 1)
	apply(t, renamed)
	s.comes(t, renamed, s.gateway(), s.routed(), s.rule())
	stays(t, s.namespace)
	assert.Equal(t, rule, version(t, s.ruleKey()))
	assert.Equal(t, route, version(t, s.routeKey()))
}

func TestRuleFollowsTheExportOfTheServiceEntry(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	apply(t, s.meshEntry(), s.meshRoute())
	s.comes(t, s.meshEntry(), s.meshRouted(), s.meshRule())
	uid := cluster.get(s.ruleKey()).GetUID()
	for _, exportTo := range []string{`["."]`, `["*"]`} {
		export := func(manifest string) string {
			return strings.Replace(manifest, "spec:\n", "spec:\n  exportTo: "+exportTo+"\n", 1)
		}
		apply(t, export(s.meshEntry()))
		s.comes(t, export(s.meshEntry()), s.meshRouted(), export(s.meshRule()))
	}
	stays(t, s.namespace)
	assert.Equal(t, uid, cluster.get(s.ruleKey()).GetUID(), "it is the same rule")
}

func TestRuleIsDeletedByHand(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	route := version(t, s.routeKey())
	remove(t, s.ruleKey())
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
	tells(t, s.routeKey(), s.createdRule())
	stays(t, s.namespace)
	assert.Equal(t, route, version(t, s.routeKey()))
}

func TestRuleIsEditedByHand(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	for _, edit := range []string{
		`{"spec": {"trafficPolicy": {"portLevelSettings": [{"port": {"number": 443}, "tls": {"mode": "DISABLE"}}]}}}`,
		`{"spec": {"exportTo": null}}`,
		`{"spec": {"trafficPolicy": null}}`,
		`{"metadata": {"ownerReferences": null}}`,
		`{"spec": {"host": "elsewhere.example.com"}}`,
	} {
		patch(t, s.ruleKey(), edit)
		s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
	}
	tells(t, s.ruleKey(),
		s.event("Normal DestinationRuleRestored: restored DestinationRule NAMESPACE/RULE with TLS to HOST on port 443"),
		// Clients that see more may rely on it; so that takes the grace period.
		s.event("Normal DestinationRuleRestored: took from DestinationRule NAMESPACE/RULE what nothing needs any more"))
	stays(t, s.namespace)
}

func TestRuleWithoutItsLabelIsTheUsers(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	unlabelled := strings.Replace(s.rule(), "  labels: {app.kubernetes.io/managed-by: egress-tls-webhook}\n", "", 1)
	patch(t, s.ruleKey(), `{"metadata": {"labels": null}}`)
	stays(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), s.routed(), unlabelled)

	patch(t, s.ruleKey(), `{"spec": {"exportTo": ["*"]}}`)
	remove(t, s.routeKey())
	stays(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), strings.Replace(unlabelled, `["."]`, `["*"]`, 1))
}

func TestOneOfTwoServiceEntriesInTwoNamespacesIsDeleted(t *testing.T) {
	t.Parallel()
	blue, green := newSite(t), newSite(t)
	green.host = blue.host
	private := func(manifest string) string {
		return strings.Replace(manifest, "spec:\n", "spec:\n  exportTo: [\".\"]\n", 1)
	}
	both := []string{blue.namespace, green.namespace}
	apply(t, private(blue.meshEntry()), private(green.meshEntry()), blue.meshRoute())
	comes(t, both, private(blue.meshEntry()), blue.meshRouted(), private(blue.meshRule()), private(green.meshEntry()), private(green.meshRule()))
	rule, route := version(t, blue.ruleKey()), version(t, blue.routeKey())
	remove(t, green.entryKey())
	comes(t, both, private(blue.meshEntry()), blue.meshRouted(), private(blue.meshRule()))
	stays(t, both...)
	assert.Equal(t, rule, version(t, blue.ruleKey()))
	assert.Equal(t, route, version(t, blue.routeKey()))
}

func TestOneOfTwoServiceEntriesInOneNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	second := strings.NewReplacer("name: external", "name: second", "443", "8443").Replace(s.meshEntry())
	secondPort := `    - port: {number: 8443}
      tls: {mode: SIMPLE, sni: HOST, subjectAltNames: [HOST]}
`
	secondOwner := "  - {apiVersion: networking.istio.io/v1, kind: ServiceEntry, name: second, uid: uid of ServiceEntry second}\n"
	// A port of protocol HTTP other than 443 is a target if it says so.
	second = strings.Replace(second, "metadata: {", `metadata: {annotations: {egress-tls.dev/originate: "8443"}, `, 1)
	joint := strings.Replace(s.meshRule(), "spec:\n", secondOwner+"spec:\n", 1) + strings.TrimPrefix(s.fill(secondPort), "---\n")
	apply(t, s.meshEntry(), second)
	s.comes(t, s.meshEntry(), second, joint)
	remove(t, s.key("ServiceEntry", "second"))
	s.comes(t, s.meshEntry(), s.meshRule())
	stays(t, s.namespace)
}

// The Service of a gateway tells where its pods run. Before it is there, that is a
// guess.
func TestServiceOfTheGatewayAppearsLater(t *testing.T) {
	t.Parallel()
	routes, pods := newSite(t), newSite(t)
	both := []string{routes.namespace, pods.namespace}
	pods.host = routes.host
	public := func(manifest string) string {
		return strings.Replace(manifest, `exportTo: ["."]`, `exportTo: ["*"]`, 1)
	}
	apply(t, public(routes.entry()), routes.onlyGateway(), routes.route())
	comes(t, both, public(routes.entry()), routes.onlyGateway(), routes.routed(), public(routes.rule()))
	route := version(t, routes.routeKey())

	apply(t, strings.Replace(pods.gatewayService(), "selector: {istio: "+pods.namespace, "selector: {istio: "+routes.namespace, 1))
	// The ServiceEntry of another namespace is no owner.
	moved, rest, _ := strings.Cut(pods.rule(), "  ownerReferences:")
	_, spec, _ := strings.Cut(rest, "spec:\n")
	moved += "spec:\n" + spec
	comes(t, both, public(routes.entry()), routes.onlyGateway(), routes.routed(), moved)
	assertRemovedAfterTheMark(t, routes.ruleKey())
	was := cluster.history(routes.ruleKey())
	assert.Less(t, revision(cluster.history(pods.ruleKey())[0].object), revision(was[len(was)-1].object), "the new rule came before the old one went")
	stays(t, both...)
	assert.Equal(t, route, version(t, routes.routeKey()))
}

// The reconciler adds what admission could not know.
func TestRouteComesBeforeItsServiceEntry(t *testing.T) {
	t.Parallel()
	t.Run("gateway", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		apply(t, s.route())
		s.comes(t, s.route())
		apply(t, s.gateway(), s.entry())
		s.comes(t, s.gateway(), s.entry(), s.routed(), s.rule())
		tells(t, s.routeKey(), s.addedHeaders())
		stays(t, s.namespace)
	})
	t.Run("sidecars", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		apply(t, s.meshRoute())
		s.comes(t, s.meshRoute())
		apply(t, s.meshEntry())
		s.comes(t, s.meshEntry(), s.meshRouted(), s.meshRule())
		tells(t, s.routeKey(), s.addedHeaders())
		stays(t, s.namespace)
	})
}

// The Events about what the reconciler has changed.
func (s site) addedHeaders() string {
	return s.event("Normal HeadersInjected: spec.http[0]: set request headers Host: HOST, X-Forwarded-Proto: https")
}

func (s site) createdRule() string {
	return s.event("Normal DestinationRuleCreated: created DestinationRule NAMESPACE/RULE with TLS to HOST on port 443")
}

func (s site) injectedTLS() string {
	return s.event("Normal TLSInjected: injected TLS to HOST on port 443 in DestinationRule NAMESPACE/own")
}

func (s site) tookBackTLS() string {
	return s.event("Normal TLSTakenBack: took back TLS to HOST that nothing needs any more")
}

func (s site) event(text string) string { return strings.TrimPrefix(s.fill(text), "---\n") }

func jsonPatch(t *testing.T, k key, patch string) {
	t.Helper()
	patchAs(t, k, types.JSONPatchType, patch)
}
