package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testAuthority is an authority of the server's, with a certificate that it signed.
type testAuthority struct {
	ca   *x509.Certificate
	pem  []byte
	leaf *tls.Certificate
}

func newTestAuthority(t *testing.T, name string, made, leafExpires time.Time) testAuthority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	sign := func(template, parent *x509.Certificate) *x509.Certificate {
		template.SerialNumber, template.NotBefore = big.NewInt(1), made
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return cert
	}
	self := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: made.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := testAuthority{ca: sign(self, self)}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.ca.Raw})
	leaf := sign(&x509.Certificate{NotAfter: leafExpires, DNSNames: []string{"localhost"}}, a.ca)
	a.leaf = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, Leaf: leaf, PrivateKey: key}
	return a
}

func TestHandover(t *testing.T) {
	now := time.Now()
	longAgo := now.Add(-time.Hour)
	first := newTestAuthority(t, authorityName, longAgo, now.Add(time.Hour))
	second := newTestAuthority(t, authorityName, longAgo, now.Add(time.Hour))
	expired := newTestAuthority(t, authorityName, longAgo, now.Add(-time.Minute))
	both := slices.Concat(second.pem, first.pem)
	const notTrusted = "the webhook configurations do not hold the authority of the serving certificate yet"

	for _, c := range []struct {
		name string
		// served is what was served when the second certificate came.
		served testAuthority
		// before are the caBundles of an hour ago, bundles those of now.
		before, bundles [][]byte
		want            testAuthority
		notReady        string
	}{
		{"the new authority is not there", first, [][]byte{first.pem, first.pem}, [][]byte{first.pem, first.pem}, first, ""},
		{"the new authority is there, but not for long", first, [][]byte{first.pem, first.pem}, [][]byte{both, both}, first, ""},
		{"the new authority is in one of two only", first, [][]byte{first.pem, both}, [][]byte{first.pem, both}, first, ""},
		{"the new authority has been there", first, [][]byte{both, both}, [][]byte{both, both}, second, ""},
		{"the new authority went and came again", first, [][]byte{first.pem}, [][]byte{both}, first, ""},
		{"the old authority is there no more", first, [][]byte{first.pem, first.pem}, [][]byte{second.pem, second.pem}, second, ""},
		{"the old authority is in one of two only", first, [][]byte{first.pem, first.pem}, [][]byte{both, second.pem}, second, ""},
		{"neither is there", first, [][]byte{first.pem}, [][]byte{nil}, second, notTrusted},
		{"the old certificate has expired", expired, [][]byte{expired.pem}, [][]byte{expired.pem}, second, notTrusted},
		{"there is no configuration", first, [][]byte{first.pem}, nil, second, ""},
		{"a bundle holds rubbish too", first, [][]byte{first.pem}, [][]byte{slices.Concat([]byte("rubbish\n"), both, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))}, first, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := c.served.leaf
			h := &handover{source: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return next, nil }}
			require.NoError(t, h.check(), "nothing is known yet")
			got, err := h.get(nil)
			require.NoError(t, err)
			assert.Same(t, next, got, "the first is served whatever is known")

			h.see(c.before, longAgo)
			next = second.leaf
			h.see(c.bundles, now)
			got, err = h.get(nil)
			require.NoError(t, err)
			assert.Same(t, c.want.leaf, got)
			if c.notReady == "" {
				assert.NoError(t, h.check())
			} else {
				assert.EqualError(t, h.check(), c.notReady)
			}
		})
	}
}

// The clocks of API servers may be behind.
func TestHandoverWaitsForClocks(t *testing.T) {
	now := time.Now()
	a := newTestAuthority(t, authorityName, now.Add(-time.Hour), now.Add(time.Hour))
	renewedAt := func(made time.Time) *tls.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: made, NotAfter: now.Add(2 * time.Hour)}
		key, _ := a.leaf.PrivateKey.(*ecdsa.PrivateKey)
		der, err := x509.CreateCertificate(rand.Reader, template, a.ca, key.Public(), key)
		require.NoError(t, err)
		leaf, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return &tls.Certificate{Certificate: [][]byte{der}, Leaf: leaf, PrivateKey: key}
	}
	next := a.leaf
	h := &handover{source: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return next, nil }}
	h.see([][]byte{a.pem}, now.Add(-time.Hour))
	for _, made := range []time.Time{now.Add(-time.Hour), now} {
		h.serving = a.leaf
		next = renewedAt(made)
		got, err := h.get(nil)
		require.NoError(t, err)
		assert.Equal(t, made != now, got == next)
	}
}

func TestBundle(t *testing.T) {
	now := time.Now()
	hour := now.Add(time.Hour)
	fresh := newTestAuthority(t, authorityName, now.Add(-authorityOverlap/2), hour)
	settled := newTestAuthority(t, authorityName, now.Add(-2*authorityOverlap), hour)
	expired := newTestAuthority(t, authorityName, now.Add(-25*time.Hour), hour)
	foreign := newTestAuthority(t, "somebody else", now.Add(-time.Hour), hour)

	for _, c := range []struct {
		name    string
		current testAuthority
		old     [][]byte
		want    [][]byte
		before  []testAuthority
	}{
		{"nothing before", fresh, nil, [][]byte{fresh.pem}, nil},
		{"rubbish before", fresh, [][]byte{[]byte("rubbish")}, [][]byte{fresh.pem}, nil},
		{"itself before", fresh, [][]byte{fresh.pem}, [][]byte{fresh.pem}, nil},
		{"the one before stays with a new one", fresh, [][]byte{settled.pem}, [][]byte{fresh.pem, settled.pem}, nil},
		{"and stays", fresh, [][]byte{fresh.pem, settled.pem}, [][]byte{fresh.pem, settled.pem}, nil},
		{"and goes when the new one is old enough", settled, [][]byte{settled.pem, fresh.pem}, [][]byte{settled.pem}, nil},
		{"one that has expired goes", fresh, [][]byte{expired.pem}, [][]byte{fresh.pem}, nil},
		{"one of somebody else goes", fresh, [][]byte{foreign.pem, settled.pem}, [][]byte{fresh.pem, settled.pem}, nil},
		{"one from a backup leaves the one that it replaces", settled, [][]byte{fresh.pem}, [][]byte{settled.pem, fresh.pem}, []testAuthority{fresh}},
		{"one that is read again is not new", settled, [][]byte{settled.pem, fresh.pem}, [][]byte{settled.pem}, []testAuthority{settled}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bundles := caBundles{}
			for _, in := range append(c.before, c.current) { // the Secret, one after another
				bundles.take(in.ca, now)
			}
			got := bundles.bundle(bytes.Join(c.old, nil), now)
			assert.Equal(t, string(bytes.Join(c.want, nil)), string(got))
		})
	}
}
