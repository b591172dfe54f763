package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/tsdb"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// scrapeInterval makes a minute and a half look like hours.
const scrapeInterval = time.Second

// database is that of Prometheus.
type database struct {
	*tsdb.DB
	dir        string
	start, end time.Time // of what was scraped
}

func newDatabase() (*database, error) {
	dir, err := os.MkdirTemp("", "egress-tls-picture-")
	if err != nil {
		return nil, err
	}
	db, err := tsdb.Open(dir, promslog.NewNopLogger(), nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &database{DB: db, dir: dir}, nil
}

func (d *database) close() error { return errors.Join(d.Close(), os.RemoveAll(d.dir)) }

// scraped is what is scraped, and the labels that its series get.
type scraped struct {
	target func(context.Context) ([]byte, error)
	labels map[string]string
}

func apiServer(config *rest.Config) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		return client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	}
}

func replica(address string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		return io.ReadAll(resp.Body)
	}
}

// scrape stores what the sources tell, again and again.
func (d *database) scrape(ctx context.Context, sources []scraped, until time.Time) error {
	for d.start = time.Now(); time.Now().Before(until); time.Sleep(scrapeInterval) {
		d.end = time.Now()
		for _, s := range sources {
			text, err := s.target(ctx)
			if err != nil {
				return fmt.Errorf("failed to scrape %v: %w", s.labels, err)
			}
			if err := d.store(ctx, text, s.labels, d.end); err != nil {
				return fmt.Errorf("failed to store what was scraped from %v: %w", s.labels, err)
			}
		}
	}
	return nil
}

func (d *database) store(ctx context.Context, text []byte, more map[string]string, at time.Time) error {
	parser := textparse.NewPromParser(text, labels.NewSymbolTable(), false)
	app := d.Appender(ctx)
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return app.Commit()
		}
		if err != nil {
			return errors.Join(err, app.Rollback())
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var series labels.Labels
		parser.Labels(&series)
		b := labels.NewBuilder(series)
		for name, value := range more {
			b.Set(name, value)
		}
		_, _, value := parser.Series()
		if _, err := app.Append(0, b.Labels(), at.UnixMilli(), value); err != nil {
			return errors.Join(err, app.Rollback())
		}
	}
}
