package population

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

func TestTheSameObjectsEachTime(t *testing.T) {
	first, again := Objects(120, 7), Objects(120, 7)
	assert.Equal(t, first, again)
	assert.NotEqual(t, first, Objects(120, 8))
}

// A larger cluster has more hosts, and not more about each.
func TestHostsAreDistinct(t *testing.T) {
	listed, ruled, routed := map[string]int{}, map[string]int{}, map[string]int{}
	for _, o := range Objects(1000, 1) {
		switch o := o.(type) {
		case *networkingv1.ServiceEntry:
			for _, h := range o.Spec.Hosts {
				listed[h]++
			}
		case *networkingv1.DestinationRule:
			ruled[o.Spec.Host]++
		case *networkingv1.VirtualService:
			for _, h := range o.Spec.Hosts {
				routed[h]++
			}
		}
	}
	require.Greater(t, len(listed), 1000)
	require.Len(t, ruled, 1000)
	require.Len(t, routed, 1000)
	for _, counts := range []map[string]int{listed, ruled, routed} {
		for host, n := range counts {
			assert.Equal(t, 1, n, host)
		}
	}
}

// What the webhook would write on its way would be measured with the rest.
func TestAllIsAtRest(t *testing.T) {
	var all mesh.Objects
	objects := Objects(1000, 1)
	for _, o := range objects {
		all.Add(o)
	}
	pol := policy.Default()
	site := decision.NewSite(decision.World(all, pol), pol)
	targets := 0
	for _, o := range objects {
		var raw map[string]any
		switch o := o.(type) {
		case *networkingv1.DestinationRule:
			var err error
			raw, err = mutate.Tree(o)
			require.NoError(t, err)
		case *networkingv1.VirtualService:
			for _, r := range o.Spec.Http {
				if r.Headers != nil {
					targets++
				}
			}
		case *networkingv1.ServiceEntry:
		default:
			continue
		}
		out, err := site.Judge(o, raw, policy.Enforce, func(string) policy.Mode { return policy.Enforce })
		require.NoError(t, err)
		assert.Equal(t, decision.Unchanged, out.Answer(), "%T %s", o, o.GetName())
	}
	assert.Greater(t, targets, 300)
}
