package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// installation is what is read of one: the webhook configuration names the Service, whose
// namespace has the rest. It matches nothing, since no webhook runs.
const installation = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: egress-tls-webhook}
webhooks:
- name: validate.egress-tls.dev
  clientConfig: {service: {name: egress-tls-webhook, namespace: egress-tls-system}}
  rules: [{apiGroups: [none.example.com], apiVersions: [v1], operations: [CREATE], resources: [none]}]
  admissionReviewVersions: [v1]
  sideEffects: None
`

// configMap returns the policy as the chart stores it, and with a suffix as kustomize does.
func configMap(suffix, policy string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: egress-tls-webhook-policy" + suffix + ", namespace: egress-tls-system}\n" +
		"data:\n  policy.yaml: |\n    apiVersion: config.egress-tls.dev/v1alpha1\n    kind: EgressTLSPolicy\n    " + policy + "\n"
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: egress-tls-webhook, namespace: egress-tls-system}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers: [{name: webhook, image: none}]
      volumes: [{name: policy, configMap: {name: egress-tls-webhook-policy-2h5k}}]
`

func testInstalledPolicy(t *testing.T, as string) {
	summary := func(stderr string) string {
		t.Helper()
		got := egressTLS(t, "", "scan", "-n", "shop", "--summary", as)
		assert.Equal(t, stderr, got.stderr)
		return strings.SplitAfter(got.stdout, "\n\n")[1]
	}
	unread := func(why string) string {
		return "egress-tls: note: the policy of the installed webhook cannot be read, so the defaults count: " + why + "; --policy FILE names another\n"
	}
	const refused, warned = "1 error, 0 warnings in 4 objects of 1 namespace.\n", "0 errors, 1 warning in 4 objects of 1 namespace.\n"

	assert.Equal(t, refused, summary(noPolicy))
	kubectl(t, installation, "apply", "-f", "-")
	after(t, installation, "delete", "-f", "-")
	assert.Equal(t, refused, summary(unread(`configmaps "egress-tls-webhook-policy" not found`)))
	kubectl(t, configMap("", "mode: warn"), "apply", "-f", "-")
	assert.Equal(t, warned, summary(""))
	kubectl(t, deployment, "apply", "-f", "-")
	assert.Equal(t, refused, summary(unread(`configmaps "egress-tls-webhook-policy-2h5k" not found`)), "what is mounted counts")
	kubectl(t, configMap("-2h5k", "routeOrder: Warn"), "apply", "-f", "-")
	assert.Equal(t, warned, summary(""))

	// One that the webhook itself would not take.
	kubectl(t, configMap("-2h5k", "mode: strict"), "apply", "-f", "-")
	assert.Equal(t, result{2, "", "egress-tls: ConfigMap egress-tls-system/egress-tls-webhook-policy-2h5k:3: mode: unknown value \"strict\"; it takes: enforce, warn, audit, off\n"},
		egressTLS(t, "", "scan", as))
}
