package manifest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStoredObjectsStandInNoFile(t *testing.T) {
	set := Stored()
	require.NoError(t, set.AddStored("v1", "Namespace", []byte(`{"metadata":{"name":"shop"}}`)))
	require.NoError(t, set.AddStored("networking.istio.io/v1", "VirtualService",
		[]byte(`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"a","namespace":"shop"},"spec":{"hosts":["a.example.com"]}}`)))
	assert.Equal(t, []string{" Namespace shop", " VirtualService shop/a"}, names(set))
	d := set.Find(Key{"VirtualService", "shop", "a"})
	require.NotNil(t, d)
	assert.Empty(t, d.Place("spec.hosts[0]"))
	assert.Equal(t, map[string]any{"name": "a", "namespace": "shop"}, d.Tree()["metadata"])
}

func TestStoredObjectThatCannotBeRead(t *testing.T) {
	for raw, want := range map[string]string{
		`{"metadata":{"name":"a","namespace":"shop"},"spec":{"hosts":"x"}}`: `VirtualService shop/a: spec.hosts: expected a list, got the string "x"`,
		`{"metadata":{}}`: "VirtualService has no metadata.name",
	} {
		assert.EqualError(t, Stored().AddStored("networking.istio.io/v1", "VirtualService", []byte(raw)), want)
	}
}

func TestStoredObjectAsKubectlPrintsIt(t *testing.T) {
	readable := func(host string) *Document {
		set := Stored()
		require.NoError(t, set.AddStored("networking.istio.io/v1", "ServiceEntry", []byte(`{"spec":{"hosts":["`+host+`"]},"metadata":{"name":"a"}}`)))
		return set.Documents[0].Readable()
	}
	assert.Equal(t, "metadata:\n  name: a\nspec:\n  hosts:\n  - a.example.com\n", readable("a.example.com").Source.Text)
	assert.Nil(t, readable("\u009b"), "kubectl says that control characters are not allowed")
}
