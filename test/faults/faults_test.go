package faults

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

var (
	length = flag.Duration("for", 0, "for how long TestRandomFaults breaks things in random order; not at all if 0")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of that order")
)

// fault breaks something and, but for what mends itself, mends it.
type fault struct {
	name string
	// needsLeader waits for a leader before the load begins.
	needsLeader bool
	run         func(*testing.T, *load)
}

// faults are in an order in which no time is lost with waiting until the Lease of a
// leader that was killed has run out.
var faults = []fault{
	{"LeaderIsKilled", true, func(t *testing.T, _ *load) {
		i := leader(t)
		kill(t, i)
		restart(t, i)
	}},
	{"ReplicaThatAnswersIsKilled", false, func(t *testing.T, _ *load) {
		i := answering(t)
		kill(t, i)
		restart(t, i)
	}},
	{"APIServerIsKilled", false, func(t *testing.T, _ *load) {
		require.NoError(t, plane.KillAPIServer())
		require.NoError(t, plane.StartAPIServer())
	}},
	{"AuthorityChanges", false, func(t *testing.T, l *load) {
		expired, err := controlplane.NewAuthority(time.Now().Add(-time.Hour))
		require.NoError(t, err)
		changeAuthority(t, func(secret *corev1.Secret) error {
			secret.Data = map[string][]byte{"ca.crt": expired.CertPEM, "tls.crt": expired.CertPEM, "tls.key": expired.KeyPEM}
			return admin.Update(t.Context(), secret)
		})
		changeAuthority(t, func(secret *corev1.Secret) error { return admin.Delete(t.Context(), secret) })
		assert.NotContains(t, strings.Join(l.reasons(), "\n"), "x509", "the API server trusts each certificate that it meets")
	}},
	{"EtcdIsSlow", false, func(t *testing.T, l *load) {
		end, err := plane.SlowEtcd(400*time.Millisecond, 100*time.Millisecond)
		require.NoError(t, err)
		answered := l.answered.Load()
		eventually(t, func() bool { return l.answered.Load() > answered+150 }, "it is slow, not away")
		assert.NoError(t, end())
	}},
	{"ReplicaThatAnswersIsFrozen", false, func(t *testing.T, l *load) {
		i := answering(t)
		failed := l.failed()
		require.NoError(t, servers[i].Signal(syscall.SIGSTOP))
		eventually(t, func() bool { return l.failed() > failed }, "the API server waits no longer")
		require.NoError(t, servers[i].Signal(syscall.SIGCONT))
	}},
	{"AllReplicasAreKilled", true, func(t *testing.T, _ *load) {
		kill(t, 0, 1)
		restart(t, 0, 1)
	}},
}

func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) { underLoad(t, f) })
	}
}

func TestRandomFaults(t *testing.T) {
	if *length == 0 {
		t.Skip("make faults runs it")
	}
	t.Logf("-seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 0))
	for begun := time.Now(); time.Since(begun) < *length && !t.Failed(); {
		f := faults[random.IntN(len(faults))]
		t.Run(f.name, func(t *testing.T) {
			underLoad(t, f)
			// What the load stored would pile up.
			for i := range namespaces {
				for _, o := range []client.Object{&networkingv1.VirtualService{}, &networkingv1.ServiceEntry{}, &networkingv1.DestinationRule{}} {
					require.NoError(t, admin.DeleteAllOf(t.Context(), o, client.InNamespace(namespace(i))))
				}
			}
		})
	}
}

// underLoad breaks something while hundreds of applies are in flight.
func underLoad(t *testing.T, f fault) {
	t.Helper()
	logOnFailure(t)
	l := mixedLoad(t)
	if f.needsLeader {
		leader(t)
	}
	l.start(t)
	eventually(t, func() bool { return l.answered.Load() >= 200 }, "the load is under way")
	require.Greater(t, l.inFlight.Load(), int64(senders/2))
	broken := time.Now()
	f.run(t, l)
	t.Logf("broken and mended within %.1f s", time.Since(broken).Seconds())
	l.finish(t, broken)
	for _, s := range servers {
		require.NoError(t, s.WaitReady(t.Context()))
	}
}

// changeAuthority does something to the Secret of the servers' own authority, and
// waits until they have made a new one, told the API server, and serve by it.
func changeAuthority(t *testing.T, change func(*corev1.Secret) error) {
	t.Helper()
	name := client.ObjectKey{Namespace: "egress-tls-system", Name: "egress-tls-webhook-ca"}
	secret := &corev1.Secret{}
	require.NoError(t, admin.Get(t.Context(), name, secret))
	old := [][]byte{secret.Data["ca.crt"]}
	require.NoError(t, change(secret))
	old = append(old, secret.Data["ca.crt"])
	eventually(t, func() bool {
		var secret corev1.Secret
		if admin.Get(t.Context(), name, &secret) != nil {
			return false
		}
		ca := secret.Data["ca.crt"]
		return !bytes.Equal(ca, old[0]) && !bytes.Equal(ca, old[1]) &&
			!slices.ContainsFunc(servers, func(s *controlplane.Webhook) bool { return !servesBy(t, s, ca) })
	}, "all replicas serve by a new authority")
}

// servesBy tells whether a client that trusts nothing but the authority takes the server's
// certificate.
func servesBy(t *testing.T, s *controlplane.Webhook, authority []byte) bool {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.Address())
	if err != nil {
		require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
		return false
	}
	return assert.NoError(t, conn.Close())
}
