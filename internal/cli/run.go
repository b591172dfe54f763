package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// The exit codes.
const (
	OK       = 0
	Found    = 1 // errors were found
	Unusable = 2 // input or usage
)

// Streams are the standard ones of a process.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// errFound ends a command that has said already which errors it found.
var errFound = errors.New("errors found")

// maxErrors bounds how many errors of unusable input are printed.
const maxErrors = 20

// Run carries out the command line args, without the program's name, and returns
// the exit code. version is what the version command prints.
func Run(args []string, s Streams, version string) int {
	// Output goes out whole or, where an error comes up before it is, not at all.
	var out bytes.Buffer
	root := newRoot(s, &out, version)
	if args == nil {
		args = []string{} // cobra would take the process' own.
	}
	root.SetArgs(args)
	err := root.Execute()
	_, unreported := errors.AsType[*unreportedError](err)
	if err == nil || unreported || errors.Is(err, errFound) {
		if _, writeErr := s.Out.Write(out.Bytes()); writeErr != nil && out.Len() > 0 {
			err = fmt.Errorf("failed to write the output: %w", writeErr)
		}
	}
	switch {
	case err == nil:
		return OK
	case errors.Is(err, errFound):
		return Found
	}
	complain(s.Err, err)
	return Unusable
}

// Command is the tree of all commands, for their documentation.
func Command(version string) *cobra.Command {
	return newRoot(Streams{}, io.Discard, version)
}

// complain prints each line of an error as one of ours.
func complain(w io.Writer, err error) {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	for i, line := range lines {
		if i == maxErrors {
			fmt.Fprintf(w, "egress-tls: and %d more\n", len(lines)-i)
			return
		}
		fmt.Fprintf(w, "egress-tls: %s\n", finding.Printable(line))
	}
}

func newRoot(s Streams, out io.Writer, version string) *cobra.Command {
	root := &cobra.Command{
		Use:     "egress-tls",
		Version: version,
		Short:   "TLS origination and route order for Istio egress, before you apply",
		Long: `egress-tls tells what the egress-tls admission webhook would answer to a
kubectl apply, from files or from what a cluster holds: routes that no request can
ever reach, plaintext HTTP towards a TLS port, and the headers and DestinationRules
that would be added.

Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.`,
		Example: `  egress-tls check -f manifests/
  egress-tls render -f manifests/ | kubectl apply -f -
  egress-tls explain api.example.com:443
  egress-tls scan`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Errorf("unknown command %q", args[0]))
			}
			return usage(cmd, errors.New("no command given"))
		},
	}
	root.SetIn(s.In)
	root.SetOut(out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(usage)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(newCheck(s), newRender(s), newExplain(s), newScan(s), newDiffPolicy(s), newVersion(version))
	addCompletion(root)
	return root
}

// usage adds to an error where to read on.
func usage(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w\nsee '%s --help'", err, cmd.CommandPath())
}

// noArgs refuses arguments; most of them are files that lack their -f, where there is one.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unexpected argument %q", args[0])
	if cmd.Flags().Lookup("filename") != nil {
		err = fmt.Errorf("%w; files are given as -f FILE", err)
	}
	return usage(cmd, err)
}
