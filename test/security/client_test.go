package security

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

const entry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external, namespace: MALLORY}
spec:
  hosts: [HOST]
  ports: [{number: 443, name: http, protocol: HTTP}]
  resolution: DNS
`

// caller is a client with a certificate, or without one if it is nil. It looks at no
// server certificate: what is of interest is what the server thinks of it.
func caller(t *testing.T, cert *tls.Certificate) *http.Client {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // See above.
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func post(t *testing.T, c *http.Client, url, body string) (status int, answer string) {
	t.Helper()
	status, answer, err := tryPost(c, url, body)
	require.NoError(t, err)
	return status, answer
}

func tryPost(c *http.Client, url, body string) (status int, answer string, err error) {
	response, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// forged is what a pod could send: a ServiceEntry that nobody has stored.
func (s tenants) forged(uid string) string {
	return strings.NewReplacer("VICTIM", s.victim, "HOST", s.host, "UID", uid).Replace(`{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
		"uid": "UID", "operation": "CREATE", "namespace": "VICTIM", "name": "forged", "userInfo": {"username": "forger"},
		"kind": {"group": "networking.istio.io", "version": "v1", "kind": "ServiceEntry"},
		"resource": {"group": "networking.istio.io", "version": "v1", "resource": "serviceentries"},
		"object": {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "forged", "namespace": "VICTIM"},
			"spec": {"hosts": ["HOST"], "ports": [{"number": 443, "name": "http", "protocol": "HTTP"}], "resolution": "DNS"}}}}`)
}

func certificate(t *testing.T, ca *controlplane.Authority, name string) *tls.Certificate {
	t.Helper()
	cert, err := clientCertificate(ca, name)
	require.NoError(t, err)
	return cert
}

const onlyKnown = "egress-tls-webhook answers only known clients (--client-ca-file): "

func TestForgedReviewIsTurnedAway(t *testing.T) {
	s := newTenants(t)
	logged := len(webhook.Log())
	other, err := controlplane.NewAuthority(time.Now().Add(time.Hour))
	require.NoError(t, err)
	for _, test := range []struct {
		name   string
		cert   *tls.Certificate
		answer string
	}{
		{"no certificate", nil, "the request came without a client certificate; kube-apiserver presents the one of --admission-control-config-file"},
		{"untrusted certificate", certificate(t, other, apiServerName), `the client certificate of "` + apiServerName + `" is not trusted: x509: certificate signed by unknown authority`},
		{"other name", certificate(t, clients.Authority, "kubelet"), `the client certificate is for "kubelet", which --client-names does not list`},
	} {
		before := metric(t, webhook, fmt.Sprintf("egress_tls_clients_turned_away_total{reason=%q}", test.name))
		for _, path := range []string{"/mutate", "/validate"} {
			status, answer := post(t, caller(t, test.cert), webhook.URL()+path, s.forged("forged"))
			assert.Equal(t, http.StatusForbidden, status)
			assert.True(t, strings.HasPrefix(answer, onlyKnown+test.answer), answer)
		}
		assert.InDelta(t, before+2, metric(t, webhook, fmt.Sprintf("egress_tls_clients_turned_away_total{reason=%q}", test.name)), 0)
	}
	assert.Empty(t, rules(t, s.victim))
	assert.NotContains(t, webhook.Log()[logged:], `"forger"`)
	require.NoError(t, webhook.WaitReady(t.Context()), "the self-test is let in")

	status, _ := post(t, caller(t, certificate(t, clients.Authority, apiServerName)), webhook.URL()+"/validate", s.forged("known"))
	assert.Equal(t, http.StatusOK, status)
	assert.Len(t, rules(t, s.victim), 1, "it is the certificate that makes the difference")
}

// What a reader of the API server's errors needs is in them.
func TestAPIServerWithoutCertificateIsToldSo(t *testing.T) {
	s := newTenants(t)
	at := func(url string) {
		for _, kind := range []string{"mutating", "validating"} {
			result := as(t, "", "", "get", kind+"webhookconfiguration", "egress-tls-webhook", "-o", "jsonpath={.webhooks[*].clientConfig.url}")
			var patch []string
			for i, old := range strings.Fields(result.Stdout) {
				patch = append(patch, fmt.Sprintf(`{"op": "replace", "path": "/webhooks/%d/clientConfig/url", "value": %q}`, i, url+old[strings.LastIndex(old, "/"):]))
			}
			does(t, "", "", "patch", kind+"webhookconfiguration", "egress-tls-webhook", "--type=json", "-p=["+strings.Join(patch, ",")+"]")
		}
	}
	create := func() controlplane.Result { return s.as(t, s.mallory, entry, "create", "--dry-run=server", "-f", "-") }
	eventuallyCreated := func() {
		eventually(t, func() bool { return create().ExitCode == 0 }, "the API server calls with its certificate")
	}
	defer func() {
		at(webhook.URL())
		eventuallyCreated()
	}()
	const refusal = `Error from server (InternalError): error when creating "STDIN": Internal error occurred: failed calling webhook "mutate.egress-tls.dev": failed to call webhook: ` + onlyKnown

	at(anonymous.URL())
	var last string
	eventually(t, func() bool {
		last = create().Stderr
		return last == refusal+"the request came without a client certificate; kube-apiserver presents the one of --admission-control-config-file\n"
	}, last)
	at(webhook.URL())
	eventuallyCreated()

	// The file of the authorities is taken over while the server serves.
	other, err := controlplane.NewAuthority(time.Now().Add(time.Hour))
	require.NoError(t, err)
	replace := func(data []byte) {
		next := clients.file + ".next"
		require.NoError(t, os.WriteFile(next, data, 0o600))
		require.NoError(t, os.Rename(next, clients.file))
	}
	defer replace(clients.CertPEM)
	replace(other.CertPEM)
	assert.True(t, strings.HasPrefix(create().Stderr, refusal+`the client certificate of "`+apiServerName+`" is not trusted: x509: certificate signed by unknown authority`), create().Stderr)
	replace(append(other.CertPEM, clients.CertPEM...))
	assert.Zero(t, create().ExitCode)
	replace([]byte("no PEM"))
	assert.Zero(t, create().ExitCode, "the last one stays")
	logged(t, webhook, `"msg":"the authority of clients cannot be read; the last one stays","logger":"clients","error":"`+clients.file+` holds no certificate in PEM"`)
}

// Without --client-ca-file a pod that reaches the port can have rules written, wherever
// they could be needed; nothing needs them, so they go again, and each is logged.
func TestForgedReviewWithoutVerificationLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	open := second(t)
	status, _ := post(t, caller(t, nil), open.URL()+"/validate", s.forged("self-test"))
	assert.Equal(t, http.StatusOK, status)
	// No uid keeps a request out of the log.
	logged(t, open, `"requestID":"self-test","user":"forger","logger":"admission","phase":"validate","kind":"ServiceEntry","namespace":"`+s.victim+
		`","name":"forged","operation":"CREATE","mode":"enforce","dryRun":false,"verdict":"allowed","findings":null,"changes":0,"rules":1`)
	eventually(t, func() bool { return len(rules(t, s.victim)) == 0 }, "what nothing needs goes")
}

// logged waits until a server has logged the text.
func logged(t *testing.T, w *controlplane.Webhook, text string) {
	t.Helper()
	eventually(t, func() bool { return strings.Contains(w.Log(), text) }, text)
}

// second starts a server that the API server does not call, without client verification.
// It never leads: what it writes the first one sees.
func second(t *testing.T) *controlplane.Webhook {
	t.Helper()
	other, err := controlplane.StartWebhook(context.WithoutCancel(t.Context()), plane, controlplane.WebhookOptions{
		Uncalled: true, Args: []string{"--reconcile=false"},
	})
	require.NoError(t, err)
	other.LogOnFailure(t)
	t.Cleanup(func() { assert.NoError(t, other.Kill()) })
	return other
}
