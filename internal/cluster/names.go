package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// Contexts returns the names of the contexts of the kubeconfig, sorted.
func Contexts(_ context.Context, a Access) ([]string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.Kubeconfig
	config, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("failed to read the kubeconfig: %w", err)
	}
	return slices.Sorted(maps.Keys(config.Contexts)), nil
}

// Namespaces returns the names of the namespaces, sorted.
func Namespaces(ctx context.Context, a Access) ([]string, error) {
	c, err := Connect(a)
	if err != nil {
		return nil, err
	}
	items, err := c.list(ctx, "/api/v1/namespaces", nil, func(int, int64) {})
	if err != nil {
		return nil, fmt.Errorf("failed to list namespaces: %w", err)
	}
	var out []string
	for _, item := range items {
		var ns metav1.PartialObjectMetadata
		if err := json.Unmarshal(item.Raw, &ns); err != nil {
			return nil, fmt.Errorf("the API server's answer cannot be read: %w", err)
		}
		out = append(out, ns.Name)
	}
	slices.Sort(out)
	return out, nil
}
