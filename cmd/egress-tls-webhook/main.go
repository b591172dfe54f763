// Command egress-tls-webhook is the admission webhook server.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "egress-tls-webhook: "+err.Error())
		os.Exit(1)
	}
}
