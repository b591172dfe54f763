package install

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// Two commands, in a namespace that takes restricted Pods only, and what the README shows works; and
// what the chart allows the server is what the server does.
func TestInstall(t *testing.T) {
	s := openShell(t)
	before := len(audited(t))
	s.succeeds(t, "kubectl create namespace egress-tls-system --dry-run=client -o yaml | kubectl apply -f -",
		"kubectl label namespace egress-tls-system pod-security.kubernetes.io/enforce=restricted")
	out, err := s.run(t, "kubectl -n egress-tls-system run root --image=root")
	require.Error(t, err)
	require.Contains(t, out, `pods "root" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`)
	install(t, s, "install")

	root, err := tools.RepoRoot()
	require.NoError(t, err)
	for link, scenario := range map[string]string{"as-written": "ingress-seed-as-written", "right": "ingress-seed-clients-known"} {
		require.NoError(t, os.Symlink(filepath.Join(root, "test", "scenarios", scenario), filepath.Join(s.dir, link)))
	}
	s.succeeds(t, "kubectl create namespace istio-system", "kubectl apply -f right/mesh.yaml")
	out, err = s.run(t, "kubectl apply -f as-written/request.yaml")
	require.Error(t, err)
	assert.Contains(t, out, `admission webhook "validate.egress-tls.dev" denied the request: VirtualService default/s3 is refused:`+"\n- CatchAllNotLast at spec.http[1]: ")
	out, err = s.run(t, "kubectl apply -f right/request.yaml")
	require.NoError(t, err)
	assert.Contains(t, out, "Warning: egress-tls: created DestinationRule istio-system/egress-tls-samplebucket1234-s3-ap-southeast-2-amazonaws-com-a5f187688c879bb0 with TLS")

	// An older client-go, or API server, lists before it watches.
	s.succeeds(t, `helm upgrade egress-tls-webhook deploy/chart --namespace egress-tls-system --reset-then-reuse-values --wait \
		--set-string reconciler.gracePeriod=2s,policy.gatewayNamespaces[0]=away,extraEnv[0].name=KUBE_FEATURE_WatchListClient,extraEnv[0].value=false`)
	settle(t)
	everything(t)
	checkRights(t, audited(t)[before:])
	s.succeeds(t, "helm uninstall egress-tls-webhook --namespace egress-tls-system --wait")
}

// audited returns what kube-apiserver's audit log tells so far.
func audited(t *testing.T) []controlplane.AuditEvent {
	t.Helper()
	events, err := plane.AuditEvents()
	require.NoError(t, err)
	return events
}

// checkRights holds that the audit log has no request of the server's that was forbidden, and for each
// right that the chart grants one that needed it. No right is granted twice: without any of them, that
// request would have been forbidden.
func checkRights(t *testing.T, events []controlplane.AuditEvent) {
	t.Helper()
	used := map[right]bool{}
	for _, event := range events {
		if event.User.Username != server {
			continue
		}
		assert.NotEqual(t, 403, event.ResponseStatus.Code, "%s %s", event.Verb, event.RequestURI)
		o := event.ObjectRef
		used[right{event.Verb, o.APIGroup, o.Resource, ""}] = true
		used[right{event.Verb, o.APIGroup, o.Resource, o.Name}] = true
	}
	granted := grants(t)
	for i, r := range granted {
		assert.True(t, used[r], "the right to %s is granted and never used", r)
		assert.NotContains(t, granted[i+1:], r, "the right to %s is granted twice", r)
	}
}

// right is what a rule of a role allows, or a request needs.
type right struct{ verb, group, resource, name string }

func (r right) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s.%s %s", r.verb, r.resource, r.group, r.name))
}

// grants returns what the roles of the ServiceAccount allow, each right as often as it is granted.
func grants(t *testing.T) []right {
	t.Helper()
	var cluster rbacv1.ClusterRole
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Name: "egress-tls-webhook"}, &cluster))
	var role rbacv1.Role
	require.NoError(t, admin.Get(t.Context(), client.ObjectKey{Namespace: system, Name: "egress-tls-webhook"}, &role))
	var all []right
	for _, rule := range slices.Concat(cluster.Rules, role.Rules) {
		names := rule.ResourceNames
		if names == nil {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						all = append(all, right{verb, group, resource, name})
					}
				}
			}
		}
	}
	return all
}

// everything makes the server do all that it ever does.
func everything(t *testing.T) {
	t.Helper()
	const rule = "DestinationRule"
	namespace := controlplane.Name(t)
	require.NoError(t, admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	try := func(kind, name, metadata, spec string) error {
		manifest := fmt.Sprintf(`{apiVersion: networking.istio.io/v1, kind: %s, metadata: {name: %s, namespace: %s%s}, spec: {%s}}`, kind, name, namespace, metadata, spec)
		return admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object(manifest)), client.FieldOwner("user"), client.ForceOwnership)
	}
	apply := func(kind, name, metadata, spec string) {
		t.Helper()
		require.NoError(t, try(kind, name, metadata, spec))
	}
	entry := func(host, metadata string) {
		t.Helper()
		apply("ServiceEntry", host, metadata, `hosts: [`+host+`], exportTo: ["."], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}], resolution: DNS`)
	}
	route := func(name, host, more string) {
		t.Helper()
		apply("VirtualService", name, "", `hosts: [`+name+`.example.com], http: [{route: [{destination: {host: `+host+`, port: {number: 80}}}]}]`+more)
	}
	// have is the object of a host, nil if there is none.
	have := func(kind, host string) *unstructured.Unstructured {
		t.Helper()
		var list unstructured.UnstructuredList
		list.SetAPIVersion("networking.istio.io/v1")
		list.SetKind(kind + "List")
		require.NoError(t, admin.List(t.Context(), &list, client.InNamespace(namespace)))
		for _, o := range list.Items {
			if o.GetName() == host || o.Object["spec"].(map[string]any)["host"] == host {
				return &o
			}
		}
		return nil
	}
	tls := func(host string) func() bool {
		return func() bool {
			o := have(rule, host)
			return o != nil && strings.Contains(fmt.Sprint(o.Object["spec"]), "SIMPLE")
		}
	}

	// A rule is created, restored, and removed when nothing needs it. Of what a replica restores again it
	// writes an Event for the second time.
	entry("created.example.com", "")
	eventually(t, func() bool {
		require.NoError(t, admin.Delete(t.Context(), have(rule, "created.example.com")))
		eventually(t, tls("created.example.com"), "the deleted rule is back")
		return slices.ContainsFunc(audited(t), func(e controlplane.AuditEvent) bool {
			return e.ObjectRef.Resource == "events" && e.Verb == "patch"
		})
	}, "an Event is written for the second time")
	entry("created.example.com", ", annotations: {egress-tls.dev/originate: never}")

	// TLS is injected into a user's rule, and taken back.
	apply(rule, "injected.example.com", "", `host: injected.example.com, trafficPolicy: {loadBalancer: {simple: RANDOM}}`)
	entry("injected.example.com", "")
	eventually(t, tls("injected.example.com"), "TLS is injected")
	require.NoError(t, admin.Delete(t.Context(), have("ServiceEntry", "injected.example.com")))

	// Headers come later than the route whose ServiceEntry does.
	route("late", "late.example.com", "")
	entry("late.example.com", "")
	eventually(t, func() bool {
		return strings.Contains(fmt.Sprint(have("VirtualService", "late").Object["spec"]), "X-Forwarded-Proto")
	}, "the headers are added")

	// What the cache does not know is read.
	route("unknown", "unknown.example.com", ", gateways: [unknown], exportTo: [unknown]")
	apply("VirtualService", "delegating", "", `hosts: [delegating.example.com], gateways: [unknown], http: [{delegate: {name: unknown}}]`)

	apply("Gateway", "gateway", "", `selector: {istio: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]`)
	apply("ServiceEntry", "away.example.com", "", `hosts: [away.example.com], ports: [{number: 443, name: https, protocol: HTTPS}], resolution: DNS`)
	err := try("VirtualService", "away", "", `hosts: [away.example.com], gateways: [gateway], http: [{route: [{destination: {host: away.example.com, port: {number: 443}}}]}]`)
	require.ErrorContains(t, err, `namespaces "away" not found`)

	// The authority is made anew in a Secret that is there.
	ca := secret(t, "egress-tls-webhook-ca")
	ca.Data["tls.crt"] = []byte("nonsense")
	require.NoError(t, admin.Update(t.Context(), ca))
	eventually(t, func() bool { return string(secret(t, ca.Name).Data["tls.crt"]) != "nonsense" }, "the authority is made anew")

	eventually(t, func() bool { return have(rule, "created.example.com") == nil }, "the rule is removed")
	eventually(t, func() bool { return !tls("injected.example.com")() }, "TLS is taken back")
}
