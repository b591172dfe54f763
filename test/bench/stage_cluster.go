package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
	"github.com/egress-tls/egress-tls-webhook/test/bench/population"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const clusterGroup = "A large cluster"

// clusterStage looks at the webhook in a cluster of 10,000 ServiceEntries, VirtualServices and
// DestinationRules each: its memory, its start beside a manager that only keeps the same
// informers, and a reconciliation beside the same in a cluster of 100 each.
//
//	many: kube-apiserver with 30,000 objects <── webhook, bare
//	few:  kube-apiserver with 300            <── webhook
//
// No API server calls the webhook: what it does by itself is measured.
func clusterStage(ctx context.Context, b *bench) (_ []figure.Figure, _ []figure.Plot, err error) {
	s := &clusterRun{bench: b, ofEach: []int{1000, 3333, 10_000}, few: 100, changes: 20, memory: "8GiB"}
	if b.quick {
		s.ofEach, s.few, s.changes = []int{20, 60}, 20, 2
	}
	if s.env, err = b.chartEnv(); err != nil {
		return nil, nil, err
	}
	s.bare = filepath.Join(b.dir, "bare")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.bare, "./bench/bare")
	build.Dir = filepath.Join(b.root, "test")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("failed to build the bare manager: %w\n%s", err, out)
	}
	many, err := s.plane(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, many.Stop()) }()
	if err := s.sizes(ctx, many); err != nil {
		return nil, nil, fmt.Errorf("the memory: %w", err)
	}
	if err := s.starts(ctx, many); err != nil {
		return nil, nil, fmt.Errorf("the start: %w", err)
	}
	if err := s.reconciles(ctx, many); err != nil {
		return nil, nil, fmt.Errorf("the reconciliation: %w", err)
	}
	return s.figures, s.plots, nil
}

type clusterRun struct {
	*bench
	// ofEach are the sizes of the cluster, in objects of each kind.
	ofEach       []int
	few, changes int
	memory, bare string
	env          []string
	figures      []figure.Figure
	plots        []figure.Plot
}

func (s *clusterRun) plane(ctx context.Context) (*controlplane.ControlPlane, error) {
	return controlplane.Start(ctx, controlplane.Options{Progress: s.progress, Memory: s.memory})
}

// clusterWebhook is a webhook that nobody calls.
type clusterWebhook struct {
	*controlplane.Webhook
	mu    sync.Mutex
	pprof string
}

func (s *clusterRun) start(ctx context.Context, cp *controlplane.ControlPlane, binary string) (*clusterWebhook, error) {
	w := &clusterWebhook{}
	options := controlplane.WebhookOptions{
		Binary: binary, Uncalled: true, Env: s.env, StartTimeout: 10 * time.Minute, LogLine: w.see,
		LogFile: filepath.Join(s.dir, "cluster.log"), Args: []string{"--pprof-bind-address=127.0.0.1:0"},
	}
	var err error
	w.Webhook, err = controlplane.StartWebhook(ctx, cp, options)
	return w, err
}

// see takes the address of the profiles from the log.
func (w *clusterWebhook) see(line []byte) {
	var said struct{ Msg, Server, Address string }
	if json.Unmarshal(line, &said) == nil && said.Msg == "listening" && said.Server == "pprof" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pprof = said.Address
	}
}

// memoryOf is what a webhook holds when it has nothing to do.
type memoryOf struct{ anonymous, resident, live float64 }

// rest starts a webhook, waits until it has judged the stored objects and has nothing to do,
// and returns its memory.
func (s *clusterRun) rest(ctx context.Context, cp *controlplane.ControlPlane, objects int) (m memoryOf, err error) {
	w, err := s.start(ctx, cp, "")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	if err := w.settle(ctx, objects); err != nil {
		return m, err
	}
	if m.anonymous, m.resident, err = residentMemory(w.PID()); err != nil {
		return m, err
	}
	// The last, since it collects garbage.
	w.mu.Lock()
	address := w.pprof
	w.mu.Unlock()
	if _, err := httpGet(ctx, "http://"+address+"/debug/pprof/heap?gc=1"); err != nil {
		return m, err
	}
	values, err := w.metrics(ctx)
	m.live = values["go_memstats_heap_alloc_bytes"]
	return m, err
}

// settle waits until so many stored objects have been judged, and the process has been idle
// for two seconds.
func (w *clusterWebhook) settle(ctx context.Context, objects int) error {
	idle := 0
	last, err := cpuOf(w.PID())
	if err != nil {
		return err
	}
	judged := 0.0
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("of %d objects %v are judged: %w", objects, judged, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
		now, err := cpuOf(w.PID())
		if err != nil {
			return err
		}
		if now-last > 25*time.Millisecond {
			idle = 0
		} else {
			idle++
		}
		last = now
		if idle < 4 {
			continue
		}
		values, err := w.metrics(ctx)
		if err != nil {
			return err
		}
		if judged = values["egress_tls_stored_objects"]; int(judged) >= objects {
			return nil
		}
	}
}

// lead waits until the webhook leads: a follower leaves each write to the leader for a while.
func (w *clusterWebhook) lead(ctx context.Context) error {
	for {
		values, err := w.metrics(ctx)
		if err != nil || values["egress_tls_leading"] == 1 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not lead: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// metrics returns the metrics by their name, all labels summed up.
func (w *clusterWebhook) metrics(ctx context.Context) (map[string]float64, error) {
	data, err := httpGet(ctx, "http://"+w.MetricsAddress()+"/metrics")
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		name, _, _ := strings.Cut(line[:at], "{")
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			out[name] += v
		}
	}
	return out, nil
}

func httpGet(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // Only read from.
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// residentMemory returns the memory of a process in bytes: what is its own, which nothing but
// its end gives back, and that with the pages of its binary that are in memory.
func residentMemory(pid int) (anonymous, resident float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("failed to read the memory of a process: %w", err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kB" {
			kib, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				return 0, 0, fmt.Errorf("failed to read the memory of a process: %w", err)
			}
			values[f[0]] = kib * 1024
		}
	}
	return values["Anonymous:"], values["Rss:"], nil
}

// sizes lets the cluster grow, and looks at the memory at each size.
func (s *clusterRun) sizes(ctx context.Context, cp *controlplane.ControlPlane) error {
	const against = "the objects' JSON, as the API server sends it"
	memory := figure.Figure{
		ID: "cluster-memory", Group: clusterGroup, Unit: "bytes", Compare: figure.Times, Goal: figure.Goal{AtMost: 2.5},
		What: "memory of the webhook (anonymous)", Against: against,
	}
	resident := figure.Figure{
		ID: "cluster-memory-resident", Group: clusterGroup, Unit: "bytes", Compare: figure.Times,
		What: "the same with the binary's pages (RSS)", Against: against,
	}
	live := figure.Figure{
		ID: "cluster-heap", Group: clusterGroup, Unit: "bytes", Compare: figure.Times,
		What: "live heap of the webhook", Against: against,
	}
	each := figure.Figure{
		ID: "cluster-memory-object", Group: clusterGroup, Unit: "bytes", Compare: figure.Alone, Goal: figure.Goal{AtMost: 4096},
		What: "memory for each object beside the JSON of its relevant fields",
	}
	above, heap := figure.Series{Name: "anonymous memory"}, figure.Series{Name: "live heap"}

	var empty []memoryOf
	for range s.runs(5) {
		m, err := s.rest(ctx, cp, 0)
		if err != nil {
			return err
		}
		empty = append(empty, m)
	}
	s.say("empty: %.1f MB", empty[0].anonymous/1e6)
	stored := 0
	for i, n := range s.ofEach {
		objects := population.Objects(n, 1)
		if err := population.Apply(ctx, cp.Config, objects[stored:]); err != nil {
			return err
		}
		stored = len(objects)
		size, err := sizeOf(ctx, cp.Config)
		if err != nil {
			return err
		}
		runs := 1
		if i == len(s.ofEach)-1 {
			runs = s.runs(5)
		}
		for r := range runs {
			m, err := s.rest(ctx, cp, 3*n)
			if err != nil {
				return err
			}
			s.say("%d objects, %.1f MB of JSON, %.1f MB of it relevant: %.1f MB, live heap %.1f MB", size.objects, size.all/1e6, size.relevant/1e6, m.anonymous/1e6, m.live/1e6)
			if r == 0 {
				x := float64(size.objects)
				above.Points = append(above.Points, figure.Point{X: x, Y: m.anonymous / size.all})
				heap.Points = append(heap.Points, figure.Point{X: x, Y: m.live / size.all})
			}
			if i < len(s.ofEach)-1 {
				continue
			}
			memory.Pairs = append(memory.Pairs, figure.Pair{This: m.anonymous, Other: size.all})
			resident.Pairs = append(resident.Pairs, figure.Pair{This: m.resident, Other: size.all})
			live.Pairs = append(live.Pairs, figure.Pair{This: m.live, Other: size.all})
			each.Pairs = append(each.Pairs, figure.Pair{This: (m.anonymous - empty[r].anonymous - size.relevant) / float64(size.objects)})
		}
	}
	s.figures = append(s.figures, memory, resident, live, each)
	s.plots = append(s.plots, figure.Plot{
		ID: "cluster-memory", Group: clusterGroup, Title: "Memory of the webhook, in multiples of the objects' JSON",
		X: "objects", Y: "times", LogX: true, Series: []figure.Series{above, heap},
	})
	return nil
}

// jsonSize is the size of all ServiceEntries, VirtualServices and DestinationRules.
type jsonSize struct {
	objects       int
	all, relevant float64
}

func sizeOf(ctx context.Context, config *rest.Config) (size jsonSize, err error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return size, err
	}
	for _, resource := range []string{"serviceentries", "virtualservices", "destinationrules"} {
		data, err := clients.Discovery().RESTClient().Get().AbsPath("/apis/networking.istio.io/v1/" + resource).DoRaw(ctx)
		if err != nil {
			return size, fmt.Errorf("failed to read %s: %w", resource, err)
		}
		var list struct{ Items []json.RawMessage }
		if err := json.Unmarshal(data, &list); err != nil {
			return size, fmt.Errorf("failed to read %s: %w", resource, err)
		}
		for _, item := range list.Items {
			var o struct {
				Metadata struct {
					Name      string            `json:"name"`
					Namespace string            `json:"namespace"`
					Labels    map[string]string `json:"labels,omitempty"`
				} `json:"metadata"`
				Spec json.RawMessage `json:"spec"`
			}
			if err := json.Unmarshal(item, &o); err != nil {
				return size, fmt.Errorf("failed to read %s: %w", resource, err)
			}
			relevant, err := json.Marshal(o)
			if err != nil {
				return size, fmt.Errorf("failed to write %s: %w", resource, err)
			}
			size.objects++
			size.all += float64(len(item))
			size.relevant += float64(len(relevant))
		}
	}
	return size, nil
}

// starts compares the time from the start of the process until it is ready.
func (s *clusterRun) starts(ctx context.Context, cp *controlplane.ControlPlane) error {
	const against = "a controller-runtime manager that syncs the same informers"
	took := figure.Figure{
		ID: "cluster-start", Group: clusterGroup, Unit: "ms", Compare: figure.Times, Goal: figure.Goal{AtMost: 1.2},
		What: "start to ready", Against: against,
	}
	cpu := figure.Figure{
		ID: "cluster-start-cpu", Group: clusterGroup, Unit: "ms", Compare: figure.Times,
		What: "CPU time from start to ready", Against: against,
	}
	var sides [2]*controlplane.Webhook
	for i, binary := range []string{"", s.bare} {
		w, err := s.start(ctx, cp, binary)
		if err != nil {
			return err
		}
		if err := w.Stop(); err != nil {
			return err
		}
		sides[i] = w.Webhook
	}
	for r := range s.runs(7) {
		var took2, cpu2 [2]float64
		for k := range sides {
			i := (k + r) % 2 // Each of them first in turn.
			began := time.Now()
			w, err := sides[i].Restart(ctx)
			if err != nil {
				return err
			}
			took2[i] = float64(time.Since(began)) / 1e6
			used, err := cpuOf(w.PID())
			if err := errors.Join(err, w.Stop()); err != nil {
				return err
			}
			cpu2[i] = float64(used) / 1e6
			sides[i] = w
		}
		s.say("ready after %.0f ms beside %.0f ms, with %.0f ms of CPU beside %.0f ms", took2[0], took2[1], cpu2[0], cpu2[1])
		took.Pairs = append(took.Pairs, figure.Pair{This: took2[0], Other: took2[1]})
		cpu.Pairs = append(cpu.Pairs, figure.Pair{This: cpu2[0], Other: cpu2[1]})
	}
	s.figures = append(s.figures, took, cpu)
	return nil
}

// reconciles compares what it takes to bring the rule of one changed ServiceEntry in line,
// from the API server's answer until a watch tells of the rule.
func (s *clusterRun) reconciles(ctx context.Context, many *controlplane.ControlPlane) (err error) {
	fewPlane, err := s.plane(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fewPlane.Stop()) }()
	if err := population.Apply(ctx, fewPlane.Config, population.Objects(s.few, 1)); err != nil {
		return err
	}
	hosts := s.ofEach[len(s.ofEach)-1]
	against := fmt.Sprintf("the same among %d hosts", s.few)
	took := figure.Figure{
		ID: "cluster-reconcile", Group: clusterGroup, Unit: "ms", Compare: figure.Times, Goal: figure.Goal{AtMost: 1.1},
		What: fmt.Sprintf("a changed ServiceEntry among %d hosts, until its rule is stored", hosts), Against: against,
	}
	cpu := figure.Figure{
		ID: "cluster-reconcile-cpu", Group: clusterGroup, Unit: "ms", Compare: figure.Times,
		What: "CPU time of the webhook for that", Against: against,
	}
	manySide, err := s.changer(ctx, many, hosts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, manySide.webhook.Stop()) }()
	fewSide, err := s.changer(ctx, fewPlane, s.few)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fewSide.webhook.Stop()) }()
	sides := [2]*changer{manySide, fewSide}
	for r := range s.runs(10) {
		var took2, cpu2 [2]float64
		for k := range sides {
			i := (k + r) % 2
			if took2[i], cpu2[i], err = sides[i].change(ctx, r, s.changes); err != nil {
				return err
			}
		}
		s.say("in line after %.1f ms beside %.1f ms, with %.1f ms of CPU beside %.1f ms", took2[0], took2[1], cpu2[0], cpu2[1])
		took.Pairs = append(took.Pairs, figure.Pair{This: took2[0], Other: took2[1]})
		cpu.Pairs = append(cpu.Pairs, figure.Pair{This: cpu2[0], Other: cpu2[1]})
	}
	s.figures = append(s.figures, took, cpu)
	return nil
}

// changer changes ServiceEntries in one cluster.
type changer struct {
	client  client.WithWatch
	webhook *clusterWebhook
}

const changedNamespace = "changed"

// changer starts a webhook, which has nothing to do and leads when this returns.
func (s *clusterRun) changer(ctx context.Context, cp *controlplane.ControlPlane, ofEach int) (_ *changer, err error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{networkingv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	c, err := client.NewWithWatch(cp.Config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: changedNamespace}}); err != nil {
		return nil, err
	}
	w, err := s.start(ctx, cp, "")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.settle(ctx, 3*ofEach), w.lead(ctx)); err != nil {
		return nil, errors.Join(err, w.Stop())
	}
	return &changer{c, w}, nil
}

// change creates a ServiceEntry, waits for its rule, and then gives it so many further ports.
// It returns the time and the webhook's CPU time for one of them, in ms.
func (c *changer) change(ctx context.Context, run, changes int) (took, cpu float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	watch, err := c.client.Watch(ctx, &networkingv1.DestinationRuleList{}, client.InNamespace(changedNamespace))
	if err != nil {
		return 0, 0, err
	}
	defer watch.Stop()
	host := fmt.Sprintf("changed-%d.example.edu", run)
	ports := func(n int) error {
		for {
			select {
			case e := <-watch.ResultChan():
				dr, ok := e.Object.(*networkingv1.DestinationRule)
				if ok && dr.Spec.Host == host && len(dr.Spec.GetTrafficPolicy().GetPortLevelSettings()) == n {
					return nil
				}
			case <-ctx.Done():
				return fmt.Errorf("the rule for %s has no %d ports: %w", host, n, ctx.Err())
			}
		}
	}
	se := &networkingv1.ServiceEntry{
		ObjectMeta: metav1.ObjectMeta{Namespace: changedNamespace, Name: fmt.Sprintf("changed-%d", run)},
		Spec: networking.ServiceEntry{
			Hosts: []string{host}, Location: networking.ServiceEntry_MESH_EXTERNAL, Resolution: networking.ServiceEntry_DNS,
			Ports: []*networking.ServicePort{{Number: 80, Name: "http", Protocol: "HTTP", TargetPort: 443}},
		},
	}
	if err := c.client.Create(ctx, se); err != nil {
		return 0, 0, err
	}
	if err := ports(1); err != nil {
		return 0, 0, err
	}
	before, err := cpuOf(c.webhook.PID())
	if err != nil {
		return 0, 0, err
	}
	var waited time.Duration
	for n := range changes {
		number := uint32(81 + n) //nolint:gosec // Small numbers.
		se.Spec.Ports = append(se.Spec.Ports, &networking.ServicePort{Number: number, Name: fmt.Sprintf("http-%d", number), Protocol: "HTTP", TargetPort: 443})
		if err := c.client.Update(ctx, se); err != nil {
			return 0, 0, err
		}
		began := time.Now()
		if err := ports(2 + n); err != nil {
			return 0, 0, err
		}
		waited += time.Since(began)
	}
	after, err := cpuOf(c.webhook.PID())
	return float64(waited) / 1e6 / float64(changes), float64(after-before) / 1e6 / float64(changes), err
}
