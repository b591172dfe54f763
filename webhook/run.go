package webhook

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// Run serves until ctx ends, then drains: it says that it is not ready, goes on
// serving for the drain delay, and finishes the requests in flight.
func Run(ctx context.Context, cfg Config, log logr.Logger) error {
	if err := cfg.validate(); err != nil {
		return fmt.Errorf("the configuration is unusable: %w", err)
	}
	first := newBegin()
	go collectOften(first.c)
	listeners, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	traces, err := newTracing(ctx, cfg)
	if err != nil {
		return err
	}
	cfg.RESTConfig = traces.client(cfg.RESTConfig)
	mgr, err := newManager(cfg, log)
	if err != nil {
		return err
	}
	if err := checkServed(mgr.GetRESTMapper(), mgr.GetScheme()); err != nil {
		return err
	}
	cached, err := newIndexReader(ctx, mgr.GetCache())
	if err != nil {
		return err
	}
	for _, o := range cachedKinds() {
		if _, err := mgr.GetCache().GetInformer(ctx, o, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("failed to watch %T: %w", o, err)
		}
	}

	source, err := certificates(mgr, cfg)
	if err != nil {
		return err
	}
	var synced atomic.Bool
	a := newAdmitter(mgr, cached, cfg, newMetrics(ctrlmetrics.Registry), synced.Load)
	admit, err := admissionHandler(a, log.WithName("admission"))
	if err != nil {
		return err
	}
	names, _ := cfg.servingNames()
	ready := &readiness{
		synced: synced.Load, address: listeners.webhook.Addr().String(), serverName: names[0], certificate: source,
		gauge: a.metrics.ready, uid: a.selfTest, first: first.now,
	}
	admit = traces.handler(admit)
	clientAuth := tls.NoClientCert
	if cfg.ClientCAFile != "" {
		clients, err := newClientVerifier(cfg.ClientCAFile, cfg.ClientNames, a.metrics, log.WithName("clients"))
		if err != nil {
			return err
		}
		// Asked for here, verified with each request.
		clientAuth, admit, ready.client = tls.RequestClientCert, clients.middleware(admit), clients.own
	}
	runnables := []manager.Runnable{
		source,
		server("webhook", tlsListener(listeners.webhook, source.get, clientAuth), leaving(ready.draining.Load, admit), log),
		server("health", listeners.health, healthHandler(ready), log),
		manager.RunnableFunc(func(ctx context.Context) error {
			if mgr.GetCache().WaitForCacheSync(ctx) {
				synced.Store(true)
				log.Info("synced")
				first.soon(ctx)
			}
			return nil
		}),
	}
	if traces != nil {
		runnables = append(runnables, traces)
	}
	if listeners.metrics != nil {
		if err := registerState(ctrlmetrics.Registry, cfg, mgr.GetCache(), source.get); err != nil {
			return err
		}
		stored, err := setupStoredObjects(mgr, cfg, a.view, first.c, log.WithName("stored"))
		if err != nil {
			return err
		}
		ctrlmetrics.Registry.MustRegister(stored)
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(ctrlmetrics.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
		runnables = append(runnables, server("metrics", listeners.metrics, mux, log))
	}
	if listeners.pprof != nil {
		runnables = append(runnables, server("pprof", listeners.pprof, pprofHandler(), log))
	}
	if cfg.Reconcile {
		a.metrics.registerReconciler(ctrlmetrics.Registry)
		l, err := newLeader(cfg, a.metrics, log.WithName("leader"))
		if err != nil {
			return err
		}
		if err := setupReconciler(mgr, cfg, a, traces, l.leading.Load, first.c, log.WithName("reconciler")); err != nil {
			return err
		}
		runnables = append(runnables, manager.RunnableFunc(l.Start))
	}
	for _, r := range runnables {
		if _, ok := r.(*manager.Server); !ok { // the manager starts servers first by their type
			r = everyReplica{r}
		}
		if err := mgr.Add(r); err != nil {
			return fmt.Errorf("failed to add a %T to the manager: %w", r, err)
		}
	}
	listeners.report(log)

	// The manager stops only after the drain delay.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() {
		<-ctx.Done()
		ready.draining.Store(true)
		log.Info("draining", "delay", cfg.DrainDelay)
		time.Sleep(cfg.DrainDelay)
		stop()
	}()
	if err := mgr.Start(running); err != nil {
		return fmt.Errorf("failed to run: %w", err)
	}
	log.Info("stopped")
	return nil
}

// startGCPercent is the GOGC until the server is ready. What the informers' first sync decodes
// stays, in between what it leaves behind: the sooner that is reused, the denser is what stays.
const startGCPercent = 50

// collectOften lets the garbage collector run more often until begin, unless GOGC asks for
// that anyway, or for none.
func collectOften(begin <-chan struct{}) {
	was := debug.SetGCPercent(startGCPercent)
	if was <= startGCPercent { // Below 0: none.
		debug.SetGCPercent(was)
		return
	}
	<-begin
	debug.SetGCPercent(was)
}

// everyReplica runs on every replica, leader or not.
type everyReplica struct{ manager.Runnable }

func (everyReplica) NeedLeaderElection() bool { return false }

func newManager(cfg Config, log logr.Logger) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	opts := cacheOptions()
	// Of the objects of the mesh, the controllers make the full pass themselves, see passes.
	opts.SyncPeriod = new(time.Duration)
	opts.ByObject = map[client.Object]cache.ByObject{}
	if cfg.CertDir == "" {
		named := cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", cfg.ConfigurationName), SyncPeriod: &cfg.ResyncPeriod}
		opts.ByObject[&admissionregistrationv1.MutatingWebhookConfiguration{}] = named
		opts.ByObject[&admissionregistrationv1.ValidatingWebhookConfiguration{}] = named
		opts.ByObject[&corev1.Secret{}] = cache.ByObject{
			Namespaces: map[string]cache.Config{cfg.Namespace: {}},
			Field:      fields.OneTermEqualSelector("metadata.name", cfg.CASecretName),
			SyncPeriod: &cfg.ResyncPeriod,
		}
	}
	shutdown := shutdownTimeout + 5*time.Second
	mgr, err := ctrl.NewManager(cfg.RESTConfig, ctrl.Options{
		Scheme:                  scheme,
		Cache:                   opts,
		Logger:                  log,
		Metrics:                 metricsserver.Options{BindAddress: "0"}, // served by our own server
		GracefulShutdownTimeout: &shutdown,
	})
	if err != nil {
		return nil, fmt.Errorf("failed to create the manager: %w", err)
	}
	return mgr, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		networkingv1.AddToScheme, corev1.AddToScheme, admissionregistrationv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("failed to build the scheme: %w", err)
		}
	}
	return scheme, nil
}

func newAdmitter(mgr ctrl.Manager, cached indexed, cfg Config, m *metrics, synced func() bool) *Admitter {
	live := mgr.GetAPIReader()
	return &Admitter{
		policy: cfg.Policy,
		view: &view{
			cached: cached,
			live:   live,
			onLive: m.readLive,
			entries: &freshList[*networkingv1.ServiceEntry]{
				timeout: maxRequestTime,
				read:    func(ctx context.Context) ([]*networkingv1.ServiceEntry, error) { return listServiceEntries(ctx, live) },
			},
		},
		rules:    &ruleWriter{writer: mgr.GetClient(), live: live, tls: cfg.Policy.TLS},
		metrics:  m,
		synced:   synced,
		selfTest: uuid.NewUUID(),
		room:     newRoom(),
	}
}

// listServiceEntries reads all ServiceEntries from the API server, in pages.
func listServiceEntries(ctx context.Context, live client.Reader) ([]*networkingv1.ServiceEntry, error) {
	const page = 500
	var out []*networkingv1.ServiceEntry
	token := ""
	for {
		var list networkingv1.ServiceEntryList
		if err := live.List(ctx, &list, client.Limit(page), client.Continue(token)); err != nil {
			return nil, fmt.Errorf("failed to list: %w", err)
		}
		out = append(out, list.Items...)
		if token = list.Continue; token == "" {
			return out, nil
		}
	}
}

func healthHandler(ready *readiness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.Handle("GET /readyz", ready)
	return mux
}

// pprofHandler serves net/http/pprof, whose own registration no server uses.
func pprofHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // and all profiles by their name
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// listenerSet holds the bound ports: binding comes first, so that a port that is
// taken fails at once, and port 0 can be reported.
type listenerSet struct{ webhook, health, metrics, pprof net.Listener }

func listen(ctx context.Context, cfg Config) (listenerSet, error) {
	var s listenerSet
	for _, l := range []struct {
		at      *net.Listener
		address string
	}{
		{&s.webhook, cfg.BindAddress},
		{&s.health, cfg.HealthBindAddress},
		{&s.metrics, cfg.MetricsBindAddress},
		{&s.pprof, cfg.PprofBindAddress},
	} {
		if l.address == "" {
			continue
		}
		var lc net.ListenConfig
		var err error
		if *l.at, err = lc.Listen(ctx, "tcp", l.address); err != nil {
			return s, fmt.Errorf("failed to listen on %s: %w", l.address, err)
		}
	}
	return s, nil
}

func (s listenerSet) report(log logr.Logger) {
	log.Info("listening", "server", "webhook", "address", s.webhook.Addr().String())
	log.Info("listening", "server", "health", "address", s.health.Addr().String())
	if s.metrics != nil {
		log.Info("listening", "server", "metrics", "address", s.metrics.Addr().String())
	}
	if s.pprof != nil {
		log.Info("listening", "server", "pprof", "address", s.pprof.Addr().String())
	}
}
