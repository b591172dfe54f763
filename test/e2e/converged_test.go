package e2e

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// What admission never saw comes to what it would have come to: every scenario of the
// default policy is stored whole by the exempt user, and the reconciler leaves of it just
// what the pure decisions say.
func TestScenariosConvergeUnseen(t *testing.T) {
	newestOnly(t)
	all, err := scenario.All("../scenarios")
	require.NoError(t, err)
	webhook := reconciler(t, controlplane.WebhookOptions{})
	for _, s := range all {
		if s.PolicyFile != "" || notHere[s.Name] != "" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			whole := *s
			whole.Mesh = slices.DeleteFunc(slices.Clone(s.Mesh), func(o scenario.Object) bool { return slices.ContainsFunc(s.Request, o.SameName) })
			before := slices.Concat(whole.Mesh, s.Request)
			want, err := s.Converge(before)
			require.NoError(t, err)
			if countRules(before) == 0 && text(t, rawOf(before)) == text(t, rawOf(want)) {
				t.Skip("there is nothing to do, and nothing to be left alone")
			}
			emptied(t)
			setModes(t, s, webhook)
			whole.Mesh = before
			whole.Request = nil
			store(t, &whole, asWritten)
			// Of a Service the API server fills in half.
			want = slices.DeleteFunc(want, func(o scenario.Object) bool { return o.Raw["apiVersion"] == "v1" })
			var expected string
			for _, o := range want {
				expected += shownText(t, unstructured.Unstructured{Object: o.Raw})
			}
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				got := ""
				for _, o := range want {
					at := &unstructured.Unstructured{Object: map[string]any{"apiVersion": o.Raw["apiVersion"], "kind": o.Raw["kind"]}}
					require.NoError(c, reader.Get(context.WithoutCancel(t.Context()), client.ObjectKeyFromObject(&unstructured.Unstructured{Object: o.Raw}), at))
					got += shownText(t, *at)
				}
				assert.Equal(c, expected, got)
				assert.Equal(c, countRules(want), ruleCount(t))
			}, patience/4, tick)
		})
	}
	emptied(t)
}

func rawOf(objects []scenario.Object) []map[string]any {
	var out []map[string]any
	for _, o := range objects {
		out = append(out, o.Raw)
	}
	return out
}

func shownText(t *testing.T, o unstructured.Unstructured) string {
	t.Helper()
	return "---\n" + text(t, shown(*o.DeepCopy()))
}

func countRules(objects []scenario.Object) int {
	n := 0
	for _, o := range objects {
		if o.Raw["kind"] == mesh.DestinationRuleKind {
			n++
		}
	}
	return n
}

func ruleCount(t *testing.T) int {
	t.Helper()
	var list networkingv1.DestinationRuleList
	noError(t, reader.List(context.WithoutCancel(t.Context()), &list), "list DestinationRules")
	return len(list.Items)
}

// emptied is clean before the eyes of a reconciler, which restores a managed rule that
// goes before what needs it.
func emptied(t *testing.T) {
	t.Helper()
	clean(t)
	eventually(t, func() bool { return ruleCount(t) == 0 }, "the reconciler removes what it has restored")
}
