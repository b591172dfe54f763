package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

// The commands of docs/recipes.md print what it says.
func TestRecipes(t *testing.T) {
	g := openGuide(t, "recipes.md")
	defer g.close(t)
	// What the tests before this one have left is not on the page.
	g.succeeds(t, "kubectl delete namespace shop --ignore-not-found",
		"kubectl delete serviceentries,virtualservices,destinationrules,gateways.networking.istio.io --all --all-namespaces")
	for _, chapter := range []string{"The repository", "GitHub", "GitLab", "pre-commit", "Kustomize and Helm"} {
		g.play(t, chapter)
	}
	runPipelines(t, g.shell)
	install(t, g.shell, "install")
	for _, chapter := range []string{"Background from a cluster", "A server-side dry run", "Before a change of the policy"} {
		g.play(t, chapter)
	}
	grantScan(t, g.shell)
	for _, chapter := range []string{"Every night", "Every byte in Git", "On your machine"} {
		g.play(t, chapter)
	}
	runPlugin(t, g.shell)
	g.succeeds(t, "kubectl delete namespace shop", "helm uninstall egress-tls-webhook --namespace egress-tls-system --wait")
}

// runPipelines runs what the pipelines of the page do with egress-tls: each command finds the
// errors of the repository.
func runPipelines(t *testing.T, s *shell) {
	t.Helper()
	var workflow struct {
		Jobs map[string]struct{ Steps []struct{ Run string } }
	}
	var gitLab map[string]struct{ Script []string }
	for file, into := range map[string]any{".github/workflows/egress-tls.yaml": &workflow, ".gitlab-ci.yml": &gitLab} {
		data, err := os.ReadFile(filepath.Join(s.dir, file))
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(data, into), file)
	}
	var commands []string
	for _, step := range workflow.Jobs["check"].Steps {
		commands = append(commands, step.Run)
	}
	commands = append(commands, gitLab["egress-tls"].Script...)
	commands = slices.DeleteFunc(commands, func(c string) bool { return !strings.HasPrefix(c, "egress-tls ") })
	assert.Len(t, commands, 3)
	for _, c := range commands {
		out, err := s.run(t, c)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, c)
		assert.Equal(t, 1, exit.ExitCode(), "%s\n%s", c, out)
	}
}

// runPlugin runs the plugin of Argo CD where Argo CD would.
func runPlugin(t *testing.T, s *shell) {
	t.Helper()
	var plugin struct {
		Spec struct{ Generate struct{ Command []string } }
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "plugin.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, &plugin))
	command := plugin.Spec.Generate.Command
	require.Equal(t, []string{"sh", "-c"}, command[:2])
	s.succeeds(t, "cp manifests/shop.yaml overlays/production/")
	out, err := s.run(t, "cd overlays/production && "+command[2])
	require.NoError(t, err, out)
	assert.Contains(t, out, "kind: DestinationRule\n")
}

// grantScan applies the rights of docs/scan.md, and binds them as it says.
func grantScan(t *testing.T, s *shell) {
	t.Helper()
	root, err := tools.RepoRoot()
	require.NoError(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs", "scan.md"))
	require.NoError(t, err)
	for _, marker := range []string{"rights", "bindings"} {
		block := regexp.MustCompile("(?s)<!-- " + marker + ":[^>]*-->\n```(yaml|sh)\n(.*?)```\n").FindSubmatch(page)
		require.NotNil(t, block, "docs/scan.md has no %s", marker)
		if string(block[1]) == "sh" {
			s.succeeds(t, string(block[2]))
			continue
		}
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "rights.yaml"), block[2], 0o600))
		s.succeeds(t, "kubectl apply -f rights.yaml")
	}
}
