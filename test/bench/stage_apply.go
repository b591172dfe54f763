package main

import (
	"context"
	"errors"
	"fmt"
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

// The namespaces of the apply stage. The API server calls no webhook for a namespace in mode off,
// so both sides meet the same API server, etcd and kubectl at the same time.
const (
	withWebhook    = "with-webhook"
	withoutWebhook = "without-webhook"
)

// applyStage applies a VirtualService of 20 routes again and again, each time another, by turns
// where the webhook is called and where it is not.
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
	webhook, err := controlplane.StartWebhook(ctx, cp, controlplane.WebhookOptions{Env: env})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, webhook.Stop()) }()
	for namespace, mode := range map[string]string{withWebhook: "enforce", withoutWebhook: "off"} {
		if err := kubectl(ctx, cp, fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {egress-tls.dev/mode: %q}}\n", namespace, mode)); err != nil {
			return nil, nil, err
		}
		if err := kubectl(ctx, cp, appliedEntry(namespace)); err != nil {
			return nil, nil, err
		}
	}
	routes, err := dynamicRoutes(cp.Config)
	if err != nil {
		return nil, nil, err
	}
	byKubectl := func(namespace string, version int) error { return kubectl(ctx, cp, appliedRoutes(namespace, version)) }
	byClient := func(namespace string, version int) error {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(appliedRoutes(namespace, version)), &o.Object); err != nil {
			return err
		}
		_, err := routes.Namespace(namespace).Apply(ctx, o.GetName(), &o, metav1.ApplyOptions{FieldManager: "kubectl", Force: true})
		return err
	}
	const group = "Apply through the API server"
	kubectlPairs, err := inTurns(b, "kubectl apply", b.runs(200), byKubectl)
	if err != nil {
		return nil, nil, err
	}
	clientPairs, err := inTurns(b, "server-side apply", b.runs(1500), byClient)
	if err != nil {
		return nil, nil, err
	}
	const what, against = "%s of a VirtualService of 20 routes, changed each time", "the same API server without the webhook"
	return []figure.Figure{
		{
			ID: "apply-kubectl", Group: group, What: fmt.Sprintf(what, "`kubectl apply`"), Against: against, Unit: "ms",
			Compare: figure.Difference, Goal: figure.Goal{AtMost: 3}, Pairs: kubectlPairs,
		},
		{
			ID: "apply-kubectl-times", Group: group, What: "the same", Against: against, Unit: "ms",
			Compare: figure.Times, Pairs: kubectlPairs,
		},
		{
			ID: "apply-client", Group: group, What: fmt.Sprintf(what, "server-side apply by a client that stays connected"), Against: against, Unit: "ms",
			Compare: figure.Difference, Pairs: clientPairs,
		},
	}, nil, nil
}

// inTurns measures n pairs, in milliseconds. The side that begins changes with each.
func inTurns(b *bench, name string, n int, apply func(namespace string, version int) error) ([]figure.Pair, error) {
	b.say("%s, %d pairs", name, n)
	took := func(namespace string, version int) (float64, error) {
		begun := time.Now()
		if err := apply(namespace, version); err != nil {
			return 0, fmt.Errorf("%s in namespace %s: %w", name, namespace, err)
		}
		return float64(time.Since(begun)) / float64(time.Millisecond), nil
	}
	var pairs []figure.Pair
	for i := range n + 10 {
		var p figure.Pair
		sides := []struct {
			namespace string
			at        *float64
		}{{withWebhook, &p.This}, {withoutWebhook, &p.Other}}
		for j := range sides {
			side := sides[(i+j)%2]
			var err error
			if *side.at, err = took(side.namespace, i); err != nil {
				return nil, err
			}
		}
		if i >= 10 { // Before, connections are made and caches filled.
			pairs = append(pairs, p)
		}
	}
	return pairs, nil
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
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external, namespace: %[1]s}
spec:
  hosts: [%[1]s.example.com]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
`, namespace)
}

// appliedRoutes has 20 routes to the external host, complete but for what the webhook adds.
func appliedRoutes(namespace string, version int) string {
	var out strings.Builder
	fmt.Fprintf(&out, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: routes, namespace: %[1]s}\nspec:\n  hosts: [%[1]s.example.com]\n  http:\n", namespace)
	for i := range 20 {
		fmt.Fprintf(&out, "  - match: [{uri: {prefix: /v%d/team-%02d/}}]\n    route: [{destination: {host: %s.example.com, port: {number: 443}}}]\n", version, i, namespace)
	}
	return out.String()
}
