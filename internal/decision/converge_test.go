package decision_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// What would take the place of a managed rule is not written in some modes; the rule then
// stays, as long as it does any good.
func TestConvergeTakesNothingAwayForWhatItMayNotWrite(t *testing.T) {
	const (
		entry   = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: v, namespace: egress}, spec: {hosts: [api.vendor.com], ports: [{number: 443, name: a, protocol: HTTPS}]}}\n---\n"
		mesh443 = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: m, namespace: shop}, spec: {hosts: [x.y], http: [{route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}}\n---\n"
		gw443   = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: g, namespace: shop}, spec: {hosts: [x.y], gateways: [in], http: [{route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}}\n---\n" +
			"{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: in, namespace: shop}, spec: {selector: {istio: in}}}\n---\n" +
			"{apiVersion: v1, kind: Service, metadata: {name: in, namespace: edge}, spec: {selector: {istio: in}}}\n---\n"
	)
	name := mesh.RuleName("api.vendor.com", nil)
	managed := "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: " + name + ", namespace: egress, creationTimestamp: '2020-01-01T00:00:00Z', labels: {app.kubernetes.io/managed-by: egress-tls-webhook}}," +
		" spec: {host: api.vendor.com, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE, sni: api.vendor.com, subjectAltNames: [api.vendor.com]}}]}}}\n---\n"
	user := func(year string) string {
		return "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: user, namespace: egress, creationTimestamp: '" + year + "-01-01T00:00:00Z'}, spec: {host: api.vendor.com, trafficPolicy: {loadBalancer: {simple: RANDOM}}}}\n---\n"
	}
	for _, c := range []struct {
		name, objects, other string
		mode                 policy.Mode
		removed              bool
	}{
		{"a newer rule of the user's gets TLS", entry + mesh443 + managed + user("2021"), "", policy.Enforce, true},
		{"a newer rule of the user's may not get TLS", entry + mesh443 + managed + user("2021"), "egress", policy.Warn, false},
		{"an older rule of the user's hides ours anyway", entry + mesh443 + managed + user("2019"), "egress", policy.Warn, true},
		{"one elsewhere takes its place", entry + gw443 + managed, "", policy.Enforce, true},
		{"one elsewhere may not be written", entry + gw443 + managed, "edge", policy.Off, false},
		{"what needs one elsewhere may ask for nothing", entry + gw443 + managed, "shop", policy.Warn, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pol := policy.Default()
			out, err := decision.Converge(scenario.World(parse(t, c.objects), pol), pol, "api.vendor.com", func(ns string) policy.Mode {
				if ns == c.other {
					return c.mode
				}
				return policy.Enforce
			})
			require.NoError(t, err)
			assert.Equal(t, c.removed, len(out.Surplus) == 1)
			assert.Equal(t, c.other == "", len(out.Changes) == 1)
		})
	}
}
