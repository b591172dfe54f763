package converge

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// patience only ends a test that hangs.
const patience = 2 * time.Minute

// user is the field manager of what tests write.
const user = client.FieldOwner("user")

// parse reads the objects of a manifest.
func parse(manifests string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096); ; {
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(o); {
		case err == io.EOF: //nolint:errorlint // The decoder returns it bare.
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%w in\n%s", err, manifests)
		case len(o.Object) > 0:
			out = append(out, o)
		}
	}
}

func objects(t *testing.T, manifests ...string) []*unstructured.Unstructured {
	t.Helper()
	out, err := parse(strings.Join(manifests, "---\n"))
	require.NoError(t, err)
	return out
}

// apply applies manifests one by one, as a server-side apply that forces nothing.
func apply(t *testing.T, manifests ...string) {
	t.Helper()
	for _, o := range objects(t, manifests...) {
		writes(func() {
			require.NoError(t, users.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), user), "%s", keyOf(o))
		})
		sees(t, o)
	}
}

// kubectlApply applies manifests with kubectl, which must print nothing but warnings on
// standard error.
func kubectlApply(t *testing.T, manifests string, args ...string) (stdout string) {
	t.Helper()
	result := kubectl(t, manifests, append([]string{"apply", "-f", "-"}, args...)...)
	_, rest := result.Warnings()
	require.Zero(t, result.ExitCode, rest)
	require.Empty(t, rest)
	return result.Stdout
}

// kubectls bounds how many of them run at once.
var kubectls = make(chan struct{}, 4)

func kubectl(t *testing.T, stdin string, args ...string) (result controlplane.Result) {
	t.Helper()
	kubectls <- struct{}{}
	defer func() { <-kubectls }()
	writes(func() { result = plane.Kubectl(t.Context(), stdin, args...) })
	return result
}

// writes runs what sends requests to the webhooks.
func writes(do func()) {
	servers.writing.RLock()
	defer servers.writing.RUnlock()
	do()
}

// patch changes an object by a JSON merge patch.
func patch(t *testing.T, k key, patch string) {
	t.Helper()
	patchAs(t, k, types.MergePatchType, patch)
}

func patchAs(t *testing.T, k key, how types.PatchType, patch string) {
	t.Helper()
	o := named(k)
	writes(func() { require.NoError(t, users.Patch(t.Context(), o, client.RawPatch(how, []byte(patch)), user)) })
	sees(t, o)
}

// remove deletes objects.
func remove(t *testing.T, keys ...key) {
	t.Helper()
	for _, k := range keys {
		o := cluster.get(k)
		require.NotNil(t, o, "%s to delete", k)
		require.NoError(t, users.Delete(t.Context(), named(k), client.Preconditions{UID: new(o.GetUID())}))
		eventually(t, func() string {
			if now := cluster.get(k); now != nil && now.GetUID() == o.GetUID() {
				return k.String() + " is still there"
			}
			return ""
		})
	}
}

func named(k key) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kindOf(apiVersionOf(k.kind), k.kind))
	o.SetNamespace(k.namespace)
	o.SetName(k.name)
	return o
}

// sees waits until the watcher has seen the written object, so that what it shows is
// not from before.
func sees(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	if _, ok := watchedKinds[o.GetKind()]; !ok {
		return
	}
	eventually(t, func() string {
		if cluster.has(o) {
			return ""
		}
		return "the watcher has not seen " + keyOf(o).String()
	})
}

// eventually looks at the cluster after each change until wrong returns nothing.
func eventually(t *testing.T, wrong func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		next := cluster.next()
		what := wrong()
		if what == "" {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			require.FailNow(t, "it does not come true", what)
		}
	}
}

// comes waits until the objects in the namespaces are those of the manifests, and no
// others. Services are not compared.
func comes(t *testing.T, namespaces []string, manifests ...string) {
	t.Helper()
	want := wanted(t, manifests...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		next := cluster.next()
		got := cluster.text(namespaces...)
		if got == want {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			require.Equal(t, want, got)
		}
	}
}

// wanted is the text of the manifests in the form of watcher.text.
func wanted(t *testing.T, manifests ...string) string {
	t.Helper()
	all := objects(t, manifests...)
	all = slices.DeleteFunc(all, func(o *unstructured.Unstructured) bool { return !slices.Contains(comparedKinds, o.GetKind()) })
	slices.SortFunc(all, func(a, b *unstructured.Unstructured) int {
		return strings.Compare(keyOf(a).String(), keyOf(b).String())
	})
	var docs []string
	for _, o := range all {
		docs = append(docs, shown(o, nil))
	}
	return strings.Join(docs, "---\n")
}

// stays asserts that nothing in the namespaces is written for longer than it takes to
// remove something.
func stays(t *testing.T, namespaces ...string) {
	t.Helper()
	gaveBack(t, namespaces...)
	before := cluster.versions(namespaces...)
	require.NotEmpty(t, before)
	select {
	case <-time.After(grace + grace/2):
	case <-t.Context().Done():
	}
	assert.Equal(t, before, cluster.versions(namespaces...))
}

// gaveBack waits until no field of an object that others created belongs to the server:
// what it writes, it gives back with a second write.
func gaveBack(t *testing.T, namespaces ...string) {
	t.Helper()
	eventually(t, func() string {
		for _, o := range cluster.all(comparedKinds, namespaces...) {
			if strings.HasPrefix(o.GetName(), "egress-tls-") {
				continue
			}
			for _, m := range o.GetManagedFields() {
				if m.Manager == mesh.ManagedBy {
					return fmt.Sprintf("the server owns %s of %s", m.FieldsV1.GetRawString(), keyOf(o))
				}
			}
		}
		return ""
	})
}

// version tells whether an object was written or replaced.
func version(t *testing.T, k key) string {
	t.Helper()
	o := cluster.get(k)
	require.NotNil(t, o, k)
	return string(o.GetUID()) + " " + o.GetResourceVersion()
}

// events are the Events about an object: type, reason and message.
func events(k key) []string {
	var out []string
	for _, e := range cluster.all([]string{"Event"}, k.namespace) {
		field := func(path ...string) string {
			s, _, _ := unstructured.NestedString(e.Object, path...)
			return s
		}
		if (key{field("involvedObject", "kind"), field("involvedObject", "namespace"), field("involvedObject", "name")}) == k {
			out = append(out, field("type")+" "+field("reason")+": "+field("message"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tells waits until the Events about an object are those.
func tells(t *testing.T, k key, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, func() string {
		if got := events(k); !slices.Equal(got, want) {
			return fmt.Sprintf("the Events about %s should be\n%q\nand are\n%q", k, want, got)
		}
		return ""
	})
}
