// Package upstream serves what lies beyond a proxy, on loopback: an HTTPS server that speaks
// nothing but TLS, and plain HTTP servers. They tell what reached them, on the wire and above it.
package upstream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Server answers 200 to requests for its hosts, any host if it has none, with its name as the body;
// others are misdirected, 421.
type Server struct {
	// Address is where it listens.
	Address string

	name  string
	hosts []string

	mu       sync.Mutex
	requests []Request
	wires    []*wire
}

// Request is a request as the server saw it.
type Request struct {
	// Protocol is HTTP/1.1 or HTTP/2.0.
	Protocol string
	// SNI is the server name of the TLS handshake, ALPN the protocol that it ended with.
	SNI, ALPN string
	Host      string
	// Path is with the query.
	Path   string
	Header http.Header
}

// Plain starts a server of plain HTTP, which stops with the test.
func Plain(t testing.TB, name string, hosts ...string) *Server {
	s := &Server{name: name, hosts: hosts}
	s.start(t, func(w *wire) (net.Conn, error) { return w, nil })
	return s
}

// TLS starts a server that shows one of its certificates, those for the names, by SNI, the first
// one if none fits. To a client that does not speak TLS it sends an alert.
func (a *Authority) TLS(t testing.TB, name string, names []string, hosts ...string) *Server {
	var certificates []tls.Certificate
	for _, n := range names {
		certificates = append(certificates, a.issue(t, n))
	}
	config := &tls.Config{Certificates: certificates, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	s := &Server{name: name, hosts: hosts}
	s.start(t, func(w *wire) (net.Conn, error) {
		conn := tls.Server(w, config)
		err := conn.HandshakeContext(t.Context())
		if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			w.alert()
		}
		return conn, err
	})
	return s
}

// Requests are those that arrived.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Received is what arrived on each connection, byte for byte.
func (s *Server) Received() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out [][]byte
	for _, w := range s.wires {
		out = append(out, w.received())
	}
	return out
}

// ServeHTTP records and answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in := Request{Protocol: r.Proto, Host: r.Host, Path: r.RequestURI, Header: r.Header.Clone()}
	if r.TLS != nil {
		in.SNI, in.ALPN = r.TLS.ServerName, r.TLS.NegotiatedProtocol
	}
	s.mu.Lock()
	s.requests = append(s.requests, in)
	s.mu.Unlock()
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if len(s.hosts) > 0 && !slices.Contains(s.hosts, strings.ToLower(host)) {
		http.Error(w, "no such host here", http.StatusMisdirectedRequest)
		return
	}
	_, _ = io.WriteString(w, s.name)
}

// start listens, and serves HTTP over what secure makes of each connection.
func (s *Server) start(t testing.TB, secure func(*wire) (net.Conn, error)) {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It is closed with the test.
	if err != nil {
		t.Fatal(err)
	}
	s.Address = socket.Addr().String()
	secured := &listener{Listener: socket, conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(secured) })
	running.Go(func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			w := &wire{Conn: conn}
			s.mu.Lock()
			s.wires = append(s.wires, w)
			s.mu.Unlock()
			running.Go(func() {
				conn, err := secure(w)
				if err != nil || !secured.offer(conn) {
					_ = w.Close()
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		s.mu.Lock()
		for _, w := range s.wires {
			_ = w.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
}

// listener hands out connections that are secured already.
type listener struct {
	net.Listener
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// offer reports whether conn was accepted.
func (l *listener) offer(conn net.Conn) bool {
	select {
	case l.conns <- conn:
		return true
	case <-l.closed:
		return false
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// wire is a connection below TLS. It remembers what it read.
type wire struct {
	net.Conn
	mu   sync.Mutex
	read bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read.Write(p[:n])
	return n, err
}

func (w *wire) received() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.read.Bytes())
}

// alert sends the fatal TLS alert protocol_version, no more, and reads until the client leaves.
func (w *wire) alert() {
	_, _ = w.Write([]byte{21, 3, 1, 0, 2, 2, 70})
	if conn, ok := w.Conn.(*net.TCPConn); ok {
		_ = conn.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, w)
}
