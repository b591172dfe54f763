package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// renderFlags are those that only render has.
type renderFlags struct {
	inPlace   bool
	rulesFile string
}

func (f *renderFlags) register(cmd *cobra.Command, in *inputs) {
	cmd.Flags().BoolVar(&in.fixOrder, "fix-order", false, "bring the routes of each VirtualService in the order that works, before anything else")
	cmd.Flags().BoolVar(&f.inPlace, "in-place", false, "write the files of -f, those that change, in place of printing")
	cmd.Flags().StringVar(&f.rulesFile, "rules-file", "", "with --in-place or -o diff: `FILE` that created DestinationRules go to, read like -f if it exists; without it, that of the object that first asks for one")
	offerManifests(cmd, "rules-file")
}

// validate checks the flags, and has a rules file that is there already read.
func (f *renderFlags) validate(cmd *cobra.Command, in *inputs, out *format) error {
	switch {
	case f.inPlace && cmd.Flags().Changed("output"):
		return usage(cmd, errors.New("--in-place writes files and prints no objects: it excludes -o"))
	case f.inPlace && slices.Contains(in.files, manifest.Stdin):
		return usage(cmd, errors.New("--in-place writes files, and stdin is none: give -f FILE"))
	case f.rulesFile == manifest.Stdin:
		return usage(cmd, errors.New("--rules-file names a file to write, and stdin is none"))
	case f.rulesFile != "" && !f.inPlace && out.value != "diff":
		return usage(cmd, errors.New("--rules-file needs --in-place or -o diff: all else is printed in one stream"))
	}
	if info, err := os.Stat(f.rulesFile); err == nil {
		if info.IsDir() {
			return usage(cmd, fmt.Errorf("--rules-file %s is a directory: name a file in it", f.rulesFile))
		}
		if len(in.files) > 0 { // Alone it is no input.
			in.files = append(in.files, f.rulesFile)
		}
	}
	return nil
}

func newRender(s Streams) *cobra.Command {
	var in inputs
	var out format
	var color colors
	var flags renderFlags
	cmd := &cobra.Command{
		Use:   "render -f FILE [flags]",
		Short: "Print the objects as admission would store them",
		Long: `render prints the DestinationRules that admission would create, then all objects of
the input as it would store them, headers and TLS added. Admission leaves what it
prints unchanged, and so does render. Where the policy says that you bring headers or
DestinationRules yourself (Require), render writes what is missing.

Only the lines that change change: comments, the order of keys and the layout stay.
Where YAML does not allow that, such as within an alias, the document is written
anew, and a note names the line. JSON is printed as YAML unless -o json is given,
which prints one List, the created rules at its end. -o diff prints what changes in
each file, for git apply or patch -p1; --in-place writes it, to all files or, if one
cannot be written, to none. There a created DestinationRule becomes a document before
the one that first asks for it, or goes to --rules-file.

--fix-order first brings the routes of each VirtualService in the order in which every
one can match; each takes its comments along. Routes move only to get in front of
those that take all their requests. It does not delete what no order saves, such as
the second of two equal routes, and does not change the match list within a route.

Findings go to stderr. With errors nothing is printed or written and the exit code is
1: what admission refuses cannot be stored.

` + inputHelp + `

Exit codes: 0 no error, 1 errors found, 2 unusable input or usage.`,
		Example: `  egress-tls render -f manifests/ | kubectl apply -f -
  egress-tls render -f virtualservice.yaml --background cluster.yaml -o json
  egress-tls render -f manifests/ --fix-order -o diff
  egress-tls render -f manifests/ --fix-order --in-place --rules-file manifests/tls.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.validate(cmd, &in, &out); err != nil {
				return err
			}
			input, v, err := in.judge(cmd, &out, s, true)
			if err != nil {
				return err
			}
			writeFindings(s.Err, color.style(s.Err), input, v.findings)
			if finding.HasErrors(v.findings) {
				complain(s.Err, fmt.Errorf("nothing is rendered: admission would refuse the input (%s)", count(v.summary().Errors, "error")))
				return errFound
			}
			r, err := input.render(v)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			switch {
			case flags.inPlace:
				return r.writeFiles(w, s.Err, flags.rulesFile)
			case out.value == "diff":
				return r.writeDiff(w, s.Err, flags.rulesFile, color.style(s.Out))
			case out.value == "json":
				return r.writeJSON(w)
			}
			return r.writeYAML(w, s.Err)
		},
	}
	in.register(cmd)
	out.register(cmd, "yaml", "json", "diff")
	color.register(cmd)
	flags.register(cmd, &in)
	return cmd
}

// bringing returns the policy under which what the user must bring is written:
// admission under Require names render as the way to get it.
func bringing(p *policy.Policy) *policy.Policy {
	out := *p
	if out.Headers == policy.RequireHeaders {
		out.Headers = policy.InjectHeaders
	}
	if out.DestinationRules == policy.RequireRules {
		out.DestinationRules = policy.CreateRules
	}
	return &out
}
