package deploy_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	podsecurityapi "k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// Every object has a type, and no field that the type does not know; every Pod is one that a namespace
// with the Pod Security Standard "restricted" takes.
func TestObjectsAreWellFormed(t *testing.T) {
	t.Parallel()
	types := runtime.NewScheme()
	require.NoError(t, scheme.AddToScheme(types))
	require.NoError(t, certmanagerv1.AddToScheme(types))
	decoder := serializer.NewCodecFactory(types, serializer.EnableStrict).UniversalDeserializer()
	restricted, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks(), nil)
	require.NoError(t, err)

	pods := 0
	for _, values := range []string{"", everything, least} {
		for key, o := range render(t, values) {
			raw, err := yaml.Marshal(o.Object)
			require.NoError(t, err)
			assert.NotEmpty(t, o.GetLabels()["app.kubernetes.io/name"], key)
			if o.GroupVersionKind().Group == "monitoring.coreos.com" {
				continue // Its types need newer libraries of Kubernetes than the product's.
			}
			typed, _, err := decoder.Decode(raw, nil, nil)
			require.NoError(t, err, key)
			var meta metav1.ObjectMeta
			var spec corev1.PodSpec
			switch typed := typed.(type) {
			case *appsv1.Deployment:
				meta, spec = typed.Spec.Template.ObjectMeta, typed.Spec.Template.Spec
			case *corev1.Pod:
				meta, spec = typed.ObjectMeta, typed.Spec
			default:
				continue
			}
			pods++
			latest := podsecurityapi.LevelVersion{Level: podsecurityapi.LevelRestricted, Version: podsecurityapi.LatestVersion()}
			for _, result := range restricted.EvaluatePod(latest, &meta, &spec) {
				assert.True(t, result.Allowed, "%s: %s: %s", key, result.ForbiddenReason, result.ForbiddenDetail)
			}
			for _, c := range spec.Containers {
				assert.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, key)
			}
		}
	}
	assert.Equal(t, 6, pods, "of the server and of the test")
}

// Rights that an option does not need are not given.
func TestRightsAreThoseOfTheOptions(t *testing.T) {
	t.Parallel()
	rights := func(values string) (out []string) {
		o := render(t, values, "--show-only=templates/rbac.yaml")
		rules := as[rbacv1.ClusterRole](t, o, "ClusterRole egress-tls-webhook").Rules
		if _, ok := o["Role egress-tls-webhook"]; ok {
			rules = append(rules, as[rbacv1.Role](t, o, "Role egress-tls-webhook").Rules...)
		}
		for _, rule := range rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					out = append(out, strings.Join(append([]string{verb, resource}, rule.ResourceNames...), " "))
				}
			}
		}
		slices.Sort(out)
		return out
	}
	without := func(all, prefixes []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(right string) bool {
			return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(right, prefix) })
		})
	}
	own := []string{"create secrets", "list secrets", "watch secrets", "update secrets"}
	for _, verb := range []string{"list", "watch", "patch"} {
		own = append(own, verb+" mutatingwebhookconfigurations", verb+" validatingwebhookconfigurations")
	}
	reconciler := []string{"create events", "patch events", "create leases", "get leases", "update leases", "delete destinationrules", "update virtualservices", "patch virtualservices"}
	writes := []string{"create destinationrules", "update destinationrules", "patch destinationrules", "delete destinationrules"}

	all := rights("")
	assert.Equal(t, []string{
		"create destinationrules", "create events", "create leases", "create secrets", "delete destinationrules",
		"get destinationrules", "get gateways", "get leases egress-tls-webhook", "get namespaces", "get virtualservices",
		"list destinationrules", "list gateways", "list mutatingwebhookconfigurations egress-tls-webhook", "list namespaces", "list secrets egress-tls-webhook-ca",
		"list serviceentries", "list services", "list validatingwebhookconfigurations egress-tls-webhook", "list virtualservices",
		"patch destinationrules", "patch events", "patch mutatingwebhookconfigurations egress-tls-webhook",
		"patch validatingwebhookconfigurations egress-tls-webhook", "patch virtualservices",
		"update destinationrules", "update leases egress-tls-webhook", "update secrets egress-tls-webhook-ca", "update virtualservices",
		"watch destinationrules", "watch gateways", "watch mutatingwebhookconfigurations egress-tls-webhook", "watch namespaces", "watch secrets egress-tls-webhook-ca",
		"watch serviceentries", "watch services", "watch validatingwebhookconfigurations egress-tls-webhook", "watch virtualservices",
	}, all)
	assert.Equal(t, without(all, own), rights("certificates: {provider: cert-manager}"))
	assert.Equal(t, without(all, reconciler), rights("reconciler: {enabled: false}"))
	assert.Equal(t, without(all, writes), rights("policy: {destinationRules: Require}"))
	assert.Equal(t, without(all, []string{"update virtualservices", "patch virtualservices"}), rights("policy: {headers: Ignore}"))
	assert.Equal(t, without(all, slices.Concat(own, reconciler, writes)), rights(least))
}

func TestServerRunsWithTheValues(t *testing.T) {
	t.Parallel()
	help, err := os.ReadFile("../e2e/testdata/help.txt")
	require.NoError(t, err)
	for _, test := range []struct {
		values string
		args   []string
	}{
		{"", []string{"--log-level=info", "--grace-period=2m", "--resync-period=10m"}},
		{everything, []string{
			"--log-level=debug", "--cert-dir=/etc/egress-tls-webhook/certificate",
			"--client-ca-file=/etc/egress-tls-webhook/client-ca/ca.crt", "--client-names=kube-apiserver,system: other",
			"--grace-period=1m", "--resync-period=5m",
			"--tracing-endpoint=collector.tracing:4317", "--tracing-sampling-ratio=0.5", "--tracing-insecure",
			"--pprof-bind-address=127.0.0.1:6060", "--drain-delay=10s",
		}},
		{least, []string{
			"--log-level=info", "--cert-dir=/etc/egress-tls-webhook/certificate", "--client-ca-file=/etc/egress-tls-webhook/client-ca/ca.crt", "--reconcile=false",
		}},
	} {
		pod := as[appsv1.Deployment](t, render(t, test.values), "Deployment egress-tls-webhook").Spec.Template.Spec
		assert.Equal(t, append([]string{"--config=/etc/egress-tls-webhook/policy/policy.yaml"}, test.args...), pod.Containers[0].Args)
		for _, arg := range test.args {
			flag, _, _ := strings.Cut(arg, "=")
			assert.Contains(t, strings.Fields(string(help)), flag, "the server has the flag")
		}
		// What is mounted is where the flags look.
		mounted := map[string]string{}
		for _, m := range pod.Containers[0].VolumeMounts {
			mounted[m.Name] = m.MountPath
		}
		for _, v := range pod.Volumes {
			assert.True(t, slices.ContainsFunc(pod.Containers[0].Args, func(arg string) bool { return strings.Contains(arg, "="+mounted[v.Name]) }), v.Name)
		}
		assert.Len(t, mounted, len(pod.Volumes))
	}
}

// What nobody sets is as if the server ran without the chart.
func TestDefaultsAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	help, err := os.ReadFile("../e2e/testdata/help.txt")
	require.NoError(t, err)
	byDefault := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ +(--\S+) .*\(default "?(.+?)(?:0s)?"?\)$`).FindAllStringSubmatch(string(help), -1) {
		byDefault[m[1]] = m[2]
	}
	var compared []string
	pod := as[appsv1.Deployment](t, render(t, `tracing: {endpoint: "collector:4317"}`), "Deployment egress-tls-webhook").Spec.Template.Spec
	for _, arg := range pod.Containers[0].Args {
		flag, value, _ := strings.Cut(arg, "=")
		if want, ok := byDefault[flag]; ok {
			assert.Equal(t, want, value, flag)
			compared = append(compared, flag)
		}
	}
	assert.Equal(t, []string{"--log-level", "--grace-period", "--resync-period", "--tracing-sampling-ratio"}, compared)
}

func TestMemoryLimitOfGoLeavesHeadRoom(t *testing.T) {
	t.Parallel()
	for limit, want := range map[string]string{
		"512Mi": "483183820", "1Gi": "966367641", "0.5G": "450000000", "200000k": "180000000", "1048576Ki": "966367641", "300000000": "270000000", "100M": "90000000",
	} {
		env := as[appsv1.Deployment](t, render(t, "resources: {limits: {memory: "+limit+"}}", "--show-only=templates/deployment.yaml"), "Deployment egress-tls-webhook").
			Spec.Template.Spec.Containers[0].Env
		assert.Equal(t, corev1.EnvVar{Name: "GOMEMLIMIT", Value: want}, env[1], limit)
	}
	env := as[appsv1.Deployment](t, render(t, least), "Deployment egress-tls-webhook").Spec.Template.Spec.Containers[0].Env
	assert.Len(t, env, 1, "without a limit Go has none")
}

// The API server may be anywhere; the rest must be asked for.
func TestNetworkPolicyLetsInWhatIsNeeded(t *testing.T) {
	t.Parallel()
	spec := func(values string) string {
		o := as[networkingv1.NetworkPolicy](t, render(t, values, "--show-only=templates/networkpolicy.yaml"), "NetworkPolicy egress-tls-webhook")
		assert.Equal(t, map[string]string{"app.kubernetes.io/name": "egress-tls-webhook"}, o.Spec.PodSelector.MatchLabels)
		o.Spec.PodSelector = metav1.LabelSelector{}
		out, err := yaml.Marshal(o.Spec)
		require.NoError(t, err)
		return string(out)
	}
	assert.YAMLEq(t, `
podSelector: {}
policyTypes: [Ingress]
ingress:
- ports: [{port: webhook}]
- ports: [{port: metrics}]
  from: [{namespaceSelector: {}}]
`, spec(""))
	assert.YAMLEq(t, `
podSelector: {}
policyTypes: [Ingress, Egress]
ingress:
- ports: [{port: webhook}]
- ports: [{port: metrics}]
  from: [{podSelector: {}}]
egress:
- to: [{ipBlock: {cidr: 10.0.0.0/28}}]
  ports: [{port: 443}]
- ports: [{port: 4317}]
`, spec(everything))
}

func TestMonitoringFindsTheServer(t *testing.T) {
	t.Parallel()
	o := render(t, everything)
	server := as[appsv1.Deployment](t, o, "Deployment egress-tls-webhook").Spec.Template
	ports := map[string]bool{}
	for _, p := range server.Spec.Containers[0].Ports {
		ports[p.Name] = true
	}
	podMonitor, serviceMonitor, rule := o["PodMonitor egress-tls-webhook"], o["ServiceMonitor egress-tls-webhook"], o["PrometheusRule egress-tls-webhook"]
	for _, m := range []*unstructured.Unstructured{podMonitor, serviceMonitor, rule} {
		assert.Equal(t, "prometheus", m.GetLabels()["release"], m.GetKind())
	}
	assert.Equal(t, map[string]any{
		"selector":            map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": server.Labels["app.kubernetes.io/name"]}},
		"podMetricsEndpoints": []any{map[string]any{"port": "metrics"}},
	}, podMonitor.Object["spec"])
	assert.True(t, ports["metrics"])

	service := as[corev1.Service](t, o, "Service egress-tls-webhook-metrics")
	assert.Equal(t, map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{
			"app.kubernetes.io/name":      service.Labels["app.kubernetes.io/name"],
			"app.kubernetes.io/component": service.Labels["app.kubernetes.io/component"],
		}},
		"endpoints": []any{map[string]any{"port": service.Spec.Ports[0].Name}},
	}, serviceMonitor.Object["spec"])
	assert.Equal(t, "metrics", service.Spec.Ports[0].TargetPort.StrVal)
	assert.NotContains(t, as[corev1.Service](t, o, "Service egress-tls-webhook").Labels, "app.kubernetes.io/component")

	// Both Services select the server, and not the Pod of helm test.
	assert.Equal(t, server.Labels["app.kubernetes.io/name"], service.Spec.Selector["app.kubernetes.io/name"])
	assert.NotEqual(t, service.Spec.Selector["app.kubernetes.io/name"], o["Pod egress-tls-webhook-test"].GetLabels()["app.kubernetes.io/name"])

	assert.Contains(t, rule.Object["spec"], "groups")
	dashboard := as[corev1.ConfigMap](t, o, "ConfigMap egress-tls-webhook-dashboard")
	assert.Equal(t, "1", dashboard.Labels["grafana_dashboard"])
	assert.True(t, json.Valid([]byte(dashboard.Data["egress-tls-webhook.json"])))
}
