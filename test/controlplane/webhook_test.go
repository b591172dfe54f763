package controlplane_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// fakeWebhookEnv makes the test binary a stand-in for the server: its value names the stand-in,
// or a way to fail.
const fakeWebhookEnv = "CONTROLPLANE_TEST_WEBHOOK"

func TestWebhookIsCalledOnceStarted(t *testing.T) {
	webhook := startFake(t, nil, "one")
	created := plane.Kubectl(t.Context(), serviceEntry("called"), "create", "-f", "-")
	assert.Zero(t, created.ExitCode, created.Stderr)
	assert.Equal(t, "Warning: /mutate by one\nWarning: /validate by one\n", created.Stderr)

	// Only what a process outside of the cluster has a use for is applied.
	service := plane.Kubectl(t.Context(), "", "get", "service", "-n", "stand-in", "-o", "name")
	assert.Empty(t, service.Stdout)
	// Of the configurations the service is replaced, and nothing else.
	config := plane.Kubectl(t.Context(), "", "get", "validatingwebhookconfiguration", "stand-in", "-o",
		"jsonpath={.webhooks[0].clientConfig.url} {.webhooks[0].clientConfig.service} {.webhooks[0].failurePolicy}")
	assert.Equal(t, webhook.URL()+"/validate  Fail", config.Stdout)

	require.NoError(t, webhook.Stop())
	assert.Contains(t, webhook.Log(), `"msg":"stopped"`)
	refused := plane.Kubectl(t.Context(), serviceEntry("refused"), "create", "-f", "-")
	assert.Contains(t, refused.Stderr, "failed calling webhook")

	require.NoError(t, plane.UninstallWebhook(t.Context()))
	alone := plane.Kubectl(t.Context(), serviceEntry("alone"), "create", "-f", "-")
	assert.Equal(t, controlplane.Result{Stdout: "serviceentry.networking.istio.io/alone created\n"}, alone)
}

func TestWebhooksShareAFront(t *testing.T) {
	front, err := controlplane.NewFront()
	require.NoError(t, err)
	defer func() { assert.NoError(t, front.Close()) }()
	one, two := startFake(t, front, "one"), startFake(t, front, "two")

	require.NoError(t, one.Kill())
	front.Remove(one.Address())
	created := plane.Kubectl(t.Context(), serviceEntry("shared"), "create", "--dry-run=server", "-f", "-")
	assert.Equal(t, "Warning: /mutate by two\nWarning: /validate by two\n", created.Stderr)

	require.NoError(t, two.Stop())
	one = startFake(t, front, "one again")
	created = plane.Kubectl(t.Context(), serviceEntry("shared"), "create", "--dry-run=server", "-f", "-")
	assert.Equal(t, "Warning: /mutate by one again\nWarning: /validate by one again\n", created.Stderr)
	require.NoError(t, one.Stop())
}

func TestStartWebhookTellsWhyItFailed(t *testing.T) {
	for _, test := range []struct {
		behavior string
		timeout  time.Duration
		want     string
	}{
		{"exits", time.Minute, "it exited: exit status 3\n"},
		{"silent", 3 * time.Second, "it says of 0 servers of 3 where they listen: context deadline exceeded\n"},
		{"not ready", 5 * time.Second, "it is not ready, /readyz: 503 cache not synced: context deadline exceeded\n"},
		{"no CA", 6 * time.Second, `the API server gets no answer from ["mutate.stand-in.dev" "validate.stand-in.dev"]: `},
	} {
		t.Run(test.behavior, func(t *testing.T) {
			t.Cleanup(func() { assert.NoError(t, plane.UninstallWebhook(context.WithoutCancel(t.Context()))) })
			_, err := controlplane.StartWebhook(t.Context(), plane, fakeOptions(nil, test.behavior, test.timeout))
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(err.Error(), "failed to start the webhook: "+test.want), err)
			assert.Contains(t, err.Error(), `"msg":"hello"`, "the log is in the error")
		})
	}
}

func startFake(t *testing.T, front *controlplane.Front, name string) *controlplane.Webhook {
	t.Helper()
	webhook, err := controlplane.StartWebhook(t.Context(), plane, fakeOptions(front, name, 0))
	require.NoError(t, err)
	webhook.LogOnFailure(t)
	t.Cleanup(func() {
		assert.NoError(t, webhook.Kill())
		assert.NoError(t, plane.UninstallWebhook(context.WithoutCancel(t.Context())))
	})
	return webhook
}

func fakeOptions(front *controlplane.Front, behavior string, timeout time.Duration) controlplane.WebhookOptions {
	return controlplane.WebhookOptions{
		Binary:       os.Args[0],
		Env:          []string{fakeWebhookEnv + "=" + behavior},
		Manifests:    "test/controlplane/testdata/webhook",
		Front:        front,
		StartTimeout: timeout,
	}
}

// fakeWebhook does what StartWebhook expects of the server, and allows everything with a warning.
func fakeWebhook() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	behavior := os.Getenv(fakeWebhookEnv)
	log.Info("hello", "args", os.Args[1:])
	if behavior == "exits" {
		os.Exit(3)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if behavior == "leads" {
		log.Info("leading")
		demoted := make(chan os.Signal, 1)
		signal.Notify(demoted, syscall.SIGUSR1)
		go func() {
			<-demoted
			log.Info("no longer leading")
		}()
	}

	// The certificate of httptest is its own CA, and the same in every process.
	webhook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{
			UID:      review.Request.UID,
			Allowed:  true,
			Warnings: []string{fmt.Sprintf("%s by %s", r.URL.Path, behavior)},
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if behavior == "not ready" {
			http.Error(w, "cache not synced", http.StatusServiceUnavailable)
			return
		}
	}))
	if behavior != "silent" {
		log.Info("listening", "server", "webhook", "address", webhook.Listener.Addr().String())
		log.Info("listening", "server", "health", "address", plain.Listener.Addr().String())
		log.Info("listening", "server", "metrics", "address", plain.Listener.Addr().String())
	}
	if behavior != "no CA" {
		go fillCABundle(log, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: webhook.Certificate().Raw}))
	}
	<-signals
	log.Info("stopped")
	os.Exit(0)
}

// fillCABundle writes the CA once the configurations are there, with the rights of the manifests.
func fillCABundle(log *slog.Logger, ca []byte) {
	var kubeconfig string
	for _, arg := range os.Args {
		if value, ok := strings.CutPrefix(arg, "--kubeconfig="); ok {
			kubeconfig = value
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		log.Error(err.Error())
		return
	}
	client := kubernetes.NewForConfigOrDie(config).AdmissionregistrationV1()
	caJSON, _ := json.Marshal(ca)
	for _, name := range []string{"mutate", "validate"} {
		patch := bytes.ReplaceAll([]byte(`{"webhooks":[{"name":"`+name+`.stand-in.dev","clientConfig":{"caBundle":CA}}]}`), []byte("CA}"), append(caJSON, '}'))
		for {
			if name == "mutate" {
				_, err = client.MutatingWebhookConfigurations().Patch(context.Background(), "stand-in", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			} else {
				_, err = client.ValidatingWebhookConfigurations().Patch(context.Background(), "stand-in", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			}
			if err == nil {
				break
			}
			log.Info("cannot fill the caBundle yet", "err", err.Error())
			time.Sleep(50 * time.Millisecond)
		}
	}
}
