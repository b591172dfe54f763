package webhook

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// The first pass finds what the events before it told, which nobody has heard.
func TestPassBeginsOnceAndThenEventsCount(t *testing.T) {
	first := newBegin()
	var p *passes[int]
	told := event.CreateEvent{Object: &networkingv1.VirtualService{}}
	heard := make(chan bool, 2)
	var want []int
	for i := range 5 * passBatch {
		want = append(want, i)
	}
	p = newPasses(first.c, 0, func(context.Context) []int {
		heard <- p.events().Create(told)
		return want
	})
	queue := priorityqueue.New[int]("test")
	defer queue.ShutDown()
	require.NoError(t, p.Start(t.Context(), queue))
	assert.False(t, p.events().Create(told))
	first.now()
	first.now()
	var got []int
	for range want {
		key, _ := queue.Get()
		got = append(got, key)
		queue.Done(key)
	}
	slices.Sort(got)
	assert.Equal(t, want, got)
	assert.True(t, <-heard)
	assert.Empty(t, heard)
}

// In a busy cluster there is always an event.
func TestPassBeginsWhileEventsCome(t *testing.T) {
	first := newBegin()
	first.now()
	queue := priorityqueue.New[int]("test")
	defer queue.ShutDown()
	p := newPasses(first.c, 0, func(context.Context) []int { return []int{7} })
	require.NoError(t, p.Start(t.Context(), queue))
	require.Eventually(t, func() bool {
		return p.events().Create(event.CreateEvent{Object: &networkingv1.VirtualService{}})
	}, 10*replayTicks*replayTick, replayTick/10)
	key, _ := queue.Get()
	assert.Equal(t, 7, key)
}

func TestPassesComeBack(t *testing.T) {
	first := newBegin()
	first.now()
	queue := priorityqueue.New[int]("test")
	defer queue.ShutDown()
	p := newPasses(first.c, time.Millisecond, func(context.Context) []int { return []int{7} })
	require.NoError(t, p.Start(t.Context(), queue))
	for range 3 {
		key, _ := queue.Get()
		assert.Equal(t, 7, key)
		queue.Done(key)
	}
}

// A pass goes through all that the events of all objects would.
func TestAllKeysAreThoseOfAllObjects(t *testing.T) {
	all, err := scenario.All(filepath.Join("..", "test", "scenarios"))
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, s := range all {
		stored := informers(slices.Concat(s.Mesh, s.Request))
		c := concern{stored, s.Policy}
		hosts, routes, objects := map[string]struct{}{}, map[types.NamespacedName]struct{}{}, map[objectKey]struct{}{}
		for _, in := range stored {
			o, ok := in.Typed.(client.Object)
			require.True(t, ok)
			for _, h := range c.hosts(t.Context(), o) {
				hosts[h] = struct{}{}
			}
			for _, name := range c.virtualServices(t.Context(), o) {
				if stored.has(name) { // A delegate may lack.
					routes[name] = struct{}{}
				}
			}
			for _, key := range c.objects(t.Context(), o) {
				if key.kind != "VirtualService" || stored.has(key.name) {
					objects[key] = struct{}{}
				}
			}
		}
		assert.ElementsMatch(t, slices.Collect(maps.Keys(hosts)), c.allHosts(t.Context()), s.Name)
		assert.ElementsMatch(t, slices.Collect(maps.Keys(routes)), distinctNames(c.allVirtualServices(t.Context())), s.Name)
		assert.Subset(t, c.allObjects(t.Context()), slices.Collect(maps.Keys(objects)), s.Name)
	}
}

func (in informers) has(vs types.NamespacedName) bool {
	return slices.ContainsFunc(in, func(o scenario.Object) bool {
		_, ok := o.Typed.(*networkingv1.VirtualService)
		return ok && keyOf(o.Typed) == vs
	})
}

// distinctNames: a request of a scenario may update what is stored, which is then there twice.
func distinctNames(in []types.NamespacedName) []types.NamespacedName {
	out := map[types.NamespacedName]struct{}{}
	for _, name := range in {
		out[name] = struct{}{}
	}
	return slices.Collect(maps.Keys(out))
}
