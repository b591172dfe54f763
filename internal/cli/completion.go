package cli

// What a shell offers at the tab key, beside the names of commands and flags.

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/egress-tls/egress-tls-webhook/internal/cluster"
)

// addCompletion adds the command that cobra makes, to which no shell is not an answer.
func addCompletion(root *cobra.Command) {
	// No command takes any file as an argument.
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Short = "Print the script that completes commands in a shell"
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Errorf("unknown shell %q; it is one of bash, fish, powershell, zsh", args[0]))
			}
			return usage(cmd, errors.New("no shell given; it is one of bash, fish, powershell, zsh"))
		}
	}
}

// askTimeout is how long a cluster is waited for while somebody types.
const askTimeout = "2s"

// offerWords offers the values of a flag that takes one of a few words.
func offerWords(cmd *cobra.Command, flag string, words ...string) {
	offer(cmd, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// offerManifests offers directories and files that a directory is read for.
func offerManifests(cmd *cobra.Command, flag string) {
	offer(cmd, flag, cobra.FixedCompletions([]string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt))
}

// offerFiles offers all files.
func offerFiles(cmd *cobra.Command, flag string) {
	offer(cmd, flag, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
}

// offerNames offers what is read with the access that the command line says so far; an
// error offers nothing.
func offerNames(cmd *cobra.Command, flag string, a *cluster.Access, read func(context.Context, cluster.Access) ([]string, error)) {
	offer(cmd, flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		access := *a
		access.RequestTimeout = askTimeout
		names, err := read(cmd.Context(), access)
		if err != nil {
			cobra.CompDebugln(err.Error(), false)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func offer(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // The command has no such flag, or it is completed already.
	}
}
