// Package e2e tests the product as its users meet it: kubectl before a real
// kube-apiserver, which calls the real binary with the webhook configurations of
// deploy/. What an object must come to is tested closer to the decision; here are
// the scenarios' whole way, and what only the whole can get wrong.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// setupUser is exempt in every policy of these tests: it stores what the webhook
// would refuse or change.
const setupUser = "scenario-setup"

const defaultPolicy = `apiVersion: config.egress-tls.dev/v1alpha1
kind: EgressTLSPolicy
exemptions:
  namespaces: [kube-system, exempt]
  usernames: [` + setupUser + `]
`

// admissionAlone keeps the reconciler from what setupUser stores, and from finishing what
// these tests want to see from admission. It has tests of its own.
const admissionAlone = "--reconcile=false"

// oldest chooses the end of the supported versions that the tests run at.
var oldest = flag.Bool("oldest", false, "run against the oldest supported Kubernetes and Istio CRDs")

var (
	plane *controlplane.ControlPlane
	// reader reads from the API server, without a cache; writer writes as setupUser.
	reader, writer client.Client
	// asSetup makes kubectl act as setupUser.
	asSetup string
	// running is the webhook that the last test used; it serves the next one too
	// if that wants the same policy.
	running struct {
		policy  string
		webhook *controlplane.Webhook
	}
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (exitCode int) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			exitCode = 1
		}
	}
	flag.Parse()
	var err error
	if plane, err = controlplane.Start(context.Background(), controlplane.Options{Audit: true, Oldest: *oldest}); err != nil {
		fail(err)
		return exitCode
	}
	defer func() { fail(plane.Stop()) }()
	// An API server that stops waits for those who watch.
	defer func() {
		if running.webhook != nil {
			fail(running.webhook.Stop())
		}
	}()
	if err := connect(); err != nil {
		fail(err)
		return exitCode
	}
	return m.Run()
}

func connect() error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{networkingv1.AddToScheme, corev1.AddToScheme, admissionregistrationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	kubeconfig, err := plane.UserKubeconfig(setupUser, "system:masters")
	if err != nil {
		return err
	}
	asSetup = "--kubeconfig=" + kubeconfig
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // The API server limits by itself.
	if writer, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	reader, err = client.New(plane.Config, client.Options{Scheme: scheme})
	return err
}

// server returns a webhook with the default policy.
func server(t *testing.T) *controlplane.Webhook {
	t.Helper()
	return serverWith(t, defaultPolicy)
}

// serverWith returns a webhook with the given policy: the one that runs, if it has
// that policy, else a new one in its place.
func serverWith(t *testing.T, policy string) *controlplane.Webhook {
	t.Helper()
	if running.webhook == nil || running.policy != policy {
		stopServer(t)
		running.webhook = start(t, controlplane.WebhookOptions{Args: []string{"--config=" + writeFile(t, policy), admissionAlone}})
		running.policy = policy
	}
	running.webhook.LogOnFailure(t)
	return running.webhook
}

// ownServer starts a webhook for this test alone, in place of the one that runs.
func ownServer(t *testing.T, options controlplane.WebhookOptions) *controlplane.Webhook {
	t.Helper()
	stopServer(t)
	options.Args = append(options.Args, "--config="+writeFile(t, defaultPolicy), admissionAlone)
	webhook := start(t, options)
	webhook.LogOnFailure(t)
	t.Cleanup(func() { _ = webhook.Kill() })
	return webhook
}

func stopServer(t *testing.T) {
	t.Helper()
	if running.webhook != nil {
		require.NoError(t, running.webhook.Kill()) // A second faster than Stop, which has tests of its own.
		running.webhook = nil
	}
}

func start(t *testing.T, options controlplane.WebhookOptions) *controlplane.Webhook {
	t.Helper()
	webhook, err := controlplane.StartWebhook(context.WithoutCancel(t.Context()), plane, options)
	require.NoError(t, err)
	return webhook
}

// writeFile writes a file that the test may leave behind for a later one.
func writeFile(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// newestOnly skips a slow test of what no version of Kubernetes or Istio changes.
func newestOnly(t *testing.T) {
	t.Helper()
	if *oldest {
		t.Skip("it shows the same on every control plane")
	}
}

// noError is for what a goroutine or a cleanup cannot require.
func noError(t *testing.T, err error, doing string) {
	t.Helper()
	if err != nil {
		t.Error(fmt.Errorf("failed to %s: %w", doing, err))
	}
}
