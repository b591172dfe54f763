package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// The namespaces of the apply stage. The API server calls our webhook for the first two alone, as
// it calls none in mode off, and one that decodes and allows for the last: so all meet the same API
// server, etcd and kubectl in the same minute.
const (
	adding   = "adding"   // The routes lack the headers.
	complete = "complete" // They have them.
	without  = "without"
	allowing = "allowing"
)

var applyModes = map[string]string{adding: "enforce", complete: "enforce", without: "off", allowing: "off"}

// applyStage applies a VirtualService of 20 routes again and again, each time another, by turns
// in each of the namespaces.
func applyStage(ctx context.Context, b *bench) (_ []figure.Figure, _ []figure.Plot, err error) {
	cp, err := controlplane.Start(ctx, controlplane.Options{Progress: b.progress})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, cp.Stop()) }()
	env, err := b.chartEnv()
	if err != nil {
		return nil, nil, err
	}
	webhook, err := controlplane.StartWebhook(ctx, cp, controlplane.WebhookOptions{Env: env, LogFile: filepath.Join(b.dir, "apply.log")})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, webhook.Stop()) }()
	pair, err := newPair(b.dir)
	if err != nil {
		return nil, nil, err
	}
	noop, err := startNoop(ctx, b, pair)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, noop.stop()) }()
	if err := kubectl(ctx, cp, noopConfigurations(noop.url, pair.pem)); err != nil {
		return nil, nil, err
	}
	for namespace, mode := range applyModes {
		manifest := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {egress-tls.dev/mode: %q}}\n", namespace, mode)
		if err := kubectl(ctx, cp, manifest+appliedEntry(namespace)); err != nil {
			return nil, nil, err
		}
	}
	routes, err := dynamicRoutes(cp.Config)
	if err != nil {
		return nil, nil, err
	}
	byKubectl, err := inTurns(b, "kubectl apply", b.runs(80), func(namespace string, version int) error {
		return kubectl(ctx, cp, appliedRoutes(namespace, version))
	})
	if err != nil {
		return nil, nil, err
	}
	byClient, err := inTurns(b, "server-side apply", b.runs(400), func(namespace string, version int) error {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(appliedRoutes(namespace, version)), &o.Object); err != nil {
			return err
		}
		_, err := routes.Namespace(namespace).Apply(ctx, o.GetName(), &o, metav1.ApplyOptions{FieldManager: "kubectl", Force: true})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return append(byKubectl.figures("apply-kubectl", "`kubectl apply`", figure.Goal{AtMost: 3}),
		byClient.figures("apply-client", "server-side apply by a client that stays connected", figure.Goal{})...), nil, nil
}

// rounds are how long each round took in each namespace, in ms.
type rounds map[string][]float64

// figures compares the namespaces.
func (r rounds) figures(id, by string, goal figure.Goal) []figure.Figure {
	compare := func(suffix, what, this, against, other string, by figure.Compare, goal figure.Goal) figure.Figure {
		f := figure.Figure{
			ID: id + suffix, Group: "Apply through the API server", What: what, Against: against, Unit: "ms", Compare: by, Goal: goal,
		}
		for i := range r[this] {
			f.Pairs = append(f.Pairs, figure.Pair{This: r[this][i], Other: r[other][i]})
		}
		return f
	}
	what := by + " of a changed VirtualService of 20 routes"
	const none, noop = "the same API server without webhooks", "a webhook there that decodes and allows"
	return []figure.Figure{
		compare("", what+" whose headers are added", adding, none, without, figure.Difference, goal),
		compare("-complete", what+" that needs nothing", complete, none, without, figure.Difference, figure.Goal{}),
		compare("-noop", what+", with a webhook that decodes and allows", allowing, none, without, figure.Difference, figure.Goal{}),
		compare("-complete-noop", what+" that needs nothing", complete, noop, allowing, figure.Difference, figure.Goal{}),
		compare("-times", what+" whose headers are added", adding, none, without, figure.Times, figure.Goal{}),
	}
}

// inTurns measures n rounds. The namespace that begins changes with each.
func inTurns(b *bench, name string, n int, apply func(namespace string, version int) error) (rounds, error) {
	b.say("%s, %d rounds", name, n)
	const warmUp = 5 // Connections are made and caches filled.
	out := rounds{}
	namespaces := slices.Sorted(maps.Keys(applyModes))
	for i := range n + warmUp {
		for j := range namespaces {
			namespace := namespaces[(i+j)%len(namespaces)]
			begun := time.Now()
			if err := apply(namespace, i); err != nil {
				return nil, fmt.Errorf("%s in namespace %s: %w", name, namespace, err)
			}
			if i >= warmUp {
				out[namespace] = append(out[namespace], float64(time.Since(begun))/float64(time.Millisecond))
			}
		}
	}
	return out, nil
}

// noopConfigurations have the API server call the webhook that decodes and allows, as it calls
// ours.
func noopConfigurations(url string, authority []byte) string {
	var out strings.Builder
	for kind, path := range map[string]string{"Mutating": "mutate", "Validating": "validate"} {
		fmt.Fprintf(&out, `---
apiVersion: admissionregistration.k8s.io/v1
kind: %sWebhookConfiguration
metadata: {name: noop}
webhooks:
  - name: %[2]s.noop.example.com
    clientConfig: {url: %[3]s/%[2]s, caBundle: %[4]s}
    rules: [{apiGroups: [networking.istio.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [virtualservices]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[5]s}}
    sideEffects: None
    admissionReviewVersions: [v1]
    failurePolicy: Fail
`, kind, path, url, base64.StdEncoding.EncodeToString(authority), allowing)
	}
	return out.String()
}

func kubectl(ctx context.Context, cp *controlplane.ControlPlane, manifest string) error {
	if result := cp.Kubectl(ctx, manifest, "apply", "-f", "-"); result.ExitCode != 0 {
		return errors.New(strings.TrimSpace(result.Stderr))
	}
	return nil
}

// dynamicRoutes is a client for VirtualServices that nothing holds back.
func dynamicRoutes(config *rest.Config) (dynamic.NamespaceableResourceInterface, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return client.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}), nil
}

func appliedEntry(namespace string) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external, namespace: %[1]s}
spec:
  hosts: [%[1]s.example.com]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
`, namespace)
}

// appliedRoutes has 20 routes to the external host of a namespace.
func appliedRoutes(namespace string, version int) string {
	headers := ""
	if namespace == complete {
		headers = fmt.Sprintf(", headers: {request: {set: {Host: %s.example.com, X-Forwarded-Proto: https}}}", namespace)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: routes, namespace: %[1]s}\nspec:\n  hosts: [%[1]s.example.com]\n  http:\n", namespace)
	for i := range 20 {
		fmt.Fprintf(&out, "  - {match: [{uri: {prefix: /v%d/team-%02d/}}], route: [{destination: {host: %s.example.com, port: {number: 443}}}]%s}\n", version, i, namespace, headers)
	}
	return out.String()
}
