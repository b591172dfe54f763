// Command egress-tls tells what the admission webhook would answer, from files.
package main

import (
	"os"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
)

// Set by the linker (-X); without it the build information serves.
var version, commit string

func main() {
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(cli.Run(os.Args[1:], streams, cli.Version(version, commit)))
}
