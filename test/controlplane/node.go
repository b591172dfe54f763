package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	nodeName = "node"
	// nodeAddress and podAddress are in the range of the cluster, which nobody listens in: the
	// network leads to processes.
	nodeAddress = "10.200.0.1"
	podAddress  = "10.200.1.%d"
	// entrypoint is that of the image, see Dockerfile.
	entrypoint = "/egress-tls-webhook"

	probePeriod = 100 * time.Millisecond
	// maxBackOff is the longest pause before a container that exited is started again.
	maxBackOff = 5 * time.Second
)

// bindFlags are the flags of the server that make a port of the Pod one that the kernel picks, by the
// port's name, which is also how the server's log calls it.
var bindFlags = map[string]string{
	webhookServer: "--webhook-bind-address",
	healthServer:  "--health-probe-bind-address",
	metricsServer: "--metrics-bind-address",
}

// node is the one node of the cluster: it takes every Pod and runs its container as a process, the
// binary of the image's name built from this repository, with the Pod's arguments, environment and
// volumes. Unlike a kubelet it probes ten times a second, readiness only.
type node struct {
	cp     *ControlPlane
	client kubernetes.Interface
	api    *httptest.Server
	cancel context.CancelFunc

	mu      sync.Mutex
	pods    map[types.UID]*Pod
	created int
	workers sync.WaitGroup
}

// Pod is a Pod on the node.
type Pod struct {
	node *node
	spec *corev1.Pod
	ip   string
	dir  string
	// ending is done when it is to end gracefully, which stop makes it.
	ending context.Context
	stop   func()

	mu      sync.Mutex
	process *Webhook // The latest one.
	log     string   // Of those before.
	status  corev1.PodStatus
	token   string
}

func startNode(ctx context.Context, cp *ControlPlane) (_ *node, err error) {
	config := rest.CopyConfig(cp.Config)
	config.QPS = -1 // The API server limits by itself.
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n := &node{cp: cp, client: client, cancel: cancel, pods: map[types.UID]*Pod{}}
	n.api = httptest.NewTLSServer(http.HandlerFunc(n.serveLog))
	defer func() {
		if err != nil {
			n.stop()
		}
	}()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if object, err = client.CoreV1().Nodes().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	object.Status = corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeAddress}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
		Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
	}
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, object, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	_, err = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { n.observe(ctx, o) },
		UpdateFunc: func(_, o any) { n.observe(ctx, o) },
		DeleteFunc: func(o any) { n.forget(o) },
	})
	if err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	return n, nil
}

// stop kills what runs.
func (n *node) stop() {
	n.cancel()
	n.workers.Wait()
	n.api.Close()
}

// observe takes a new Pod, and ends one that is being deleted.
func (n *node) observe(ctx context.Context, o any) {
	spec, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p, known := n.pods[spec.UID]
	if !known && spec.DeletionTimestamp == nil && ctx.Err() == nil {
		n.created++
		p = &Pod{node: n, spec: spec, ip: fmt.Sprintf(podAddress, n.created)}
		p.ending, p.stop = context.WithCancel(ctx)
		n.pods[spec.UID] = p
		n.workers.Go(func() { p.run(ctx) })
	}
	if p != nil && spec.DeletionTimestamp != nil {
		p.stop()
	}
}

func (n *node) forget(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	spec, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pods[spec.UID]; p != nil {
		p.stop()
		delete(n.pods, spec.UID)
	}
}

// podsOf returns the Pods of a namespace, oldest first.
func (n *node) podsOf(namespace string) []*Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	pods := slices.DeleteFunc(slices.Collect(maps.Values(n.pods)), func(p *Pod) bool { return p.spec.Namespace != namespace })
	slices.SortFunc(pods, func(a, b *Pod) int { return a.spec.CreationTimestamp.Compare(b.spec.CreationTimestamp.Time) })
	return pods
}

// process returns where the process listens that has an address of the cluster, "" if none does.
func (n *node) process(address string) string {
	if address == nodeAddress+":10250" {
		return n.api.Listener.Addr().String()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		for _, port := range p.spec.Spec.Containers[0].Ports {
			if address == p.ip+":"+strconv.Itoa(int(port.ContainerPort)) {
				return p.Address(port.Name)
			}
		}
	}
	return ""
}

// serveLog answers what kubectl logs makes kube-apiserver ask a kubelet.
func (n *node) serveLog(w http.ResponseWriter, r *http.Request) {
	// /containerLogs/NAMESPACE/POD/CONTAINER
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) == 5 && parts[1] == "containerLogs" {
		for _, p := range n.podsOf(parts[2]) {
			if p.Name() == parts[3] {
				_, _ = w.Write([]byte(p.Log()))
				return
			}
		}
	}
	http.NotFound(w, r)
}

// Name is the Pod's name.
func (p *Pod) Name() string { return p.spec.Name }

// Log is all that its container wrote, with the paths that it would know.
func (p *Pod) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.log
	if p.process != nil {
		log += p.process.Log()
	}
	for _, m := range p.spec.Spec.Containers[0].VolumeMounts {
		log = strings.ReplaceAll(log, p.volumeDir(m.Name), m.MountPath)
	}
	return log
}

// Ending tells whether it is being deleted.
func (p *Pod) Ending() bool { return p.ending.Err() != nil }

// Address is where a port of the container listens on this machine, "" as long as none does.
func (p *Pod) Address(port string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return ""
	}
	return p.process.addresses[port]
}

// volumeDir is what is mounted of a volume.
func (p *Pod) volumeDir(name string) string { return filepath.Join(p.dir, "volumes", name) }

// run is the life of the Pod, which ends at once with ctx.
func (p *Pod) run(ctx context.Context) {
	if err := p.live(ctx); err != nil && ctx.Err() == nil {
		p.update(ctx, func(s *corev1.PodStatus) { s.Phase, s.Message = corev1.PodFailed, err.Error() })
	}
	if p.ending.Err() == nil || ctx.Err() != nil {
		return // It has run to completion, or everything ends.
	}
	now := int64(0)
	err := p.node.client.CoreV1().Pods(p.spec.Namespace).Delete(ctx, p.Name(), metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.spec.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		fmt.Fprintf(os.Stderr, "failed to delete Pod %s/%s, which has ended: %s\n", p.spec.Namespace, p.Name(), err)
	}
}

func (p *Pod) live(ctx context.Context) (err error) {
	if p.dir, err = os.MkdirTemp(p.node.cp.dir, "pod-"); err != nil {
		return err
	}
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.spec.Namespace, Name: p.Name(), UID: p.spec.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: nodeName},
	}
	if err := p.node.client.CoreV1().Pods(p.spec.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
		return err
	}
	container := &p.spec.Spec.Containers[0]
	for err := p.mount(ctx); err != nil; err = p.mount(ctx) {
		p.waiting(ctx, "ContainerCreating", err.Error())
		if !p.pause(time.Second) {
			return nil
		}
	}
	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	p.node.workers.Go(func() {
		for pause(following, VolumePeriod) {
			_ = p.mount(following) // What cannot be read stays as it was, and is read again.
		}
	})

	command, env, err := p.command(ctx, container)
	if err != nil {
		return err
	}
	for backOff := time.Second; ; backOff = min(2*backOff, maxBackOff) {
		if path.Base(repository(container.Image)) != path.Base(entrypoint) {
			p.waiting(ctx, "ImagePullBackOff", "the node has no image "+container.Image)
			p.pause(time.Hour)
			return nil
		}
		code, err := p.execute(ctx, command, env, container)
		if err != nil || p.ending.Err() != nil {
			return err
		}
		if p.spec.Spec.RestartPolicy == corev1.RestartPolicyNever {
			p.completed(ctx, code)
			return nil
		}
		p.crashed(ctx, code)
		if !p.pause(backOff) {
			return nil
		}
	}
}

// execute runs the container once. When the Pod is to end, it is stopped as Kubernetes does.
func (p *Pod) execute(ctx context.Context, command, env []string, container *corev1.Container) (exitCode int, err error) {
	process, err := start(command, env, logging{})
	if err != nil {
		return 0, err
	}
	defer process.Kill() //nolint:errcheck // Nothing to do about it.
	p.mu.Lock()
	if p.process != nil {
		p.log += p.process.Log()
	}
	p.process = process
	p.mu.Unlock()
	var grace <-chan time.Time
	ended := p.ending.Done()
	ready := container.ReadinessProbe == nil
	p.running(ctx, ready)
	for {
		select {
		case <-process.exited:
			if code := process.cmd.ProcessState.ExitCode(); code >= 0 {
				return code, nil
			}
			return 128 + int(syscall.SIGKILL), nil
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ended:
			ended, grace = nil, time.After(time.Duration(*p.spec.Spec.TerminationGracePeriodSeconds)*time.Second)
			if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 0, err
			}
		case <-grace:
			if err := process.Kill(); err != nil {
				return 0, err
			}
		case l := <-process.log.listening:
			p.mu.Lock()
			process.addresses[l.Server] = l.Address
			p.mu.Unlock()
		case <-time.After(probePeriod):
			if now := p.probe(ctx, container.ReadinessProbe); now != ready {
				ready = now
				p.running(ctx, ready)
			}
		}
	}
}

// probe asks a readiness probe of the kind httpGet.
func (p *Pod) probe(ctx context.Context, probe *corev1.Probe) bool {
	if probe == nil {
		return true
	}
	address := p.Address(probe.HTTPGet.Port.StrVal)
	if address == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
	defer cancel()
	status, _, err := get(ctx, "http://"+address+probe.HTTPGet.Path)
	return err == nil && status == http.StatusOK
}

// command is the container's command line, with paths in its volumes and ports on this machine.
func (p *Pod) command(ctx context.Context, container *corev1.Container) (command, env []string, err error) {
	image := entrypoint
	if len(container.Command) > 0 {
		image = container.Command[0]
	}
	binary, err := p.node.cp.Build(ctx, "./cmd"+image)
	if err != nil {
		return nil, nil, err
	}
	args := slices.Concat(container.Command[min(1, len(container.Command)):], container.Args)
	for i := range args {
		for _, m := range container.VolumeMounts {
			args[i] = strings.ReplaceAll(args[i], m.MountPath, p.volumeDir(m.Name))
		}
	}
	for _, port := range container.Ports {
		if flag := bindFlags[port.Name]; flag != "" {
			args = append(args, flag+"=127.0.0.1:0")
		}
	}
	for _, m := range container.VolumeMounts {
		if m.MountPath == serviceAccountDir {
			kubeconfig, err := p.kubeconfig(p.volumeDir(m.Name))
			if err != nil {
				return nil, nil, err
			}
			args = append(args, "--kubeconfig="+kubeconfig)
		}
	}
	env = []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range container.Env {
		value := e.Value
		if e.ValueFrom != nil {
			if value, err = p.value(e.ValueFrom, container); err != nil {
				return nil, nil, fmt.Errorf("environment variable %s: %w", e.Name, err)
			}
		}
		env = append(env, e.Name+"="+value)
	}
	return p.node.cp.guarded(binary, args...), env, nil
}

// value is that of a field of the Pod, or of a resource of the container.
func (p *Pod) value(from *corev1.EnvVarSource, container *corev1.Container) (string, error) {
	switch {
	case from.FieldRef != nil:
		return p.field(from.FieldRef.FieldPath)
	case from.ResourceFieldRef != nil:
		kind, name, _ := strings.Cut(from.ResourceFieldRef.Resource, ".")
		list := map[string]corev1.ResourceList{"limits": container.Resources.Limits, "requests": container.Resources.Requests}[kind]
		quantity, ok := list[corev1.ResourceName(name)]
		if !ok {
			return "", fmt.Errorf("the container has no %s", from.ResourceFieldRef.Resource)
		}
		divisor := max(1, from.ResourceFieldRef.Divisor.Value())
		return strconv.FormatInt((quantity.Value()+divisor-1)/divisor, 10), nil
	}
	return "", errors.New("the node knows fieldRef and resourceFieldRef only")
}

func (p *Pod) field(fieldPath string) (string, error) {
	fields := map[string]string{
		"metadata.name": p.Name(), "metadata.namespace": p.spec.Namespace, "metadata.uid": string(p.spec.UID),
		"spec.nodeName": nodeName, "spec.serviceAccountName": p.spec.Spec.ServiceAccountName, "status.podIP": p.ip,
	}
	value, ok := fields[fieldPath]
	if !ok {
		return "", fmt.Errorf("the node does not know the field %s", fieldPath)
	}
	return value, nil
}

func (p *Pod) waiting(ctx context.Context, reason, message string) {
	p.update(ctx, func(s *corev1.PodStatus) {
		s.Phase = corev1.PodPending
		s.ContainerStatuses = p.container(false, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
	})
}

func (p *Pod) running(ctx context.Context, ready bool) {
	p.update(ctx, func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.ContainerStatuses = p.container(ready, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}})
	})
}

func (p *Pod) crashed(ctx context.Context, exitCode int) {
	terminated := p.terminated(exitCode)
	p.update(ctx, func(s *corev1.PodStatus) {
		s.ContainerStatuses = p.container(false, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}})
		s.ContainerStatuses[0].RestartCount++
		s.ContainerStatuses[0].LastTerminationState.Terminated = terminated
	})
}

func (p *Pod) completed(ctx context.Context, exitCode int) {
	terminated := p.terminated(exitCode)
	p.update(ctx, func(s *corev1.PodStatus) {
		s.Phase = corev1.PodSucceeded
		if exitCode != 0 {
			s.Phase = corev1.PodFailed
		}
		s.ContainerStatuses = p.container(false, corev1.ContainerState{Terminated: terminated})
	})
}

// terminated has the end of the log for a message if the container says so.
func (p *Pod) terminated(exitCode int) *corev1.ContainerStateTerminated {
	state := &corev1.ContainerStateTerminated{ExitCode: int32(exitCode), Reason: "Completed"} //nolint:gosec // Exit codes are small.
	if exitCode != 0 {
		state.Reason = "Error"
	}
	if p.spec.Spec.Containers[0].TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError && exitCode != 0 {
		state.Message = lastLines(p.Log(), 80)
		state.Message = state.Message[max(0, len(state.Message)-2048):]
	}
	return state
}

// container is the status of the container, which keeps what it counts.
func (p *Pod) container(ready bool, state corev1.ContainerState) []corev1.ContainerStatus {
	var status corev1.ContainerStatus
	if len(p.status.ContainerStatuses) > 0 {
		status = p.status.ContainerStatuses[0]
	}
	status.Name, status.Image = p.spec.Spec.Containers[0].Name, p.spec.Spec.Containers[0].Image
	status.Ready, status.State = ready, state
	return []corev1.ContainerStatus{status}
}

// update writes a new status. Only the worker of the Pod does, so there is nothing to lose.
func (p *Pod) update(ctx context.Context, change func(*corev1.PodStatus)) {
	s := &p.status
	s.HostIP, s.PodIP, s.PodIPs = nodeAddress, p.ip, []corev1.PodIP{{IP: p.ip}}
	change(s)
	ready := corev1.ConditionFalse
	if len(s.ContainerStatuses) > 0 && s.ContainerStatuses[0].Ready {
		ready = corev1.ConditionTrue
	}
	s.Conditions = nil
	for _, c := range []struct {
		kind   corev1.PodConditionType
		status corev1.ConditionStatus
	}{{corev1.PodScheduled, corev1.ConditionTrue}, {corev1.PodInitialized, corev1.ConditionTrue}, {corev1.ContainersReady, ready}, {corev1.PodReady, ready}} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: c.kind, Status: c.status, LastTransitionTime: metav1.Now()})
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.spec.UID}, "status": s})
	if err == nil {
		_, err = p.node.client.CoreV1().Pods(p.spec.Namespace).Patch(ctx, p.Name(), types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "failed to write the status of Pod %s/%s: %s\n", p.spec.Namespace, p.Name(), err)
	}
}

// pause returns false if the Pod is to end first.
func (p *Pod) pause(d time.Duration) bool { return pause(p.ending, d) }

// pause returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// repository is an image's name without tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
}
