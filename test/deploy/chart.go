package deploy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// Namespace is where the documentation installs.
const Namespace = "egress-tls-system"

// Name is that of the chart, of the release in the documentation, and of most objects.
const Name = "egress-tls-webhook"

// Chart is deploy/chart and the Helm that reads it.
type Chart struct {
	// Dir is the chart.
	Dir string

	helm string
}

// OpenChart builds Helm if it is not there yet, about which it tells progress.
func OpenChart(ctx context.Context, progress io.Writer) (*Chart, error) {
	root, err := tools.RepoRoot()
	if err != nil {
		return nil, err
	}
	dir, err := tools.Helm().Install(ctx, progress)
	if err != nil {
		return nil, err
	}
	return &Chart{Dir: filepath.Join(root, "deploy", "chart"), helm: filepath.Join(dir, "helm")}, nil
}

// Template renders the chart as it is installed in Namespace. Values is what a values file would hold.
func (c *Chart) Template(ctx context.Context, values string, args ...string) (string, error) {
	return c.Helm(ctx, values, append([]string{"template", Name, c.Dir, "--namespace", Namespace, "--values", "-"}, args...)...)
}

// Helm runs helm and returns what it prints. An error is what it says on standard error.
func (c *Chart) Helm(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.helm, args...)
	cmd.Stdin = strings.NewReader(stdin)
	// The user's own configuration and cluster are none of ours.
	cmd.Env = append(os.Environ(), "HELM_CONFIG_HOME=/nonexistent", "HELM_DATA_HOME=/nonexistent", "KUBECONFIG=/nonexistent")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s%s", args[0], err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// Documents returns the YAML documents of a rendered chart by the template that they come from.
func Documents(rendered string) (documents map[string][]string) {
	documents = map[string][]string{}
	for document := range strings.SplitSeq(strings.TrimPrefix(rendered, "---\n"), "\n---\n") {
		source, text, _ := strings.Cut(document, "\n")
		template := strings.TrimPrefix(source, "# Source: "+Name+"/templates/")
		documents[template] = append(documents[template], strings.TrimSpace(text)+"\n")
	}
	return documents
}
