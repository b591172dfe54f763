package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"
)

// Protocol is the version of HTTP that is spoken.
type Protocol string

// The API server calls webhooks that a Service stands for over HTTP/1.1, each request under
// way on a connection of its own (kubernetes #75791), and over HTTP/2 only one on its
// own host.
const (
	HTTP1 Protocol = "http/1.1"
	HTTP2 Protocol = "h2"
)

// Client posts to a webhook as the API server does: over TLS connections that stay open.
type Client struct {
	base      string
	transport *http.Transport
}

// NewClient returns a client of the server at base that trusts roots. It opens at
// most connections at one time, and keeps them.
func NewClient(base string, roots *x509.CertPool, protocol Protocol, connections int) *Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(protocol == HTTP1)
	protocols.SetHTTP2(protocol == HTTP2)
	return &Client{base: base, transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Protocols:           protocols,
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     90 * time.Second,
	}}
}

// Post sends body to path and puts the answer into the buffer, in place of what it holds.
func (c *Client) Post(ctx context.Context, path string, body []byte, answer *bytes.Buffer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path+"?timeout=10s", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("failed to build a request: %w", err)
	}
	request.Header = http.Header{
		"Accept":          {"application/json, */*"},
		"Accept-Encoding": {"gzip"}, // Which net/http would ask for and take apart by itself.
		"Content-Type":    {"application/json"},
		"User-Agent":      {"kube-apiserver-admission"},
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	answer.Reset()
	if _, err := answer.ReadFrom(response.Body); err != nil {
		return fmt.Errorf("POST %s: failed to read the answer: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s: %s", path, response.Status, answer)
	}
	return nil
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.transport.CloseIdleConnections() }
