package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// givenFlags returns the flags of the command line that say what the input is, as words
// of a shell; none where it is no file.
func givenFlags(cmd *cobra.Command) []string {
	var files, out []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "output", "color", "fix-order", "in-place":
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			if f.Name == "filename" {
				files = append(files, name, shellWord(v))
			} else {
				out = append(out, name, shellWord(v))
			}
		}
	})
	if files == nil {
		return nil // The objects are in no file that could be written.
	}
	return append(files, out...)
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
