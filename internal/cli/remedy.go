package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// givenFlags returns the flags of the command line that say what the input is, as words
// of a shell; none where the objects are in no file that could be written.
func givenFlags(cmd *cobra.Command) []string {
	if !cmd.Flags().Changed("filename") {
		return nil
	}
	const shown = 3 // values of one flag
	var out []string
	for _, flag := range []string{"filename", "namespace", "background", "kubeconfig", "context", "request-timeout", "policy", "mode"} {
		if !cmd.Flags().Changed(flag) {
			continue
		}
		f := cmd.Flags().Lookup(flag)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for i, v := range values {
			if i == shown && len(values) > shown+1 {
				out = append(out, "...") // As given.
				break
			}
			out = append(out, name, shellWord(v))
		}
	}
	return out
}

// renderCommand is the command that mends the input, "" where that is no file.
func (in *input) renderCommand(flags ...string) string {
	if len(in.given) == 0 {
		return ""
	}
	words := slices.Concat([]string{"egress-tls", "render"}, in.given, flags)
	if i := slices.Index(in.given, "-"); i < 0 || in.given[i-1] != "-f" {
		words = append(words, "--in-place")
	}
	return strings.Join(words, " ")
}

// shellWord quotes what a shell would take apart.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
