package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	jsonpatch "github.com/evanphx/json-patch/v5"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/test/bench/figure"
	"github.com/egress-tls/egress-tls-webhook/test/bench/load"
	"github.com/egress-tls/egress-tls-webhook/test/bench/population"
	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// admissionStage sends what the API server sends, POST /mutate and then POST /validate with
// the object that comes of it, to the webhook and to one that decodes and allows.
//
//	             ┌─> egress-tls-webhook ──> API server (watches)
//	load.Open ───┤   in turns, slice by slice
//	             └─> noop
//
// The load generator runs on the same cores. What it costs meets both sides, and makes them
// look more alike than they are; the CPU time for each request is theirs alone. Both have the
// certificate, the settings of the Go runtime and a file for their logs in common.
func admissionStage(ctx context.Context, b *bench) (_ []figure.Figure, _ []figure.Plot, err error) {
	pair, err := newPair(b.dir)
	if err != nil {
		return nil, nil, err
	}
	site, err := startSite(ctx, b, pair, "webhook", 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, site.stop()) }()
	noop, err := startNoop(ctx, b, pair)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, noop.stop()) }()
	s := &admissionRun{
		bench: b, ours: site.side, other: noop.side, client: site.client, id: "admission",
		against: "a controller-runtime webhook that decodes and allows", latency: figure.Goal{AtMost: 1.25}, throughput: figure.Goal{AtLeast: 0.8},
	}
	s.plot = figure.Plot{
		ID: "admission-latency", Group: admissionGroup, Title: "Latency of a request that needs nothing, beside " + s.against,
		X: "share of the requests", Y: "times", Names: map[string]float64{},
	}
	if err := s.compareAll(ctx, admissionCases...); err != nil {
		return nil, nil, err
	}
	return s.figures, []figure.Plot{s.plot}, nil
}

// sizeStage compares the webhook with itself: in a cluster that has 10,000 objects of each of
// the three kinds, and in one that has 100. Each has an API server of its own, which does
// nothing meanwhile.
func sizeStage(ctx context.Context, b *bench) (_ []figure.Figure, _ []figure.Plot, err error) {
	pair, err := newPair(b.dir)
	if err != nil {
		return nil, nil, err
	}
	large, small := 10_000, 100
	if b.quick {
		large, small = 100, 10
	}
	var sites [2]*admissionCluster
	for i, n := range []int{large, small} {
		if sites[i], err = startSite(ctx, b, pair, fmt.Sprintf("webhook-%d", n), n); err != nil {
			return nil, nil, err
		}
		defer func() { err = errors.Join(err, sites[i].stop()) }() //nolint:gocritic // Two of them.
	}
	s := &admissionRun{
		bench: b, ours: sites[0].side, other: sites[1].side, client: sites[0].client, id: "admission-size",
		what: fmt.Sprintf(", among %d objects of each kind", large), against: fmt.Sprintf("itself among %d of each", small), latency: figure.Goal{AtMost: 1.1},
	}
	// What an UPDATE replaces is stored in both.
	if _, err := apply(ctx, sites[1].client, routesTo(securedHost, storedName(admissionCases[0]), "a")); err != nil {
		return nil, nil, err
	}
	err = s.compareAll(ctx, admissionCases[0])
	return s.figures, nil, err
}

// admissionCluster is an API server with a webhook that it does not call.
type admissionCluster struct {
	*side
	client  client.Client
	plane   *controlplane.ControlPlane
	webhook *controlplane.Webhook
}

// startSite starts both, with so many objects of each kind around those of admissionSite.
func startSite(ctx context.Context, b *bench, pair certificate, name string, ofEach int) (_ *admissionCluster, err error) {
	b.say("starting an API server with %d objects of each kind, and the webhook", ofEach)
	options := controlplane.Options{Progress: b.progress}
	if ofEach > 1000 {
		options.Memory = "4GiB"
	}
	out := &admissionCluster{}
	if out.plane, err = controlplane.Start(ctx, options); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.stop())
		}
	}()
	if err := population.Apply(ctx, out.plane.Config, population.Objects(ofEach, 1)); err != nil {
		return nil, err
	}
	if out.client, err = client.New(out.plane.Config, client.Options{}); err != nil {
		return nil, err
	}
	for _, text := range admissionSite {
		if _, err := apply(ctx, out.client, text); err != nil {
			return nil, err
		}
	}
	env, err := b.chartEnv()
	if err != nil {
		return nil, err
	}
	out.webhook, err = controlplane.StartWebhook(ctx, out.plane, controlplane.WebhookOptions{
		Args: []string{"--cert-dir=" + pair.dir}, Env: env, Uncalled: true, LogFile: filepath.Join(b.dir, name+".log"), StartTimeout: 5 * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	out.side = &side{name: name, url: out.webhook.URL(), pid: out.webhook.PID(), roots: pair.roots}
	err = out.settled(ctx)
	return out, err
}

// settled waits until the webhook has looked at all that is stored: until it needs less than a
// twentieth of a core.
func (c *admissionCluster) settled(ctx context.Context) error {
	const window = time.Second
	for {
		before, err := cpuOf(c.pid)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(window):
		}
		after, err := cpuOf(c.pid)
		if err != nil || after-before < window/20 {
			return err
		}
	}
}

func (c *admissionCluster) stop() (err error) {
	if c.webhook != nil {
		err = c.webhook.Stop()
	}
	return errors.Join(err, c.plane.Stop())
}

const admissionGroup = "Admission requests"

// admissionCase is a kind of object that is sent.
type admissionCase struct {
	id, what string
	to       destination
	// main is what the goals are for.
	main bool
	// stored says that the stored object is the one before an UPDATE.
	stored bool
	// protocol is that of the API server and a Service unless it says otherwise.
	protocol load.Protocol
}

var admissionCases = []admissionCase{
	// The first is the main one.
	{id: "nothing", what: "20 routes to an external host that has all it needs", to: securedHost, main: true, stored: true},
	{id: "mesh", what: "20 routes to Services", to: inMesh, stored: true},
	// Not stored: the reconciler would add the headers.
	{id: "headers", what: "20 routes to an external host without headers, which are added", to: bareHost},
	{id: "http2", what: "20 routes to an external host that has all it needs, over HTTP/2", to: securedHost, stored: true, protocol: load.HTTP2},
}

// admissionRun compares two servers.
type admissionRun struct {
	*bench
	ours, other *side
	// client is of the API server of ours.
	client            client.Client
	id, what, against string
	// latency and throughput are the goals of the main case; without the latter it is not
	// measured.
	latency, throughput figure.Goal
	rate                float64
	figures             []figure.Figure
	plot                figure.Plot
}

func (s *admissionRun) compareAll(ctx context.Context, cases ...admissionCase) error {
	for _, k := range cases {
		for _, operation := range []admissionv1.Operation{admissionv1.Create, admissionv1.Update} {
			if err := s.compare(ctx, k, operation); err != nil {
				return fmt.Errorf("%s %s: %w", operation, k.what, err)
			}
		}
	}
	return nil
}

// connections is how many an API server keeps open to one webhook.
const connections = 25

func (s *admissionRun) compare(ctx context.Context, k admissionCase, operation admissionv1.Operation) error {
	what := fmt.Sprintf("%s of a VirtualService of %s%s", operation, k.what, s.what)
	s.say("%s", what)
	reviews, err := s.reviews(ctx, k, operation)
	if err != nil {
		return err
	}
	sides := []*side{s.ours, s.other}
	for _, side := range sides {
		side.dial(cmp.Or(k.protocol, load.HTTP1))
	}
	defer s.ours.client.Close()
	defer s.other.client.Close()
	var full load.Result
	for _, side := range sides { // So that all connections are open, and the last side tells its limit.
		if full, err = load.Closed(ctx, s.slice(2*time.Second), connections, side.request(reviews)); err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
	}
	if s.rate == 0 {
		// A share that leaves both far from their limits.
		s.rate = 0.3 * full.Rate()
		s.say("the other side takes %.0f a second; %.0f are sent", full.Rate(), s.rate)
	}
	id := s.id + "-" + k.id + "-" + string(operation)
	times := func(name, what, unit string, goal figure.Goal) *figure.Figure {
		if !k.main {
			goal = figure.Goal{}
		}
		return &figure.Figure{ID: id + "-" + name, Group: admissionGroup, What: what, Against: s.against, Unit: unit, Compare: figure.Times, Goal: goal}
	}
	p50 := times("p50", what+", latency at p50", "ms", s.latency)
	p99 := times("p99", what+", latency at p99", "ms", s.latency)
	cpu := times("cpu", what+", CPU time for each", "ms", figure.Goal{})
	saturated := times("throughput", what+", throughput at saturation", "requests/s", s.throughput)
	var all [2]*hdrhistogram.Histogram
	pairs, saturations := s.runs(10), s.runs(5)
	if !k.main {
		pairs = s.runs(3)
	}
	if !k.main || s.throughput == (figure.Goal{}) {
		saturations = 0
	}
	for i := range pairs {
		var got [2]measured
		for _, n := range inTurn(i) {
			arrivals := load.Arrivals{Rate: s.rate, Duration: s.slice(3 * time.Second), Poisson: true, Seed: uint64(i)} //nolint:gosec // Never negative.
			if got[n], err = sides[n].open(ctx, arrivals, sides[n].request(reviews)); err != nil {
				return fmt.Errorf("%s: %w", sides[n].name, err)
			}
			if all[n] == nil {
				all[n] = got[n].Latency.Clone()
			} else {
				all[n].Merge(got[n].Latency)
			}
		}
		p50.Pairs = append(p50.Pairs, figure.Pair{This: got[0].Millis(0.5), Other: got[1].Millis(0.5)})
		p99.Pairs = append(p99.Pairs, figure.Pair{This: got[0].Millis(0.99), Other: got[1].Millis(0.99)})
		cpu.Pairs = append(cpu.Pairs, figure.Pair{This: got[0].cpu, Other: got[1].cpu})
	}
	for i := range saturations {
		var got [2]load.Result
		for _, n := range inTurn(i) {
			if got[n], err = load.Closed(ctx, s.slice(3*time.Second), connections, sides[n].request(reviews)); err != nil {
				return fmt.Errorf("%s: %w", sides[n].name, err)
			}
		}
		saturated.Pairs = append(saturated.Pairs, figure.Pair{This: got[0].Rate(), Other: got[1].Rate()})
	}
	if k.main && s.plot.ID != "" {
		s.draw(string(operation), all)
	}
	for _, f := range []*figure.Figure{p50, p99, cpu, saturated} {
		if len(f.Pairs) > 0 {
			s.figures = append(s.figures, *f)
			s.say("%s: %.2f", f.ID, f.Median())
		}
	}
	return nil
}

// draw adds the ratio of both sides at each share of the requests to the plot.
func (s *admissionRun) draw(name string, of [2]*hdrhistogram.Histogram) {
	line := figure.Series{Name: name}
	for _, percent := range []float64{10, 25, 50, 75, 90, 95, 99, 99.9} {
		// As many nines as the share has, so that the tail has its place.
		x := -math.Log10(1 - percent/100)
		s.plot.Names[fmt.Sprintf("%v %%", percent)] = x
		y := float64(of[0].ValueAtQuantile(percent)) / float64(of[1].ValueAtQuantile(percent))
		line.Points = append(line.Points, figure.Point{X: x, Y: y})
	}
	s.plot.Series = append(s.plot.Series, line)
}

// inTurn is the order of the two sides in the i-th pair: each is first as often as the other.
func inTurn(i int) []int {
	if i%2 == 0 {
		return []int{0, 1}
	}
	return []int{1, 0}
}

// slice is how long one side runs.
func (b *bench) slice(d time.Duration) time.Duration {
	if b.quick {
		return d / 10
	}
	return d
}

// reviews are what one request is made of: for /mutate and for /validate.
func (s *admissionRun) reviews(ctx context.Context, k admissionCase, operation admissionv1.Operation) (out [2]review, err error) {
	name := k.id
	var old *unstructured.Unstructured
	if operation == admissionv1.Update {
		var options []client.ApplyOption
		if !k.stored {
			options = append(options, client.DryRunAll)
		}
		name = storedName(k)
		if old, err = apply(ctx, s.client, routesTo(k.to, name, "a"), options...); err != nil {
			return out, err
		}
	}
	object, err := apply(ctx, s.client, routesTo(k.to, name, "b"), client.DryRunAll)
	if err != nil {
		return out, err
	}
	if out[0], err = newReview("10000000", object, old); err != nil {
		return out, err
	}
	// Both servers are sent the object that ours makes of it.
	patched, err := s.ours.mutate(ctx, out[0], object)
	if err != nil {
		return out, err
	}
	out[1], err = newReview("20000000", patched, old)
	return out, err
}

func storedName(k admissionCase) string { return k.id + "-stored" }

// side is one of two servers.
type side struct {
	name, url string
	pid       int
	roots     *x509.CertPool
	client    *load.Client
}

func (s *side) dial(protocol load.Protocol) {
	s.client = load.NewClient(s.url, s.roots, protocol, connections)
}

type buffers struct {
	body   []byte
	answer bytes.Buffer
}

// request sends the two reviews one after the other, as the API server does for one write.
func (s *side) request(reviews [2]review) load.Request {
	pool := sync.Pool{New: func() any { return &buffers{} }}
	return func(ctx context.Context, n uint64) error {
		buf, _ := pool.Get().(*buffers)
		defer pool.Put(buf)
		for i, path := range []string{"/mutate", "/validate"} {
			buf.body = reviews[i].body(buf.body[:0], n)
			if err := s.client.Post(ctx, path, buf.body, &buf.answer); err != nil {
				return err
			}
			if !bytes.Contains(buf.answer.Bytes(), []byte(`"allowed":true`)) {
				return fmt.Errorf("POST %s: %s", path, &buf.answer)
			}
		}
		return nil
	}
}

// mutate returns what comes of the object in the mutating phase.
func (s *side) mutate(ctx context.Context, r review, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	s.dial(load.HTTP1)
	defer s.client.Close()
	var answer bytes.Buffer
	if err := s.client.Post(ctx, "/mutate", r.body(nil, 0), &answer); err != nil {
		return nil, err
	}
	var got admissionv1.AdmissionReview
	if err := json.Unmarshal(answer.Bytes(), &got); err != nil {
		return nil, err
	}
	if got.Response == nil || !got.Response.Allowed {
		return nil, fmt.Errorf("the webhook refuses to mutate: %s", &answer)
	}
	if len(got.Response.Patch) == 0 {
		return object, nil
	}
	patch, err := jsonpatch.DecodePatch(got.Response.Patch)
	if err != nil {
		return nil, err
	}
	raw, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if raw, err = patch.Apply(raw); err != nil {
		return nil, err
	}
	patched := &unstructured.Unstructured{}
	err = patched.UnmarshalJSON(raw)
	return patched, err
}

// measured is what an open run found out, and the CPU time of the server for each request, in
// ms.
type measured struct {
	load.Result
	cpu float64
}

func (s *side) open(ctx context.Context, arrivals load.Arrivals, send load.Request) (measured, error) {
	before, err := cpuOf(s.pid)
	if err != nil {
		return measured{}, err
	}
	result, err := load.Open(ctx, arrivals, connections, send)
	if err != nil {
		return measured{}, err
	}
	after, err := cpuOf(s.pid)
	return measured{result, float64(after-before) / float64(time.Millisecond) / float64(result.Latency.TotalCount())}, err
}

// pair is a serving certificate.
type certificate struct {
	dir   string
	roots *x509.CertPool
	// pem is the authority's certificate.
	pem []byte
}

// newPair writes tls.crt and tls.key into a directory below dir: both servers have the same,
// like one that ours makes for itself.
func newPair(dir string) (certificate, error) {
	out := certificate{dir: filepath.Join(dir, "certificate"), roots: x509.NewCertPool()}
	if err := os.MkdirAll(out.dir, 0o700); err != nil {
		return out, err
	}
	authority, err := controlplane.NewAuthority(time.Now().Add(20 * time.Hour))
	if err != nil {
		return out, err
	}
	out.roots.AddCert(authority.Cert)
	out.pem = authority.CertPEM
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return out, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: authority.Cert.NotBefore, NotAfter: authority.Cert.NotAfter,
		DNSNames: []string{"egress-tls-webhook.egress-tls-system.svc"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority.Cert, key.Public(), authority.Key)
	if err != nil {
		return out, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return out, err
	}
	return out, errors.Join(
		os.WriteFile(filepath.Join(out.dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(out.dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600),
	)
}

// noopServer is the webhook that decodes and allows.
type noopServer struct {
	*side
	cmd *exec.Cmd
}

func startNoop(ctx context.Context, b *bench, pair certificate) (_ *noopServer, err error) {
	binary := filepath.Join(b.dir, "noop")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./bench/noop")
	build.Dir = filepath.Join(b.root, "test")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("failed to build the webhook that allows: %w\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(b.dir, "noop.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // The process holds it open by itself.
	env, err := b.chartEnv()
	if err != nil {
		return nil, err
	}
	n := &noopServer{cmd: exec.CommandContext(ctx, binary, "-cert="+filepath.Join(pair.dir, "tls.crt"), "-key="+filepath.Join(pair.dir, "tls.key"))}
	n.cmd.Env, n.cmd.Stderr = append(os.Environ(), env...), log
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	var said struct{ Address string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the webhook that allows does not say where it listens: %w", err), n.stop())
	}
	n.side = &side{name: "noop", url: "https://" + said.Address, pid: n.cmd.Process.Pid, roots: pair.roots}
	return n, nil
}

// stop ends it; an error tells that it had ended by itself.
func (n *noopServer) stop() error {
	if err := n.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("the webhook that allows has gone: %w", err)
	}
	_ = n.cmd.Wait() // Killed.
	return nil
}
