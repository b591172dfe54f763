package webhook

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Hosts outnumber the buckets: most share theirs.
func TestABucketTellsItsKeysApart(t *testing.T) {
	ix := index{&networkingv1.DestinationRule{}, indexHost, indexes[3].keys, true}
	store := toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{indexHost: func(o any) ([]string, error) {
		return ix.stored(o.(client.Object)), nil
	}})
	for i := range 3 * buckets {
		dr := &networkingv1.DestinationRule{}
		dr.Name, dr.Spec.Host = fmt.Sprint(i), fmt.Sprintf("h%d.example.com", i/2)
		if i%2 == 1 && i%3 == 0 {
			dr.Spec.Host = "*.example.com"
		}
		require.NoError(t, store.Add(dr))
	}
	for host, want := range map[string]int{"h0.example.com": 2, "h1.example.com": 1, "*.example.com": buckets / 2, "h-1.example.com": 0, "*.com": 0} {
		found, err := ix.find(store, host)
		require.NoError(t, err)
		assert.Len(t, found, want, host)
	}
}
