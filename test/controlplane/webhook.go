package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// WebhookOptions are what a webhook can differ in. The zero value runs what deploy/ would run.
type WebhookOptions struct {
	// Binary is the server. Built from cmd/egress-tls-webhook if empty.
	Binary string
	// Kubeconfig says as whom the server talks to the API server. If empty, as the ServiceAccount
	// of the manifests, with no rights but theirs.
	Kubeconfig string
	// Args are further flags of the server; Env is added to this process's environment.
	Args, Env []string
	// Manifests is a kustomize directory, relative to the repository: deploy/kustomize/base if
	// empty.
	Manifests string
	// Front is put before the server, for several of them behind one configuration.
	Front *Front
	// StartTimeout bounds the time until the server is ready and called. A minute if zero.
	StartTimeout time.Duration
	// LogFile is where the server writes its log, itself. Log then tells only the beginning. If
	// empty, Log keeps all of it.
	LogFile string
	// Uncalled leaves the webhook configurations as they are: only a test calls the server.
	Uncalled bool
	// LogLine is given each line of the log, also after Restart and Replace. Optional.
	LogLine func([]byte)
	// NotReady is called whenever the server, with the configurations pointing to it, says that it
	// is not ready yet. Optional.
	NotReady func()
}

// Webhook is a running server.
type Webhook struct {
	cmd       *exec.Cmd
	log       *serverLog
	logging   logging
	front     *Front
	launched  chan struct{} // closed when it is known where it listens
	exited    chan struct{} // closed when the process is gone
	waitErr   error         // of the process, once exited is closed
	addresses map[string]string
}

// The servers of the binary, as its log names them.
const (
	webhookServer = "webhook"
	healthServer  = "health"
	metricsServer = "metrics"
)

// StartWebhook applies the manifests of deploy/, except what would run in the cluster, starts the
// server and points the webhook configurations to it. It returns when the server is ready and the
// API server calls every webhook that takes the namespace default successfully: until then it may not have
// seen the configuration or the CA that the server put into it.
func StartWebhook(ctx context.Context, cp *ControlPlane, options WebhookOptions) (_ *Webhook, err error) {
	timeout := options.StartTimeout
	if timeout == 0 {
		timeout = time.Minute
	}
	binary := options.Binary
	if binary == "" {
		if binary, err = cp.Build(ctx, "./cmd/egress-tls-webhook"); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	manifests, err := cp.renderManifests(ctx, options.Manifests)
	if err != nil {
		return nil, err
	}
	called, err := manifests.calledForProbe()
	if err != nil {
		return nil, err
	}
	if err := cp.apply(ctx, manifests.access); err != nil {
		return nil, err
	}
	kubeconfig := options.Kubeconfig
	if kubeconfig == "" {
		if kubeconfig, err = cp.ServiceAccountKubeconfig(manifests.serviceAccount.Namespace, manifests.serviceAccount.Name); err != nil {
			return nil, err
		}
	}

	command := append(cp.guarded(binary,
		"--kubeconfig="+kubeconfig,
		"--webhook-bind-address=127.0.0.1:0",
		"--health-probe-bind-address=127.0.0.1:0",
		"--metrics-bind-address=127.0.0.1:0",
		"--serving-names=127.0.0.1",
		"--drain-delay=0s",
	), options.Args...)
	env := append(append(os.Environ(), "POD_NAMESPACE="+manifests.serviceAccount.Namespace), options.Env...)
	w, err := launch(ctx, command, env, options.Front, logging{options.LogFile, options.LogLine})
	if err != nil {
		return nil, err
	}
	defer func() { err = w.abandon(err) }()
	if options.Uncalled {
		err = w.waitReady(ctx, options.NotReady)
		return w, err
	}
	target := w.URL()
	if w.front != nil {
		w.front.Add(w.addresses[webhookServer])
		target = w.front.URL()
	}
	cp.setInstalled(manifests)
	if err := cp.apply(ctx, manifests.webhooksAt(target)); err != nil {
		return nil, err
	}
	if err := w.waitReady(ctx, options.NotReady); err != nil {
		return nil, err
	}
	if err := cp.waitCalls(ctx, called, true); err != nil {
		return nil, err
	}
	return w, nil
}

// Restart starts the server again once it is gone, as the kubelet does: with the same flags, and
// behind its Front, in place of the one that is gone, when it is ready.
func (w *Webhook) Restart(ctx context.Context) (_ *Webhook, err error) {
	<-w.exited
	return w.succeed(ctx)
}

// Replace starts another server with the same flags and, when that one is ready and behind the Front,
// stops this one, as the rollout of a Deployment does.
func (w *Webhook) Replace(ctx context.Context) (*Webhook, error) {
	next, err := w.succeed(ctx)
	if err != nil {
		return nil, err
	}
	return next, w.Stop()
}

// succeed starts a server that takes this one's place in its Front.
func (w *Webhook) succeed(ctx context.Context) (_ *Webhook, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	next, err := launch(ctx, w.cmd.Args, w.cmd.Env, w.front, w.logging)
	if err != nil {
		return nil, err
	}
	defer func() { err = next.abandon(err) }()
	if err := next.waitReady(ctx, nil); err != nil {
		return nil, err
	}
	if w.front != nil {
		w.front.Add(next.Address())
		w.leaveFront()
	}
	return next, nil
}

// logging is where a server's log goes: a file, or a function that gets each line; both may be empty.
type logging struct {
	file string
	each func([]byte)
}

// launch starts the server and waits until it says where it listens.
func launch(ctx context.Context, command, env []string, front *Front, log logging) (_ *Webhook, err error) {
	w, err := start(command, env, log)
	if err != nil {
		return nil, err
	}
	w.front = front
	defer func() { err = w.abandon(err) }()
	for range []string{webhookServer, healthServer, metricsServer} {
		select {
		case l := <-w.log.listening:
			w.addresses[l.Server] = l.Address
		case <-w.exited:
			return nil, fmt.Errorf("it exited: %w", w.waitErr)
		case <-ctx.Done():
			return nil, fmt.Errorf("it says of %d servers of 3 where they listen: %w", len(w.addresses), ctx.Err())
		}
	}
	close(w.launched)
	return w, nil
}

// start starts the server.
func start(command, env []string, log logging) (*Webhook, error) {
	w := &Webhook{
		log: newServerLog(log.each), logging: log,
		launched: make(chan struct{}), exited: make(chan struct{}), addresses: map[string]string{},
	}
	w.cmd = exec.Command(command[0], command[1:]...)
	w.cmd.Env = env
	w.cmd.Stdout, w.cmd.Stderr = w.log, w.log
	var from int64
	if log.file != "" {
		file, err := os.OpenFile(log.file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("failed to open the webhook's log: %w", err)
		}
		defer file.Close() //nolint:errcheck // The process holds it open by itself.
		if from, err = file.Seek(0, io.SeekEnd); err != nil {
			return nil, fmt.Errorf("failed to open the webhook's log: %w", err)
		}
		w.cmd.Stdout, w.cmd.Stderr = file, file
	}
	// Ctrl-C at the terminal goes to this process, which stops the server in its own order.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("failed to start the webhook: %w", err)
	}
	if log.file != "" {
		go w.follow(from)
	}
	go func() {
		w.waitErr = w.cmd.Wait()
		close(w.exited)
	}()
	return w, nil
}

// follow reads what the server writes to its file until it is launched.
func (w *Webhook) follow(from int64) {
	file, err := os.Open(w.logging.file)
	if err != nil {
		return // launch runs out of time.
	}
	defer file.Close() //nolint:errcheck // Only read from.
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return
	}
	for {
		if _, err := io.Copy(w.log, file); err != nil {
			return
		}
		select {
		case <-w.launched:
			return
		case <-w.exited:
			_, _ = io.Copy(w.log, file)
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// abandon ends a server whose start failed and puts its log into the error, if there is one.
func (w *Webhook) abandon(err error) error {
	if err == nil {
		return nil
	}
	w.leaveFront()
	_ = w.Kill()
	return fmt.Errorf("failed to start the webhook: %w\n%s", err, lastLines(w.Log(), 40))
}

// URL is where the server serves admission.
func (w *Webhook) URL() string { return "https://" + w.addresses[webhookServer] }

// Address is the host and port of that URL, to remove it from a Front.
func (w *Webhook) Address() string { return w.addresses[webhookServer] }

// HealthURL is where it serves /healthz and /readyz.
func (w *Webhook) HealthURL() string { return "http://" + w.addresses[healthServer] }

// MetricsAddress is the host and port of /metrics.
func (w *Webhook) MetricsAddress() string { return w.addresses[metricsServer] }

// PID is the server's process id.
func (w *Webhook) PID() int { return w.cmd.Process.Pid }

// Log is what the server logged so far, JSON lines: the last of them if they are very many.
func (w *Webhook) Log() string { return w.log.String() }

// Leading tells whether the server's log says so: one that is frozen cannot tell that it leads no more.
func (w *Webhook) Leading() bool { return w.log.isLeading() }

// LogOnFailure prints the log when the test ends, if it failed.
func (w *Webhook) LogOnFailure(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of webhook %d:\n%s", w.PID(), w.Log())
		}
	})
}

// WaitReady waits until /readyz answers 200.
func (w *Webhook) WaitReady(ctx context.Context) error { return w.waitReady(ctx, nil) }

func (w *Webhook) waitReady(ctx context.Context, notReady func()) error {
	last := "no answer"
	for {
		status, body, err := get(ctx, w.HealthURL()+"/readyz")
		switch {
		case err == nil && status == http.StatusOK:
			return nil
		case err == nil:
			last = fmt.Sprintf("%d %s", status, body)
			if notReady != nil {
				notReady()
			}
		case ctx.Err() == nil:
			last = err.Error()
		}
		select {
		case <-w.exited:
			return fmt.Errorf("it exited: %w", w.waitErr)
		case <-ctx.Done():
			return fmt.Errorf("it is not ready, /readyz: %s: %w", strings.TrimSpace(last), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Signal sends the server a signal.
func (w *Webhook) Signal(sig os.Signal) error { return w.cmd.Process.Signal(sig) }

// Exited is closed when the server is gone.
func (w *Webhook) Exited() <-chan struct{} { return w.exited }

// Stop removes the server from its Front, ends it as Kubernetes does, with SIGTERM and 30 s later
// with SIGKILL, and returns an error unless it exited with 0.
func (w *Webhook) Stop() error {
	w.leaveFront()
	if err := w.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-w.exited:
		return w.waitErr
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the webhook did not stop within 30 s of SIGTERM"), w.Kill())
	}
}

// Kill ends the server at once, as a lost node would. It stays in its Front.
func (w *Webhook) Kill() error {
	if err := w.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-w.exited
	return nil
}

func (w *Webhook) leaveFront() {
	if w.front != nil {
		w.front.Remove(w.Address())
	}
}

// UninstallWebhook deletes the webhook configurations and returns when the API server calls them
// no more. While they are there and no webhook runs, they refuse every write to an Istio object.
func (cp *ControlPlane) UninstallWebhook(ctx context.Context) error {
	manifests := cp.setInstalled(nil)
	if manifests == nil {
		return nil
	}
	for _, object := range manifests.webhooks {
		result := cp.Kubectl(ctx, "", "delete", "--ignore-not-found", object.GetKind(), object.GetName())
		if result.ExitCode != 0 {
			return fmt.Errorf("failed to delete the webhook configurations: %s", result.Stderr)
		}
	}
	called, err := manifests.calledForProbe()
	if err != nil {
		return err
	}
	return cp.waitCalls(ctx, called, false)
}

// setInstalled remembers whose webhook configurations are installed and returns whose were before.
func (cp *ControlPlane) setInstalled(next *manifests) (previous *manifests) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	previous, cp.installed = cp.installed, next
	return previous
}

// manifests are the objects of deploy/ by the use that a process outside of the cluster has for
// them.
type manifests struct {
	// access is what the server needs to be let in: its namespace, account and rights.
	access []*unstructured.Unstructured
	// webhooks are the webhook configurations.
	webhooks       []*unstructured.Unstructured
	serviceAccount struct{ Namespace, Name string }
}

func (cp *ControlPlane) renderManifests(ctx context.Context, dir string) (*manifests, error) {
	if dir == "" {
		dir = filepath.Join("deploy", "kustomize", "base")
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(cp.root, dir)
	}
	rendered := cp.Kubectl(ctx, "", "kustomize", dir)
	if rendered.ExitCode != 0 {
		return nil, fmt.Errorf("failed to render %s: %s", dir, rendered.Stderr)
	}

	result := &manifests{}
	for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(rendered.Stdout), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("failed to read the manifests of %s: %w", dir, err)
		}
		switch object.GetKind() {
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			result.webhooks = append(result.webhooks, object)
		case "ServiceAccount":
			result.serviceAccount.Namespace, result.serviceAccount.Name = object.GetNamespace(), object.GetName()
			result.access = append(result.access, object)
		case "Namespace", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding":
			result.access = append(result.access, object)
		}
	}
	if len(result.webhooks) == 0 || result.serviceAccount.Name == "" {
		return nil, fmt.Errorf("the manifests of %s hold no webhook configuration or no ServiceAccount", dir)
	}
	return result, nil
}

// webhooksAt returns the webhook configurations with each service replaced by a URL below base,
// and nothing else changed.
func (m *manifests) webhooksAt(base string) []*unstructured.Unstructured {
	var objects []*unstructured.Unstructured
	for _, object := range m.webhooks {
		object = object.DeepCopy()
		for _, webhook := range webhooksOf(object) {
			clientConfig, _, _ := unstructured.NestedMap(webhook, "clientConfig")
			path, _, _ := unstructured.NestedString(clientConfig, "service", "path")
			delete(clientConfig, "service")
			clientConfig["url"] = base + path
			webhook["clientConfig"] = clientConfig
		}
		objects = append(objects, object)
	}
	return objects
}

// calledForProbe returns the names of the webhooks that take objects of the namespace default, which
// has no label of ours.
func (m *manifests) calledForProbe() (names []string, err error) {
	for _, object := range m.webhooks {
		for _, webhook := range webhooksOf(object) {
			var typed admissionregistrationv1.ValidatingWebhook
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(webhook, &typed); err != nil {
				return nil, fmt.Errorf("failed to read the webhooks of %s: %w", object.GetName(), err)
			}
			selector := labels.Everything()
			if typed.NamespaceSelector != nil {
				if selector, err = metav1.LabelSelectorAsSelector(typed.NamespaceSelector); err != nil {
					return nil, fmt.Errorf("webhook %s: %w", typed.Name, err)
				}
			}
			if selector.Matches(labels.Set{corev1.LabelMetadataName: metav1.NamespaceDefault}) {
				names = append(names, typed.Name)
			}
		}
	}
	return names, nil
}

// webhooksOf returns the webhooks of a configuration, not copies of them.
func webhooksOf(object *unstructured.Unstructured) []map[string]any {
	list, _ := object.Object["webhooks"].([]any)
	var webhooks []map[string]any
	for _, item := range list {
		if webhook, ok := item.(map[string]any); ok {
			webhooks = append(webhooks, webhook)
		}
	}
	return webhooks
}

// apply writes the objects and leaves the fields to the server that the server has put in.
func (cp *ControlPlane) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	var docs bytes.Buffer
	for _, object := range objects {
		doc, err := yaml.Marshal(object.Object)
		if err != nil {
			return err
		}
		docs.WriteString("---\n")
		docs.Write(doc)
	}
	result := cp.Kubectl(ctx, docs.String(), "apply", "--server-side", "--force-conflicts", "-f", "-")
	if result.ExitCode != 0 {
		return fmt.Errorf("failed to apply the manifests: %s", result.Stderr)
	}
	return nil
}

// probe is an object that the webhooks have nothing to say about. It is only ever a dry run.
const probe = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: egress-tls-probe
  namespace: default
spec:
  hosts: [egress-tls-probe.invalid]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
`

// waitCalls waits until a dry run makes the API server call every one of the webhooks, and each
// answers, by the API server's own count; or, if not called, until it calls none.
func (cp *ControlPlane) waitCalls(ctx context.Context, names []string, called bool) error {
	last := errors.New("not tried")
	for {
		err := cp.tryCalls(ctx, names, called)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			// What was under way says no more than that time ran out.
			return fmt.Errorf("%w: %w", last, ctx.Err())
		}
		last = err
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (cp *ControlPlane) tryCalls(ctx context.Context, names []string, called bool) error {
	before, err := cp.webhookAnswers(ctx)
	if err != nil {
		return err
	}
	result := cp.Kubectl(ctx, probe, "create", "--dry-run=server", "-f", "-")
	after, err := cp.webhookAnswers(ctx)
	if err != nil {
		return err
	}
	var wrong []string
	for _, name := range names {
		if (after[name] != before[name]) != called {
			wrong = append(wrong, name)
		}
	}
	switch {
	case len(wrong) == 0 && result.ExitCode == 0:
		return nil
	case called:
		return fmt.Errorf("the API server gets no answer from %q: %s%s", wrong, result.Stdout, result.Stderr)
	default:
		return fmt.Errorf("the API server still calls %q: %s%s", wrong, result.Stdout, result.Stderr)
	}
}

var answerMetric = regexp.MustCompile(`(?m)^apiserver_admission_webhook_request_total\{code="200",name="([^"]+)",.*\} (\S+)$`)

// webhookAnswers returns how many requests each webhook has answered, as text.
func (cp *ControlPlane) webhookAnswers(ctx context.Context) (map[string]string, error) {
	client, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		return nil, err
	}
	metrics, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("failed to read the API server's metrics: %w", err)
	}
	answers := map[string]string{}
	for _, match := range answerMetric.FindAllSubmatch(metrics, -1) {
		// One line for each operation and outcome; any change in any of them is an answer.
		answers[string(match[1])] += string(match[2]) + " "
	}
	return answers, nil
}

func get(ctx context.Context, rawURL string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// The messages of the log that are read.
const (
	listeningMessage = "listening"
	leadingMessage   = "leading"
	followingMessage = "no longer leading"
)

// listening is the line that the binary logs for each of its servers once it listens.
type listening struct {
	Message string `json:"msg"`
	Server  string `json:"server"`
	Address string `json:"address"`
}

// maxLog is how much of a log is kept.
const maxLog = 64 << 20

// serverLog keeps what is written to it and reports the lines that are read.
type serverLog struct {
	listening chan listening
	each      func([]byte) // Or nil.

	mu      sync.Mutex
	data    bytes.Buffer
	line    int // where in data the unfinished line starts
	leading bool
}

func newServerLog(each func([]byte)) *serverLog {
	return &serverLog{listening: make(chan listening, 16), each: each}
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data.Write(p)
	for {
		rest := l.data.Bytes()[l.line:]
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			if l.line > maxLog {
				half := l.line / 2
				l.line -= len(l.data.Next(half + 1 + bytes.IndexByte(l.data.Bytes()[half:], '\n')))
			}
			return len(p), nil
		}
		l.line += end + 1
		if l.each != nil {
			l.each(rest[:end])
		}
		var entry listening
		if json.Unmarshal(rest[:end], &entry) != nil {
			continue
		}
		switch entry.Message {
		case leadingMessage:
			l.leading = true
		case followingMessage:
			l.leading = false
		}
		if entry.Message != listeningMessage {
			continue
		}
		if _, _, err := net.SplitHostPort(entry.Address); err != nil {
			continue
		}
		select {
		case l.listening <- entry:
		default: // Nobody waits any more.
		}
	}
}

func (l *serverLog) isLeading() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leading
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data.String()
}
