package faults

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/site"
)

const namespaces = 50

func namespace(i int) string { return fmt.Sprintf("shop-%02d", i%namespaces) }

// createNamespaces creates the namespaces, each with a Gateway and the Service in
// front of its pods.
func createNamespaces(ctx context.Context) error {
	for i := range namespaces {
		for _, object := range (site.Site{Namespace: namespace(i)}).NamespaceOf() {
			if err := admin.Create(ctx, object); err != nil {
				return fmt.Errorf("failed to create %s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	return nil
}

var rounds atomic.Int64

// newSites declares fresh hosts in all namespaces.
func newSites(t *testing.T, n int) []site.Site {
	t.Helper()
	round := fmt.Sprintf("r%d", rounds.Add(1))
	sites := make([]site.Site, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	turns := make(chan struct{}, 20)
	for i := range sites {
		sites[i] = site.Site{Round: round, Namespace: namespace(i), Host: fmt.Sprintf("h%d.%s.example.com", i, round)}
		all.Go(func() {
			turns <- struct{}{}
			errs[i] = admin.Create(t.Context(), sites[i].Entry())
			<-turns
		})
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	return sites
}
