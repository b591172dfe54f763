package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/deploy"
)

// chartTest renders the chart's test.
var chartTest = sync.OnceValues(func() (string, error) {
	return template("test: {namespace: NAMESPACE}", "--show-only=templates/tests/probe.yaml")
})

func template(values string, args ...string) (string, error) {
	chart, err := deploy.OpenChart(context.Background(), os.Stderr)
	if err != nil {
		return "", err
	}
	return chart.Template(context.Background(), values, args...)
}

// What the chart renders is valid, also what it makes of odd usernames.
func TestChartIsValid(t *testing.T) {
	server(t) // Brings the namespace.
	for _, file := range []string{"everything.yaml", "least.yaml"} {
		values, err := os.ReadFile(filepath.Join("..", "deploy", "testdata", file))
		require.NoError(t, err)
		rendered, err := template(string(values), "--set=test.namespace=default")
		require.NoError(t, err)
		var manifests []string
		for name, documents := range deploy.Documents(rendered) {
			if name != "certificates.yaml" && name != "monitoring.yaml" { // Their types are not there.
				manifests = append(manifests, documents...)
			}
		}
		does(t, strings.Join(manifests, "---\n"), "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
	}
}

// helmTest does what helm test does with the chart: it runs the probe with the arguments of the test's
// Pod, as the Pod's ServiceAccount. It returns all that the probe prints.
func helmTest(t *testing.T, namespace, config string) (said string, exitCode int) {
	t.Helper()
	rendered, err := chartTest()
	require.NoError(t, err)
	documents := deploy.Documents(strings.ReplaceAll(rendered, "NAMESPACE", namespace))["tests/probe.yaml"]
	var pod corev1.Pod
	require.NoError(t, yaml.UnmarshalStrict([]byte(documents[len(documents)-1]), &pod))
	apply(t, strings.Join(documents[:len(documents)-1], "---\n"))

	kubeconfig, err := plane.ServiceAccountKubeconfig(pod.Namespace, pod.Spec.ServiceAccountName)
	require.NoError(t, err)
	args := pod.Spec.Containers[0].Args
	require.Equal(t, "--config=/etc/egress-tls-webhook/policy/policy.yaml", args[len(args)-1])
	args[len(args)-1] = "--config=" + writeFile(t, config)
	stdout, stderr, exitCode := command(t, append(args, "--kubeconfig="+kubeconfig)...)
	return stdout + stderr, exitCode
}

func TestProbeSaysThatTheWebhookWorks(t *testing.T) {
	const (
		other = defaultPolicy + "routeOrder: Warn\ndestinationRules: Require\n"
		blind = defaultPolicy + "routeOrder: Ignore\ndestinationRules: Ignore\n"
	)
	for _, test := range []struct {
		policy string
		mode   policy.Mode
		want   string
	}{
		{defaultPolicy, "enforce", `ok: a VirtualService with a dead route is refused (CatchAllNotLast)
ok: a ServiceEntry without TLS gets a warning (would create DestinationRule)
`},
		{defaultPolicy, "warn", `ok: a VirtualService with a dead route gets a warning (CatchAllNotLast)
ok: a ServiceEntry without TLS gets a warning (would create DestinationRule)
`},
		{defaultPolicy, "audit", `ok: a VirtualService with a dead route passes in silence
ok: a ServiceEntry without TLS passes in silence
whether the webhook was asked shows in its log, its metrics and the API server's audit log only
`},
		{defaultPolicy, "off", "nothing to see: the API server does not call the webhook there\n"},
		{other, "enforce", `ok: a VirtualService with a dead route gets a warning (CatchAllNotLast)
ok: a ServiceEntry without TLS is refused (TLSMissing)
`},
		{blind, "enforce", "nothing to see: the policy ignores routeOrder and destinationRules\n"},
	} {
		if test.policy != blind {
			serverWith(t, test.policy)
		}
		s := newSite(t, test.mode)
		said, exitCode := helmTest(t, s.namespace, test.policy)
		assert.Equal(t, "namespace "+s.namespace+" is in mode "+string(test.mode)+"\n"+test.want, said)
		assert.Zero(t, exitCode)
	}
}

func TestProbeSaysWhatIsWrong(t *testing.T) {
	newestOnly(t)
	server(t)
	enforced, warned, exempt := newSite(t), newSite(t, policy.Warn), site{namespace: "exempt"}
	apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: exempt}\n")
	fails := func(s site, config, want string) {
		t.Helper()
		said, exitCode := helmTest(t, s.namespace, config)
		_, said, _ = strings.Cut(said, "\negress-tls-webhook: ")
		assert.Equal(t, want, regexp.MustCompile("127.0.0.1:[0-9]+").ReplaceAllString(said, "ADDRESS"))
		assert.Equal(t, 1, exitCode)
	}

	const otherPolicy = "does the server have another policy (--config)?"
	fails(enforced, defaultPolicy+"mode: warn\n", "mode warn promises: a VirtualService with a dead route gets a warning (CatchAllNotLast), but "+
		"validate.egress-tls.dev refuses it; "+otherPolicy+" VirtualService "+enforced.namespace+`/egress-tls-probe is refused:
- CatchAllNotLast at spec.http[1]: Istio silently drops every route after a catch-all: spec.http[0].match[0] (uri prefix "/") takes every request, `+
		`so spec.http[1] (uri prefix "/dead", to egress-tls-probe.invalid) can never match. For example, GET /dead goes to egress-tls-probe.invalid by spec.http[0].match[0]. `+
		`Put spec.http[1] before spec.http[0]. The order that works: spec.http[1] (uri prefix "/dead"), spec.http[0] (uri prefix "/").
`)
	fails(enforced, defaultPolicy+"routeOrder: Ignore\ndestinationRules: Require\n", "mode enforce promises: a ServiceEntry without TLS is refused (TLSMissing), but "+
		`it passes with the warnings ["would create DestinationRule `+enforced.namespace+"/egress-tls-egress-tls-probe-invalid-51e116bc4b17b133 "+
		`with TLS to egress-tls-probe.invalid on port 443"]; `+otherPolicy+"\n")
	fails(exempt, strings.ReplaceAll(defaultPolicy, ", exempt", ""), "mode enforce promises: a VirtualService with a dead route is refused (CatchAllNotLast), but "+
		"it passes without a trace of the webhook: either the entry validate.egress-tls.dev of the ValidatingWebhookConfiguration egress-tls-webhook "+
		"does not take this namespace or user, or the server has another policy, or the call failed and its failurePolicy is Ignore: look at the Pods and their logs\n")

	stopServer(t)
	fails(enforced, defaultPolicy, `Internal error occurred: failed calling webhook "mutate.egress-tls.dev": failed to call webhook: `+
		`Post "https://ADDRESS/mutate?timeout=10s": dial tcp ADDRESS: connect: connection refused
Nothing listens where the webhook should: look at the Pods and their logs.
`)
	fails(warned, defaultPolicy, "mode warn promises: a VirtualService with a dead route gets a warning (CatchAllNotLast), but "+
		"it passes without a trace of the webhook: either the entry observe.egress-tls.dev of the ValidatingWebhookConfiguration egress-tls-webhook "+
		"does not take this namespace or user, or the server has another policy, or the call failed and its failurePolicy is Ignore: look at the Pods and their logs\n")

	probe := func(namespace string) string {
		_, stderr, _ := command(t, "probe", "--kubeconfig="+plane.Kubeconfig, "--namespace="+namespace)
		return stderr
	}
	assert.Equal(t, "egress-tls-webhook: failed to read the mode of namespace nowhere: namespaces \"nowhere\" not found\n", probe("nowhere"))
	require.NoError(t, plane.UninstallWebhook(t.Context()))
	assert.Equal(t, "egress-tls-webhook: mode enforce promises: a VirtualService with a dead route is refused (CatchAllNotLast), but "+
		"it passes without a trace of the webhook: there is no ValidatingWebhookConfiguration egress-tls-webhook; install it again\n", probe(enforced.namespace))
}
