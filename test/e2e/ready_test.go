package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// A mesh that was not seen is no empty mesh: a webhook that may not list one kind
// never answers, and failurePolicy Fail refuses in its place.
func TestWebhookThatCannotSeeTheMeshIsNeverReady(t *testing.T) {
	does(t, `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: blind}
rules:
- {apiGroups: [networking.istio.io], resources: [serviceentries, destinationrules, gateways], verbs: ["*"]}
- {apiGroups: ["", admissionregistration.k8s.io], resources: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: blind}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: blind}
subjects: [{kind: User, name: blind}]
`, "apply", "-f", "-")
	kubeconfig, err := plane.UserKubeconfig("blind")
	require.NoError(t, err)
	stopServer(t)
	s := newSite(t)

	ctx, stop := context.WithCancel(t.Context())
	started, waiting := make(chan error, 1), make(chan struct{})
	go func() {
		_, err := controlplane.StartWebhook(ctx, plane, controlplane.WebhookOptions{
			Kubeconfig: kubeconfig,
			NotReady:   sync.OnceFunc(func() { close(waiting) }),
		})
		started <- err
	}()
	select {
	case <-waiting:
	case err := <-started:
		require.NoError(t, err)
	}
	// Until its address is in the configurations, the API server calls the last one.
	eventually(t, func() bool {
		result := kubectl(t, s.entry(), "create", "-f", "-")
		require.Equal(t, 1, result.ExitCode, "nothing is admitted without the mesh")
		return strings.HasPrefix(result.Stderr, `Error from server (InternalError): error when creating "STDIN": Internal error occurred: failed calling webhook "mutate.egress-tls.dev": failed to call webhook: Post `) &&
			!strings.Contains(result.Stderr, "connection refused")
	}, "the webhook is called")
	for _, mode := range []policy.Mode{policy.Warn, policy.Audit, policy.Off} {
		observed := newSite(t, mode)
		assert.Equal(t, controlplane.Result{Stdout: "serviceentry.networking.istio.io/external created\n"},
			kubectl(t, observed.entry(), "create", "-f", "-"), "mode %s never blocks", mode)
	}
	stop()
	err = <-started
	require.Error(t, err)
	assert.Contains(t, err.Error(), "failed to start the webhook: it is not ready, /readyz: 503 not ready: the informers have not seen the whole mesh yet: context canceled\n")
}

func TestShutdownLosesNoRequest(t *testing.T) {
	newestOnly(t)
	webhook := ownServer(t, controlplane.WebhookOptions{Args: []string{"--drain-delay=2s"}})
	client := dialer(t)
	asked := review("CREATE", withSpec(`{"hosts": ["a.example"]}`), "null")

	// Half of a request is on its way when the signal comes.
	slow, body := io.Pipe()
	answered := make(chan bool, 1)
	go func() {
		response, err := postTo(client, webhook.URL()+validatePath, slow)
		noError(t, err, "get the answer to a request that was on its way")
		answered <- err == nil && response.Allowed
	}()
	_, err := io.WriteString(body, asked[:len(asked)/2])
	require.NoError(t, err)

	require.NoError(t, webhook.Signal(syscall.SIGTERM))
	eventually(t, func() bool { return readyz(t, webhook) == "503 not ready: shutting down\n" }, "readyz says so")
	assert.True(t, post(t, webhook, validatePath, asked).Allowed, "what the API server still sends is answered")
	// The port closes only then.
	eventually(t, func() bool { return strings.Contains(webhook.Log(), `"msg":"Stopping and waiting for HTTP servers"`) }, "the port closes")
	_, err = io.WriteString(body, asked[len(asked)/2:])
	require.NoError(t, err)
	require.NoError(t, body.Close())
	assert.True(t, <-answered)

	select {
	case <-webhook.Exited():
	case <-time.After(patience):
		t.Fatal("it does not exit")
	}
	require.NoError(t, webhook.Stop(), "it exits with 0")
	assert.Contains(t, webhook.Log(), `"msg":"stopped"`)
}

func TestRequestsInFlightAreAnsweredAllTheWayThroughARollout(t *testing.T) {
	newestOnly(t)
	front, err := controlplane.NewFront()
	require.NoError(t, err)
	defer func() { noError(t, front.Close(), "close the front") }()
	options := controlplane.WebhookOptions{Front: front, Args: []string{"--drain-delay=1s"}}
	old := ownServer(t, options)
	s := newSite(t)

	done := make(chan struct{})
	stopped := make(chan []controlplane.Result)
	go func() {
		var failed []controlplane.Result
		for {
			select {
			case <-done:
				stopped <- failed
				return
			default:
			}
			if r := plane.Kubectl(context.WithoutCancel(t.Context()), s.entry(), "create", "--dry-run=server", "-f", "-"); r.ExitCode != 0 {
				failed = append(failed, r)
			}
		}
	}()
	next := ownServer(t, options)
	front.Remove(old.Address()) // As the endpoint of a Pod that is told to stop.
	require.NoError(t, old.Stop())
	assert.True(t, post(t, next, validatePath, review("CREATE", withSpec(`{"hosts": ["a.example"]}`), "null")).Allowed)
	does(t, s.entry(), "create", "--dry-run=server", "-f", "-")
	close(done)
	assert.Empty(t, <-stopped)
}

func readyz(t *testing.T, webhook *controlplane.Webhook) string {
	t.Helper()
	response, err := http.Get(webhook.HealthURL() + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.Status[:4] + string(body)
}
