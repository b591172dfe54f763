package security

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// What two tenants of one mesh may try. VICTIM has done nothing wrong.

// The victim's application speaks HTTPS by itself to the port.
const victimEntry = `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external, namespace: VICTIM}
spec:
  hosts: [HOST]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
`

const malloryRoute = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: MALLORY}
spec:
  hosts: [www.HOST]
  exportTo: ["."]
  http: [{route: [{destination: {host: HOST, port: {number: 443}}}]}]
`

// state is all that somebody could do harm to, but for what is in mallory's namespace.
func (s tenants) state(t *testing.T) map[string]string {
	t.Helper()
	result := does(t, "", "", "get", "virtualservices,destinationrules,serviceentries,gateways", "-A", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace}/{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
	state := map[string]string{}
	for line := range strings.Lines(result.Stdout) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, s.victim+"/") || strings.HasPrefix(name, "istio-system/") {
			state[name] = version
		}
	}
	return state
}

// The rights that this test finds missing are what a tenant would need for the rest.
func TestTenantCannotSwitchTheWebhookOff(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	for _, args := range [][]string{
		{"label", "namespace", s.mallory, "egress-tls.dev/mode=off"},
		{"label", "namespace", s.victim, "egress-tls.dev/mode=off"},
		{"delete", "validatingwebhookconfiguration", "egress-tls-webhook"},
		{"delete", "mutatingwebhookconfiguration", "egress-tls-webhook"},
		{"get", "secret", "egress-tls-webhook-ca", "--namespace=egress-tls-system"},
		{"delete", "lease", "egress-tls-webhook", "--namespace=egress-tls-system"},
		{"create", "token", "egress-tls-webhook", "--namespace=egress-tls-system"},
		{"delete", "destinationrules", "--all", "--namespace=" + s.victim},
	} {
		result := as(t, s.mallory, "", args...)
		assert.Equal(t, 1, result.ExitCode, args)
		assert.Contains(t, result.Stderr, `orbidden`, args)
	}
}

// A route to another tenant's ServiceEntry makes the rule that the ServiceEntry's clients
// need, with TLS for the port and nothing else, and it never stands between them and their
// owner: who owns the ServiceEntry can say that there is none.
func TestRouteToAnotherTenantsEntryBringsOnlyItsRule(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply(t, s.victim, victimEntry)
	warnings := s.apply(t, s.mallory, malloryRoute)
	name := mesh.RuleName(s.host, nil)
	assert.Equal(t, []string{
		"spec.http[0]: set request headers Host: " + s.host + ", X-Forwarded-Proto: https",
		"created DestinationRule " + s.victim + "/" + name + " with TLS to " + s.host + " on port 443",
		"DoubleTLS at spec.ports[0]: port 443 of " + s.host + " has protocol HTTPS, and DestinationRule " + s.victim + "/" + name +
			" encrypts it for every client that sees the rule: those that speak TLS themselves get TLS inside TLS. Give plaintext clients a port of protocol HTTP with targetPort: 443; or, if only gateways send plaintext, list their namespaces as gatewayNamespaces in the policy.",
	}, warnings)
	written := rules(t, s.victim)
	require.Len(t, written, 1)
	assert.Equal(t, `{"host":"`+s.host+`","trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","subjectAltNames":["`+s.host+`"],"sni":"`+s.host+`"}}]}}`, specOf(t, written[0]))
	assert.Empty(t, rules(t, s.mallory))

	does(t, s.victim, "", "annotate", "serviceentry", "external", "--namespace="+s.victim, "egress-tls.dev/originate=never")
	eventually(t, func() bool { return len(rules(t, s.victim)) == 0 }, "the owner of the ServiceEntry decides")
	s.apply(t, s.mallory, strings.Replace(malloryRoute, "name: web", "name: again", 1))
	assert.Empty(t, rules(t, s.victim))
}

func specOf(t *testing.T, dr *networkingv1.DestinationRule) string {
	t.Helper()
	spec, err := dr.Spec.MarshalJSON()
	require.NoError(t, err)
	return string(spec)
}

// A ServiceEntry may list any name, also of a Kubernetes service of somebody else.
func TestClaimOfAKubernetesServiceChangesNothing(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply(t, s.victim, `---
apiVersion: v1
kind: Service
metadata: {name: payments, namespace: VICTIM}
spec: {clusterIP: None, ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: VICTIM}
spec:
  hosts: [web.HOST]
  http: [{route: [{destination: {host: payments, port: {number: 80}}}]}]
`)
	before := s.state(t)
	s.apply(t, s.mallory, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: claim, namespace: MALLORY}
spec:
  hosts: [payments.VICTIM.svc.cluster.local, HOST]
  ports: [{number: 80, targetPort: 443, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: MALLORY}
spec:
  hosts: [payments.VICTIM.svc.cluster.local]
  http: [{route: [{destination: {host: payments.VICTIM.svc.cluster.local, port: {number: 80}}}]}]
`)
	// The reconciler has looked at the ServiceEntry when it writes the other rule again.
	require.Len(t, rules(t, s.mallory), 1)
	own := rules(t, s.mallory)[0]
	assert.Equal(t, mesh.RuleName(s.host, nil), own.Name)
	require.NoError(t, admin.Delete(t.Context(), own))
	eventually(t, func() bool { return len(rules(t, s.mallory)) == 1 }, "the rule comes back")
	assert.Equal(t, before, s.state(t))
}

// Both have a ServiceEntry for the host. What one needs must not reach the other's clients,
// whatever else the one puts beside it to drive the rule into the root namespace.
func TestClaimOfAHostDoesNotReachTheOtherClaimsClients(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply(t, s.victim, victimEntry)
	before := s.state(t)
	claim := `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: claim, namespace: MALLORY}
spec:
  hosts: [HOST]
  exportTo: EXPORT
  ports: [{number: 443, name: http, protocol: HTTP}]
  resolution: DNS
`
	inTheWay := `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: in-the-way, namespace: MALLORY}
spec: {host: HOST, exportTo: [VICTIM]}
`
	for _, export := range []string{`["*"]`, `[".", "VICTIM"]`} {
		claim := strings.Replace(claim, "EXPORT", export, 1)
		s.apply(t, s.mallory, claim)
		assert.Equal(t, before, s.state(t), "its rule is in its own namespace")
		does(t, s.mallory, "", "delete", "serviceentry", "claim", "--namespace="+s.mallory)

		s.apply(t, s.mallory, inTheWay)
		reason := denied(t, s.as(t, s.mallory, claim, "create", "-f", "-"))
		assert.Equal(t, "ServiceEntry "+s.mallory+"/claim is refused:\n- TLSMissing at spec.ports[0]: plaintext HTTP to "+s.host+
			":443 would leave the mesh in clear: no DestinationRule in force encrypts it, and none can be added that would be in force and override none of those that exist for the host. "+
			"Export one of the host's DestinationRules that has tls to the proxies of this route (exportTo), or give them one in their own namespace.", reason)
		assert.Equal(t, before, s.state(t))
		does(t, s.mallory, "", "delete", "destinationrule", "--all", "--namespace="+s.mallory)
	}
}

// Labels and annotations of ours, forged: they are about the object that has them, and a
// tenant may do what they like to their own.
func TestForgedMarksReachNoOtherNamespace(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply(t, s.victim, strings.Replace(victimEntry, "name: https, protocol: HTTPS", "name: http, protocol: HTTP", 1))
	require.Len(t, rules(t, s.victim), 1)
	before := s.state(t)
	name := mesh.RuleName(s.host, nil)
	forged := strings.NewReplacer("NAME", name).Replace(`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: NAME
  namespace: MALLORY
  labels: {app.kubernetes.io/managed-by: egress-tls-webhook}
  annotations:
    egress-tls.dev/unused-since: "2020-01-01T00:00:00Z none"
    egress-tls.dev/injected: port/443=0000000000000000
  ownerReferences: [{apiVersion: networking.istio.io/v1, kind: ServiceEntry, name: external, uid: UID}]
spec:
  host: HOST
  exportTo: ["*"]
  trafficPolicy: {tls: {mode: DISABLE}}
`)
	var owner networkingv1.ServiceEntry
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Namespace: s.victim, Name: "external"}, &owner))
	result := s.as(t, s.mallory, strings.Replace(forged, "UID", string(owner.UID), 1), "create", "-f", "-")
	require.Zero(t, result.ExitCode, result.Stderr)
	s.apply(t, s.mallory, entry)
	assert.Equal(t, specOf(t, rules(t, s.victim)[0]), specOf(t, rules(t, s.mallory)[0]), "it is taken for ours, and restored to what is needed")
	assert.Equal(t, before, s.state(t))

	// A name that is taken stands in the way of its own namespace only.
	does(t, s.mallory, "", "label", "destinationrule", name, "--namespace="+s.mallory, "app.kubernetes.io/managed-by=mallory", "--overwrite")
	does(t, s.victim, "", "delete", "destinationrule", name, "--namespace="+s.victim)
	eventually(t, func() bool { return len(rules(t, s.victim)) == 1 }, "the victim's rule comes back")
}

// Rules have owners of their own namespace only: Kubernetes knows no others.
func TestRuleOfAnotherNamespaceHasNoOwner(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply(t, s.victim, strings.Replace(victimEntry, "spec:", "spec:\n  exportTo: [\".\", MALLORY]", 1))
	s.apply(t, s.mallory, `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: MALLORY}
spec:
  selector: {istio: MALLORY}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: MALLORY}
spec: {clusterIP: None, selector: {istio: MALLORY}, ports: [{port: 80}]}
`)
	s.apply(t, s.mallory, strings.NewReplacer(`exportTo: ["."]`, "gateways: [gateway]").Replace(malloryRoute))
	require.Len(t, rules(t, s.mallory), 1, "private to the gateway")
	assert.Equal(t, []string{"."}, rules(t, s.mallory)[0].Spec.GetExportTo())
	assert.Empty(t, rules(t, s.mallory)[0].OwnerReferences)
	assert.Empty(t, rules(t, s.victim))
}

// Two hosts that come to the same text get names of their own.
func TestNamesOfRulesDoNotCollide(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply(t, s.mallory, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: alike, namespace: MALLORY}
spec:
  hosts: [a.b.HOST, a-b.HOST]
  ports: [{number: 443, name: http, protocol: HTTP}]
  resolution: DNS
`)
	got := rules(t, s.mallory)
	require.Len(t, got, 2)
	assert.NotEqual(t, got[0].Name, got[1].Name)
	assert.NotEqual(t, got[0].Spec.GetHost(), got[1].Spec.GetHost())
}

// A finalizer keeps an object that is deleted, and Istio executes it all the while.
func TestObjectUnderDeletionIsJudged(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply(t, s.mallory, entry+`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: kept, namespace: MALLORY, finalizers: [mallory.example/keep]}
spec:
  hosts: [www.HOST]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: HOST, port: {number: 443}}}]
  - route: [{destination: {host: HOST, port: {number: 443}}}]
`)
	does(t, s.mallory, "", "delete", "virtualservice", "kept", "--wait=false", "--namespace="+s.mallory)
	reason := denied(t, s.as(t, s.mallory, "", "patch", "virtualservice", "kept", "--namespace="+s.mallory, "--type=json",
		`-p=[{"op": "add", "path": "/spec/http/0/match/0/uri/prefix", "value": "/"}]`))
	assert.Contains(t, reason, "VirtualService "+s.mallory+"/kept is refused:\n- CatchAllNotLast at spec.http[1]: ")
	does(t, s.mallory, "", "patch", "virtualservice", "kept", "--namespace="+s.mallory, "--type=json", `-p=[{"op": "remove", "path": "/metadata/finalizers"}]`)

	created := s.apply(t, s.mallory, `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: born-dying, namespace: MALLORY, deletionTimestamp: "2020-01-01T00:00:00Z"}
spec:
  hosts: [born.HOST]
  http: [{route: [{destination: {host: HOST, port: {number: 443}}}]}]
`)
	assert.Contains(t, created, "spec.http[0]: set request headers Host: "+s.host+", X-Forwarded-Proto: https")
}

// What the server may do is what a stolen token of its may.
func TestServerHasNoOtherRights(t *testing.T) {
	t.Parallel()
	const server = "system:serviceaccount:egress-tls-system:egress-tls-webhook"
	for _, args := range [][]string{
		{"get", "secrets", "--namespace=kube-system"},
		{"list", "secrets", "--all-namespaces"},
		{"get", "secret/another", "--namespace=egress-tls-system"},
		{"get", "configmaps", "--namespace=egress-tls-system"},
		{"create", "pods", "--namespace=egress-tls-system"},
		{"create", "serviceaccounts/token", "--namespace=egress-tls-system"},
		{"patch", "namespaces"},
		{"delete", "virtualservices.networking.istio.io", "--all-namespaces"},
		{"create", "virtualservices.networking.istio.io", "--all-namespaces"},
		{"update", "serviceentries.networking.istio.io", "--all-namespaces"},
		{"patch", "validatingwebhookconfigurations.admissionregistration.k8s.io/another"},
		{"create", "clusterrolebindings.rbac.authorization.k8s.io"},
		{"impersonate", "users"},
	} {
		result := as(t, server, "", append([]string{"auth", "can-i"}, args...)...)
		assert.Equal(t, "no\n", result.Stdout, args)
	}
	assert.Equal(t, "yes\n", as(t, server, "", "auth", "can-i", "delete", "destinationrules.networking.istio.io", "--all-namespaces").Stdout)
}
