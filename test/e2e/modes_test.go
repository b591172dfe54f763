package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

func TestModeWarnChangesNothingAndSaysWhatItWouldDo(t *testing.T) {
	s := readySite(t, policy.Warn)
	warnings := apply(t, s.wrongRoute())
	assert.Equal(t, []string{"would change " + s.headers(1), "would create " + s.rule(), s.deadKeys()}, warnings)
	assertUntouched(t, s)
	assert.Equal(t, map[string]string{
		"observe.egress-tls.dev/changes":  lines("would change "+s.headers(1), "would create "+s.rule()),
		"observe.egress-tls.dev/findings": "warning " + s.deadKeys(),
		"observe.egress-tls.dev/mode":     "warn",
		"observe.egress-tls.dev/verdict":  "allowed",
	}, ourAnnotations(auditOf(t, s.namespace, "virtualservices", "web")))
}

func TestModeAuditIsSilentAndAnnotates(t *testing.T) {
	s := readySite(t, policy.Audit)
	assert.Empty(t, apply(t, s.wrongRoute()))
	assertUntouched(t, s)
	assert.Equal(t, map[string]string{
		"observe.egress-tls.dev/changes":  lines("would change "+s.headers(1), "would create "+s.rule()),
		"observe.egress-tls.dev/findings": "warning " + s.deadKeys(),
		"observe.egress-tls.dev/mode":     "audit",
		"observe.egress-tls.dev/verdict":  "allowed",
	}, ourAnnotations(auditOf(t, s.namespace, "virtualservices", "web")))
}

func TestModeOffIsSilent(t *testing.T) {
	s := readySite(t, policy.Off)
	assert.Empty(t, apply(t, s.wrongRoute()))
	assertUntouched(t, s)
	assert.Empty(t, ourAnnotations(auditOf(t, s.namespace, "virtualservices", "web")))
}

func TestExemptUserIsLeftAlone(t *testing.T) {
	s := readySite(t)
	assert.Empty(t, apply(t, s.wrongRoute(), asSetup))
	assertUntouched(t, s)
	assert.Empty(t, ourAnnotations(auditOf(t, s.namespace, "virtualservices", "web")))
}

func TestExemptNamespaceIsLeftAloneWhateverItsLabel(t *testing.T) {
	server(t)
	s := site{"exempt", "exempt.example.com"}
	apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: exempt, labels: {egress-tls.dev/mode: enforce}}\n")
	assert.Empty(t, apply(t, s.entry()+s.gateway()+s.wrongRoute()))
	assertUntouched(t, s)
	assert.Empty(t, ourAnnotations(auditOf(t, s.namespace, "virtualservices", "web")))
}

func TestUnknownModeIsWarnedOfAndThePolicyApplies(t *testing.T) {
	s := readySite(t, "Enforced")
	defer func() { // Who reads the cluster later would be warned of it.
		ns := stored(t, &corev1.Namespace{}, "", s.namespace)
		delete(ns.Labels, policy.ModeLabel)
		require.NoError(t, writer.Update(t.Context(), ns))
	}()
	noMode := s.fill(`namespace NAMESPACE has the label egress-tls.dev/mode="Enforced", which is no mode; enforce applies`)
	warnings, reason := refused(t, s.wrongRoute(), "apply", "-f", "-")
	assert.Equal(t, []string{noMode, s.headers(1)}, warnings)
	assert.Equal(t, lines("VirtualService "+s.namespace+"/web is refused:", "- "+s.deadKeys()), reason)
	assert.Equal(t, []string{noMode, s.headers(0), "created " + s.rule()}, apply(t, s.route()))
}

func TestRefusalIsInTheAuditLog(t *testing.T) {
	s := readySite(t)
	refused(t, s.wrongRoute(), "apply", "-f", "-")
	event := auditOf(t, s.namespace, "virtualservices", "web")
	assert.Equal(t, 422, event.ResponseStatus.Code)
	assert.Equal(t, map[string]string{
		"mutate.egress-tls.dev/changes":    s.headers(1),
		"mutate.egress-tls.dev/mode":       "enforce",
		"mutate.egress-tls.dev/verdict":    "mutated",
		"validate.egress-tls.dev/findings": "error " + s.deadKeys(),
		"validate.egress-tls.dev/mode":     "enforce",
		"validate.egress-tls.dev/verdict":  "refused",
	}, ourAnnotations(event))
}

// assertUntouched: the route is stored as it was applied, and no rule is there.
func assertUntouched(t *testing.T, s site) {
	t.Helper()
	for _, r := range stored(t, &networkingv1.VirtualService{}, s.namespace, "web").Spec.Http {
		assert.Nil(t, r.Headers)
	}
	assert.Empty(t, rulesIn(t, s.namespace))
}
