package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Generated returns the files that are made from the chart, below the repository's root.
func Generated(ctx context.Context, chart *Chart) (map[string]string, error) {
	files, err := kustomize(ctx, chart)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(chart.Dir, "..", "..")
	table, err := valuesTable(filepath.Join(chart.Dir, "values.yaml"))
	if err != nil {
		return nil, err
	}
	const path = "docs/install.md"
	page, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	const from, to = "<!-- values: written by make generate -->\n", "<!-- end of values -->\n"
	before, rest, found := strings.Cut(string(page), from)
	_, after, ended := strings.Cut(rest, to)
	if !found || !ended {
		return nil, fmt.Errorf("%s has no part from %q to %q", path, from, to)
	}
	files[path] = before + from + table + to + after
	return files, nil
}

const generatedMark = "# Generated from deploy/chart by make generate. Do not edit.\n"

// The templates that have a file of their own for kustomize.
const (
	policyTemplate       = "policy.yaml"
	certificatesTemplate = "certificates.yaml"
	monitoringTemplate   = "monitoring.yaml"
)

func kustomize(ctx context.Context, chart *Chart) (map[string]string, error) {
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
	monitoring, err := render("metrics: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}}")
	if err != nil {
		return nil, err
	}

	var configMap corev1.ConfigMap
	if err := yaml.UnmarshalStrict([]byte(strings.Join(base[policyTemplate], "")), &configMap); err != nil {
		return nil, fmt.Errorf("failed to read the policy's ConfigMap: %w", err)
	}
	delete(base, policyTemplate)
	// webhooks.yaml, which makes the API server call, comes last.
	var install []string
	for _, template := range slices.Sorted(maps.Keys(base)) {
		install = append(install, base[template]...)
	}
	const dir = "deploy/kustomize/"
	return map[string]string{
		dir + "base/install.yaml":                         forKustomize(install),
		dir + "base/policy.yaml":                          configMap.Data["policy.yaml"],
		dir + "components/cert-manager/certificates.yaml": forKustomize(certManager[certificatesTemplate]),
		dir + "components/monitoring/monitoring.yaml":     forKustomize(monitoring[monitoringTemplate]),
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

// valuesTable returns the values as a Markdown table, with the comments that begin with "--".
func valuesTable(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var document yamlv3.Node
	if err := yamlv3.Unmarshal(data, &document); err != nil {
		return "", fmt.Errorf("failed to read %s: %w", path, err)
	}
	var table strings.Builder
	table.WriteString("| value | default | meaning |\n|---|---|---|\n")
	if err := writeValues(&table, "", document.Content[0]); err != nil {
		return "", err
	}
	return table.String(), nil
}

func writeValues(table *strings.Builder, prefix string, values *yamlv3.Node) error {
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		name := prefix + key.Value
		_, meaning, documented := strings.Cut("\n"+key.HeadComment, "\n# -- ")
		if !documented {
			if value.Kind != yamlv3.MappingNode || len(value.Content) == 0 {
				return fmt.Errorf("values.yaml:%d: %s has no comment that begins with %q", key.Line, name, "# -- ")
			}
			if err := writeValues(table, name+".", value); err != nil {
				return err
			}
			continue
		}
		var byDefault any
		if err := value.Decode(&byDefault); err != nil {
			return fmt.Errorf("values.yaml:%d: %w", value.Line, err)
		}
		text, err := json.Marshal(byDefault)
		if err != nil {
			return fmt.Errorf("values.yaml:%d: %w", value.Line, err)
		}
		fmt.Fprintf(table, "| `%s` | `%s` | %s |\n", name, text, meaning)
	}
	return nil
}
