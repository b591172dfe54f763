package main

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/egress-tls/egress-tls-webhook/test/observability/dashboard"
)

// rateInterval is what Grafana would make of $__rate_interval, for the scrapes that there are.
const rateInterval = "10s"

// series is one line of a panel, or one value.
type series struct {
	name   string
	labels map[string]string
	points []point
}

// point is a value at the seconds since the start.
type point struct{ at, value float64 }

// last is the value of an instant query.
func (s series) last() float64 { return s.points[len(s.points)-1].value }

// query evaluates the queries of a panel, each on its own, sorted by name.
func query(ctx context.Context, db *database, p dashboard.Panel) ([][]series, error) {
	engine := promql.NewEngine(promql.EngineOpts{
		Logger: promslog.NewNopLogger(), MaxSamples: 1e7, Timeout: time.Minute, LookbackDelta: 5 * time.Second,
		EnableAtModifier: true, Parser: parser.NewParser(parser.Options{}),
	})
	defer func() { _ = engine.Close() }()
	var out [][]series
	for _, q := range p.Targets {
		expr := strings.NewReplacer("$__rate_interval", rateInterval, "$namespace", webhookNamespace, "$job", webhookJob).Replace(q.Expr)
		start := db.start
		if q.Instant {
			start = db.end
		}
		run, err := engine.NewRangeQuery(ctx, db, nil, expr, start, db.end, scrapeInterval)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Title, err)
		}
		matrix, err := run.Exec(ctx).Matrix()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Title, err)
		}
		var found []series
		for _, m := range matrix {
			s := series{name: legend(q.LegendFormat, m.Metric), labels: m.Metric.Map()}
			for _, f := range m.Floats {
				if !math.IsNaN(f.F) {
					s.points = append(s.points, point{float64(f.T-db.start.UnixMilli()) / 1000, f.F})
				}
			}
			if len(s.points) > 0 {
				found = append(found, s)
			}
		}
		slices.SortFunc(found, func(a, b series) int { return strings.Compare(a.name, b.name) })
		out = append(out, found)
		run.Close()
	}
	return out, nil
}

var placeholder = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// legend fills a legend's format in, as Grafana does.
func legend(format string, metric labels.Labels) string {
	return placeholder.ReplaceAllStringFunc(format, func(p string) string {
		return metric.Get(placeholder.FindStringSubmatch(p)[1])
	})
}
