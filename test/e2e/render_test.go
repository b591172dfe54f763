package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// addedTwice are scenarios with a user's rule that is stored without TLS. It is applied
// before its route, so that nothing needs the TLS yet: admission takes it out and puts
// it back with the route.
var addedTwice = map[string]string{
	"double-tls-injected-private": "injected",
	"rule-subset-of-endpoints":    "injected",
	"rule-subset-overrides":       "injected",
}

// addition is a warning that says what the webhook has added.
var addition = regexp.MustCompile(`set request headers|set tls for|took back|^(created|injected|restored) `)

// What render prints is applied at once, for all scenarios to which something is added
// and for the seeds, each in namespaces and with hosts of its own: the webhook adds
// nothing to it and writes no rule, and it is stored byte for byte.
func TestRenderedIsStoredAsItIs(t *testing.T) {
	newestOnly(t)
	clean(t)
	webhook := server(t)
	root := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: policy.Default().RootNamespace}}
	require.NoError(t, client.IgnoreAlreadyExists(writer.Create(t.Context(), root)))
	all, err := scenario.All("../scenarios")
	require.NoError(t, err)
	var requests strings.Builder
	rules := map[string]bool{}
	note := func(o unstructured.Unstructured) {
		if o.GetKind() == mesh.DestinationRuleKind {
			rules[o.GetNamespace()+"/"+o.GetName()] = true
		}
	}
	for i, s := range all {
		adds := len(s.Want.Changes)+len(s.Want.Rules) > 0 || strings.Contains(s.Name, "seed")
		if !adds || s.PolicyFile != "" || notHere[s.Name]+rulesLater[s.Name]+addedTwice[s.Name] != "" {
			continue
		}
		own := apart(t, s, i)
		if own == nil {
			continue
		}
		for _, o := range own.mesh {
			require.NoError(t, writer.Create(t.Context(), o, client.FieldOwner(setupUser)), s.Name)
			note(*o)
		}
		for _, o := range own.request {
			requests.WriteString("---\n" + text(t, o.Object))
		}
	}
	waitCached(t, webhook)

	render := func(format string) string {
		var stdout, stderr bytes.Buffer
		code := cli.Run([]string{"render", "--fix-order", "-f", "-", "-o", format, "--kubeconfig", plane.Kubeconfig, "--policy", writeFile(t, defaultPolicy)},
			cli.Streams{In: strings.NewReader(requests.String()), Out: &stdout, Err: &stderr}, "test")
		require.Equal(t, cli.OK, code, stderr.String())
		return stdout.String()
	}
	var printed struct{ Items []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(render("json")), &printed))
	for _, warning := range apply(t, render("yaml")) {
		assert.NotRegexp(t, addition, warning)
	}
	for _, want := range printed.Items {
		assert.Equal(t, text(t, scenario.Shown(want)), text(t, storedLike(t, want)))
		note(unstructured.Unstructured{Object: want})
	}
	var list networkingv1.DestinationRuleList
	require.NoError(t, reader.List(t.Context(), &list))
	assert.Len(t, list.Items, len(rules), "no other rule is written")
	assert.Greater(t, len(rules), 100)
	clean(t)
}

// site is a scenario that shares a cluster with others.
type renderSite struct{ mesh, request []*unstructured.Unstructured }

var domain = regexp.MustCompile(`\.(com|example)\b`)

// apart gives a scenario namespaces, hosts and gateways of its own. nil: it cannot be,
// since the names of its managed rules, or the labels of its namespaces, say what it is
// about.
func apart(t *testing.T, s *scenario.Scenario, number int) *renderSite {
	t.Helper()
	suffix := fmt.Sprintf("s%d", number)
	namespaces := map[string]*regexp.Regexp{}
	for _, o := range append(s.Mesh, s.Request...) {
		if o.Raw["kind"] == "Namespace" || o.Typed.GetLabels()[mesh.ManagedByLabel] != "" {
			return nil
		}
		namespaces[o.Typed.GetNamespace()] = regexp.MustCompile(`\b` + o.Typed.GetNamespace() + `\b`)
	}
	for ns := range namespaces {
		require.NoError(t, writer.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns + "-" + suffix}}))
	}
	move := func(objects []scenario.Object) (out []*unstructured.Unstructured) {
		for _, o := range objects {
			raw := (&unstructured.Unstructured{Object: o.Raw}).DeepCopy()
			if selector, ok, _ := unstructured.NestedStringMap(raw.Object, "spec", "selector"); ok {
				for k, v := range selector {
					selector[k] = v + "-" + suffix
				}
				require.NoError(t, unstructured.SetNestedStringMap(raw.Object, selector, "spec", "selector"))
			}
			raw.SetCreationTimestamp(metav1.Time{})
			moved := domain.ReplaceAllString(text(t, raw.Object), "."+suffix+".$1")
			for ns, word := range namespaces {
				moved = word.ReplaceAllString(moved, ns+"-"+suffix)
			}
			raw = &unstructured.Unstructured{}
			require.NoError(t, yaml.Unmarshal([]byte(moved), &raw.Object))
			out = append(out, raw)
		}
		return out
	}
	return &renderSite{move(s.Mesh), move(s.Request)}
}
