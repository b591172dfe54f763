package deploy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/test/deploy"
)

var chart *deploy.Chart

func TestMain(m *testing.M) {
	var err error
	if chart, err = deploy.OpenChart(context.Background(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// objects are rendered objects by kind and name.
type objects map[string]*unstructured.Unstructured

// render renders the chart with values.
func render(t *testing.T, values string, args ...string) objects {
	t.Helper()
	rendered, err := chart.Template(t.Context(), values, args...)
	require.NoError(t, err)
	return decode(t, rendered)
}

func decode(t *testing.T, manifests string) objects {
	t.Helper()
	out := objects{}
	for document := range strings.SplitSeq(strings.TrimPrefix(manifests, "---\n"), "\n---\n") {
		o := &unstructured.Unstructured{}
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &o.Object), document)
		key := o.GetKind() + " " + o.GetName()
		require.NotContains(t, out, key)
		out[key] = o
	}
	return out
}

// as returns one of the objects in its type.
func as[T any](t *testing.T, o objects, key string) *T {
	t.Helper()
	require.Contains(t, o, key)
	out := new(T)
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o[key].Object, out))
	return out
}
