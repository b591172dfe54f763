package observability

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Before a namespace is switched to enforce, the metrics tell what would become of its
// objects; afterwards nothing is left to change.
func TestMetricsTellWhatEnforceWouldDo(t *testing.T) {
	s := newSite(t, "audit")
	apply(t, s.route("lacks", "/keys", "/"))
	apply(t, s.route("dead", "/", "/keys"))
	apply(t, s.route("fine", "/"))
	objects := func(mode string) map[string]float64 {
		return values(scrape(t), "egress_tls_stored_objects", "object_namespace", s.namespace, "mode", mode)
	}
	findings := func(mode string) map[string]float64 {
		return values(scrape(t), "egress_tls_stored_findings", "object_namespace", s.namespace, "mode", mode)
	}
	is := func(t *testing.T, mode string, unchanged, changed, refused float64, found map[string]float64) {
		t.Helper()
		want := map[string]float64{"unchanged": unchanged, "changed": changed, "refused": refused}
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, want, objects(mode))
			assert.Equal(c, found, findings(mode))
		}, patience, tick)
	}
	// The ServiceEntry would get a rule too, and a word about the routes that lack headers.
	is(t, "audit", 1, 2, 1, map[string]float64{"CatchAllNotLast error": 1, "HeadersMissing warning": 1})
	assert.Contains(t, webhook.Log(), `"msg":"would be refused in mode enforce","logger":"stored","kind":"VirtualService","namespace":"`+s.namespace+`","name":"dead","findings":["CatchAllNotLast"]`)

	apply(t, s.route("dead", "/keys", "/"))
	is(t, "audit", 1, 3, 0, map[string]float64{"HeadersMissing warning": 1})

	result := plane.Kubectl(t.Context(), "", "label", "--overwrite", "namespace", s.namespace, "egress-tls.dev/mode=enforce")
	require.Zero(t, result.ExitCode, result.Stderr)
	is(t, "enforce", 4, 0, 0, map[string]float64{})
	assert.Empty(t, objects("audit"), "a namespace is in one mode")

	result = plane.Kubectl(t.Context(), "", "delete", "virtualservice", "--namespace", s.namespace, "lacks", "dead")
	require.Zero(t, result.ExitCode, result.Stderr)
	is(t, "enforce", 2, 0, 0, map[string]float64{"WaitsForRoute warning": 1})

	result = plane.Kubectl(t.Context(), "", "label", "--overwrite", "namespace", s.namespace, "egress-tls.dev/mode=off")
	require.Zero(t, result.ExitCode, result.Stderr)
	eventually(t, "nothing is told of a namespace in mode off", func() bool {
		return len(values(scrape(t), "egress_tls_stored_objects", "object_namespace", s.namespace)) == 0
	})
}

// Judging what is stored asks the API server for nothing: of a large mesh it would be much, again
// and again.
func TestStoredObjectsAreJudgedFromTheCacheAlone(t *testing.T) {
	s := newSite(t, `"off"`) // Nothing is asked at admission.
	lives := func() map[string]float64 { return values(scrape(t), "egress_tls_live_reads_total") }
	before := lives()
	apply(t, `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: unknown, namespace: `+s.namespace+`}, spec: {host: unknown.example.org}}`)
	result := plane.Kubectl(t.Context(), "", "label", "--overwrite", "namespace", s.namespace, "egress-tls.dev/mode=audit")
	require.Zero(t, result.ExitCode, result.Stderr)
	eventually(t, "it is judged", func() bool {
		return values(scrape(t), "egress_tls_stored_objects", "object_namespace", s.namespace, "mode", "audit")["unchanged"] == 2
	})
	assert.Equal(t, before, lives())
}
