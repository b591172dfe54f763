// Package converge tests what becomes of the cluster in the end: that it does not
// depend on the order in which objects were written, that it follows whatever happens
// to them later, and that nobody who writes them again and again has to fight. One
// control plane and two replicas serve all tests, which run at once, each in its own
// namespaces and for its own hosts, since they mostly wait.
package converge

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// grace is the servers' --grace-period: long enough that a test can act in either
// half of it.
const grace = 4 * time.Second

var (
	plane *controlplane.ControlPlane
	// users is the client of a user like any other.
	users client.Client
	// cluster is what a watcher has seen so far.
	cluster *watcher
	servers *replicas
)

func TestMain(m *testing.M) {
	flag.Parse()
	// They wait, so they need no core each.
	if err := flag.Set("test.parallel", "200"); err != nil {
		panic(err)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (exitCode int, err error) {
	ctx := context.Background()
	if plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	config := rest.CopyConfig(plane.Config)
	config.QPS = -1 // The API server limits by itself.
	if users, err = client.New(config, client.Options{}); err != nil {
		return 1, err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching() // An API server that stops waits for those who watch.
	if cluster, err = watch(watching, config); err != nil {
		return 1, err
	}
	if err := storeOlderObjects(ctx); err != nil {
		return 1, err
	}
	before := cluster.versions(bystanders)
	if servers, err = startReplicas(ctx); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, servers.stop()) }()
	exitCode = m.Run()
	if after := cluster.versions(bystanders); after != before || before == "" {
		return 1, fmt.Errorf("objects that are nobody's business were\n%sand are\n%s", before, after)
	}
	return exitCode, nil
}

// replicas are two servers. Each phase has a front of its own, so that the two phases
// of a request always reach different replicas.
type replicas struct {
	webhooks [2]*controlplane.Webhook
	fronts   [2]*controlplane.Front
	// writing is held by whoever writes: a swap cuts the requests under way.
	writing sync.RWMutex
}

func startReplicas(ctx context.Context) (r *replicas, err error) {
	r = &replicas{}
	defer func(r *replicas) {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}(r)
	var failed [2]error
	var started sync.WaitGroup
	for i := range r.webhooks {
		if r.fronts[i], err = controlplane.NewFront(); err != nil {
			return nil, err
		}
		started.Go(func() {
			r.webhooks[i], failed[i] = controlplane.StartWebhook(ctx, plane, controlplane.WebhookOptions{
				Front: r.fronts[i],
				Args:  []string{"--grace-period=" + grace.String()},
			})
		})
	}
	started.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		return nil, err
	}
	// Both configurations point to the front of one of them.
	for i, phase := range []string{"validat", "mutat"} {
		patched := plane.Kubectl(ctx, "", "patch", phase+"ingwebhookconfiguration", "egress-tls-webhook", "--type=json",
			fmt.Sprintf(`-p=[{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": %q}]`, r.fronts[i].URL()+"/"+phase+"e"))
		if patched.ExitCode != 0 {
			return nil, errors.New(patched.Stderr)
		}
	}
	if err := r.waitBoth(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// waitBoth waits until each request reaches both replicas.
func (r *replicas) waitBoth(ctx context.Context) error {
	for i, deadline := 0, time.Now().Add(patience); time.Now().Before(deadline); i++ {
		name := fmt.Sprintf("probe-of-both-%d", i)
		probe := `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: ` + name + `, namespace: default}, spec: {host: probe.invalid}}`
		if result := plane.Kubectl(ctx, probe, "create", "--dry-run=server", "-f", "-"); result.ExitCode != 0 {
			return errors.New(result.Stderr)
		}
		if strings.Contains(r.webhooks[0].Log(), name) && strings.Contains(r.webhooks[1].Log(), name) {
			return nil
		}
	}
	return errors.New("the phases of a request do not reach both replicas")
}

// decided returns the namespaces about whose objects the replica has decided.
func (r *replicas) decided(replica int) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(r.webhooks[replica].Log()) {
		var entry struct {
			Message   string `json:"msg"`
			Namespace string `json:"namespace"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == "decided" {
			out[entry.Namespace] = true
		}
	}
	return out
}

// swap sends each phase to the other replica from now on.
func (r *replicas) swap() {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.fronts[0], r.fronts[1] = r.fronts[1], r.fronts[0]
	for i, front := range r.fronts {
		front.Remove(r.webhooks[1-i].Address())
		front.Add(r.webhooks[i].Address())
		front.Disconnect()
	}
}

func (r *replicas) stop() error {
	var stopped [2]error
	var all sync.WaitGroup
	for i, w := range r.webhooks {
		if w != nil {
			all.Go(func() { stopped[i] = w.Stop() })
		}
	}
	all.Wait()
	err := errors.Join(stopped[:]...)
	for _, f := range r.fronts {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// logOnFailure prints the lines of the servers' logs that name one of the texts.
func logOnFailure(t *testing.T, texts ...string) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for i, w := range servers.webhooks {
			var b strings.Builder
			for line := range strings.Lines(w.Log()) {
				for _, text := range texts {
					if strings.Contains(line, text) {
						b.WriteString(line)
						break
					}
				}
			}
			t.Logf("log of replica %d about %q:\n%s", i, texts, b.String())
		}
	})
}

func kindOf(apiVersion, kind string) schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(apiVersion, kind)
}
