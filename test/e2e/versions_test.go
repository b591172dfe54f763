package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// apiVersion is a version of networking.istio.io.
type apiVersion string

// asWritten leaves the objects in the version that they are written in.
const asWritten apiVersion = ""

// apiVersions are those that Istio serves; the webhook asks for the last.
var apiVersions = []apiVersion{"v1alpha3", "v1beta1", "v1"}

var istioVersion = regexp.MustCompile(`\bnetworking\.istio\.io/v1\w*`)

// of returns the manifests with Istio's objects in this version.
func (v apiVersion) of(manifests string) string {
	if v == asWritten {
		return manifests
	}
	return istioVersion.ReplaceAllString(manifests, "networking.istio.io/"+string(v))
}

// resource is what makes kubectl ask for the resource in this version.
func (v apiVersion) resource(name string) string {
	return name + "." + string(v) + ".networking.istio.io"
}

// These tests run at both ends of what README.md says is tested.
func TestControlPlaneIsOfTheDocumentedVersions(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") != "" {
		t.Skip("KUBEBUILDER_ASSETS: the assets are someone else's")
	}
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	documented := func(row string) string {
		match := regexp.MustCompile(`(?m)^\| ` + row + ` \| (\S+) \| (\S+) \|$`).FindStringSubmatch(string(readme))
		require.NotNil(t, match, row)
		if *oldest {
			return match[1]
		}
		return match[2]
	}
	var version struct{ ServerVersion, ClientVersion struct{ GitVersion string } }
	result := kubectl(t, "", "version", "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(result.Stdout), &version), result.Stderr)
	assert.Equal(t, "v"+documented("Kubernetes"), version.ServerVersion.GitVersion)
	assert.Equal(t, version.ServerVersion, version.ClientVersion)
	assert.Contains(t, plane.CRDPath, "/istio.io/api@v"+documented("CRDs of Istio")+"/")
	// The old CRDs store another version than the webhook asks for.
	storage := kubectl(t, "", "get", "crd", "virtualservices.networking.istio.io", "-o", "jsonpath={.spec.versions[?(@.storage==true)].name}")
	assert.Equal(t, map[bool]string{true: "v1beta1", false: "v1"}[*oldest], storage.Stdout)
}

func TestScenariosInEveryVersion(t *testing.T) {
	for _, name := range []string{
		"ingress-seed-as-written", "ingress-seed-one-apply", "sidecar-seed", "sidecar-seed-target-port",
		"existing-rule-load-balancer", "own-rule-load-balancer-applied",
	} {
		s, err := scenario.Load("../scenarios/" + name)
		require.NoError(t, err)
		for _, version := range apiVersions {
			t.Run(name+"/"+string(version), func(t *testing.T) { play(t, s, server(t), version) })
		}
	}
	clean(t)
}

// The whole life of a route, in each version.
func TestEveryVersionIsJudgedAlike(t *testing.T) {
	for i, version := range apiVersions {
		t.Run(string(version), func(t *testing.T) {
			webhook := server(t)
			s := newSite(t)
			apply(t, version.of(s.entry()+s.gateway()))
			waitCached(t, webhook)
			route, wrong := version.of(s.route()), version.of(s.wrongRoute())

			assert.Equal(t, []string{s.headers(0), "would create " + s.rule()}, apply(t, route, "--dry-run=server"))
			assert.Empty(t, rulesIn(t, s.namespace))
			assert.Equal(t, []string{s.headers(0), "created " + s.rule()}, apply(t, route))
			more := version.of(s.routes("web", "/keys", "/more", "/"))
			assert.Equal(t, []string{s.headers(0), s.headers(1)}, apply(t, more))
			_, reason := refused(t, wrong, "apply", "-f", "-")
			assert.Equal(t, lines("VirtualService "+s.namespace+"/web is refused:", "- "+s.deadKeys()), reason)
			assertHeaders(t, s, "web")

			// What was stored in violation, in another version, stays usable in this one.
			other := apiVersions[(i+1)%len(apiVersions)]
			apply(t, other.of(s.wrongRoute()), asSetup)
			warnings := does(t, "", "patch", version.resource("virtualservices"), "web", "-n", s.namespace, "--type=json",
				`-p=[{"op": "add", "path": "/spec/http/0/timeout", "value": "3s"}]`)
			assert.Equal(t, []string{s.headers(1), s.deadKeys()}, warnings)
		})
	}
}

// The patch is computed on v1, and meets the object in the version that was sent.
func TestPatchIsAppliedToTheVersionThatWasSent(t *testing.T) {
	s := readySite(t)
	for _, version := range apiVersions {
		name := "web-" + string(version)
		created := kubectl(t, version.of(s.routes(name, "/keys", "/")), "create", "-f", "-", "-o", "json")
		assertAnswer(t, s, version, created)
		patched := kubectl(t, "", "patch", version.resource("virtualservices"), name, "-n", s.namespace,
			"--type=json", `-p=[{"op": "remove", "path": "/spec/http/0/headers"}]`, "-o", "json")
		assertAnswer(t, s, version, patched)
		assertHeaders(t, s, name)
	}
}

// assertAnswer: kubectl got the object in the version, with the headers.
func assertAnswer(t *testing.T, s site, version apiVersion, answer controlplane.Result) {
	t.Helper()
	require.Zero(t, answer.ExitCode, answer.Stderr)
	var route networkingv1.VirtualService
	require.NoError(t, json.Unmarshal([]byte(answer.Stdout), &route))
	assert.Equal(t, "networking.istio.io/"+string(version), route.APIVersion)
	assert.Equal(t, map[string]string{"Host": s.host, "X-Forwarded-Proto": "https"}, route.Spec.Http[0].GetHeaders().GetRequest().GetSet())
}

// What the webhook adds to a route, and the rule beside it, are there for readers of
// every version.
func TestEveryVersionShowsTheSameObjects(t *testing.T) {
	s := readySite(t)
	apply(t, apiVersion("v1beta1").of(s.route()))
	for _, o := range []struct{ resource, name string }{{"virtualservices", "web"}, {"destinationrules", s.ruleName()}, {"serviceentries", "external"}} {
		var want map[string]any
		for _, version := range apiVersions {
			got := kubectl(t, "", "get", version.resource(o.resource), o.name, "-n", s.namespace, "-o", "json", "--show-managed-fields")
			require.Zero(t, got.ExitCode, got.Stderr)
			var object map[string]any
			require.NoError(t, json.Unmarshal([]byte(got.Stdout), &object))
			assert.Equal(t, "networking.istio.io/"+string(version), object["apiVersion"])
			object["apiVersion"] = ""
			if want == nil {
				want = object
			}
			assert.Equal(t, want, object)
		}
	}
	assertHeaders(t, s, "web")
	rule := stored(t, &networkingv1.DestinationRule{}, s.namespace, s.ruleName())
	require.Len(t, rule.ManagedFields, 1)
	assert.Equal(t, "networking.istio.io/v1", rule.ManagedFields[0].APIVersion)
}

// Teams move their manifests to v1 one by one, and back: only what names the version
// changes with it.
func TestApplyingInAnotherVersionChangesNothingElse(t *testing.T) {
	for _, how := range []struct {
		name, manager string
		args          []string
	}{
		{"client-side", "kubectl-client-side-apply Update ", nil},
		{"server-side", "kubectl Apply ", []string{"--server-side"}},
	} {
		t.Run(how.name, func(t *testing.T) {
			s := readySite(t)
			var spec string
			for i, version := range append(apiVersions, apiVersions[0]) {
				if how.args == nil && i > 0 {
					nextSecond() // The API server orders the owners by the second of their last change.
				}
				manifests := version.of(s.route())
				diff := kubectl(t, manifests, append([]string{"diff", "-f", "-"}, how.args...)...)
				if i == 0 {
					assert.Equal(t, 1, diff.ExitCode, "the route is new")
				} else {
					assert.Zero(t, diff.ExitCode, diff.Stdout)
				}
				apply(t, manifests, how.args...)
				route := stored(t, &networkingv1.VirtualService{}, s.namespace, "web")
				assert.EqualValues(t, 1, route.Generation)
				apply(t, manifests, how.args...)
				assert.Equal(t, route.ResourceVersion, stored(t, &networkingv1.VirtualService{}, s.namespace, "web").ResourceVersion)
				assertHeaders(t, s, "web")
				if now := text(t, &route.Spec); i == 0 {
					spec = now
				} else {
					assert.Equal(t, spec, now)
				}
				// The fields are owned through the version that was applied last, and for
				// server-side apply through that alone.
				owners := managers(route.ManagedFields)
				assert.Equal(t, how.manager+string(version), owners[len(owners)-1])
				if how.args != nil {
					assert.Len(t, owners, 1)
				}
			}
			assert.Len(t, rulesIn(t, s.namespace), 1)
		})
	}
}

// managers names who owns fields, and through which version.
func managers(fields []metav1.ManagedFieldsEntry) (out []string) {
	for _, f := range fields {
		out = append(out, fmt.Sprintf("%s %s %s", f.Manager, f.Operation, strings.TrimPrefix(f.APIVersion, "networking.istio.io/")))
	}
	return out
}

// Istio before 1.22 has no v1. The API server then has nothing to convert to, so it
// calls the webhook for no request, whatever its failurePolicy: what must not happen
// is that nobody notices.
func TestCRDsWithoutV1EndTheServerWithAReason(t *testing.T) {
	if !*oldest {
		t.Skip("the newest CRDs store v1, which cannot be taken from them")
	}
	server(t)
	s := newSite(t)
	stopServer(t)
	entry := apiVersion("v1beta1").of(s.entry())
	result := kubectl(t, entry, "create", "-f", "-")
	require.Equal(t, 1, result.ExitCode)
	require.Contains(t, result.Stderr, "failed calling webhook")

	defer takeV1(t, "serviceentries")()
	defer takeV1(t, "gateways")()
	eventually(t, func() bool { return kubectl(t, entry, "create", "--dry-run=server", "-f", "-").ExitCode == 0 }, "the webhook is not called")
	_, err := controlplane.StartWebhook(t.Context(), plane, controlplane.WebhookOptions{})
	require.Error(t, err)
	assert.True(t, strings.HasSuffix(err.Error(), "\negress-tls-webhook: the API server does not serve networking.istio.io/v1 ServiceEntry, "+
		"networking.istio.io/v1 Gateway: install the CRDs of Istio 1.24 or later"), err.Error())
}

// takeV1 takes v1 from the CRD of the resource, and returns what gives it back.
func takeV1(t *testing.T, resource string) (giveBack func()) {
	t.Helper()
	crd := resource + ".networking.istio.io"
	got := kubectl(t, "", "get", "crd", crd, "-o", "json")
	require.Zero(t, got.ExitCode, got.Stderr)
	var before struct {
		Spec struct{ Versions []json.RawMessage }
	}
	require.NoError(t, json.Unmarshal([]byte(got.Stdout), &before))
	patch := func(operations string, served bool) {
		does(t, "", "patch", "crd", crd, "--type=json", "--patch-file="+writeFile(t, operations))
		eventually(t, func() bool {
			return strings.Contains(kubectl(t, "", "get", "--raw", "/apis/networking.istio.io/v1").Stdout, `"name":"`+resource+`"`) == served
		}, "%s are served in v1: %t", resource, served)
	}
	patch(`[{"op": "test", "path": "/spec/versions/0/name", "value": "v1"}, {"op": "remove", "path": "/spec/versions/0"}]`, false)
	return func() {
		patch(fmt.Sprintf(`[{"op": "add", "path": "/spec/versions/0", "value": %s}]`, before.Spec.Versions[0]), true)
	}
}
