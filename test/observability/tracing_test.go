package observability

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// collector is an OpenTelemetry collector that keeps what it gets.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	address string
	server  *grpc.Server

	mu    sync.Mutex
	spans []span
}

// span is one span and who sent it.
type span struct {
	*tracev1.Span
	service string
}

func startCollector(ctx context.Context) (*collector, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &collector{address: l.Addr().String(), server: grpc.NewServer()}
	collectorv1.RegisterTraceServiceServer(c.server, c)
	go func() { _ = c.server.Serve(l) }() // Until stop.
	return c, nil
}

func (c *collector) stop() { c.server.Stop() }

// Export implements the OTLP service.
func (c *collector) Export(_ context.Context, req *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			for _, one := range s.GetSpans() {
				got := span{Span: one}
				for _, a := range r.GetResource().GetAttributes() {
					if a.GetKey() == "service.name" {
						got.service = a.GetValue().GetStringValue()
					}
				}
				c.spans = append(c.spans, got)
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func (c *collector) find(ok func(span) bool) []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []span
	for _, s := range c.spans {
		if ok(s) {
			out = append(out, s)
		}
	}
	return out
}

func (s span) attribute(key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

const ours = "egress-tls-webhook"

// One trace tells the whole way of a kubectl apply: from the API server to the webhook, and
// from there to the API server again, where the rule is written before the yes.
func TestAnApplyIsOneTrace(t *testing.T) {
	s := newSite(t, "enforce")
	apply(t, s.route("web", "/keys", "/"))

	var request span
	eventually(t, "the span of the validating phase", func() bool {
		found := spans.find(func(x span) bool {
			return x.service == ours && x.GetName() == "POST /validate" && x.attribute("egress_tls.name") == "web" && x.attribute("k8s.namespace.name") == s.namespace
		})
		if len(found) > 0 {
			request = found[0]
		}
		return len(found) == 1
	})
	assert.Equal(t, []string{"VirtualService", "CREATE", "enforce", "allowed"}, []string{
		request.attribute("egress_tls.kind"), request.attribute("egress_tls.operation"), request.attribute("egress_tls.mode"), request.attribute("egress_tls.verdict"),
	})
	children := func(parent span) map[string]span {
		out := map[string]span{}
		for _, x := range spans.find(func(x span) bool { return string(x.GetParentSpanId()) == string(parent.GetSpanId()) }) {
			assert.Equal(t, hex.EncodeToString(parent.GetTraceId()), hex.EncodeToString(x.GetTraceId()))
			out[x.GetName()] = x
		}
		return out
	}
	names := func(of map[string]span) []string {
		var out []string
		for name := range of {
			out = append(out, name)
		}
		slices.Sort(out)
		return out
	}
	// The API server takes a trace of administrators only for its own; to all others it links.
	linked := func(to span) []span {
		return spans.find(func(x span) bool {
			return slices.ContainsFunc(x.GetLinks(), func(l *tracev1.Span_Link) bool { return string(l.GetSpanId()) == string(to.GetSpanId()) })
		})
	}
	rules := "/apis/networking.istio.io/v1/namespaces/" + s.namespace + "/destinationrules"
	var parent []span
	var write span
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		parent = spans.find(func(x span) bool { return string(x.GetSpanId()) == string(request.GetParentSpanId()) })
		assert.Equal(c, []string{"await rules seen", "decide", "ensure rules"}, names(children(request)))
		ensured := children(children(request)["ensure rules"])
		assert.Contains(c, names(ensured), "decide")
		if assert.Contains(c, names(ensured), "POST "+rules) {
			write = ensured["POST "+rules]
			assert.NotEmpty(c, linked(write), "what the API server made of the write")
		}
		assert.Contains(c, names(children(ensured["decide"])), "GET "+rules)
	}, patience, tick)
	require.Len(t, parent, 1)
	assert.Equal(t, "apiserver", parent[0].service)
	for _, x := range linked(write) {
		assert.Equal(t, "apiserver", x.service)
	}

	eventually(t, "a trace of the host's reconciliation", func() bool {
		return len(spans.find(func(x span) bool {
			return x.GetName() == "reconcile destinationrules" && x.attribute("egress_tls.key") == s.host && len(x.GetParentSpanId()) == 0
		})) > 0
	})
	assert.Empty(t, spans.find(func(x span) bool {
		return x.service == ours && len(x.GetParentSpanId()) == 0 && x.GetName() != "reconcile destinationrules" && x.GetName() != "reconcile virtualservices"
	}), "neither probes nor watches make traces of their own")
}
