// Command bare is a controller-runtime manager that does nothing but sync the informers that
// the webhook has: whatever keeps a cache of these objects costs that much. It takes the
// flags of the webhook, and says where it listens as that does, so that the same code starts
// both.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1) //nolint:gocritic // the process ends
	}
}

func run(ctx context.Context) error {
	ctrl.SetLogger(logr.Discard())
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	kubeconfig := ""
	for _, arg := range os.Args[1:] {
		if path, ok := strings.CutPrefix(arg, "--kubeconfig="); ok {
			kubeconfig = path
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("failed to read the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{networkingv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("failed to build the scheme: %w", err)
		}
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		return fmt.Errorf("failed to create the manager: %w", err)
	}
	for _, o := range []client.Object{
		&networkingv1.ServiceEntry{}, &networkingv1.VirtualService{}, &networkingv1.DestinationRule{},
		&networkingv1.Gateway{}, &corev1.Service{}, &corev1.Namespace{},
	} {
		if _, err := mgr.GetCache().GetInformer(ctx, o, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("failed to watch %T: %w", o, err)
		}
	}
	var synced atomic.Bool
	if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		synced.Store(mgr.GetCache().WaitForCacheSync(ctx))
		return nil
	})); err != nil {
		return fmt.Errorf("failed to add to the manager: %w", err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("failed to listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !synced.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	if err := mgr.Add(&manager.Server{Name: "health", Listener: listener, Server: &http.Server{Handler: mux}}); err != nil { //nolint:gosec // for a measurement
		return fmt.Errorf("failed to add to the manager: %w", err)
	}
	for _, server := range []string{"webhook", "health", "metrics"} {
		log.Info("listening", "server", server, "address", listener.Addr().String())
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("failed to run: %w", err)
	}
	return nil
}
