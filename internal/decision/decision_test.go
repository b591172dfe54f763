package decision_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// What whole decisions come to is in test/scenarios; here is what no scenario can
// say.

func parse(t *testing.T, text string) []scenario.Object {
	t.Helper()
	out, err := scenario.Parse([]byte(text))
	require.NoError(t, err)
	return out
}

const entryHTTP = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vendor, namespace: shop}
spec: {hosts: [api.vendor.com], ports: [{number: 443, name: h, protocol: HTTP}]}
---
`

func TestDecideKnowsThreeKinds(t *testing.T) {
	w := scenario.World(nil, policy.Default())
	_, err := decision.Decide(w, policy.Default(), &networkingv1.Gateway{}, nil)
	require.EqualError(t, err, "no decision is made about a *v1.Gateway")
	for _, o := range parse(t, entryHTTP+"{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {}}\n---\n{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a}}") {
		w := scenario.World([]scenario.Object{o}, policy.Default())
		_, err := decision.Decide(w, policy.Default(), o.Typed, o.Raw)
		require.NoError(t, err)
	}
}

// The raw object and the typed one come from one request; where the raw one cannot
// take what must be added, nothing is guessed.
func TestDecideFailsWhereTheRawObjectCannotTakeIt(t *testing.T) {
	all := parse(t, entryHTTP+"{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: r, namespace: shop}, spec: {host: api.vendor.com}}")
	w := scenario.World(all, policy.Default())
	_, err := decision.Decide(w, policy.Default(), all[1].Typed, map[string]any{"spec": map[string]any{"trafficPolicy": "x"}})
	require.EqualError(t, err, "failed to inject TLS into DestinationRule shop/r: spec.trafficPolicy is no map")
}

// A managed rule is not judged, in whatever state: the reconciler restores it.
func TestDecideLeavesManagedRulesToTheReconciler(t *testing.T) {
	all := parse(t, entryHTTP+`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: egress-tls-api-vendor-com-9fc1ec859dc8a85d, namespace: shop, labels: {app.kubernetes.io/managed-by: egress-tls-webhook}}
spec: {host: api.vendor.com, trafficPolicy: {tls: {mode: DISABLE}}}
`)
	out, err := decision.Decide(scenario.World(all, policy.Default()), policy.Default(), all[1].Typed, all[1].Raw)
	require.NoError(t, err)
	assert.Equal(t, decision.Outcome{}, out)
}

// The decision about one team's object says nothing of another team's.
func TestDecideNarrowsToTheObject(t *testing.T) {
	all := parse(t, entryHTTP+`
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: mine, namespace: shop}, spec: {hosts: [x], http: [{headers: {request: {set: {Host: api.vendor.com, X-Forwarded-Proto: https}}}, route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: theirs, namespace: other}, spec: {hosts: [z], http: [{headers: {request: {set: {Host: api.vendor.com, X-Forwarded-Proto: https}}}, route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: r, namespace: shop}, spec: {host: api.vendor.com, trafficPolicy: {tls: {mode: DISABLE}}}}
`)
	w := scenario.World(all, policy.Default())
	subjects := func(i int) []string {
		out, err := decision.Decide(w, policy.Default(), all[i].Typed, all[i].Raw)
		require.NoError(t, err)
		var got []string
		for _, f := range out.Findings {
			assert.Equal(t, finding.TLSDisabled, f.Code)
			got = append(got, f.Subject)
		}
		return got
	}
	assert.Equal(t, []string{"api.vendor.com:443 VirtualService shop/mine"}, subjects(1))
	assert.Equal(t, []string{"api.vendor.com:443 VirtualService other/theirs"}, subjects(2))
	both := []string{"api.vendor.com:443 VirtualService other/theirs", "api.vendor.com:443 VirtualService shop/mine"}
	assert.Equal(t, both, subjects(3), "who applies the rule hears of all whom it concerns")
}
