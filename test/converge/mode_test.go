package converge

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// A namespace that is switched from one mode to another, and back.

// setMode labels the site's namespace and waits until both replicas know; no mode takes
// the label away. The site must have its entry and gateway.
func (s site) setMode(t *testing.T, mode policy.Mode) {
	t.Helper()
	label := `"` + string(mode) + `"`
	if mode == "" {
		label = "null"
		mode = policy.Enforce
	}
	patch(t, key{kind: "Namespace", name: s.namespace}, `{"metadata": {"labels": {"egress-tls.dev/mode": `+label+`}}}`)
	probe := strings.Replace(s.route(), "name: web", "name: probe", 1)
	require.Eventually(t, func() bool {
		said := kubectl(t, probe, "create", "-f", "-", "--dry-run=server").Stderr
		// One phase says the first in mode enforce, the other one the second in mode warn.
		return strings.Contains(said, "egress-tls: spec.http[0]") == (mode == policy.Enforce) &&
			strings.Contains(said, "egress-tls: would change ") == (mode == policy.Warn)
	}, patience, 50*time.Millisecond)
}

func TestModeWarnKeepsWhatIsThereAndCreatesNothing(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	s.setMode(t, policy.Warn)
	stays(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())

	remove(t, s.ruleKey())
	stays(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), s.routed())

	s.setMode(t, "")
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())

	s.setMode(t, policy.Warn)
	remove(t, s.routeKey())
	s.comes(t, s.entry(), s.gateway())
	assertRemovedAfterTheMark(t, s.ruleKey())
	stays(t, s.namespace)
}

func TestModeOffWritesAndRemovesNothing(t *testing.T) {
	t.Parallel()
	s := routedSite(t)
	s.setMode(t, policy.Off)
	stays(t, s.namespace)

	remove(t, s.routeKey())
	patch(t, s.ruleKey(), `{"spec": {"exportTo": ["*"]}}`)
	stays(t, s.namespace)
	edited := strings.Replace(s.rule(), `exportTo: ["."]`, `exportTo: ["*"]`, 1)
	s.comes(t, s.entry(), s.gateway(), edited)

	s.setMode(t, policy.Enforce)
	s.comes(t, s.entry(), s.gateway())
	stays(t, s.namespace)
}

func TestOwnRuleIsChangedInModeEnforceAlone(t *testing.T) {
	t.Parallel()
	for _, mode := range []policy.Mode{policy.Warn, policy.Off} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			apply(t, s.own(withLoadBalancer), s.entry(), s.gateway(), s.route())
			s.comes(t, s.entry(), s.gateway(), s.routed(), s.injected(injectedLoadBalancer))

			// The copy does not follow the rule.
			s.setMode(t, mode)
			patch(t, s.ownKey(), `{"spec": {"trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}}`)
			stays(t, s.namespace)
			s.comes(t, s.entry(), s.gateway(), s.routed(), strings.Replace(s.injected(injectedLoadBalancer), "RANDOM", "ROUND_ROBIN", 1))
			s.setMode(t, "")
			s.comes(t, s.entry(), s.gateway(), s.routed(), strings.ReplaceAll(s.injected(injectedLoadBalancer), "RANDOM", "ROUND_ROBIN"))
			tells(t, s.ownKey(), s.injectedTLS())

			// Nor is it taken back.
			s.setMode(t, mode)
			remove(t, s.routeKey())
			stays(t, s.namespace)
			s.comes(t, s.entry(), s.gateway(), strings.ReplaceAll(s.injected(injectedLoadBalancer), "RANDOM", "ROUND_ROBIN"))
			s.setMode(t, "")
			s.comes(t, s.entry(), s.gateway(), strings.Replace(s.own(withLoadBalancer), "RANDOM", "ROUND_ROBIN", 1))
			tells(t, s.ownKey(), s.injectedTLS(), s.tookBackTLS())
			stays(t, s.namespace)
		})
	}
}

// A namespace in mode warn gets what it lacks once it is in mode enforce.
func TestModeEnforceBringsInLineWhatWasStoredBefore(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	apply(t, s.entry(), s.gateway())
	s.setMode(t, policy.Warn)
	apply(t, s.route())
	stays(t, s.namespace)
	s.comes(t, s.entry(), s.gateway(), s.route())
	assert.Empty(t, events(s.routeKey()))

	s.setMode(t, policy.Enforce)
	s.comes(t, s.entry(), s.gateway(), s.routed(), s.rule())
	tells(t, s.routeKey(), s.addedHeaders(), s.createdRule())
	stays(t, s.namespace)
}
