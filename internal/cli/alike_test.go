package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
)

// ours are the commands that judge: not those that cobra adds, and not version.
func ours(root *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion", "help", "version":
		default:
			out = append(out, c)
		}
	}
	return out
}

// A flag is the same wherever it is: who knows one command knows it in all.
func TestFlagsAreAlike(t *testing.T) {
	first := map[string]*cobra.Command{}
	byShorthand := map[string]string{}
	for _, cmd := range ours(Command("test")) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Shorthand != "" {
				if other, known := byShorthand[f.Shorthand]; known {
					assert.Equal(t, other, f.Name, "%s: -%s is another flag elsewhere", cmd.Name(), f.Shorthand)
				}
				byShorthand[f.Shorthand] = f.Name
			}
			other := first[f.Name]
			if other == nil {
				first[f.Name] = cmd
				return
			}
			o := other.Flags().Lookup(f.Name)
			where := cmd.Name() + " and " + other.Name() + ": --" + f.Name
			assert.Equal(t, o.Shorthand, f.Shorthand, where)
			assert.Equal(t, o.Value.Type(), f.Value.Type(), where)
			switch {
			case f.Name == "output": // Each command has its own formats.
				assert.True(t, strings.HasPrefix(f.Usage, "output `FORMAT`: "), where)
			case f.Name == "namespace" && cmd.Name() == "scan":
				// It reads no file whose objects could name none.
			default:
				assert.Equal(t, o.Usage, f.Usage, where)
				assert.Equal(t, o.DefValue, f.DefValue, where)
			}
		})
	}
	assert.Contains(t, first, "policy", "the tree holds the flags")
}

// Pipelines depend on exit codes.
func TestHelpSaysExitCodes(t *testing.T) {
	for _, cmd := range append(ours(Command("test")), Command("test")) {
		assert.Regexp(t, `\n\nExit codes: 0 [^\n]+, (1 [^\n]+, )?2 unusable input or usage\.$`, cmd.Long, cmd.CommandPath())
	}
}

// Each command and flag is documented: what several commands take in docs/cli.md, what
// only one takes there or on its own page.
func TestFlagsAreDocumented(t *testing.T) {
	const docs = "../../docs/"
	overview := read(t, docs+"cli.md")
	takers := map[string]int{}
	for _, cmd := range ours(Command("test")) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { takers[f.Name]++ })
	}
	for _, cmd := range ours(Command("test")) {
		assert.Regexp(t, "`"+cmd.Name()+"`", overview)
		page := overview
		if text, err := os.ReadFile(docs + cmd.Name() + ".md"); err == nil {
			page += string(text)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			where := page
			if takers[f.Name] > 1 {
				where = overview
			}
			assert.Regexp(t, "--"+f.Name+`\b`, where, "%s --%s", cmd.Name(), f.Name)
		})
	}
}
