package faults

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/site"
)

const (
	hosts   = 50
	senders = 300
	// tryTimeout is longer than both calls of the webhook may take.
	tryTimeout = 30 * time.Second
	// answerTimeout bounds the tries of one apply.
	answerTimeout = 2 * time.Minute
	// settleTimeout bounds the time until all is right after everything runs again.
	settleTimeout = 10 * time.Second
)

// apply is one server-side apply; refusal is what must be said to it, if it must be
// refused.
type apply struct {
	object  *unstructured.Unstructured
	refusal string
}

// load sends applies, each again and again until it is answered: with yes, or with a
// refusal that is about the object.
type load struct {
	sites []site.Site
	// chains are applies that follow one another, each on the answer of the last.
	chains [][]apply
	// routes are the specs that must be stored in the end, by namespace and name.
	routes  map[string]any
	history *controlplane.History
	begun   time.Time

	inFlight, answered atomic.Int64
	done               chan struct{}

	mu       sync.Mutex
	wrong    []string       // answers that should have been others, or none
	repeated map[string]int // tries without an answer, and why
	answers  []span
}

// span is the time of the try that brought the answer.
type span struct{ begun, ended time.Time }

func newLoad(sites []site.Site) *load {
	return &load{sites: sites, routes: map[string]any{}, repeated: map[string]int{}, done: make(chan struct{})}
}

// mixedLoad is 1,000 applies. For each host 12 routes are new; 2 of these are then to
// be put into an order that must be refused, 2 more are stored without the host and
// then changed to lead there, and 2 are new and must be refused.
func mixedLoad(t *testing.T) *load {
	t.Helper()
	l := newLoad(newSites(t, hosts))
	for _, s := range l.sites {
		wrong := func(name string) apply { return apply{s.Route(name, "/", "/keys"), s.Refusal(name)} }
		for i := range 2 {
			name := fmt.Sprintf("%s-new-%d", s.Round, i)
			l.chains = append(l.chains,
				[]apply{l.right(s, name, "/keys", "/"), wrong(name)},
				[]apply{wrong(fmt.Sprintf("%s-wrong-%d", s.Round, i))})
			name = fmt.Sprintf("%s-changed-%d", s.Round, i)
			l.chains = append(l.chains, []apply{l.right(s, name, "/"), l.right(s, name, "/keys", "/more", "/")})
		}
		for i := 2; i < 12; i++ {
			l.chains = append(l.chains, []apply{l.right(s, fmt.Sprintf("%s-new-%d", s.Round, i), "/keys", "/")})
		}
	}
	return l
}

// right is an apply that must be stored.
func (l *load) right(s site.Site, name string, prefixes ...string) apply {
	l.routes[s.Namespace+"/"+name] = s.AsStored(name, prefixes...).Object["spec"]
	return apply{object: s.Route(name, prefixes...)}
}

// start begins to record and to send.
func (l *load) start(t *testing.T) {
	t.Helper()
	var err error
	l.history, err = plane.Record(t.Context(), "networking.istio.io")
	require.NoError(t, err)
	t.Cleanup(l.history.Stop)

	l.begun = time.Now()
	chains := make(chan []apply, len(l.chains))
	for _, c := range l.chains {
		chains <- c
	}
	close(chains)
	// Those under way must not end with a test that fails.
	ctx := context.WithoutCancel(t.Context())
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for chain := range chains {
				for _, a := range chain {
					l.send(ctx, a)
				}
			}
		})
	}
	go func() {
		all.Wait()
		close(l.done)
	}()
}

// send tries until there is an answer.
func (l *load) send(ctx context.Context, a apply) {
	name := a.object.GetNamespace() + "/" + a.object.GetName()
	aboutIt := `admission webhook "validate.egress-tls.dev" denied the request: VirtualService ` + name + " is refused:\n"
	deadline := time.Now().Add(answerTimeout)
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		begun := time.Now()
		answer := l.try(ctx, a.object.DeepCopy())
		l.mu.Lock()
		switch answered := answer == "" || strings.HasPrefix(answer, aboutIt); {
		case answered && answer == a.refusal:
			l.answers = append(l.answers, span{begun, time.Now()})
			pause = 0
		case answered || begun.After(deadline):
			l.wrong = append(l.wrong, fmt.Sprintf("%s got %q, not %q", name, answer, a.refusal))
			pause = 0
		default:
			l.repeated[withoutNumbers(answer)]++
		}
		l.mu.Unlock()
		if pause == 0 {
			l.answered.Add(1)
			return
		}
		time.Sleep(pause) // So that what recovers is not kept from it.
	}
}

// try applies once and returns the error's text.
func (l *load) try(ctx context.Context, object *unstructured.Unstructured) string {
	l.inFlight.Add(1)
	defer l.inFlight.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err := admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("faults")); err != nil {
		return err.Error()
	}
	return ""
}

var numbers = regexp.MustCompile(`\b(egress-tls-|h|r)?[0-9][-.0-9a-z]*`)

// withoutNumbers leaves out of an error what tells one try from another.
func withoutNumbers(message string) string { return numbers.ReplaceAllString(message, "N") }

// failed is how many tries had no answer so far.
func (l *load) failed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, count := range l.repeated {
		n += count
	}
	return n
}

// reasons are what tries without an answer were told so far.
func (l *load) reasons() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.repeated))
}

// finish waits until every apply is answered, and checks what was stored in between
// and is stored now. It logs what became of the load after the time of a fault.
func (l *load) finish(t *testing.T, fault time.Time) {
	t.Helper()
	<-l.done
	ended := time.Now()
	total := 0
	for _, c := range l.chains {
		total += len(c)
	}
	assert.Empty(t, l.wrong)
	assert.Equal(t, total, len(l.answers)+len(l.wrong), "every apply is answered")

	stored := l.waitRight(t, ended)
	settled := time.Now()
	l.judge(t, stored)

	first := ended
	for _, a := range l.answers {
		if a.begun.After(fault) && a.ended.Before(first) {
			first = a.ended
		}
	}
	t.Logf("%d applies in %.1f s; what was sent after the fault was answered %.1f s to %.1f s after it; %d tries had no answer; all was right %.1f s after the last",
		total, ended.Sub(l.begun).Seconds(), first.Sub(fault).Seconds(), ended.Sub(fault).Seconds(), l.failed(), settled.Sub(ended).Seconds())
	for _, why := range l.reasons() {
		t.Logf("%5d × %s", l.repeated[why], why)
	}
}

// waitRight waits until what is stored is what should be, and returns the resource
// versions.
func (l *load) waitRight(t *testing.T, since time.Time) map[object]int64 {
	t.Helper()
	for {
		stored, wrong := l.compare(t)
		if len(wrong) == 0 {
			return stored
		}
		if time.Since(since) > settleTimeout {
			assert.Empty(t, wrong)
			return stored
		}
		time.Sleep(tick)
	}
}

// object names an object as History does.
type object struct{ resource, namespace, name string }

// compare returns what is stored of this load, and what of it is not as it should be:
// these VirtualServices, and one rule a host.
func (l *load) compare(t *testing.T) (stored map[object]int64, wrong []string) {
	t.Helper()
	stored = map[object]int64{}
	list := func(kind string, options ...client.ListOption) []unstructured.Unstructured {
		var out unstructured.UnstructuredList
		out.SetAPIVersion(networkingv1.SchemeGroupVersion.String())
		out.SetKind(kind + "List")
		require.NoError(t, admin.List(t.Context(), &out, options...))
		return out.Items
	}
	store := func(resource string, o unstructured.Unstructured) {
		version, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
		require.NoError(t, err)
		stored[object{resource, o.GetNamespace(), o.GetName()}] = version
	}
	different := func(o unstructured.Unstructured, want any) {
		wrong = append(wrong, fmt.Sprintf("%s %s/%s is %v, not %v", o.GetKind(), o.GetNamespace(), o.GetName(), o.Object, want))
	}

	missing := maps.Clone(l.routes)
	for _, got := range list("VirtualService", client.MatchingLabels{site.RoundLabel: l.sites[0].Round}) {
		store("virtualservices", got)
		name := got.GetNamespace() + "/" + got.GetName()
		if want := l.routes[name]; !reflect.DeepEqual(want, got.Object["spec"]) {
			different(got, want)
		}
		delete(missing, name)
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		wrong = append(wrong, "VirtualService "+name+" is missing")
	}

	rules := map[string][]unstructured.Unstructured{} // by host
	for _, r := range list("DestinationRule") {
		host, _, _ := unstructured.NestedString(r.Object, "spec", "host")
		rules[host] = append(rules[host], r)
	}
	for _, s := range l.sites {
		if n := len(rules[s.Host]); n != 1 {
			wrong = append(wrong, fmt.Sprintf("%s has %d DestinationRules", s.Host, n))
			continue
		}
		got, want := rules[s.Host][0], s.Rule()
		store("destinationrules", got)
		owners := got.GetOwnerReferences()
		if got.GetNamespace() != s.Namespace || got.GetName() != want.GetName() || len(owners) != 1 || owners[0].Name != s.Host ||
			len(got.GetAnnotations()) > 0 || !reflect.DeepEqual(want.GetLabels(), got.GetLabels()) ||
			!reflect.DeepEqual(want.Object["spec"], got.Object["spec"]) {
			different(got, want.Object)
		}
	}
	return stored, wrong
}

// judge looks at every version that was ever stored, up to those that are stored now.
func (l *load) judge(t *testing.T, stored map[object]int64) {
	t.Helper()
	var versions []controlplane.Version
	writes := map[object]int{}
	eventually(t, func() bool {
		var err error
		versions, err = l.history.Versions()
		require.NoError(t, err)
		latest := map[object]int64{}
		clear(writes)
		for _, v := range versions {
			o := object{v.Resource, v.Namespace, v.Name}
			latest[o] = v.Revision
			writes[o]++
		}
		for o, version := range stored {
			if latest[o] < version {
				return false
			}
		}
		return true
	}, "all that is stored is recorded")
	assert.Empty(t, violations(versions, l.sites))
	for _, s := range l.sites {
		if n := writes[object{"destinationrules", s.Namespace, s.Rule().GetName()}]; n != 1 {
			t.Errorf("the rule of %s was written %d times", s.Host, n)
		}
	}
}
