package converge

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A DestinationRule of the user's own for the host.

var ownRules = []struct{ name, applied, stored string }{
	{"with TLS", withTLS, withTLS},
	{"without TLS", withoutTLS, injectedTLS},
	{"with a load balancer", withLoadBalancer, injectedLoadBalancer},
}

// ownStored is the user's rule as it is stored.
func (s site) ownStored(applied, stored string) string {
	if applied == stored {
		return s.own(applied)
	}
	return s.injected(stored)
}

func TestOwnRuleIsThereBefore(t *testing.T) {
	t.Parallel()
	for _, own := range ownRules {
		t.Run(own.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			apply(t, s.own(own.applied), s.entry(), s.gateway(), s.route())
			s.comes(t, s.entry(), s.gateway(), s.routed(), s.ownStored(own.applied, own.stored))
			stays(t, s.namespace)
			assert.Nil(t, cluster.history(s.ruleKey()), "there was never another rule")

			remove(t, s.ownKey())
			s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
			stays(t, s.namespace)
		})
	}
}

func TestOwnRuleIsAddedAfter(t *testing.T) {
	t.Parallel()
	for _, own := range ownRules {
		t.Run(own.name, func(t *testing.T) {
			t.Parallel()
			s := routedSite(t)
			route := version(t, s.routeKey())
			apply(t, s.own(own.applied))
			s.comes(t, s.entry(), s.gateway(), s.routed(), s.ownStored(own.applied, own.stored))
			for _, past := range cluster.history(s.ruleKey()) {
				assert.Empty(t, past.object.GetAnnotations()[unusedSince], "the managed rule yields at once")
			}
			stays(t, s.namespace)

			remove(t, s.ownKey())
			s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
			stays(t, s.namespace)
			assert.Equal(t, route, version(t, s.routeKey()))
		})
	}
}

func TestInjectedTLSIsTakenBackWithTheRoute(t *testing.T) {
	t.Parallel()
	for _, own := range ownRules[1:] {
		t.Run(own.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			apply(t, s.own(own.applied), s.entry(), s.gateway(), s.route())
			s.comes(t, s.entry(), s.gateway(), s.routed(), s.injected(own.stored))
			remove(t, s.routeKey())
			s.comes(t, s.entry(), s.gateway(), s.own(own.applied))
			tells(t, s.ownKey(), s.tookBackTLS())
			stays(t, s.namespace)
		})
	}
}

func TestInjectedCopyFollowsTheLoadBalancer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	apply(t, s.own(withLoadBalancer), s.entry(), s.gateway(), s.route())
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.injected(injectedLoadBalancer))
	apply(t, strings.Replace(s.own(withLoadBalancer), "RANDOM", "ROUND_ROBIN", 1))
	s.comes(t, s.entry(), s.gateway(), s.routed(), strings.ReplaceAll(s.injected(injectedLoadBalancer), "RANDOM", "ROUND_ROBIN"))
	stays(t, s.namespace)
	assert.Empty(t, events(s.ownKey()), "whoever applied it was told in a warning")
}

func TestEditedInjectionIsTheUsers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	apply(t, s.own(withLoadBalancer), s.entry(), s.gateway(), s.route())
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.injected(injectedLoadBalancer))
	jsonPatch(t, s.ownKey(), `[{"op": "replace", "path": "/spec/trafficPolicy/portLevelSettings/0/tls/sni", "value": "other.example.com"}]`)
	edited := strings.Replace(s.injected(injectedLoadBalancer), "sni: "+s.host, "sni: other.example.com", 1)
	stays(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), s.routed(), edited)

	// Nothing of it follows the rule or the route any more.
	patch(t, s.ownKey(), `{"spec": {"trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}}`)
	remove(t, s.routeKey())
	stays(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), strings.Replace(edited, "RANDOM", "ROUND_ROBIN", 1))
}
