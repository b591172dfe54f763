// Package faults tests what becomes of objects when something breaks while hundreds
// of them are applied: servers are killed and frozen, the API server goes away, the
// certificate changes, etcd is slow. All are real processes.
//
//	load ── kube-apiserver ── Front ── two servers
//	             │
//	           etcd ── history ── judge
package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const (
	// patience is for what happens at once, but for a busy machine.
	patience = time.Minute
	tick     = 50 * time.Millisecond
	// gracePeriod is so long that no rule goes because a test takes its time.
	gracePeriod = 2 * time.Minute
)

var (
	plane *controlplane.ControlPlane
	// admin has no rate limit of its own.
	admin client.Client
	front *controlplane.Front
	// servers are the replicas behind front.
	servers = make([]*controlplane.Webhook, 2)
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (exitCode int) {
	flag.Parse()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			exitCode = 1
		}
	}
	ctx := context.Background()
	var err error
	if plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		fail(err)
		return exitCode
	}
	defer func() { fail(plane.Stop()) }()
	if err := connect(); err != nil {
		fail(err)
		return exitCode
	}
	if front, err = controlplane.NewFront(); err != nil {
		fail(err)
		return exitCode
	}
	defer func() { fail(front.Close()) }()
	// An API server that stops waits for those who watch.
	defer func() {
		for _, s := range servers {
			if s != nil {
				fail(s.Stop())
			}
		}
	}()
	options := controlplane.WebhookOptions{Front: front, Args: []string{"--grace-period=" + gracePeriod.String()}}
	for i := range servers {
		if servers[i], err = controlplane.StartWebhook(ctx, plane, options); err != nil {
			fail(err)
			return exitCode
		}
	}
	if err := createNamespaces(ctx); err != nil {
		fail(err)
		return exitCode
	}
	return m.Run()
}

func connect() error {
	scheme := runtime.NewScheme()
	if err := errors.Join(networkingv1.AddToScheme(scheme), corev1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme)); err != nil {
		return err
	}
	config := rest.CopyConfig(plane.Config)
	config.QPS = -1 // The API server limits by itself.
	var err error
	admin, err = client.New(config, client.Options{Scheme: scheme})
	return err
}

// leader is the replica that leads; after the last one was killed it takes as long as
// the Lease is valid until there is one.
func leader(t *testing.T) int {
	t.Helper()
	which := -1
	eventually(t, func() bool {
		which = slices.IndexFunc(servers, func(s *controlplane.Webhook) bool { return running(s) && s.Leading() })
		return which >= 0
	}, "a replica leads")
	return which
}

// answering is the replica that the API server sends requests to, or most of them.
func answering(t *testing.T) int {
	t.Helper()
	most := 0
	for i, s := range servers {
		if front.Connections(s.Address()) > front.Connections(servers[most].Address()) {
			most = i
		}
	}
	require.Positive(t, front.Connections(servers[most].Address()), "the API server is connected to a replica")
	return most
}

func running(s *controlplane.Webhook) bool {
	select {
	case <-s.Exited():
		return false
	default:
		return true
	}
}

// kill kills replicas all at once.
func kill(t *testing.T, replicas ...int) {
	t.Helper()
	var all sync.WaitGroup
	for _, i := range replicas {
		all.Go(func() { assert.NoError(t, servers[i].Kill()) })
	}
	all.Wait()
}

// restart starts replicas that were killed, and returns when they are ready.
func restart(t *testing.T, replicas ...int) {
	t.Helper()
	var all sync.WaitGroup
	for _, i := range replicas {
		all.Go(func() {
			again, err := servers[i].Restart(context.WithoutCancel(t.Context()))
			if assert.NoError(t, err) {
				servers[i] = again
			}
		})
	}
	all.Wait()
	require.False(t, t.Failed())
}

// logOnFailure prints what the replicas that run at the end have to say, but for
// their decisions, of which there are thousands.
func logOnFailure(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for i, s := range servers {
			lines := slices.DeleteFunc(strings.Split(s.Log(), "\n"), func(line string) bool { return strings.Contains(line, `"msg":"decided"`) })
			t.Logf("replica %d said:\n%s", i, strings.Join(lines[max(0, len(lines)-100):], "\n"))
		}
	})
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(tick) {
		require.True(t, time.Now().Before(deadline), "not within %s: %s", patience, what)
	}
}
