package e2e

import (
	"bufio"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// Nothing asserts how long something takes; these only end a test that hangs.
const (
	patience = time.Minute
	tick     = 20 * time.Millisecond
)

func kubectl(t *testing.T, stdin string, args ...string) controlplane.Result {
	t.Helper()
	return plane.Kubectl(t.Context(), stdin, args...)
}

// apply applies manifests and returns the warnings.
func apply(t *testing.T, manifests string, args ...string) (warnings []string) {
	t.Helper()
	return does(t, manifests, append([]string{"apply", "-f", "-"}, args...)...)
}

// does runs kubectl, which must succeed, and returns the warnings.
func does(t *testing.T, stdin string, args ...string) (warnings []string) {
	t.Helper()
	result := kubectl(t, stdin, args...)
	require.Zero(t, result.ExitCode, result.Stderr)
	warnings, rest := result.Warnings()
	require.Empty(t, rest)
	return warnings
}

// refused runs kubectl, which the validating phase must refuse, and returns the
// warnings and the reason.
func refused(t *testing.T, stdin string, args ...string) (warnings []string, reason string) {
	t.Helper()
	result := kubectl(t, stdin, args...)
	require.Equal(t, 1, result.ExitCode, result.Stdout+result.Stderr)
	warnings, rest := result.Warnings()
	_, reason, denied := strings.Cut(rest, `admission webhook "validate.egress-tls.dev" denied the request: `)
	require.True(t, denied, rest)
	return warnings, strings.TrimSuffix(reason, "\n")
}

// stored reads o from the API server.
func stored[T client.Object](t *testing.T, o T, namespace, name string) T {
	t.Helper()
	require.NoError(t, reader.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o))
	return o
}

// rulesIn lists the DestinationRules of a namespace.
func rulesIn(t *testing.T, namespace string) []*networkingv1.DestinationRule {
	t.Helper()
	var list networkingv1.DestinationRuleList
	require.NoError(t, reader.List(t.Context(), &list, client.InNamespace(namespace)))
	return list.Items
}

// auditOf returns the last audit event of a write to the named object.
func auditOf(t *testing.T, namespace, resource, name string) controlplane.AuditEvent {
	t.Helper()
	events, err := plane.AuditEvents()
	require.NoError(t, err)
	var last *controlplane.AuditEvent
	for _, e := range events {
		if e.ObjectRef.Namespace == namespace && e.ObjectRef.Resource == resource && e.ObjectRef.Name == name {
			last = &e
		}
	}
	require.NotNil(t, last, "no write to %s %s/%s in the audit log", resource, namespace, name)
	return *last
}

// ourAnnotations are the audit annotations of the webhooks.
func ourAnnotations(e controlplane.AuditEvent) map[string]string {
	out := map[string]string{}
	for k, v := range e.Annotations {
		if strings.Contains(k, ".egress-tls.dev/") {
			out[k] = v
		}
	}
	return out
}

// eventually polls until ok.
func eventually(t *testing.T, ok func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, ok, patience, tick, append([]any{what}, args...)...)
}

var cachedMetric = regexp.MustCompile(`(?m)^egress_tls_cached_objects\{kind="(\w+)"\} (\S+)$`)

// waitCached waits until the webhook's informers hold as many objects of each kind
// as the API server: they have seen what was created or deleted.
func waitCached(t *testing.T, webhook *controlplane.Webhook) {
	t.Helper()
	want := map[string]int{}
	for kind, list := range map[string]client.ObjectList{
		"ServiceEntry":    &networkingv1.ServiceEntryList{},
		"VirtualService":  &networkingv1.VirtualServiceList{},
		"DestinationRule": &networkingv1.DestinationRuleList{},
		"Gateway":         &networkingv1.GatewayList{},
		"Service":         &corev1.ServiceList{},
		"Namespace":       &corev1.NamespaceList{},
	} {
		require.NoError(t, reader.List(t.Context(), list))
		want[kind] = meta.LenList(list)
	}
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		got := map[string]int{}
		for _, m := range cachedMetric.FindAllStringSubmatch(metrics(t, webhook), -1) {
			n, err := strconv.ParseFloat(m[2], 64)
			require.NoError(t, err)
			got[m[1]] = int(n)
		}
		assert.Equal(t, want, got)
	}, patience, tick)
}

func metrics(t require.TestingT, webhook *controlplane.Webhook) string {
	response, err := http.Get("http://" + webhook.MetricsAddress() + "/metrics")
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var b strings.Builder
	for s := bufio.NewScanner(response.Body); s.Scan(); {
		b.WriteString(s.Text() + "\n")
	}
	return b.String()
}

// lines joins the parts of a message of several lines.
func lines(parts ...string) string { return strings.Join(parts, "\n") }
