package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// clientVerifier lets those in who present a certificate of an authority, which is what
// the API server can be told to do. It verifies each request, not each connection: an
// authority that is taken out of the file, or a certificate that expires, ends what a
// connection may do that is open for days.
type clientVerifier struct {
	file  string
	names []string
	// own is the certificate of the readiness self-test, which is let in too.
	own     *tls.Certificate
	metrics *metrics
	log     logr.Logger

	mu     sync.Mutex
	pem    []byte
	roots  *x509.CertPool
	failed string
}

// newClientVerifier reads the authorities in file. names are the allowed common names and
// subject alternative names, any if there are none.
func newClientVerifier(file string, names []string, m *metrics, log logr.Logger) (*clientVerifier, error) {
	own, err := selfTestCertificate()
	if err != nil {
		return nil, fmt.Errorf("failed to make a certificate for the readiness self-test: %w", err)
	}
	for _, reason := range []string{noCertificate, untrustedCertificate, otherName} {
		m.turnedAway.WithLabelValues(reason) // What appears with 1 has never increased.
	}
	v := &clientVerifier{file: file, names: names, own: own, metrics: m, log: log}
	if err := v.load(); err != nil {
		return nil, fmt.Errorf("failed to load the authority of clients: %w", err)
	}
	return v, nil
}

// load takes the authorities of the file over if they have changed.
func (v *clientVerifier) load() error {
	data, err := os.ReadFile(v.file)
	if err != nil || bytes.Equal(data, v.pem) {
		return err //nolint:wrapcheck // It names the file.
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return fmt.Errorf("%s holds no certificate in PEM", v.file)
	}
	v.pem, v.roots = data, roots
	return nil
}

// current returns the authorities of the file, which a mounted Secret replaces, or the last
// ones that could be read.
func (v *clientVerifier) current() *x509.CertPool {
	v.mu.Lock()
	defer v.mu.Unlock()
	text := ""
	if err := v.load(); err != nil {
		text = err.Error()
	}
	if text != v.failed {
		if v.failed = text; text != "" {
			v.log.Info("the authority of clients cannot be read; the last one stays", "error", text)
		}
	}
	return v.roots
}

// Why a request is turned away, as the metric says it.
const (
	noCertificate        = "no certificate"
	untrustedCertificate = "untrusted certificate"
	otherName            = "other name"
)

// middleware answers requests of nobody that is known with 403, which, unlike 401, the API
// server passes on with its text. Their bodies are not read.
func (v *clientVerifier) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reason, err := v.verify(r.TLS); err != nil {
			v.metrics.turnedAway.WithLabelValues(reason).Inc()
			v.log.V(1).Info("turned away", "client", r.RemoteAddr, "reason", err.Error())
			http.Error(w, "egress-tls-webhook answers only known clients (--client-ca-file): "+err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (v *clientVerifier) verify(state *tls.ConnectionState) (reason string, err error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return noCertificate, errors.New("the request came without a client certificate; kube-apiserver presents the one of --admission-control-config-file")
	}
	leaf := state.PeerCertificates[0]
	if bytes.Equal(leaf.Raw, v.own.Certificate[0]) {
		return "", nil
	}
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: v.current(), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return untrustedCertificate, fmt.Errorf("the client certificate of %q is not trusted: %w", leaf.Subject.CommonName, err)
	}
	if len(v.names) > 0 && !slices.ContainsFunc(certificateNames(leaf), func(n string) bool { return slices.Contains(v.names, n) }) {
		return otherName, fmt.Errorf("the client certificate is for %q, which --client-names does not list", strings.Join(certificateNames(leaf), ", "))
	}
	return "", nil
}

// certificateNames returns the common name and the subject alternative names of a certificate.
func certificateNames(c *x509.Certificate) []string {
	names := slices.Concat([]string{c.Subject.CommonName}, c.DNSNames, c.EmailAddresses)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// selfTestCertificate makes a certificate that never leaves this process: who proves to
// have its key is us.
func selfTestCertificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("failed to generate a key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().AddDate(100, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("failed to sign: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
