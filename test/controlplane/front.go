package controlplane

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
)

// Front is to several webhooks what their Service would be: one address, with each new connection
// going to the next of them. Like a Service it sends connections to an address that is dead until
// someone removes it, and leaves those alone that are established.
type Front struct {
	listener net.Listener

	mu       sync.Mutex
	backends []string
	next     int
	conns    map[net.Conn]string // client to backend
}

// NewFront listens on loopback. Close ends it.
func NewFront() (*Front, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("failed to listen: %w", err)
	}
	f := &Front{listener: listener, conns: map[net.Conn]string{}}
	go f.serve()
	return f, nil
}

// URL is where the webhook configurations should point.
func (f *Front) URL() string { return "https://" + f.listener.Addr().String() }

// Add sends connections to address as well.
func (f *Front) Add(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.backends, address) {
		f.backends = append(f.backends, address)
	}
}

// Remove sends no new connections to address.
func (f *Front) Remove(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backends = slices.DeleteFunc(f.backends, func(backend string) bool { return backend == address })
}

// Connections is the number of connections to address that are open.
func (f *Front) Connections(address string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, backend := range f.conns {
		if backend == address {
			n++
		}
	}
	return n
}

// Disconnect cuts all connections, and requests under way with them. The API server multiplexes
// its requests on one connection to a webhook, so they reach the next webhook only after this.
func (f *Front) Disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		_ = conn.Close()
	}
}

// Close stops listening and cuts all connections.
func (f *Front) Close() error {
	err := f.listener.Close()
	f.Disconnect()
	return err
}

func (f *Front) serve() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		go f.forward(conn)
	}
}

func (f *Front) forward(client net.Conn) {
	defer client.Close() //nolint:errcheck // Nothing to do about it.
	backend, ok := f.pick()
	if !ok {
		return
	}
	server, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // Nothing to do about it.

	f.mu.Lock()
	f.conns[client] = backend
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.conns, client)
		f.mu.Unlock()
	}()

	pipe(client, server)
}

// pipe copies both ways until either end closes. TLS closes both ways at once, so either
// direction's end is the connection's.
func pipe(client, server net.Conn) {
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			done <- struct{}{}
		}()
	}
	<-done
}

func (f *Front) pick() (backend string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.backends) == 0 {
		return "", false
	}
	backend = f.backends[f.next%len(f.backends)]
	f.next++
	return backend, true
}
