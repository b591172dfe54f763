package faults

import (
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/client-go/pkg/clientset/versioned"
	"istio.io/client-go/pkg/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/egress-tls/egress-tls-webhook/test/site"
)

func TestNoRouteIsStoredBeforeItsRule(t *testing.T) {
	logOnFailure(t)
	l := newLoad(newSites(t, 1000))
	for _, s := range l.sites {
		l.chains = append(l.chains, []apply{l.right(s, s.Host, "/keys", "/")})
	}
	seen := watch(t)
	l.start(t)
	l.finish(t, l.begun)
	seen.check(t, l.sites)
}

// sightings are when and in what version something that watches as istiod does saw
// the routes and rules, by host.
type sightings struct {
	mu            sync.Mutex
	routes, rules map[string]sighting
}

type sighting struct {
	at      time.Time
	version int64
}

// watch begins to watch both kinds, with the client library that istiod uses.
func watch(t *testing.T) *sightings {
	t.Helper()
	config := rest.CopyConfig(plane.Config)
	config.Dial = (&net.Dialer{}).DialContext // A connection that the load does not share.
	clients, err := versioned.NewForConfig(config)
	require.NoError(t, err)
	informers := externalversions.NewSharedInformerFactory(clients, 0)
	kinds := informers.Networking().V1()
	s := &sightings{routes: map[string]sighting{}, rules: map[string]sighting{}}
	for informer, note := range map[cache.SharedIndexInformer]func(any, sighting){
		kinds.VirtualServices().Informer(): func(o any, now sighting) {
			s.routes[o.(*networkingv1.VirtualService).Spec.Http[0].Route[0].Destination.Host] = now
		},
		kinds.DestinationRules().Informer(): func(o any, now sighting) {
			s.rules[o.(*networkingv1.DestinationRule).Spec.Host] = now
		},
	} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
			version, _ := strconv.ParseInt(o.(metav1.Object).GetResourceVersion(), 10, 64)
			s.mu.Lock()
			defer s.mu.Unlock()
			note(o, sighting{time.Now(), version})
		}})
		require.NoError(t, err)
	}
	informers.Start(t.Context().Done())
	informers.WaitForCacheSync(t.Context().Done())
	return s
}

// check compares the versions, which are in order, and logs how often the sightings were
// not: two watches have no order among them.
func (s *sightings) check(t *testing.T, sites []site.Site) {
	t.Helper()
	eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !slices.ContainsFunc(sites, func(at site.Site) bool { return s.routes[at.Host].version == 0 || s.rules[at.Host].version == 0 })
	}, "all is seen")
	s.mu.Lock()
	defer s.mu.Unlock()
	early, most := 0, time.Duration(0)
	for _, at := range sites {
		route, rule := s.routes[at.Host], s.rules[at.Host]
		assert.Less(t, rule.version, route.version, at.Host)
		if ahead := rule.at.Sub(route.at); ahead > 0 {
			early++
			most = max(most, ahead)
		}
	}
	t.Logf("%d of %d routes were seen before their rule, %s at most", early, len(sites), most)
}
