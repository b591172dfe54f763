package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	buildversion "github.com/egress-tls/egress-tls-webhook/internal/version"
)

func newVersion(version string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "egress-tls "+version)
			return err
		},
	}
}

// Version describes the build: by what the linker was told, else by what the Go
// toolchain recorded.
func Version(version, commit string) string {
	version, commit = buildversion.Resolve(version, commit)
	return fmt.Sprintf("%s (commit %s, %s, %s/%s)", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
