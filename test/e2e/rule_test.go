package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

func TestRuleIsStoredBeforeTheRouteThatNeedsIt(t *testing.T) {
	s := readySite(t)
	apply(t, s.route())
	rules := rulesIn(t, s.namespace)
	require.Len(t, rules, 1)
	route := stored(t, &networkingv1.VirtualService{}, s.namespace, "web")
	// Neither was written again since, so these are the versions of their creation.
	assert.EqualValues(t, 1, rules[0].Generation)
	assert.EqualValues(t, 1, route.Generation)
	assert.Less(t, revision(t, rules[0].ResourceVersion), revision(t, route.ResourceVersion))
}

func revision(t *testing.T, resourceVersion string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	require.NoError(t, err)
	return n
}

func TestRuleIsOwnedByTheServiceEntryOfItsNamespace(t *testing.T) {
	s := readySite(t)
	apply(t, s.route())
	entry := stored(t, &networkingv1.ServiceEntry{}, s.namespace, "external")
	rule := stored(t, &networkingv1.DestinationRule{}, s.namespace, s.ruleName())
	require.Len(t, rule.OwnerReferences, 1)
	owner := rule.OwnerReferences[0]
	assert.Equal(t, "networking.istio.io/v1 ServiceEntry external", owner.APIVersion+" "+owner.Kind+" "+owner.Name)
	assert.Equal(t, entry.UID, owner.UID)
	assert.Equal(t, map[string]string{"app.kubernetes.io/managed-by": "egress-tls-webhook"}, rule.Labels)
}

// A ServiceEntry that is not stored yet is no owner: the garbage collector would
// delete the rule.
func TestRuleOfAServiceEntryUnderAdmissionHasNoOwner(t *testing.T) {
	server(t)
	s := newSite(t)
	warnings := apply(t, strings.Replace(s.entry(), "protocol: HTTPS", "protocol: HTTP", 1))
	assert.Equal(t, []string{"created " + s.rule()}, warnings)
	assert.Empty(t, stored(t, &networkingv1.DestinationRule{}, s.namespace, s.ruleName()).OwnerReferences)
}

func TestOwnWritesAreNotJudged(t *testing.T) {
	s := readySite(t)
	apply(t, s.route())
	event := auditOf(t, s.namespace, "destinationrules", s.ruleName())
	assert.Equal(t, "create", event.Verb)
	assert.Equal(t, 201, event.ResponseStatus.Code)
	assert.Equal(t, "system:serviceaccount:egress-tls-system:egress-tls-webhook", event.User.Username)
	assert.Empty(t, ourAnnotations(event))
}

// foreignRule has the name of the rule that is created, and is not ours.
func (s site) foreignRule() string {
	return s.fill(`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ` + s.ruleName() + `, namespace: NAMESPACE}
spec: {host: other.HOST}
`)
}

func (s site) foreignReason() string {
	return s.fill("DestinationRule NAMESPACE/" + s.ruleName() + " stands in the way: it has the name of a generated rule without the label app.kubernetes.io/managed-by=egress-tls-webhook; rename or delete it")
}

func TestRuleIsNeverWrittenOverSomebodyElses(t *testing.T) {
	s := readySite(t)
	apply(t, s.foreignRule(), asSetup)
	result := kubectl(t, s.route(), "create", "-f", "-")
	assert.Equal(t, 1, result.ExitCode)
	assert.Equal(t, "Warning: egress-tls: "+s.headers(0)+"\n"+
		`Error from server: error when creating "STDIN": admission webhook "validate.egress-tls.dev" denied the request: `+
		`VirtualService `+s.namespace+`/web needs a DestinationRule that cannot be written, so its requests would leave in clear: `+s.foreignReason()+"\n",
		result.Stderr)
	dry := kubectl(t, s.route(), "create", "--dry-run=server", "-f", "-")
	assert.Equal(t, result, dry, "a dry run has the same answer")
	assert.Equal(t, "other."+s.host, stored(t, &networkingv1.DestinationRule{}, s.namespace, s.ruleName()).Spec.Host)
}

func TestRuleThatMayNotBeWrittenRefusesTheRoute(t *testing.T) {
	does(t, `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reads-only}
rules:
- {apiGroups: [networking.istio.io, "", admissionregistration.k8s.io], resources: ["*"], verbs: [get, list, watch]}
- {apiGroups: [admissionregistration.k8s.io], resources: ["*"], verbs: [patch]}
- {apiGroups: [""], resources: [secrets], verbs: [create, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reads-only}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reads-only}
subjects: [{kind: User, name: reads-only}]
`, "apply", "-f", "-")
	kubeconfig, err := plane.UserKubeconfig("reads-only")
	require.NoError(t, err)
	webhook := ownServer(t, controlplane.WebhookOptions{Kubeconfig: kubeconfig})
	s := newSite(t)
	apply(t, s.entry()+s.gateway(), asSetup)
	waitCached(t, webhook)

	result := kubectl(t, s.route(), "create", "-f", "-")
	assert.Equal(t, 1, result.ExitCode)
	assert.Equal(t, "Warning: egress-tls: "+s.headers(0)+"\n"+s.fill(
		`Error from server: error when creating "STDIN": admission webhook "validate.egress-tls.dev" denied the request: `+
			`VirtualService NAMESPACE/web needs a DestinationRule that cannot be written, so its requests would leave in clear: `+
			`failed to create `+s.rule()+`: destinationrules.networking.istio.io is forbidden: User "reads-only" cannot create resource "destinationrules" in API group "networking.istio.io" in the namespace "NAMESPACE"`)+"\n",
		result.Stderr)
	assert.Equal(t, []string{s.headers(0), "would create " + s.rule()}, apply(t, s.route(), "--dry-run=server"), "a dry run does not try")
}

func TestRuleIsNotWrittenIntoANamespaceInModeOff(t *testing.T) {
	webhook := server(t)
	outer, inner := newSite(t), newSite(t, policy.Off)
	// The gateway's pods are in a namespace that keeps out of it all.
	apply(t, inner.entry()+inner.gateway(), asSetup)
	waitCached(t, webhook)
	route := strings.NewReplacer(
		"namespace: "+inner.namespace, "namespace: "+outer.namespace,
		"gateways: [gateway]", "gateways: ["+inner.namespace+"/gateway]",
	).Replace(inner.route())
	reason := fmt.Sprintf("TLSMissing: plaintext HTTP to %s would leave the mesh in clear: %s is needed, and namespace %s is in mode off, in which it is not written. "+
		"Write it yourself (`egress-tls render` prints it), or label the namespace egress-tls.dev/mode=enforce.", inner.host, inner.rule(), inner.namespace)

	_, got := refused(t, route, "apply", "-f", "-")
	assert.Equal(t, lines("VirtualService "+outer.namespace+"/web is refused:", "- "+reason), got)
	_, dry := refused(t, route, "apply", "--dry-run=server", "-f", "-")
	assert.Equal(t, got, dry)
	assert.Empty(t, rulesIn(t, inner.namespace))

	// Stored all the same, it stays usable.
	apply(t, route, asSetup)
	warnings := does(t, "", "label", "virtualservice", "web", "-n", outer.namespace, "team=blue")
	assert.Equal(t, []string{inner.headers(0), reason}, warnings)
}
