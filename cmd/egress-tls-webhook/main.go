// Command egress-tls-webhook is the admission webhook server.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	buildversion "github.com/egress-tls/egress-tls-webhook/internal/version"
)

// Set by the linker (-X); without it the build information serves.
var version, commit string

func main() {
	var build buildInfo
	build.version, build.commit = buildversion.Resolve(version, commit)
	if err := newCommand(build).ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "egress-tls-webhook: "+err.Error())
		os.Exit(1)
	}
}
