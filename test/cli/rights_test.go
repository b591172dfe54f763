package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

const (
	system  = "egress-tls-system"
	scanner = "system:serviceaccount:" + system + ":egress-tls-scan"
)

// A ServiceAccount with the rights that docs/scan.md names can do all that scan does, and
// has used each of them in the end.
func TestRights(t *testing.T) {
	site(t)
	kubeconfig, err := plane.ServiceAccountKubeconfig(system, "egress-tls-scan")
	require.NoError(t, err)
	as := "--kubeconfig=" + kubeconfig

	assert.Equal(t, result{2, "", `egress-tls: this user may not list namespaces, services, serviceentries.networking.istio.io, virtualservices.networking.istio.io, destinationrules.networking.istio.io, gateways.networking.istio.io in all namespaces; these rights are enough:
egress-tls:   kubectl create clusterrole egress-tls-scan --verb=list --resource=namespaces,services,serviceentries.networking.istio.io,virtualservices.networking.istio.io,destinationrules.networking.istio.io,gateways.networking.istio.io
egress-tls:   kubectl create clusterrolebinding egress-tls-scan --clusterrole=egress-tls-scan --user=USER
`}, egressTLS(t, "", "scan", as))

	_, rights, _ := section(t, "rights")
	kubectl(t, "", "create", "namespace", system)
	kubectl(t, rights, "apply", "-f", "-")
	_, bindings, _ := section(t, "bindings")
	for line := range strings.Lines(bindings) {
		args := strings.Fields(line)
		require.Equal(t, "kubectl", args[0])
		kubectl(t, "", args[1:]...)
	}
	eventually(t, func() bool { return egressTLS(t, "", "scan", as).code == 1 }, "RBAC takes the new roles in")

	t.Run("installed policy", func(t *testing.T) { testInstalledPolicy(t, as) })
	t.Run("reports", func(t *testing.T) { testReports(t, as) })

	granted, used := map[string]struct{}{}, map[string]struct{}{}
	for document := range strings.SplitSeq(rights, "\n---\n") {
		var role rbacv1.ClusterRole // A Role has the same rules.
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &role))
		for _, rule := range role.Rules {
			for _, r := range rule.Resources {
				for _, verb := range rule.Verbs {
					granted[fmt.Sprintf("%s %s.%s", verb, r, rule.APIGroups[0])] = struct{}{}
				}
			}
		}
	}
	events, err := plane.AuditEvents()
	require.NoError(t, err)
	for _, e := range events {
		if e.User.Username == scanner && e.ObjectRef.Resource != "" {
			used[fmt.Sprintf("%s %s.%s", e.Verb, e.ObjectRef.Resource, e.ObjectRef.APIGroup)] = struct{}{}
		}
	}
	assert.Equal(t, slices.Sorted(maps.Keys(granted)), slices.Sorted(maps.Keys(used)))
}
