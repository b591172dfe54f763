// Command picture draws the dashboard of the chart as an SVG: it runs two replicas of the real server
// behind a real API server under changing load, scrapes all three into Prometheus's database, evaluates
// the queries of each panel with Prometheus's engine, and draws the panels where the dashboard puts
// them. Grafana is not part of it.
//
//	replicas, API server ──scrape.go──> tsdb ──query.go──> values ──draw.go──> SVG
//	      ^
//	   load.go
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
	"github.com/egress-tls/egress-tls-webhook/test/observability/dashboard"
)

// The labels of the replicas, which the dashboard's variables choose.
const (
	webhookJob       = "egress-tls-webhook"
	webhookNamespace = "egress-tls-system"
)

func main() {
	source := flag.String("dashboard", "../../deploy/chart/files/dashboard.json", "the dashboard")
	target := flag.String("o", "../../docs/dashboard.svg", "the `file` to write")
	duration := flag.Duration("for", 90*time.Second, "how long the load lasts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *source, *target, *duration); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // The process ends: nothing is left for stop to release.
	}
}

func run(ctx context.Context, source, target string, duration time.Duration) (err error) {
	d, err := dashboard.Load(source)
	if err != nil {
		return err
	}
	db, err := newDatabase()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if err := record(ctx, db, duration); err != nil {
		return err
	}
	picture, err := drawDashboard(ctx, d, db)
	if err != nil {
		return err
	}
	return os.WriteFile(target, picture, 0o644) //nolint:gosec // It is documentation.
}

// record runs the servers under load and fills the database.
func record(ctx context.Context, db *database, duration time.Duration) (err error) {
	plane, err := controlplane.Start(ctx, controlplane.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	front, err := controlplane.NewFront()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, front.Close()) }()
	sources := []scraped{{target: apiServer(plane.Config), labels: map[string]string{"job": "apiserver"}}}
	var replicas []*controlplane.Webhook
	defer func() {
		for _, webhook := range replicas {
			err = errors.Join(err, webhook.Stop())
		}
	}()
	for _, pod := range []string{"egress-tls-webhook-6c9f7d8b5-4xk2p", "egress-tls-webhook-6c9f7d8b5-w8zq7"} {
		webhook, err := controlplane.StartWebhook(ctx, plane, controlplane.WebhookOptions{Front: front, Args: []string{"--grace-period=10s"}})
		if err != nil {
			return err
		}
		replicas = append(replicas, webhook)
		sources = append(sources, scraped{
			target: replica(webhook.MetricsAddress()),
			labels: map[string]string{"job": webhookJob, "namespace": webhookNamespace, "pod": pod},
		})
		// The kubelet asks as often.
		go func() {
			for ctx.Err() == nil {
				_ = webhook.WaitReady(ctx)
				time.Sleep(5 * time.Second)
			}
		}()
	}
	load, err := newLoad(ctx, plane)
	if err != nil {
		return err
	}
	until := time.Now().Add(duration)
	scraping := make(chan error, 1)
	go func() { scraping <- db.scrape(ctx, sources, until) }()
	if err := load.run(ctx, until); err != nil {
		return errors.Join(err, <-scraping)
	}
	return <-scraping
}
