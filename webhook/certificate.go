package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// certificateSource is where the serving certificate comes from.
type certificateSource struct {
	manager.Runnable
	get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// trusted returns an error while the API servers cannot trust it, as far as known.
	trusted func() error
}

func certificates(mgr ctrl.Manager, cfg Config) (certificateSource, error) {
	if cfg.CertDir != "" {
		return fromDirectory(cfg.CertDir)
	}
	return selfSigned(mgr, cfg)
}

// fromDirectory serves tls.crt and tls.key of dir, as a mounted Secret holds
// them, and takes over new ones while it serves.
func fromDirectory(dir string) (certificateSource, error) {
	w, err := certwatcher.New(filepath.Join(dir, corev1.TLSCertKey), filepath.Join(dir, corev1.TLSPrivateKeyKey))
	if err != nil {
		return certificateSource{}, fmt.Errorf("failed to load the serving certificate of %s: %w", dir, err)
	}
	return certificateSource{w, w.GetCertificate, func() error { return nil }}, nil
}

// selfSigned serves a certificate signed by an authority that all replicas share in a
// Secret and renew in time: two thirds into its year. caBundles tells the API servers
// about a new authority, and handover waits until they know.
func selfSigned(mgr ctrl.Manager, cfg Config) (certificateSource, error) {
	names, ips := cfg.servingNames()
	src := &cmtls.DynamicSource{
		DNSNames: names,
		Authority: &ipAuthority{&authority.DynamicAuthority{
			SecretNamespace: cfg.Namespace,
			SecretName:      cfg.CASecretName,
			RESTConfig:      cfg.RESTConfig,
			CommonName:      authorityName,
		}, ips},
	}
	h := &handover{source: src.GetCertificate}
	c := &caBundles{
		client:        mgr.GetClient(),
		secret:        client.ObjectKey{Namespace: cfg.Namespace, Name: cfg.CASecretName},
		configuration: cfg.ConfigurationName,
		trusted:       h,
	}
	if err := c.setup(mgr); err != nil {
		return certificateSource{}, err
	}
	return certificateSource{src, h.get, h.check}, nil
}

// ipAuthority adds IP addresses, which a DynamicSource has no field for.
type ipAuthority struct {
	*authority.DynamicAuthority
	ips []net.IP
}

const (
	// authorityTimeout is how long a signature waits for the authority, which a DynamicSource
	// asks for before it can be there, and then again a second later.
	authorityTimeout = time.Second
	authorityTick    = 10 * time.Millisecond
)

// Sign signs the template with the addresses.
func (a *ipAuthority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	template.IPAddresses = a.ips
	for began := time.Now(); ; time.Sleep(authorityTick) {
		cert, err := a.DynamicAuthority.Sign(template)
		if !errors.Is(err, authority.ErrCertificateNotAvailable) || time.Since(began) > authorityTimeout {
			return cert, err //nolint:wrapcheck // as the authority says it
		}
	}
}
