package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/tools"
)

var errInterrupted = errors.New("interrupted")

func main() {
	os.Exit(run())
}

func run() (exitCode int) {
	keep := flag.Bool("keep", false, "leave everything running in the end, until Ctrl-C")
	update := flag.Bool("update", false, "write the transcript into README.md")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q\n", flag.Arg(0))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := demo(ctx, *keep, *update); err != nil {
		if ctx.Err() != nil {
			err = errInterrupted // What it broke off says no more.
		}
		fmt.Fprintf(os.Stderr, "demo: %s\n", err)
		return 1
	}
	return 0
}

func demo(ctx context.Context, keep, update bool) error {
	root, err := tools.RepoRoot()
	if err != nil {
		return err
	}
	var after func(context.Context, *player, *controlplane.Webhook)
	if keep {
		after = leaveRunning
	}
	var transcript bytes.Buffer
	if err := play(ctx, root, io.MultiWriter(os.Stdout, &transcript), os.Stderr, after); err != nil {
		return err
	}
	if update {
		return updateReadme(root, transcript.String())
	}
	return nil
}

// play starts everything, tells the story to out, calls after if that is given, and stops everything.
func play(ctx context.Context, root string, out, progress io.Writer,
	after func(context.Context, *player, *controlplane.Webhook),
) (err error) {
	fmt.Fprintln(progress, "Starting etcd, kube-apiserver and the webhook.")
	cp, err := controlplane.Start(ctx, controlplane.Options{Progress: progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Stop()) }()
	webhook, err := controlplane.StartWebhook(ctx, cp, controlplane.WebhookOptions{})
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := webhook.Stop(); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("the webhook did not stop cleanly: %w", stopErr))
		}
	}()

	dir, err := os.MkdirTemp("", "egress-tls-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	scenarios := filepath.Join(root, "test", "scenarios")
	if err := writeFiles(scenarios, dir); err != nil {
		return err
	}

	cli, err := cp.Build(ctx, "./cmd/egress-tls")
	if err != nil {
		return err
	}

	p := newPlayer(out, dir, cp, filepath.Dir(cli))
	story{p, scenarios}.tell(ctx)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if len(p.failures) > 0 {
		fmt.Fprintf(progress, "\nThe log of the webhook:\n%s\n", webhook.Log())
	}
	if after != nil {
		after(ctx, p, webhook)
	}
	return p.err()
}

// leaveRunning waits until the user has had enough, or the webhook ends by itself.
func leaveRunning(ctx context.Context, p *player, webhook *controlplane.Webhook) {
	fmt.Printf(`
It is still running; Ctrl-C ends it. In another terminal:

  export KUBECONFIG=%s
  export PATH=%s:$PATH
  cd %s

These are the API server, kubectl and egress-tls, and the manifests.
`, p.kubeconfig, p.path, p.dir)
	select {
	case <-ctx.Done():
	case <-webhook.Exited():
		p.fail("the webhook should run, and exited")
	}
}
