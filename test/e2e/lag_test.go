package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const (
	lagBatches = 6
	lagBatch   = 5
	// lag is more than what passes between two objects of one kubectl call.
	lag = 120 * time.Millisecond
)

// An informer lags behind the API server, so what one kubectl call applies together
// reaches a replica that has seen none of it; here it is certain to. The phases of
// each request go to different replicas, in turns.
func TestAllOfAScenarioAppliedInOneCallIsSeenByEveryReplica(t *testing.T) {
	newestOnly(t)
	front, err := controlplane.NewFront()
	require.NoError(t, err)
	defer func() { noError(t, front.Close(), "close the front") }()
	options := controlplane.WebhookOptions{
		Front: front, Kubeconfig: lagging(t), Args: []string{"--serving-names=localhost"},
	}
	ownServer(t, options)
	second := start(t, options)
	t.Cleanup(func() { _ = second.Kill() })
	// Another name makes the API server open another connection.
	does(t, "", "patch", "validatingwebhookconfiguration", "egress-tls-webhook", "--type=json",
		fmt.Sprintf(`-p=[{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": %q}]`, localhost(front.URL())+"/validate"))

	all := make([]site, lagBatches*lagBatch)
	inputs := make([]string, len(all))
	var gateways strings.Builder
	for i := range all {
		s := newSite(t)
		all[i], inputs[i] = s, s.entry()+s.gateway()+s.route()
		if i%2 == 0 {
			// Whoever looks for a Gateway that is new sees what came before it as well.
			gateways.WriteString(s.gateway())
			inputs[i] = s.entry() + s.route()
		}
	}
	apply(t, gateways.String())
	for at := 0; at < len(all); at += lagBatch {
		front.Disconnect()
		for i, r := range atOnce(t, inputs[at:at+lagBatch], "apply", "-f", "-") {
			warnings, rest := r.Warnings()
			assert.Zero(t, r.ExitCode, rest)
			assert.Contains(t, warnings, all[at+i].headers(0))
		}
	}
	for _, s := range all {
		assertHeaders(t, s, "web")
		rules := rulesIn(t, s.namespace)
		if assert.Len(t, rules, 1) {
			assert.Equal(t, s.host, rules[0].Spec.Host)
			assert.Equal(t, "SIMPLE", rules[0].Spec.TrafficPolicy.PortLevelSettings[0].GetTls().GetMode().String())
			assert.Less(t, revision(t, rules[0].ResourceVersion), revision(t, stored(t, &networkingv1.VirtualService{}, s.namespace, "web").ResourceVersion))
		}
	}
}

// localhost names the same address of the loopback interface.
func localhost(url string) string { return strings.Replace(url, "127.0.0.1", "localhost", 1) }

// lagging returns a kubeconfig for the webhook's ServiceAccount, whose connection
// brings everything that the API server says late.
func lagging(t *testing.T) (path string) {
	t.Helper()
	path, err := plane.ServiceAccountKubeconfig("egress-tls-system", "egress-tls-webhook")
	require.NoError(t, err)
	kubeconfig, err := os.ReadFile(path)
	require.NoError(t, err)
	address := strings.Trim(strings.TrimPrefix(plane.Config.Host, "https:"), "/")
	require.Contains(t, string(kubeconfig), address)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go forwardLate(client, address)
		}
	}()
	return writeFile(t, strings.ReplaceAll(string(kubeconfig), address, listener.Addr().String()))
}

func forwardLate(client net.Conn, address string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()

	type chunk struct {
		data []byte
		due  time.Time
	}
	late := make(chan chunk, 1000)
	go func() {
		defer close(late)
		for {
			data := make([]byte, 32<<10)
			n, err := server.Read(data)
			if n > 0 {
				late <- chunk{data[:n], time.Now().Add(lag)}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range late {
		time.Sleep(time.Until(c.due))
		if _, err := client.Write(c.data); err != nil {
			_ = server.Close() // Ends the reader.
		}
	}
}
