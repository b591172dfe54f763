package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// registerState registers what is found out when it is asked for, and what never changes.
func registerState(reg prometheus.Registerer, cfg Config, cached client.Reader, serving func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	hash, err := policyHash(cfg.Policy)
	if err != nil {
		return err
	}
	reg.MustRegister(
		newInfo("egress_tls_build_info", "Always 1: the version and commit of the server, and the Go version that built it.",
			prometheus.Labels{"version": cfg.Version, "commit": cfg.Commit, "goversion": runtime.Version()}),
		newInfo("egress_tls_policy_info", "Always 1: the policy's mode, and a hash that tells policies apart.",
			prometheus.Labels{"mode": string(cfg.Policy.Mode), "hash": hash}),
		newCachedObjects(cached),
		newRuleStates(cached),
		newCertificateExpiry(serving, authorityOf(cfg, cached)),
	)
	return nil
}

// newInfo is a metric that is always 1 and tells about the process in its labels.
func newInfo(name, help string, labels prometheus.Labels) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	g.Set(1)
	return g
}

// policyHash tells policies apart: that of the file's content with all defaults.
func policyHash(pol *policy.Policy) (string, error) {
	data, err := json.Marshal(pol)
	if err != nil {
		return "", fmt.Errorf("failed to encode the policy: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6]), nil
}

// scrapeTimeout bounds how long a scrape waits for an informer to sync.
const scrapeTimeout = 100 * time.Millisecond

// cachedObjects counts the objects that the informers hold, when it is asked.
type cachedObjects struct {
	reader client.Reader
	desc   *prometheus.Desc
}

func newCachedObjects(reader client.Reader) cachedObjects {
	return cachedObjects{reader, prometheus.NewDesc("egress_tls_cached_objects",
		"Objects in the informers' cache, by kind.", []string{"kind"}, nil)}
}

// Describe implements prometheus.Collector.
func (c cachedObjects) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector. A kind that has not synced is left out:
// it is not known to be empty.
func (c cachedObjects) Collect(ch chan<- prometheus.Metric) {
	for kind, list := range map[string]client.ObjectList{
		"ServiceEntry":    &networkingv1.ServiceEntryList{},
		"VirtualService":  &networkingv1.VirtualServiceList{},
		"DestinationRule": &networkingv1.DestinationRuleList{},
		"Gateway":         &networkingv1.GatewayList{},
		"Service":         &corev1.ServiceList{},
		"Namespace":       &corev1.NamespaceList{},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
		if err := c.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err == nil {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(meta.LenList(list)), kind)
		}
		cancel()
	}
}

// ruleStates counts the DestinationRules that we have a hand in, when it is asked.
type ruleStates struct {
	reader client.Reader
	desc   *prometheus.Desc
}

func newRuleStates(reader client.Reader) ruleStates {
	return ruleStates{reader, prometheus.NewDesc("egress_tls_destinationrules",
		"DestinationRules that were created (managed) or that TLS was injected into (injected), by state (needed, or unused and about to be taken away).",
		[]string{"origin", "state"}, nil)}
}

// Describe implements prometheus.Collector.
func (c ruleStates) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c ruleStates) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var rules networkingv1.DestinationRuleList
	if c.reader.List(ctx, &rules, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	type state struct {
		managed, unused bool
	}
	counts := map[state]float64{{true, true}: 0, {true, false}: 0, {false, true}: 0, {false, false}: 0}
	for _, dr := range rules.Items {
		managed := mesh.IsManaged(dr)
		if _, injected := dr.Annotations[mutate.InjectedAnnotation]; managed || injected {
			_, unused := dr.Annotations[mutate.UnusedAnnotation]
			counts[state{managed, unused}]++
		}
	}
	for s, n := range counts {
		origin, name := "injected", "needed"
		if s.managed {
			origin = "managed"
		}
		if s.unused {
			name = "unused"
		}
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, n, origin, name)
	}
}

// certificateExpiry tells when the certificates in use end.
type certificateExpiry struct {
	serving   func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	authority func(context.Context) ([]byte, error) // in PEM
	desc      *prometheus.Desc
}

func newCertificateExpiry(serving func(*tls.ClientHelloInfo) (*tls.Certificate, error), authority func(context.Context) ([]byte, error)) certificateExpiry {
	return certificateExpiry{serving, authority, prometheus.NewDesc("egress_tls_certificate_expiry_timestamp_seconds",
		"When the certificate in use ends: the serving one, or the first to end of the authorities that sign it.", []string{"certificate"}, nil)}
}

// authorityOf returns where the authority is found: in the server's own Secret, or in
// ca.crt beside a certificate that others have signed, where it may be missing.
func authorityOf(cfg Config, cached client.Reader) func(context.Context) ([]byte, error) {
	if cfg.CertDir != "" {
		return func(context.Context) ([]byte, error) { return os.ReadFile(filepath.Join(cfg.CertDir, caKey)) }
	}
	return func(ctx context.Context) ([]byte, error) {
		secret := &corev1.Secret{}
		err := cached.Get(ctx, client.ObjectKey{Namespace: cfg.Namespace, Name: cfg.CASecretName}, secret)
		return secret.Data[caKey], err
	}
}

// caKey is the authority in a Secret that holds a certificate.
const caKey = "ca.crt"

// Describe implements prometheus.Collector.
func (c certificateExpiry) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector. A certificate that is not there has no end.
func (c certificateExpiry) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	tell := func(certificate string, ends time.Time) {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(ends.Unix()), certificate)
	}
	if pair, err := c.serving(nil); err == nil {
		tell("serving", pair.Leaf.NotAfter)
	}
	if data, err := c.authority(ctx); err == nil {
		if authorities, err := cert.ParseCertsPEM(data); err == nil {
			tell("authority", slices.MinFunc(authorities, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter)
		}
	}
}
