package security

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// What a client of the serving port may try without any rights. The servers of these tests
// have no client verification: with it most of this ends before it begins.

// memoryLimit is the chart's: whoever makes a server take more has it killed.
const memoryLimit = 512 << 20

// peakMemory returns the most memory that the process has had.
func peakMemory(t *testing.T, w *controlplane.Webhook) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.PID()))
	require.NoError(t, err)
	match := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(status)
	require.NotNil(t, match, string(status))
	kilobytes, err := strconv.Atoi(string(match[1]))
	require.NoError(t, err)
	return kilobytes << 10
}

// review is one of a dry run.
func review(kind, spec string) string {
	return `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
		"uid": "posted", "operation": "CREATE", "namespace": "default", "name": "posted", "dryRun": true,
		"kind": {"group": "networking.istio.io", "version": "v1", "kind": "` + kind + `"},
		"resource": {"group": "networking.istio.io", "version": "v1", "resource": "any"},
		"object": {"metadata": {"name": "posted", "namespace": "default"}, "spec": ` + spec + `}}}`
}

const harmless = `{"hosts": ["harmless.example"]}`

func hosts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"h%d.example",`, i)
	}
	return `{"hosts": [` + b.String() + `"last.example"], "ports": [{"number": 443, "name": "https", "protocol": "HTTPS"}]}`
}

// A few bytes of JSON become hundreds in memory, and a host costs more than a value. Each of
// these took a server 3 GiB, or minutes.
func TestObjectsAreBoundedBeforeTheyAreRead(t *testing.T) {
	t.Parallel()
	w := second(t)
	const million = 1_000_000
	for _, test := range []struct {
		name, body string
		message    string // of the refusal; "": it is allowed
	}{
		{"routes", review("VirtualService", `{"http": [`+strings.Repeat("{},", 2*million)+`{}]}`), "VirtualService default/posted has 4000007 values, so it cannot be checked for plaintext; at most 200000 are read. Split it"},
		{"lists", review("VirtualService", `{"http": [`+strings.Repeat("[],", 2*million)+`{}]}`), "VirtualService default/posted has 4000007 values, so it cannot be checked for plaintext; at most 200000 are read. Split it"},
		{"subsets", review("DestinationRule", `{"host": "a.example", "subsets": [`+strings.Repeat("{},", 2*million)+`{}]}`), "DestinationRule default/posted has 4000008 values, so it cannot be checked for plaintext; at most 200000 are read. Split it"},
		{"nested", review("VirtualService", strings.Repeat(`{"http":`, 9_000)+"1"+strings.Repeat("}", 9_000)), "VirtualService default/posted cannot be read, so it cannot be checked for plaintext: "},
		{"hosts", review("ServiceEntry", hosts(2_000)), "ServiceEntry default/posted lists 2001 hosts, so it cannot be checked for plaintext; at most 2000 are looked at. Split it"},
		{"hosts, as many as may be", review("ServiceEntry", hosts(1_999)), ""},
		{"values, as many as may be", review("ServiceEntry", `{"ports": [`+strings.Repeat("{},", 99_990)+`{}]}`), ""},
	} {
		want := `"allowed":true`
		if test.message != "" {
			want = `"allowed":false,"status":{"metadata":{},"message":"` + test.message
		}
		var wg sync.WaitGroup
		var errs [3]error
		for i := range errs {
			wg.Go(func() {
				status, answer, err := tryPost(caller(t, nil), w.URL()+"/validate", test.body)
				if err == nil && !strings.Contains(answer, want) {
					err = fmt.Errorf("%d %s", status, answer)
				}
				errs[i] = err
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs[:]...), test.name)
		assert.Less(t, peakMemory(t, w), memoryLimit, test.name)
	}
}

// raw is a connection without HTTP in between; hello says whether TLS is spoken.
func raw(t *testing.T, w *controlplane.Webhook, hello bool, protocol string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", w.Address())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	if !hello {
		return conn
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}}) //nolint:gosec // As in caller.
	require.NoError(t, secure.HandshakeContext(t.Context()))
	return secure
}

// What a connection does not send within seconds it need not send any more; nobody else
// waits for it.
func TestSlowClientsAreCutAndKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	w := second(t)
	const head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	slow := map[string]net.Conn{}
	for i := range 50 {
		slow[fmt.Sprintf("nothing %d", i)] = raw(t, w, false, "")
		slow[fmt.Sprintf("no request %d", i)] = raw(t, w, true, "http/1.1")
		half := raw(t, w, true, "http/1.1")
		_, err := io.WriteString(half, head)
		require.NoError(t, err)
		slow[fmt.Sprintf("half of the head %d", i)] = half
	}
	for i := range 6 { // More than there is room for.
		body := raw(t, w, true, "http/1.1")
		_, err := io.WriteString(body, head+"Content-Length: 7340032\r\n\r\n{")
		require.NoError(t, err)
		slow[fmt.Sprintf("half of the body %d", i)] = body
	}
	status, answer := post(t, caller(t, nil), w.URL()+"/validate", review("VirtualService", harmless))
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, answer, `"allowed":true`)
	// One that is large waits until they are cut.
	status, answer = post(t, caller(t, nil), w.URL()+"/validate", strings.Repeat(" ", 6<<20)+review("VirtualService", harmless))
	if status == http.StatusOK {
		assert.Contains(t, answer, `"allowed":true`)
	} else {
		assert.Equal(t, "503 too many large requests at one time: no answer within 9.5s, which is what the API server's timeout leaves\n", fmt.Sprint(status, " ", answer))
	}
	for name, conn := range slow {
		_, err := io.Copy(io.Discard, conn) // Ends when the server does.
		if err != nil {
			require.ErrorContains(t, err, "connection reset by peer", name)
		}
	}
	require.NoError(t, w.WaitReady(t.Context()))
}

func TestGarbageIsAnsweredOrCut(t *testing.T) {
	t.Parallel()
	w := second(t)
	for _, test := range []struct {
		name, bytes string
		tls         bool
		answer      string // what it begins with
	}{
		{"plaintext HTTP", "GET /validate HTTP/1.1\r\nHost: x\r\n\r\n", false, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"},
		{"no TLS", strings.Repeat("\x16\x03\x01\xff\xff", 5_000), false, "\x15\x03\x01"},
		{"no HTTP", "\x00\x01\x02\r\n\r\n", true, "HTTP/1.1 400 Bad Request\r\n"},
		{"large head", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", true, "HTTP/1.1 431 Request Header Fields Too Large\r\n"},
		{"no review", request(`{"apiVersion": "v1", "kind": "Pod"}`), true, "HTTP/1.1 200 OK\r\n"},
		{"no JSON", request("{{"), true, "HTTP/1.1 200 OK\r\n"},
		{"nothing", request(""), true, "HTTP/1.1 200 OK\r\n"},
		{"two lengths", "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", true, "HTTP/1.1 400 Bad Request\r\n"},
	} {
		conn := raw(t, w, test.tls, "http/1.1")
		go func() { _, _ = io.WriteString(conn, test.bytes) }() // The server need not take it all.
		answer := make([]byte, len(test.answer))
		_, err := io.ReadFull(conn, answer)
		require.NoError(t, err, test.name)
		assert.Equal(t, test.answer, string(answer), test.name)
	}
	assert.NotContains(t, w.Log(), `"level":"ERROR"`, "anybody can make such lines")
	require.NoError(t, w.WaitReady(t.Context()))
}

func request(body string) string {
	return fmt.Sprintf("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// One connection has so many requests under way at most, which is more than an API server
// sends on one before it opens another.
func TestStreamsOfAConnectionAreBounded(t *testing.T) {
	t.Parallel()
	conn := raw(t, webhook, true, "h2")
	_, err := io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, bufio.NewReader(conn))
	require.NoError(t, framer.WriteSettings())
	frame, err := framer.ReadFrame()
	require.NoError(t, err)
	settings, ok := frame.(*http2.SettingsFrame)
	require.True(t, ok)
	streams, ok := settings.Value(http2.SettingMaxConcurrentStreams)
	require.True(t, ok)
	assert.EqualValues(t, 250, streams)
	headers, ok := settings.Value(http2.SettingMaxHeaderListSize)
	require.True(t, ok)
	assert.Less(t, headers, uint32(72<<10))
}
