package deploy

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const generatedMark = "# Generated from deploy/chart by make generate. Do not edit.\n"

// The templates that kustomize has by themselves.
const (
	policyTemplate       = "policy.yaml"
	certificatesTemplate = "certificates.yaml"
	monitoringTemplate   = "monitoring.yaml"
)

// Kustomize returns the files below deploy/kustomize that are generated from the chart.
func Kustomize(ctx context.Context, chart *Chart) (map[string]string, error) {
	render := func(values string) (map[string][]string, error) {
		rendered, err := chart.Template(ctx, values, "--no-hooks")
		return Documents(rendered), err
	}
	base, err := render("")
	if err != nil {
		return nil, err
	}
	certManager, err := render("certificates: {provider: cert-manager}")
	if err != nil {
		return nil, err
	}
	monitoring, err := render("metrics: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}")
	if err != nil {
		return nil, err
	}

	var policy corev1.ConfigMap
	if err := yaml.UnmarshalStrict([]byte(strings.Join(base[policyTemplate], "")), &policy); err != nil {
		return nil, fmt.Errorf("failed to read the policy's ConfigMap: %w", err)
	}
	delete(base, policyTemplate)
	// webhooks.yaml, which makes the API server call, comes last.
	var install []string
	for _, template := range slices.Sorted(maps.Keys(base)) {
		install = append(install, base[template]...)
	}
	return map[string]string{
		"base/install.yaml":                         forKustomize(install),
		"base/policy.yaml":                          policy.Data["policy.yaml"],
		"components/cert-manager/certificates.yaml": forKustomize(certManager[certificatesTemplate]),
		"components/monitoring/monitoring.yaml":     forKustomize(monitoring[monitoringTemplate]),
	}, nil
}

var (
	helmLabel = regexp.MustCompile(`(?m)^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n`)
	// Kustomize names the ConfigMap by its content.
	checksum = regexp.MustCompile(`(?m)^ +annotations:\n +# .*\n +checksum/policy: .*\n`)
)

func forKustomize(documents []string) string {
	text := generatedMark + strings.Join(documents, "---\n")
	return checksum.ReplaceAllString(helmLabel.ReplaceAllString(text, ""), "")
}
