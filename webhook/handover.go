package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"time"
)

// trustDelay is how long an authority must have been in the webhook configurations
// before it counts as known to every API server: they watch the configurations too. A
// certificate waits as long: their clocks may be behind ours.
const trustDelay = 5 * time.Second

// handover serves the certificate of a source, but goes on with the one before while
// the API servers may not trust the new one's authority yet, and trust the old one's.
type handover struct {
	source func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	mu      sync.Mutex
	serving *tls.Certificate
	// configured says that there are webhook configurations at all.
	configured bool
	// trusted are the authorities that all caBundles hold, and since when.
	trusted []trustedAuthority
}

type trustedAuthority struct {
	*x509.Certificate
	since time.Time
}

// see takes note of the caBundles of all webhooks.
func (h *handover) see(bundles [][]byte, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.trusted
	h.configured, h.trusted = len(bundles) > 0, nil
	if !h.configured {
		return
	}
	parsed := make([][]*x509.Certificate, len(bundles))
	for i, b := range bundles {
		parsed[i] = parseBundle(b)
	}
	for _, ca := range parsed[0] {
		lacks := func(cas []*x509.Certificate) bool { return !slices.ContainsFunc(cas, ca.Equal) }
		if slices.ContainsFunc(parsed[1:], lacks) {
			continue
		}
		since := now
		if i := slices.IndexFunc(known, func(k trustedAuthority) bool { return k.Equal(ca) }); i >= 0 {
			since = known[i].since
		}
		h.trusted = append(h.trusted, trustedAuthority{ca, since})
	}
}

// get returns the certificate to serve.
func (h *handover) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	next, err := h.source(hello)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if next != h.serving && (h.serving == nil || h.trusts(next, now.Add(-trustDelay)) || !h.trusts(h.serving, now)) {
		h.serving = next
	}
	return h.serving, nil
}

// check returns an error if an API server that calls now would not trust the answer.
func (h *handover) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.configured && h.serving != nil && !h.trusts(h.serving, time.Now()) {
		return errors.New("the webhook configurations do not hold the authority of the serving certificate yet")
	}
	return nil
}

// trusts reports whether an authority that was there at the given time signed the
// certificate, which was valid then.
func (h *handover) trusts(cert *tls.Certificate, at time.Time) bool {
	roots := x509.NewCertPool()
	for _, ca := range h.trusted {
		if !ca.since.After(at) {
			roots.AddCert(ca.Certificate)
		}
	}
	_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at})
	return err == nil
}
