package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/deploy"
)

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	t.Parallel()
	files, err := deploy.Generated(t.Context(), chart)
	require.NoError(t, err)
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join("..", "..", path))
		require.NoError(t, err)
		assert.Equal(t, want, string(got), "%s: run make generate", path)
	}
}

const kustomizeDir = "../../deploy/kustomize"

// Kustomize installs what Helm installs, but for what is listed here.
func TestKustomizeInstallsWhatHelmInstalls(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		components []string
		values     string
	}{
		{nil, ""},
		{[]string{"cert-manager"}, "certificates: {provider: cert-manager}"},
		{[]string{"monitoring"}, "metrics: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}}"},
		{[]string{"warn"}, "policy: {mode: warn}"},
		{[]string{"audit"}, "policy: {mode: audit}"},
		{[]string{"cert-manager", "monitoring", "warn"}, `
certificates: {provider: cert-manager}
metrics: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}}
policy: {mode: warn}`},
	} {
		t.Run(strings.Join(append([]string{"base"}, test.components...), "+"), func(t *testing.T) {
			t.Parallel()
			want, got := render(t, test.values, "--no-hooks"), kustomize(t, test.components)

			for _, o := range want {
				labels := o.GetLabels()
				assert.Equal(t, "egress-tls-webhook-0.1.0", labels["helm.sh/chart"], o.GetName())
				assert.Equal(t, "Helm", labels["app.kubernetes.io/managed-by"], o.GetName())
				delete(labels, "helm.sh/chart")
				delete(labels, "app.kubernetes.io/managed-by")
				o.SetLabels(labels)
			}
			// Either way another policy rolls the Deployment.
			template := []string{"spec", "template", "metadata", "annotations"}
			checksum, _, err := unstructured.NestedStringMap(want["Deployment egress-tls-webhook"].Object, template...)
			require.NoError(t, err)
			assert.Len(t, checksum["checksum/policy"], 64)
			unstructured.RemoveNestedField(want["Deployment egress-tls-webhook"].Object, template...)
			const configMap = "egress-tls-webhook-policy"
			volume := policyVolume(t, got)
			hashed := volume["name"].(string)
			assert.Regexp(t, "^"+configMap+"-[a-z0-9]{10}$", hashed)
			got["ConfigMap "+hashed].SetName(configMap)
			got["ConfigMap "+configMap], volume["name"] = got["ConfigMap "+hashed], configMap
			delete(got, "ConfigMap "+hashed)
			// With Helm the namespace is made by --create-namespace, or by hand.
			assert.Equal(t, map[string]string{
				"app.kubernetes.io/name":             "egress-tls-webhook",
				"pod-security.kubernetes.io/enforce": "restricted",
			}, got["Namespace egress-tls-system"].GetLabels())
			delete(got, "Namespace egress-tls-system")

			assert.Equal(t, want, got)
		})
	}
}

// kustomize renders the base with components.
func kustomize(t *testing.T, components []string) objects {
	t.Helper()
	kustomization := "resources: [DIR/base]\ncomponents:\n"
	for _, c := range components {
		kustomization += "- DIR/components/" + c + "\n"
	}
	return kustomized(t, kustomization)
}

// kustomized renders a kustomization, in which DIR is kustomizeDir.
func kustomized(t *testing.T, kustomization string) objects {
	t.Helper()
	bin, err := controlplane.Assets(t.Context(), os.Stderr)
	require.NoError(t, err)
	absolute, err := filepath.Abs(kustomizeDir)
	require.NoError(t, err)
	dir := t.TempDir()
	relative, err := filepath.Rel(dir, absolute)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(strings.ReplaceAll(kustomization, "DIR", relative)), 0o600))
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "kubectl"), "kustomize", dir).CombinedOutput()
	require.NoError(t, err, string(out))
	return decode(t, string(out))
}

// The kustomization of the documentation installs its image, its mode and its policy.
func TestDocumentedKustomization(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/install.md")
	require.NoError(t, err)
	_, kustomization, found := strings.Cut(string(page), "```yaml\n# kustomization.yaml\n")
	require.True(t, found)
	kustomization, _, _ = strings.Cut(kustomization, "```")
	got := kustomized(t, strings.ReplaceAll(kustomization, "egress-tls-webhook/deploy/kustomize", "DIR"))

	hashed := policyVolume(t, got)["name"].(string)
	want := policy.Default()
	want.Mode, want.GatewayNamespaces = policy.Warn, []string{"istio-ingress"}
	loaded, err := policy.Load("policy.yaml", []byte(as[corev1.ConfigMap](t, got, "ConfigMap "+hashed).Data["policy.yaml"]))
	require.NoError(t, err)
	assert.Equal(t, want, loaded)
	assert.Equal(t, "registry.example.com/egress-tls-webhook:v0.1.0",
		as[appsv1.Deployment](t, got, "Deployment egress-tls-webhook").Spec.Template.Spec.Containers[0].Image)
	warn := kustomize(t, []string{"warn"})
	assert.Equal(t, warn["ValidatingWebhookConfiguration egress-tls-webhook"], got["ValidatingWebhookConfiguration egress-tls-webhook"])
	assert.NotEqual(t, policyVolume(t, warn)["name"], hashed, "another policy rolls the Deployment")
}

// policyVolume returns the volume of the Deployment that holds the policy, not a copy of it.
func policyVolume(t *testing.T, o objects) map[string]any {
	t.Helper()
	volumes, _, err := unstructured.NestedFieldNoCopy(o["Deployment egress-tls-webhook"].Object, "spec", "template", "spec", "volumes")
	require.NoError(t, err)
	return volumes.([]any)[0].(map[string]any)["configMap"].(map[string]any)
}
