// Command install builds a tool set of test/tools, unless the cache has it, and prints the
// directory of its binaries:
//
//	go run ./tools/install controlplane
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

func main() {
	sets := map[string]func() tools.Set{
		"certmanager":         tools.CertManager,
		"controlplane":        tools.ControlPlane,
		"controlplane-oldest": tools.OldestControlPlane,
		"controllermanager":   tools.ControllerManager,
		"helm":                tools.Helm,
		"lint":                tools.Lint,
	}
	if len(os.Args) != 2 || sets[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: install certmanager|controlplane|controlplane-oldest|controllermanager|helm|lint")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := sets[os.Args[1]]().Install(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // The process ends: nothing is left for stop to release.
	}
	fmt.Println(dir)
}
