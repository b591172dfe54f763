package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestDryRunSaysWhatItWouldDoAndWritesNothing(t *testing.T) {
	s := readySite(t)
	dry := kubectl(t, s.route(), "apply", "--dry-run=server", "-f", "-", "-o", "jsonpath={.spec.http[0].headers.request.set}")
	assert.Equal(t, 0, dry.ExitCode)
	assert.Equal(t, s.fill(`{"Host":"HOST","X-Forwarded-Proto":"https"}`), dry.Stdout)
	warnings, _ := dry.Warnings()
	assert.Equal(t, []string{s.headers(0), "would create " + s.rule()}, warnings)

	assert.Empty(t, rulesIn(t, s.namespace))
	var routes networkingv1.VirtualServiceList
	require.NoError(t, reader.List(t.Context(), &routes, client.InNamespace(s.namespace)))
	assert.Empty(t, routes.Items)
	events, err := plane.AuditEvents()
	require.NoError(t, err)
	for _, e := range events {
		if e.ObjectRef.Namespace == s.namespace {
			assert.NotEqual(t, "destinationrules", e.ObjectRef.Resource, e)
		}
	}
	assert.Equal(t, map[string]string{
		"mutate.egress-tls.dev/changes":   s.headers(0),
		"mutate.egress-tls.dev/mode":      "enforce",
		"mutate.egress-tls.dev/verdict":   "mutated",
		"validate.egress-tls.dev/changes": "would create " + s.rule(),
		"validate.egress-tls.dev/mode":    "enforce",
		"validate.egress-tls.dev/verdict": "allowed",
	}, ourAnnotations(auditOf(t, s.namespace, "virtualservices", "web")))

	// In earnest it is what the dry run said.
	assert.Equal(t, []string{s.headers(0), "created " + s.rule()}, apply(t, s.route()))
	assert.Len(t, rulesIn(t, s.namespace), 1)
}

func TestDryRunRefusesWhatIsRefused(t *testing.T) {
	s := readySite(t)
	_, dry := refused(t, s.wrongRoute(), "apply", "--dry-run=server", "-f", "-")
	_, answer := refused(t, s.wrongRoute(), "apply", "-f", "-")
	assert.Equal(t, lines("VirtualService "+s.namespace+"/web is refused:", "- "+s.deadKeys()), answer)
	assert.Equal(t, answer, dry)
	assert.Empty(t, rulesIn(t, s.namespace), "no rule for a request that is refused")
}
