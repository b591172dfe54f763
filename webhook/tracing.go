package webhook

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// scope names us as the source of spans.
const scope = "github.com/egress-tls/egress-tls-webhook/webhook"

// tracing sends spans to a collector. nil is switched off: then nothing is wrapped, and
// what starts spans gets those of OpenTelemetry that do nothing.
//
//	API server ──traceparent──> request ─┬─> decide
//	                                     └─> ensure rules ──traceparent──> API server
//	                            reconcile ──> read, write ──traceparent──> API server
type tracing struct{ provider *sdktrace.TracerProvider }

// newTracing connects when the first spans are sent: a collector that is away stops nothing.
func newTracing(ctx context.Context, cfg Config) (*tracing, error) {
	if cfg.Tracing.Endpoint == "" {
		return nil, nil //nolint:nilnil // it is switched off
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(cfg.Tracing.Endpoint)}
	if cfg.Tracing.Insecure {
		options = append(options, otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("failed to prepare tracing to %s: %w", cfg.Tracing.Endpoint, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("failed to name this replica: %w", err)
	}
	// The environment, OTEL_RESOURCE_ATTRIBUTES, comes last and wins.
	res, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "egress-tls-webhook"),
		attribute.String("service.version", cfg.Version),
		attribute.String("service.instance.id", host),
		attribute.String("k8s.namespace.name", cfg.Namespace),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("failed to describe this replica for tracing: %w", err)
	}
	return &tracing{sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(res),
		// Whoever calls decides, if it traces.
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.Tracing.SamplingRatio))),
	)}, nil
}

// Start implements manager.Runnable: it sends what is left when ctx ends.
func (t *tracing) Start(ctx context.Context) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // A collector that is away keeps nobody from ending.
	return nil
}

// handler makes a span of each request but the self-test, below the caller's.
func (t *tracing) handler(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return otelhttp.NewHandler(next, "",
		otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.UserAgent() != selfTestAgent }),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + r.URL.Path }))
}

// client makes a span of each request to the API server that is part of a trace: not of
// watches and leader election.
func (t *tracing) client(cfg *rest.Config) *rest.Config {
	if t == nil {
		return cfg
	}
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return otelhttp.NewTransport(next,
			otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}),
			otelhttp.WithFilter(func(r *http.Request) bool { return trace.SpanContextFromContext(r.Context()).IsValid() }),
			otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + r.URL.Path }))
	})
	return cfg
}

// startSpan starts a span below that of ctx. Without one, as when tracing is switched off,
// it does nothing.
func startSpan(ctx context.Context, name string) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(scope).Start(ctx, name)
}

// endSpan ends a span with what came of it.
func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// traced makes a trace of each reconciliation.
func traced[K comparable](t *tracing, controller string, next reconcile.TypedReconciler[K]) reconcile.TypedReconciler[K] {
	if t == nil {
		return next
	}
	tracer := t.provider.Tracer(scope)
	return reconcile.TypedFunc[K](func(ctx context.Context, key K) (reconcile.Result, error) {
		ctx, span := tracer.Start(ctx, "reconcile "+controller, trace.WithAttributes(attribute.String("egress_tls.key", fmt.Sprint(key))))
		result, err := next.Reconcile(ctx, key)
		endSpan(span, err)
		return result, err
	})
}
