package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// cutTimeout is how long a server may leave a connection open on which nothing useful happens.
const cutTimeout = time.Minute

// attacker is a client that means no good. It is answered, or cut; that it is not is an error.
type attacker struct {
	name string
	// sides are how many do it at the same time, pause is between two of them.
	sides int
	pause time.Duration
	do    func(ctx context.Context, address string, random *rand.Rand) error
}

// attackers hold some 60 connections at a time.
func attackers() []attacker {
	return []attacker{
		{"silent connection", 10, time.Second, func(ctx context.Context, address string, _ *rand.Rand) error {
			return attack(ctx, address, "", func(net.Conn) {})
		}},
		{"silence after the handshake", 10, time.Second, func(ctx context.Context, address string, random *rand.Rand) error {
			return attack(ctx, address, []string{"http/1.1", "h2"}[random.IntN(2)], func(net.Conn) {})
		}},
		{"slow head", 10, time.Second, func(ctx context.Context, address string, _ *rand.Rand) error {
			return attack(ctx, address, "http/1.1", func(conn net.Conn) {
				slowly(conn, "POST /validate HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1000))
			})
		}},
		{"slow body", 3, time.Second, func(ctx context.Context, address string, _ *rand.Rand) error {
			return attack(ctx, address, "http/1.1", func(conn net.Conn) {
				_, _ = io.WriteString(conn, head(2<<20))
				slowly(conn, strings.Repeat("{", 1000))
			})
		}},
		{"body that is too large", 1, 15 * time.Second, func(ctx context.Context, address string, random *rand.Rand) error {
			size := 10<<20 + random.IntN(5<<20)
			return attack(ctx, address, "http/1.1", func(conn net.Conn) {
				_, _ = io.WriteString(conn, head(size))
				_, _ = io.CopyN(conn, spaces{}, int64(size))
			})
		}},
		{"body longer than it says", 1, time.Second, func(ctx context.Context, address string, _ *rand.Rand) error {
			return attack(ctx, address, "http/1.1", func(conn net.Conn) { _, _ = io.WriteString(conn, head(10)+strings.Repeat("{", 10_000)) })
		}},
		{"body shorter than it says", 1, time.Second, func(ctx context.Context, address string, _ *rand.Rand) error {
			return attack(ctx, address, "http/1.1", func(conn net.Conn) {
				_, _ = io.WriteString(conn, head(5<<20)+"{}")
				_ = conn.Close()
			})
		}},
		{"garbage in place of TLS", 2, time.Second, func(ctx context.Context, address string, random *rand.Rand) error {
			return attack(ctx, address, "", func(conn net.Conn) { _, _ = conn.Write(garbage(random)) })
		}},
		{"garbage after a TLS record header", 2, time.Second, func(ctx context.Context, address string, random *rand.Rand) error {
			return attack(ctx, address, "", func(conn net.Conn) { _, _ = conn.Write(append([]byte{22, 3, 1, 1, 0, 1}, garbage(random)...)) })
		}},
		{"garbage in place of HTTP", 2, time.Second, func(ctx context.Context, address string, random *rand.Rand) error {
			return attack(ctx, address, []string{"http/1.1", "h2"}[random.IntN(2)], func(conn net.Conn) { _, _ = conn.Write(garbage(random)) })
		}},
		{"streams that are reset at once", 1, 2 * time.Second, func(ctx context.Context, address string, _ *rand.Rand) error {
			return streams(ctx, address, 500, true)
		}},
		{"streams that stay open", 2, 2 * time.Second, func(ctx context.Context, address string, _ *rand.Rand) error {
			return streams(ctx, address, 40, false)
		}},
		{"request that hangs up", 2, 500 * time.Millisecond, func(ctx context.Context, address string, random *rand.Rand) error {
			body := review("VirtualService", harmless)
			return attack(ctx, address, "http/1.1", func(conn net.Conn) {
				_, _ = io.WriteString(conn, head(len(body))+body)
				time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
				_ = conn.Close()
			})
		}},
		{"review that is none", 2, time.Second, post},
	}
}

// attack connects the hostile clients, each kind to the replica that stays and to all in turns.
func (s *soak) attack(ctx context.Context, all *sync.WaitGroup, random *rand.Rand) {
	for _, a := range attackers() {
		for range a.sides {
			own := rand.New(rand.NewPCG(random.Uint64(), 0))
			all.Go(func() {
				for pause(ctx, time.Duration(float64(a.pause)*(0.5+own.Float64()))) {
					address := s.servers[0].Address()
					direct := own.IntN(2) == 0
					if !direct {
						address = strings.TrimPrefix(s.front.URL(), "https://")
					}
					s.count(hostile)
					// One behind the front may be going.
					if err := a.do(ctx, address, own); err != nil && direct && ctx.Err() == nil {
						s.problem("%s: %v", a.name, err)
					}
				}
			})
		}
	}
}

// connect dials, and speaks TLS if there is a protocol for it.
func connect(ctx context.Context, address, protocol string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(cutTimeout)); err != nil {
		return nil, err
	}
	if protocol == "" {
		return conn, nil
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}}) //nolint:gosec // It means no good.
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("failed to shake hands: %w", err)
	}
	return secure, nil
}

// attack does it on a connection of its own, and waits until the server closes that.
func attack(ctx context.Context, address, protocol string, do func(net.Conn)) error {
	conn, err := connect(ctx, address, protocol)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(conn)
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_, err = io.Copy(io.Discard, conn)
	_ = conn.Close()
	<-done
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server leaves the connection open for %s", cutTimeout)
	}
	return nil // Whatever it was told.
}

func head(length int) string {
	return fmt.Sprintf("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", length)
}

func slowly(conn net.Conn, text string) {
	for _, b := range []byte(text) {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// spaces are a body without end that JSON can begin with.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func garbage(random *rand.Rand) []byte {
	out := make([]byte, 20+random.IntN(5000))
	for i := range out {
		out[i] = byte(random.Uint32())
	}
	return out
}

// streams opens streams of one connection, and resets each at once or leaves all open for a while.
func streams(ctx context.Context, address string, n int, reset bool) error {
	conn, err := connect(ctx, address, "h2")
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // It is to be cut.
	buffered := bufio.NewWriter(conn)
	_, _ = buffered.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(buffered, bufio.NewReader(conn))
	_ = framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := range n {
		block.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", "/validate"}, {":authority", "x"}, {"content-type", "application/json"}} {
			_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		id := uint32(2*i + 1)
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
		if reset {
			_ = framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}
	}
	_ = buffered.Flush()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	pause(ctx, 3*time.Second)
	return nil
}

// review is one of a dry run.
func review(kind, spec string) string {
	return `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
		"uid": "posted", "operation": "CREATE", "namespace": "default", "name": "posted", "dryRun": true, "userInfo": {"username": "` + hostileUser + `"},
		"kind": {"group": "networking.istio.io", "version": "v1", "kind": "` + kind + `"},
		"resource": {"group": "networking.istio.io", "version": "v1", "resource": "any"},
		"object": {"metadata": {"name": "posted", "namespace": "default"}, "spec": ` + spec + `}}}`
}

const harmless = `{"hosts": ["harmless.example"]}`

// post asks what nobody should, and reads the answer.
func post(ctx context.Context, address string, random *rand.Rand) error {
	bodies := []string{
		"", "{}", "[]", "null", "no JSON", `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}`,
		`{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}`,
		`{"apiVersion": "v1", "kind": "Pod"}`,
		strings.Replace(review("VirtualService", harmless), "networking.istio.io", "other.example", 1),
		review("Pod", harmless), review("Kind"+fmt.Sprint(random.Uint64()), harmless),
		review("VirtualService", strings.Repeat(`{"http":`, 5000)+"1"+strings.Repeat("}", 5000)),
		review("VirtualService", strings.Repeat("[", 50_000)),
		review("ServiceEntry", `{"hosts": 1}`),
		review("VirtualService", `{"http": [`+strings.Repeat("{},", 200_000)+`{}]}`),
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, //nolint:gosec // It means no good.
	}, Timeout: cutTimeout}
	method := []string{http.MethodPost, http.MethodPost, http.MethodPost, http.MethodPost, http.MethodGet, "NONE"}[random.IntN(6)]
	path := []string{"/validate", "/mutate", "/validate?timeout=1ms", "/validate?timeout=x", "/none"}[random.IntN(5)]
	request, err := http.NewRequestWithContext(ctx, method, "https://"+address+path, strings.NewReader(bodies[random.IntN(len(bodies))]))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", []string{"application/json", "application/json", "text/plain"}[random.IntN(3)])
	response, err := client.Do(request)
	if err != nil {
		if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
			return err
		}
		return nil // It was cut, for example since its answer came before all of it was sent.
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	data, err := io.ReadAll(response.Body)
	if bytes.Contains(data, []byte(`"allowed":true`)) && !bytes.Contains(data, []byte("posted")) {
		return fmt.Errorf("allowed %s", data)
	}
	return err
}

// witness is a good client of the replica that stays, which must be answered whatever the others do.
func (s *soak) witness(ctx context.Context) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}} //nolint:gosec // What is of interest is that there is an answer.
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for n := 0; pause(ctx, 300*time.Millisecond); n++ {
		if n%3 == 0 {
			transport.CloseIdleConnections() // So that the next is on a new connection.
		}
		url, want := s.servers[0].URL()+[]string{"/validate", "/mutate"}[n%2], `"allowed":true`
		method, body := http.MethodPost, review("VirtualService", harmless)
		if n%10 == 9 {
			url, want, method, body = s.servers[0].HealthURL()+"/readyz", "ok", http.MethodGet, ""
		}
		answer, err := ask(context.WithoutCancel(ctx), client, method, url, body)
		if err != nil || !strings.Contains(answer, want) {
			s.problem("a good request to %s got %q: %v", url, answer, err)
		}
		s.count(witnessed)
	}
}

func ask(ctx context.Context, client *http.Client, method, url, body string) (answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	data, err := io.ReadAll(response.Body)
	return string(data), err
}
