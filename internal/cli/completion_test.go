package cli

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
)

// What cobra's scripts are told: the words to offer, and what to do with them.
func TestCompletion(t *testing.T) {
	kubeconfig := write(t, "config", `apiVersion: v1
kind: Config
contexts:
- {name: production, context: {cluster: p}}
- {name: playground, context: {cluster: p}}
clusters:
- {name: p, cluster: {server: "http://127.0.0.1:1"}}
current-context: production
`)
	const (
		words = ":4" // and no files
		files = ":0"
		byExt = ":8" // directories, and files that end like this
	)
	for line, want := range map[string][]string{
		"check -o ":           {"text", "json", "sarif", "junit", "github", "html", words},
		"render --output ":    {"yaml", "json", "diff", words},
		"check --color ":      {"auto", "always", "never", words},
		"check --mode ":       {"enforce", "warn", "audit", words},
		"check --filename ":   {"yaml", "yml", "json", byExt},
		"check --background ": {"yaml", "yml", "json", byExt},
		"check --policy ":     {"yaml", "yml", "json", byExt},
		"check --kubeconfig ": {files},
		"check ":              {words},
		"diff-policy ":        {"default", files},
		"diff-policy a b ":    {words},
		"version ":            {words},
		"check --kubeconfig " + kubeconfig + " --context ": {"playground", "production", words},
		"check --kubeconfig " + kubeconfig + " -n ":        {words}, // Nobody listens there.
		"check --kubeconfig /none --context ":              {words},
	} {
		t.Run(line, func(t *testing.T) {
			got := run("", append([]string{"__complete"}, strings.Split(line, " ")...)...)
			assert.Equal(t, OK, got.code, got.err)
			assert.Equal(t, strings.Join(want, "\n")+"\n", got.out)
		})
	}
}

// Each flag with a value offers some, where there is a choice.
func TestCompletionOfEveryFlag(t *testing.T) {
	for _, cmd := range ours(Command("test")) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			_, offers := cmd.GetFlagCompletionFunc(f.Name)
			free := f.Value.Type() == "bool" || f.Value.Type() == "int64" || f.Name == "request-timeout"
			assert.Equal(t, !free, offers, "%s --%s", cmd.Name(), f.Name)
		})
	}
}

func TestCompletionScripts(t *testing.T) {
	for shell, want := range map[string]string{
		"bash":       "# bash completion V2 for egress-tls ",
		"zsh":        "#compdef egress-tls\n",
		"fish":       "# fish completion for egress-tls ",
		"powershell": "# powershell completion for egress-tls ",
	} {
		got := run("", "completion", shell)
		assert.Equal(t, OK, got.code)
		assert.Empty(t, got.err)
		assert.Equal(t, want, got.out[:len(want)])
	}
}
