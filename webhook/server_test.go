package webhook

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Of a client that sends one request after the other over connections that it keeps, as the API
// server does, none is lost to a server that drains and ends.
func TestDrainingServerLosesNoRequest(t *testing.T) {
	t.Parallel()
	answer := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for range 20 {
		var draining atomic.Bool
		serve := func(handler http.Handler) (address string, s *http.Server) {
			var listening net.ListenConfig
			l, err := listening.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			s = server("test", l, handler, logr.Discard()).Server
			go func() { _ = s.Serve(l) }()
			return l.Addr().String(), s
		}
		old, oldServer := serve(leaving(draining.Load, answer))
		replacement, newServer := serve(answer)
		// New connections go to whoever is ready.
		transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			if draining.Load() {
				return (&net.Dialer{}).DialContext(ctx, network, replacement)
			}
			return (&net.Dialer{}).DialContext(ctx, network, old)
		}}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			time.Sleep(5 * time.Millisecond)
			draining.Store(true)
			time.Sleep(50 * time.Millisecond)
			_ = oldServer.Shutdown(context.Background())
			time.Sleep(time.Millisecond)
		}()
		for running := true; running; {
			select {
			case <-ended:
				running = false
			default:
			}
			response, err := (&http.Client{Transport: transport}).Post("http://webhook", "application/json", strings.NewReader("{}"))
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, response.Body)
			require.NoError(t, response.Body.Close())
		}
		transport.CloseIdleConnections()
		require.NoError(t, newServer.Shutdown(t.Context()))
	}
}

// Who closes an idle connection may meet a request on its way: the API server may, we must not.
func TestIdleConnectionsAreTheAPIServersToClose(t *testing.T) {
	t.Parallel()
	assert.Greater(t, server("test", nil, nil, logr.Discard()).Server.IdleTimeout, http.DefaultTransport.(*http.Transport).IdleConnTimeout)
}
