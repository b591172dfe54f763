// Command picture takes the pictures of the HTML report, light and dark: it applies a site to a
// real API server, scans that, and opens the page in a headless browser.
//
//	site.yaml ── kubectl ── API server ── egress-tls scan ── page ── Chromium ── PNG
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/chromedp/chromedp"

	"github.com/egress-tls/egress-tls-webhook/test/browser"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const (
	width, height = 1200, 1250
	// cluster is what the report calls it.
	cluster = "production"
	// host is the one whose details are open.
	host = "ledger.partner.example"
)

func main() {
	site := flag.String("site", "browser/testdata/site.yaml", "the manifests")
	target := flag.String("o", "../docs/scan-report", "the `files` to write, without -light.png and -dark.png")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *site, *target); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // The process ends: nothing is left for stop to release.
	}
}

func run(ctx context.Context, site, target string) (err error) {
	chromium, err := browser.Find()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "egress-tls-picture-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	page := filepath.Join(dir, "report.html")
	if err := scan(ctx, site, filepath.Join(dir, "kubeconfig"), page); err != nil {
		return err
	}
	tab, stop := browser.Start(ctx, chromium)
	defer stop()
	for _, scheme := range []string{"light", "dark"} {
		err := chromedp.Do(tab,
			chromedp.EmulateViewport(width, height),
			browser.Media("", scheme),
			chromedp.Navigate("file://"+page),
			chromedp.Evaluate[chromedp.Void]("document.querySelector(`[id='host-"+host+"'] .expand`).click()"),
		)
		if err != nil {
			return err
		}
		picture, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
		if err != nil {
			return err
		}
		if err := os.WriteFile(target+"-"+scheme+".png", picture, 0o644); err != nil { //nolint:gosec // It is documentation.
			return err
		}
	}
	return nil
}

// scan writes the report of an API server that holds the site.
func scan(ctx context.Context, site, kubeconfig, page string) (err error) {
	plane, err := controlplane.Start(ctx, controlplane.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	kubectl := func(args ...string) (string, error) {
		result := plane.Kubectl(ctx, "", args...)
		if result.ExitCode != 0 {
			return "", fmt.Errorf("kubectl %v: %s", args, result.Stderr)
		}
		return result.Stdout, nil
	}
	if _, err := kubectl("apply", "-f", site); err != nil {
		return err
	}
	config, err := kubectl("config", "view", "--raw", "--flatten")
	if err != nil {
		return err
	}
	if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
		return err
	}
	current, err := kubectl("config", "current-context", "--kubeconfig", kubeconfig)
	if err != nil {
		return err
	}
	if _, err := kubectl("config", "rename-context", string(bytes.TrimSpace([]byte(current))), cluster, "--kubeconfig", kubeconfig); err != nil {
		return err
	}
	binary, err := plane.Build(ctx, "./cmd/egress-tls")
	if err != nil {
		return err
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "scan", "-o", "html", "--kubeconfig", kubeconfig)
	cmd.Stdout, cmd.Stderr = &out, &errs
	// The site has errors, so that the exit code is 1.
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != 1 {
		return fmt.Errorf("failed to scan: %w: %s", err, &errs)
	}
	return os.WriteFile(page, out.Bytes(), 0o600)
}
