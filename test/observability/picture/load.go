package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// load is what teams do to a cluster, sped up.
type load struct {
	client client.Client
	random *rand.Rand
}

// teams are namespaces and their modes.
var teams = []struct{ namespace, mode string }{
	{"shop", "enforce"}, {"checkout", "enforce"}, {"blog", "warn"}, {"crm", "audit"}, {"billing", "audit"},
}

const (
	period      = 30 * time.Second // of the tide
	routesATeam = 12
)

func newLoad(ctx context.Context, plane *controlplane.ControlPlane) (*load, error) {
	config := *plane.Config
	config.QPS = -1 // The API server limits by itself.
	c, err := client.New(&config, client.Options{})
	if err != nil {
		return nil, err
	}
	l := &load{c, rand.New(rand.NewPCG(1, 1))} //nolint:gosec // The same load each time.
	for _, team := range teams {
		if err := l.apply(ctx, team.namespace, "", namespace(team.mode)+gateway); err != nil {
			return nil, err
		}
		for host := range 3 {
			if err := l.apply(ctx, team.namespace, "", entry(host)); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// run applies, deletes and switches modes until the end.
func (l *load) run(ctx context.Context, until time.Time) error {
	start := time.Now()
	switched := false
	for n := 0; time.Now().Before(until); n++ {
		if !switched && time.Since(start) > time.Until(until) {
			switched = true // Half of the time is over.
			if err := l.apply(ctx, "billing", "", namespace("enforce")); err != nil {
				return err
			}
		}
		team := teams[l.random.IntN(len(teams))].namespace
		name := fmt.Sprintf("web-%d", l.random.IntN(routesATeam))
		host := l.random.IntN(3)
		var err error
		switch dice := l.random.IntN(100); {
		case dice < 55:
			err = l.apply(ctx, team, name, route(n, host, "/api", "/"))
		case dice < 68:
			err = l.apply(ctx, team, name, route(n, host, "/", "/api"))
		case dice < 82:
			err = l.remove(ctx, team, name)
		case dice < 94: // the route before its ServiceEntry
			late := 100 + l.random.IntN(50)
			if err = l.apply(ctx, team, fmt.Sprintf("late-%d", late), route(n, late, "/api", "/")); err == nil {
				err = l.apply(ctx, team, "", entry(late))
			}
		default:
			err = l.apply(ctx, team, fmt.Sprintf("pool-%d", host), pool(n, host))
		}
		if err != nil && ctx.Err() == nil && !apierrors.IsInvalid(err) {
			return err
		}
		tide := 1.3 - math.Sin(2*math.Pi*float64(time.Since(start))/float64(period))
		time.Sleep(time.Duration(tide * float64(60*time.Millisecond)))
	}
	return ctx.Err()
}

// apply applies a manifest, in which NAMESPACE and NAME stand for what is given.
func (l *load) apply(ctx context.Context, namespace, name, manifest string) error {
	manifest = strings.NewReplacer("NAMESPACE", namespace, "NAME", name).Replace(manifest)
	for doc := range strings.SplitSeq(manifest, "---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			return err
		}
		if err := l.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("team"), client.ForceOwnership); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) remove(ctx context.Context, namespace, name string) error {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("networking.istio.io/v1")
	o.SetKind("VirtualService")
	o.SetNamespace(namespace)
	o.SetName(name)
	return client.IgnoreNotFound(l.client.Delete(ctx, o))
}

func namespace(mode string) string {
	return `apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE, labels: {egress-tls.dev/mode: ` + mode + `}}
`
}

const gateway = `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: NAMESPACE}
spec:
  selector: {istio: NAMESPACE}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: NAMESPACE}
spec: {clusterIP: None, selector: {istio: NAMESPACE}, ports: [{port: 80}]}
`

func entry(host int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external-%[1]d, namespace: NAMESPACE}
spec:
  hosts: [api-%[1]d.NAMESPACE.example.com]
  exportTo: ["."]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
`, host)
}

// pool is a DestinationRule of the team's, without TLS.
func pool(n, host int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  host: api-%d.NAMESPACE.example.com
  exportTo: ["."]
  trafficPolicy: {connectionPool: {tcp: {maxConnections: %d}}}
`, host, 10+n)
}

// route sends each uri prefix to an external host, and "/" to a service of the cluster.
func route(n, host int, prefixes ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  hosts: [NAME.example.com]
  gateways: [gateway]
  http:
`)
	for _, p := range prefixes {
		to := fmt.Sprintf("{host: api-%d.NAMESPACE.example.com, port: {number: 443}}", host)
		if p == "/" {
			to = "{host: welcome, port: {number: 8080}}"
		}
		fmt.Fprintf(&b, "  - match: [{uri: {prefix: %s}}]\n    timeout: %ds\n    route: [{destination: %s}]\n", p, 1+n%30, to)
	}
	return b.String()
}
