package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/site"
)

const (
	group = "networking.istio.io"
	// gracePeriod is short, so that rules come and go in the time that there is. Half of it is
	// more than an admission may take.
	gracePeriod = 25 * time.Second
	// settleTimeout bounds the time until all is right after the load has ended.
	settleTimeout = 2*gracePeriod + time.Minute
	// population is how many hosts with two routes each stay as they are.
	population = 200
	// maxProblems ends it before its time.
	maxProblems = 20
)

type soak struct {
	options
	plane *controlplane.ControlPlane
	// admin has no rate limit of its own.
	admin client.Client
	front *controlplane.Front
	// servers are the replicas behind front; the first is never replaced.
	servers [3]*controlplane.Webhook
	history *controlplane.History
	teams   []*team
	// stays are the objects of the population, with their resourceVersions.
	stays map[string]string
	begun time.Time
	// loaded is how long the load ran in truth.
	loaded time.Duration
	giveUp context.CancelFunc

	// pprof is where the replica that stays serves its profiles.
	pprof atomic.Value

	samples samples
	answers answers
	outages outages

	mu       sync.Mutex
	problems []string
	counts   map[string]int
}

func newSoak(o options) *soak {
	return &soak{options: o, counts: map[string]int{}, giveUp: func() {}, stays: map[string]string{}, answers: newAnswers()}
}

// What is counted.
const (
	stored       = "objects created and updated"
	deleted      = "objects deleted"
	refused      = "objects refused"
	dryRuns      = "server-side dry runs, refused ones included"
	unreadable   = "objects refused since they are too large"
	malformed    = "objects that fit no schema"
	kubectls     = "of all these through kubectl"
	flips        = "modes of namespaces changed"
	rollouts     = "replicas replaced"
	kills        = "replicas killed"
	repeated     = "tries repeated since a replica was killed"
	hostile      = "hostile connections"
	witnessed    = "good requests between them"
	versionsSeen = "writes judged for their order"
)

func (s *soak) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

func (s *soak) counted(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[what]
}

// problem is something that should not be.
func (s *soak) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	fmt.Println(time.Now().Format("15:04:05"), "PROBLEM:", text)
	s.problems = append(s.problems, text)
	if len(s.problems) >= maxProblems {
		s.giveUp()
	}
}

func (s *soak) say(format string, args ...any) {
	fmt.Println(time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

func (s *soak) progress() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		out = append(out, fmt.Sprintf("%d %s", s.counts[what], what))
	}
	return strings.Join(out, ", ") + "; " + s.samples.last()
}

// start starts everything but the load.
func (s *soak) start(ctx context.Context) (err error) {
	if s.plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(networkingv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return err
	}
	config := rest.CopyConfig(s.plane.Config)
	config.QPS = -1 // The API server limits by itself.
	config.WarningHandlerWithContext = warningCollector{}
	if s.admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if s.front, err = controlplane.NewFront(); err != nil {
		return err
	}
	for i := range s.servers {
		options := controlplane.WebhookOptions{
			Binary: s.binary,
			Front:  s.front,
			// The drain delay is the product's own, not that of tests.
			Args:    []string{"--grace-period=" + gracePeriod.String(), "--drain-delay=5s", "--resync-period=3m", "--pprof-bind-address=127.0.0.1:0"},
			LogLine: func(line []byte) { s.logLine(i, line) },
		}
		if s.servers[i], err = controlplane.StartWebhook(ctx, s.plane, options); err != nil {
			return err
		}
	}
	order := site.NewOrder()
	if s.history, err = s.plane.Follow(ctx, group, func(v controlplane.Version) {
		if !strings.HasPrefix(v.Namespace, strictPrefix) {
			return
		}
		s.count(versionsSeen)
		for _, wrong := range order.See(v) {
			s.problem("%s", wrong)
		}
	}); err != nil {
		return err
	}
	if err := s.createTeams(ctx); err != nil {
		return err
	}
	return s.populate(ctx)
}

// populate stores what stays.
func (s *soak) populate(ctx context.Context) error {
	const namespaces = 10
	for i := range population {
		at := site.Site{Round: "stays", Namespace: fmt.Sprintf("stays-%d", i%namespaces), Host: fmt.Sprintf("h%d.stays.example.com", i)}
		var objects []client.Object
		if i < namespaces {
			for _, o := range at.NamespaceOf() {
				objects = append(objects, o)
			}
		}
		objects = append(objects, at.Entry(), at.Route(fmt.Sprintf("first-%d", i), "/keys", "/"), at.Route(fmt.Sprintf("second-%d", i), prefixes(i%30)...))
		for _, o := range objects {
			if err := s.admin.Create(ctx, o); err != nil {
				return fmt.Errorf("failed to create %T %s: %w", o, o.GetName(), err)
			}
			if gvk := o.GetObjectKind().GroupVersionKind(); gvk.Group == group && gvk.Kind != "Gateway" {
				s.stays[nameOf(o)] = o.GetResourceVersion()
			}
		}
		rule := at.Rule()
		if err := s.admin.Get(ctx, client.ObjectKeyFromObject(rule), rule); err != nil {
			return err
		}
		s.stays[nameOf(rule)] = rule.GetResourceVersion()
	}
	return nil
}

// prefixes are n that lead to the host.
func prefixes(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("/p%d/", i))
	}
	return append(out, "/")
}

func nameOf(o client.Object) string {
	return o.GetObjectKind().GroupVersionKind().Kind + " " + o.GetNamespace() + "/" + o.GetName()
}

// end stops everything, and says what came of it.
func (s *soak) end(err error) error {
	if s.history != nil {
		s.history.Stop()
		if _, e := s.history.Versions(); e != nil && err == nil {
			s.problem("%v", e)
		}
	}
	for i, w := range s.servers {
		if w == nil {
			continue
		}
		if e := w.Stop(); e != nil {
			s.problem("replica %d: %v", i, e)
		}
		if err != nil || len(s.problems) > 0 {
			lines := slices.DeleteFunc(strings.Split(w.Log(), "\n"), func(line string) bool { return strings.Contains(line, `"msg":"decided"`) })
			fmt.Printf("replica %d said:\n%s\n", i, strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	}
	if s.front != nil {
		err = errors.Join(err, s.front.Close())
	}
	if s.plane != nil {
		err = errors.Join(err, s.plane.Stop())
	}
	if err != nil {
		return err
	}
	fmt.Print("\n" + s.table())
	if len(s.problems) > 0 {
		return fmt.Errorf("%d problems:\n%s", len(s.problems), strings.Join(s.problems, "\n"))
	}
	return nil
}
