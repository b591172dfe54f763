package deploy_test

import (
	_ "embed"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/deploy"
)

var (
	//go:embed testdata/everything.yaml
	everything string
	//go:embed testdata/least.yaml
	least string
)

func TestChartPassesHelmLint(t *testing.T) {
	t.Parallel()
	for _, values := range []string{"", everything, least} {
		out, err := chart.Helm(t.Context(), values, "lint", "--strict", chart.Dir, "--values", "-")
		require.NoError(t, err)
		assert.Contains(t, out, "1 chart(s) linted, 0 chart(s) failed")
	}
}

// What holds for everything holds for values that are added later, too.
func TestEverythingIsEverything(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(chart.Dir, "values.yaml"))
	require.NoError(t, err)
	var byDefault, set map[string]any
	require.NoError(t, yaml.UnmarshalStrict(data, &byDefault))
	require.NoError(t, yaml.UnmarshalStrict([]byte(everything), &set))
	for _, path := range paths(byDefault, "") {
		if path != "webhooks.clientVerification.configMapName" { // a Secret takes its place
			assert.Contains(t, paths(set, ""), path)
		}
	}
}

func paths(values map[string]any, prefix string) (all []string) {
	for key, value := range values {
		all = append(all, prefix+key)
		if m, ok := value.(map[string]any); ok {
			all = append(all, paths(m, prefix+key+".")...)
		}
	}
	return all
}

func TestValuesAreChecked(t *testing.T) {
	t.Parallel()
	_, err := chart.Template(t.Context(), `
polcy: {}
policy: {mode: block, kind: EgressTLSPolicy}
certificates: {provider: none}
replicaCount: 0
image: {digest: latest}
webhooks: {failurePolicy: fail, timeoutSeconds: 31, matchConditions: [{}], clientVerification: {secretName: a, configMapName: b}, namespaceSelector: {matchExpressions: [{key: a, operator: Equals}]}}
reconciler: {gracePeriod: 2, resyncPeriod: soon}
resources: {limits: {memory: lots}}
priorityClass: {name: ""}
podDisruptionBudget: {maxUnavailable: 0}
networkPolicy: {apiServerPorts: []}
metrics: {podMonitor: {enable: true}}
tracing: {endpoint: "http://collector", samplingRatio: 2}
extraArgs: [drain]
`)
	require.Error(t, err)
	const head = "helm template: exit status 1\nError: values don't meet the specifications of the schema(s) in the following chart(s):\negress-tls-webhook:\n"
	require.Contains(t, err.Error(), head)
	assert.ElementsMatch(t, []string{
		"- at '': additional properties 'polcy' not allowed",
		"- at '/policy': validation failed",
		"  - at '/policy': additional properties 'kind' not allowed",
		"  - at '/policy/mode': value must be one of 'enforce', 'warn', 'audit', 'off', false",
		"- at '/certificates/provider': value must be one of 'self-managed', 'cert-manager'",
		"- at '/replicaCount': minimum: got 0, want 1",
		"- at '/image/digest': 'latest' does not match pattern '^(sha256:[0-9a-f]{64})?$'",
		"- at '/webhooks': validation failed",
		"  - at '/webhooks/failurePolicy': value must be one of 'Fail', 'Ignore'",
		"  - at '/webhooks/timeoutSeconds': maximum: got 31, want 30",
		"  - at '/webhooks/clientVerification/configMapName': maxLength: got 1, want 0",
		"  - at '/webhooks/matchConditions/0': missing properties 'name', 'expression'",
		"  - at '/webhooks/namespaceSelector/matchExpressions/0/operator': value must be one of 'In', 'NotIn', 'Exists', 'DoesNotExist'",
		"- at '/reconciler': validation failed",
		"  - at '/reconciler/gracePeriod': got number, want string",
		`  - at '/reconciler/resyncPeriod': 'soon' does not match pattern '^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$'`,
		`- at '/resources/limits/memory': 'lots' does not match pattern '^[0-9]+(\\.[0-9]+)?(k|M|G|Ki|Mi|Gi)?$'`,
		"- at '/priorityClass/name': minLength: got 0, want 1",
		"- at '/podDisruptionBudget/maxUnavailable': minimum: got 0, want 1",
		"- at '/networkPolicy/apiServerPorts': minItems: got 0, want 1",
		"- at '/metrics/podMonitor': additional properties 'enable' not allowed",
		"- at '/tracing': validation failed",
		"  - at '/tracing/endpoint': 'http://collector' does not match pattern '^([^/]+:[0-9]+)?$'",
		"  - at '/tracing/samplingRatio': maximum: got 2, want 1",
		"- at '/extraArgs/0': 'drain' does not match pattern '^--'",
	}, strings.Split(strings.TrimSpace(strings.TrimPrefix(err.Error(), head)), "\n"))
}

// Names alone would verify nobody, in silence.
func TestClientNamesNeedAnAuthority(t *testing.T) {
	t.Parallel()
	_, err := chart.Template(t.Context(), "webhooks: {clientVerification: {names: [kube-apiserver]}}")
	require.ErrorContains(t, err, "- at '/webhooks/clientVerification/names': maxItems: got 1, want 0\n")
	_, err = chart.Template(t.Context(), `webhooks: {clientVerification: {secretName: a, names: ["one,two"]}}`)
	require.ErrorContains(t, err, `- at '/webhooks/clientVerification/names/0': 'one,two' does not match pattern '^[^",]+$'`)
}

// The policy in the ConfigMap is what the server reads from it.
func TestPolicyIsTheValue(t *testing.T) {
	t.Parallel()
	checksums := map[string]bool{}
	load := func(values string) *policy.Policy {
		o := render(t, values)
		out, err := policy.Load("policy.yaml", []byte(as[corev1.ConfigMap](t, o, "ConfigMap egress-tls-webhook-policy").Data["policy.yaml"]))
		require.NoError(t, err)
		checksum := as[appsv1.Deployment](t, o, "Deployment egress-tls-webhook").Spec.Template.Annotations["checksum/policy"]
		assert.False(t, checksums[checksum], "another policy rolls the Deployment")
		checksums[checksum] = true
		return out
	}
	assert.Equal(t, policy.Default(), load(""))
	assert.Equal(t, policy.Off, load("policy: {mode: off}").Mode, "which YAML reads as false")
	assert.Equal(t, &policy.Policy{
		APIVersion: policy.APIVersion,
		Kind:       policy.Kind,
		Mode:       policy.Warn,
		Exemptions: policy.Exemptions{
			Namespaces: []string{"kube-system", "legacy"},
			Usernames:  []string{"system:serviceaccount:ci:deploy", `o'neil "<x>" \`},
			Hosts:      []string{"*.example.com"},
		},
		RootNamespace:     "istio-config",
		GatewayNamespaces: []string{"gateways"},
		Originate:         policy.Always,
		DestinationRules:  policy.CreateRules,
		Headers:           policy.InjectHeaders,
		TLS:               policy.TLS{CACertificates: "system", SubjectAltNames: policy.SANsNone},
		RouteOrder:        policy.WarnOrder,
	}, load(everything))
}

// The notes say what the chosen mode does, how to see it, and what comes next.
func TestNotesAreAboutTheMode(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string][]string{
		"enforce": {
			"are in mode enforce:\nit adds headers and DestinationRules, also to what is there already, and refuses dead routes.\nWhile no replica answers, creates",
			"This must be refused,", "A namespace that must wait: kubectl label namespace NAME egress-tls.dev/mode=warn\n",
		},
		"warn": {
			"are in mode warn:\nit changes and refuses nothing, and tells in warnings what it would do.\n",
			"This must get a warning,", "Then enforce, one namespace after the other: kubectl label namespace NAME egress-tls.dev/mode=enforce\n",
		},
		"audit": {
			"are in mode audit:\nit changes and refuses nothing, and tells only logs, metrics and the API server's audit log what it would do.\n",
			"This must pass: mode audit says nothing,", "Then enforce, one namespace after the other: kubectl label namespace NAME egress-tls.dev/mode=enforce\n",
		},
		"off": {
			"are in mode off:\nthe API server does not call it for them.\n",
			"This must pass: mode off says nothing,", "Let it look, one namespace after the other: kubectl label namespace NAME egress-tls.dev/mode=audit\n",
		},
	} {
		out, err := chart.Helm(t.Context(), "policy: {mode: "+mode+"}", "install", deploy.Name, chart.Dir,
			"--namespace", deploy.Namespace, "--dry-run=client", "--values", "-")
		require.NoError(t, err)
		for _, text := range append(want, "helm test egress-tls-webhook -n egress-tls-system --logs\n") {
			assert.Contains(t, out, text)
		}
	}
}
