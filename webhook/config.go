package webhook

import (
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/client-go/rest"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// Config is what the server is started with.
type Config struct {
	RESTConfig *rest.Config
	Policy     *policy.Policy
	// Version and Commit are those of the build.
	Version, Commit string
	// BindAddress, HealthBindAddress, MetricsBindAddress and PprofBindAddress are
	// "host:port"; port 0 lets the kernel choose, "" switches metrics or pprof off.
	BindAddress, HealthBindAddress, MetricsBindAddress, PprofBindAddress string
	// Tracing says where spans are sent.
	Tracing Tracing
	// CertDir holds tls.crt and tls.key; "": the server makes its own.
	CertDir string
	// Namespace is where the server runs: its Secret and Service are there.
	Namespace string
	// ServiceName names the Service that the certificate is for.
	ServiceName string
	// ServingNames are further DNS names and IP addresses of the certificate.
	ServingNames []string
	// CASecretName holds the server's own authority.
	CASecretName string
	// ClientCAFile holds, in PEM, the authorities of the certificates that clients of
	// admission must present; "": nobody is asked for one. ClientNames are the names that
	// they must be for, any if there are none.
	ClientCAFile string
	ClientNames  []string
	// ConfigurationName names both webhook configurations.
	ConfigurationName string
	// DrainDelay is how long the server goes on serving after it said that it is
	// no longer ready, until no API server sends it requests any more.
	DrainDelay time.Duration
	// Reconcile brings objects in line after admission too.
	Reconcile bool
	// GracePeriod is how long what nothing needs any more stays: longer than an admission
	// can take, which may rely on it.
	GracePeriod time.Duration
	// ResyncPeriod is the time between two passes over all hosts.
	ResyncPeriod time.Duration
}

// Tracing is how the server takes part in OpenTelemetry traces.
type Tracing struct {
	// Endpoint is the "host:port" of a collector that takes OTLP over gRPC; "": no tracing.
	Endpoint string
	// Insecure sends without TLS.
	Insecure bool
	// SamplingRatio is the share of what begins here, from 0 to 1, that is traced. A caller
	// that traces decides for itself.
	SamplingRatio float64
}

func (t Tracing) validate() error {
	var errs []error
	if t.Endpoint != "" {
		if _, _, err := net.SplitHostPort(t.Endpoint); err != nil {
			errs = append(errs, fmt.Errorf("the tracing endpoint %q is no host:port, such as collector.observability:4317: %w", t.Endpoint, err))
		}
	}
	if t.SamplingRatio < 0 || t.SamplingRatio > 1 {
		errs = append(errs, fmt.Errorf("the tracing sampling ratio %v must be from 0 to 1", t.SamplingRatio))
	}
	return errors.Join(errs...)
}

// servingNames are the names and addresses of the server's own certificate.
func (c Config) servingNames() (names []string, ips []net.IP) {
	service := c.ServiceName + "." + c.Namespace
	names = []string{service + ".svc", service + ".svc.cluster.local", service}
	for _, n := range c.ServingNames {
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, n)
		}
	}
	return names, ips
}

func (c Config) validate() error {
	var errs []error
	require := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	require(c.RESTConfig != nil, "no connection to an API server")
	require(c.Policy != nil, "no policy")
	require(c.BindAddress != "", "the address to serve on must not be empty")
	require(c.HealthBindAddress != "", "the address of the probes must not be empty")
	require(c.Namespace != "", "the namespace that the server runs in must be known: set POD_NAMESPACE or --namespace")
	require(c.ClientCAFile != "" || len(c.ClientNames) == 0, "--client-names without --client-ca-file would let everybody in")
	require(c.DrainDelay >= 0, "the drain delay must not be negative")
	require(c.GracePeriod >= 0, "the grace period must not be negative")
	require(c.ResyncPeriod >= 0, "the resync period must not be negative")
	return errors.Join(append(errs, c.Tracing.validate())...)
}
