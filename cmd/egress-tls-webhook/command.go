package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/webhook"
)

const long = `egress-tls-webhook answers the admission requests of a Kubernetes API server for
Istio's ServiceEntries, VirtualServices and DestinationRules. It sees to it that
plaintext HTTP which is routed to an external TLS port gets TLS: it adds the Host
and X-Forwarded-Proto headers, creates or completes the DestinationRule before the
route is stored, and refuses route orders in which a route can never match.

A reconciler does the same for what admission did not see or could not know: objects
that are older, rules that were edited or deleted, headers of a route that came before
its ServiceEntry. It takes away again what nothing needs any more. --reconcile=false
leaves all to admission.

It serves /mutate and /validate over TLS. With --cert-dir the certificate is read
from there and reloaded when it changes. Without, the server keeps an authority of
its own in a Secret, which all replicas share, and writes it into the caBundle of
the webhook configurations named by --webhook-configuration.

The behaviour is set by one policy file, --config; without one, by its defaults.`

type buildInfo struct{ version, commit string }

type flags struct {
	build                        buildInfo
	kubeconfig, config, logLevel string
	webhook                      webhook.Config
}

func newCommand(build buildInfo) *cobra.Command {
	f := flags{build: build}
	cmd := &cobra.Command{
		Use:           "egress-tls-webhook",
		Short:         "Admission webhook that makes egress TLS in Istio impossible to forget",
		Long:          long,
		Args:          cobra.NoArgs,
		Version:       build.version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	cmd.AddCommand(newProbe(build))
	fs := cmd.Flags()
	fs.StringVar(&f.config, "config", "", "policy `file` (EgressTLSPolicy); without it the defaults apply")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file`; without it the Pod's ServiceAccount is used")
	fs.StringVar(&f.webhook.BindAddress, "webhook-bind-address", ":9443", "`host:port` to serve admission on; port 0 lets the kernel choose")
	fs.StringVar(&f.webhook.HealthBindAddress, "health-probe-bind-address", ":8081", "`host:port` to serve /healthz and /readyz on")
	fs.StringVar(&f.webhook.MetricsBindAddress, "metrics-bind-address", ":8080", "`host:port` to serve /metrics on; empty switches metrics off")
	fs.StringVar(&f.webhook.PprofBindAddress, "pprof-bind-address", "", "`host:port` to serve /debug/pprof on; empty switches it off")
	fs.StringVar(&f.webhook.Tracing.Endpoint, "tracing-endpoint", "", "`host:port` of an OpenTelemetry collector that takes OTLP over gRPC; empty switches tracing off")
	fs.BoolVar(&f.webhook.Tracing.Insecure, "tracing-insecure", false, "send spans without TLS")
	fs.Float64Var(&f.webhook.Tracing.SamplingRatio, "tracing-sampling-ratio", 0.01, "`share` of the requests and reconciliations, from 0 to 1, that is traced; an API server that traces decides for its own requests")
	fs.StringVar(&f.webhook.CertDir, "cert-dir", "", "`directory` with tls.crt and tls.key; without it the server signs its own certificate")
	fs.StringVar(&f.webhook.Namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "egress-tls-system"), "namespace that the server runs in (default from $POD_NAMESPACE)")
	fs.StringVar(&f.webhook.ServiceName, "service-name", "egress-tls-webhook", "Service in front of the server; its DNS names go into the certificate")
	fs.StringSliceVar(&f.webhook.ServingNames, "serving-names", nil, "further DNS `names` and IP addresses for the server's own certificate")
	fs.StringVar(&f.webhook.CASecretName, "ca-secret-name", "egress-tls-webhook-ca", "Secret that holds the server's own authority")
	fs.StringVar(&f.webhook.ClientCAFile, "client-ca-file", "", "PEM `file` with the authority of the API server's client certificate, reloaded when it changes; with it, nobody else is answered")
	fs.StringSliceVar(&f.webhook.ClientNames, "client-names", nil, "`names` of which the client certificate must have one, as common name or subject alternative name; without them any of the authority will do")
	fs.StringVar(&f.webhook.ConfigurationName, "webhook-configuration", "egress-tls-webhook", "`name` of the webhook configurations whose caBundle the server keeps")
	fs.DurationVar(&f.webhook.DrainDelay, "drain-delay", 5*time.Second, "how long to go on serving after SIGTERM, until no API server sends requests any more")
	fs.BoolVar(&f.webhook.Reconcile, "reconcile", true, "bring objects in line after admission too: those that are older, or that others made necessary")
	fs.DurationVar(&f.webhook.GracePeriod, "grace-period", 2*time.Minute, "how long what nothing needs any more stays; longer than any admission takes")
	fs.DurationVar(&f.webhook.ResyncPeriod, "resync-period", 10*time.Minute, "time between two passes over all hosts; 0 for only the first")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error; logs are JSON lines on standard error")
	return cmd
}

func (f flags) run(cmd *cobra.Command) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return fmt.Errorf("--log-level: %q is not debug, info, warn or error", f.logLevel)
	}
	log := logr.FromSlogHandler(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("client-go"))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.WithName("tracing").Info("spans are lost", "reason", err.Error()) }))

	cfg := f.webhook
	cfg.Version, cfg.Commit = f.build.version, f.build.commit
	var err error
	if cfg.Policy, err = loadPolicy(f.config); err != nil {
		return err
	}
	if cfg.RESTConfig, err = restConfig(f.kubeconfig, f.build); err != nil {
		return err
	}
	log.Info("starting", "version", f.build.version, "commit", f.build.commit, "mode", cfg.Policy.Mode, "namespace", cfg.Namespace)
	return webhook.Run(cmd.Context(), cfg, log)
}

func loadPolicy(file string) (*policy.Policy, error) {
	if file == "" {
		return policy.Default(), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	return policy.Load(file, data)
}

// restConfig connects with a kubeconfig or the Pod's ServiceAccount. Client-side
// rate limits are off: the API server's priority and fairness does that better,
// and an admission request must not wait for a token bucket.
func restConfig(kubeconfig string, build buildInfo) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	if kubeconfig != "" {
		cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else {
		cfg, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("failed to find the API server (--kubeconfig outside of a cluster): %w", err)
	}
	cfg.QPS, cfg.Burst = -1, -1
	cfg.UserAgent = "egress-tls-webhook/" + build.version
	return cfg, nil
}
