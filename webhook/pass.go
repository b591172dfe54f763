package webhook

import (
	"context"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

const (
	// passBatch is how many keys of a pass are added to the queue at a time.
	passBatch = 64
	passTick  = 5 * time.Millisecond
	// replayTick is how long no event must come for the informers to have told all that is
	// there. If they have not, it costs time; replayTicks bounds the wait for it, since in a
	// busy cluster there is always an event.
	replayTick  = 100 * time.Millisecond
	replayTicks = 20
	// readyTimeout is how long after the sync the first pass waits for the server to be ready.
	readyTimeout = 5 * time.Second
)

// passes go through all keys of a controller: at the start, in place of the events that
// tell what is there, and then every time that a period is over, for what events missed.
//
// The informers would do both by replaying every object to every controller. Each replay
// maps each object to all keys that it concerns, and queues all of them at once: with 30,000
// objects that is most of the work between the start and the first requests, and queues that
// keep their size.
type passes[K comparable] struct {
	// begin lets the first pass begin.
	begin <-chan struct{}
	every time.Duration
	keys  func(context.Context) []K
	begun atomic.Bool
	// dropped counts the events before that.
	dropped atomic.Int64
}

func newPasses[K comparable](begin <-chan struct{}, every time.Duration, keys func(context.Context) []K) *passes[K] {
	return &passes[K]{begin: begin, every: every, keys: keys}
}

// events lets no event through before the first pass. It begins after that, and so finds
// what those events have told.
func (p *passes[K]) events() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(client.Object) bool {
		if p.begun.Load() {
			return true
		}
		p.dropped.Add(1)
		return false
	})
}

// Start implements source.TypedSource. The informers have synced by then.
func (p *passes[K]) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[K]) error {
	go p.run(ctx, queue)
	return nil
}

func (p *passes[K]) run(ctx context.Context, queue workqueue.TypedRateLimitingInterface[K]) {
	select {
	case <-p.begin:
	case <-ctx.Done():
		return
	}
	for was, ticks := int64(-1), 0; was != p.dropped.Load() && ticks < replayTicks; ticks++ {
		was = p.dropped.Load()
		select {
		case <-time.After(replayTick):
		case <-ctx.Done():
			return
		}
	}
	p.begun.Store(true)
	p.pass(ctx, queue)
	for p.every > 0 {
		// Not all replicas at once.
		rest := time.NewTimer(p.every + time.Duration(rand.Float64()*float64(p.every)/10)) //nolint:gosec // no secret
		select {
		case <-rest.C:
			p.pass(ctx, queue)
		case <-ctx.Done():
			rest.Stop()
			return
		}
	}
}

// pass queues all keys, behind whatever an event asks for. What the informers' first sync and
// the pass itself have left behind goes back to the system then: between two passes there is
// no use for it.
func (p *passes[K]) pass(ctx context.Context, queue workqueue.TypedRateLimitingInterface[K]) {
	defer debug.FreeOSMemory()
	tick := time.NewTicker(passTick)
	defer tick.Stop()
	for batch := range slices.Chunk(p.keys(ctx), passBatch) {
		for queue.Len() >= passBatch {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		if q, ok := queue.(priorityqueue.PriorityQueue[K]); ok {
			q.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, batch...)
			continue
		}
		for _, key := range batch {
			queue.Add(key)
		}
	}
}

// allHosts are those that the events of all objects would concern.
func (c concern) allHosts(ctx context.Context) []string {
	all := map[string]struct{}{}
	for _, se := range inNamespace(ctx, c.cached, &networkingv1.ServiceEntryList{}, "").Items {
		for _, h := range mesh.ServiceEntryHosts(se) {
			all[h] = struct{}{}
		}
	}
	for _, dr := range inNamespace(ctx, c.cached, &networkingv1.DestinationRuleList{}, "").Items {
		all[mesh.RuleHost(dr)] = struct{}{}
	}
	for _, vs := range inNamespace(ctx, c.cached, &networkingv1.VirtualServiceList{}, "").Items {
		for _, h := range mesh.HTTPDestinationHosts(vs) {
			all[h] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(all))
}

func (c concern) allVirtualServices(ctx context.Context) []types.NamespacedName {
	var out []types.NamespacedName
	for _, vs := range inNamespace(ctx, c.cached, &networkingv1.VirtualServiceList{}, "").Items {
		out = append(out, keyOf(vs))
	}
	return out
}

func (c concern) allObjects(ctx context.Context) []objectKey {
	var out []objectKey
	for _, se := range inNamespace(ctx, c.cached, &networkingv1.ServiceEntryList{}, "").Items {
		out = append(out, objectKey{mesh.ServiceEntryKind, keyOf(se)})
	}
	for _, vs := range inNamespace(ctx, c.cached, &networkingv1.VirtualServiceList{}, "").Items {
		out = append(out, objectKey{mesh.VirtualServiceKind, keyOf(vs)})
	}
	for _, dr := range inNamespace(ctx, c.cached, &networkingv1.DestinationRuleList{}, "").Items {
		out = append(out, objectKey{mesh.DestinationRuleKind, keyOf(dr)})
	}
	return out
}

// begin is closed once: when the server was ready for the first time, or some time after
// the informers have synced, if something else keeps it from that.
type begin struct {
	once sync.Once
	c    chan struct{}
}

func newBegin() *begin { return &begin{c: make(chan struct{})} }

func (b *begin) now() { b.once.Do(func() { close(b.c) }) }

// soon is now, after readyTimeout.
func (b *begin) soon(ctx context.Context) {
	timer := time.NewTimer(readyTimeout)
	defer timer.Stop()
	select {
	case <-timer.C:
		b.now()
	case <-ctx.Done():
	case <-b.c:
	}
}
