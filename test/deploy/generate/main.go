// Command generate writes what is made from deploy/chart. make generate runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/egress-tls/egress-tls-webhook/test/deploy"
	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := generate(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "generate: "+err.Error())
		os.Exit(1) //nolint:gocritic // The process ends: nothing is left for stop to release.
	}
}

func generate(ctx context.Context) error {
	root, err := tools.RepoRoot()
	if err != nil {
		return err
	}
	chart, err := deploy.OpenChart(ctx, os.Stderr)
	if err != nil {
		return err
	}
	files, err := deploy.Generated(ctx, chart)
	if err != nil {
		return err
	}
	for path, content := range files {
		if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
