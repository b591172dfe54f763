package controlplane_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const (
	patience = 10 * time.Second
	tick     = 50 * time.Millisecond
)

func TestFrontSpreadsConnections(t *testing.T) {
	front, err := controlplane.NewFront()
	require.NoError(t, err)
	defer func() { assert.NoError(t, front.Close()) }()
	a, b := named(t, "a"), named(t, "b")
	front.Add(a)
	front.Add(b)
	assert.Equal(t, "abab", ask(t, front)+ask(t, front)+ask(t, front)+ask(t, front))

	front.Remove(a)
	assert.Equal(t, "bb", ask(t, front)+ask(t, front))
	front.Remove(b)
	assert.Empty(t, ask(t, front))
}

func TestFrontMovesKeptConnectionsOnlyWhenDisconnected(t *testing.T) {
	front, err := controlplane.NewFront()
	require.NoError(t, err)
	defer func() { assert.NoError(t, front.Close()) }()
	a := named(t, "a")
	front.Add(a)
	keeping := client()
	keeping.Transport.(*http.Transport).DisableKeepAlives = false
	answer := func() string { return body(t, keeping, front) }
	assert.Equal(t, "a", answer())

	front.Add(named(t, "b"))
	assert.Equal(t, "aa", answer()+answer())
	assert.Equal(t, 1, front.Connections(a))
	front.Disconnect()
	assert.Eventually(t, func() bool { return answer() == "b" }, patience, tick)
	assert.Eventually(t, func() bool { return front.Connections(a) == 0 }, patience, tick)
}

// named serves its name over TLS.
func named(t *testing.T, name string) (address string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func client() *http.Client {
	// The certificate of every httptest server is the same, but made out to example.com.
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	return client
}

// ask returns the name of the server that answers, "" if none does.
func ask(t *testing.T, front *controlplane.Front) string {
	t.Helper()
	return body(t, client(), front)
}

func body(t *testing.T, client *http.Client, front *controlplane.Front) string {
	t.Helper()
	response, err := client.Get(front.URL())
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(data)
}

func listens(rawURL string) bool {
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	conn, err := net.DialTimeout("tcp", parsed.Host, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}
