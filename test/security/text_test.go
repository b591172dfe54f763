package security

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// unprintable is the first character that a terminal would obey, "" if there is none.
func unprintable(text string) string {
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			return string(r)
		}
	}
	return ""
}

// What objects hold is shown to others: to whoever applies an object that concerns the same
// host, in logs, Events and the audit log.
func TestControlCharactersReachNoTerminal(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	const evil = `\u001b[2J\u001b]0;owned\u0007\r\nError: none\u202e`
	host := "x" + evil + "." + s.host
	result := s.as(t, s.mallory, `{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "evil", "namespace": "MALLORY"},
		"spec": {"hosts": ["www.HOST"], "http": [
			{"route": [{"destination": {"host": "`+host+`"}}]},
			{"name": "`+evil+`", "match": [{"uri": {"prefix": "/`+evil+`"}, "headers": {"`+evil+`": {"exact": "`+evil+`"}}}], "route": [{"destination": {"host": "`+host+`", "subset": "`+evil+`"}}]}]}}`, "create", "-f", "-")
	reason := denied(t, result)
	assert.Empty(t, unprintable(reason), reason)
	assert.Equal(t, 1, strings.Count(reason, "\n"), reason)

	// Warnings: the API server would drop one with a control character as a whole.
	entry := `{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "evil", "namespace": "MALLORY", "annotations": {"egress-tls.dev/originate": "ORIGINATE"}},
		"spec": {"hosts": ["HOST"], "ports": [{"number": 443, "name": "http", "protocol": "PROTOCOL"}], "resolution": "DNS"}}`
	reason = denied(t, s.as(t, s.mallory, strings.NewReplacer("ORIGINATE", evil, "PROTOCOL", "HTTP").Replace(entry), "create", "-f", "-"))
	assert.Empty(t, unprintable(reason), reason)
	s.apply(t, s.mallory, strings.NewReplacer("ORIGINATE", "always", "PROTOCOL", "HTTP").Replace(entry))
	warned := s.as(t, s.mallory, `{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "warned", "namespace": "MALLORY"},
		"spec": {"hosts": ["www.HOST"], "http": [{"headers": {"request": {"set": {"Host": "`+evil+`", "X-Forwarded-Proto": "https"}}}, "route": [{"destination": {"host": "HOST", "port": {"number": 443}}}]}]}}`, "create", "-f", "-")
	require.Zero(t, warned.ExitCode, warned.Stderr)
	warnings, _ := warned.Warnings()
	require.Len(t, warnings, 1)
	assert.Empty(t, unprintable(warnings[0]), warnings[0])
	assert.True(t, strings.HasPrefix(warnings[0], "HostHeaderMismatch at spec.http[0]"), warnings[0])

	var events corev1.EventList
	require.NoError(t, admin.List(t.Context(), &events, client.InNamespace(s.mallory)))
	for _, e := range events.Items {
		assert.Empty(t, unprintable(e.Message), e.Message)
	}
	for line := range strings.Lines(webhook.Log()) {
		assert.Empty(t, unprintable(line))
		require.True(t, strings.HasPrefix(line, `{"time":`), "a line of its own: %s", line)
	}
}

// A warning names routes of other namespaces that are in the way, or that one is in the way
// of. The values of headers that they match, which may be keys, are not told.
func TestMessagesNameOthersObjectsAndNoMore(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply(t, s.victim, `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: VICTIM}
spec:
  hosts: [www.HOST]
  gateways: [MALLORY/gateway]
  http:
  - match: [{uri: {prefix: /pay}, withoutHeaders: {x-key: {exact: s3cr3t}}}]
    route: [{destination: {host: hidden-backend.VICTIM.svc.cluster.local}}]
  - match: [{headers: {authorization: {exact: t0k3n}}}]
    route: [{destination: {host: other-backend}}]
`)
	s.apply(t, s.mallory, `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: MALLORY}
spec:
  selector: {istio: MALLORY}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*/*"]}]
`)
	probe := `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: probe, namespace: MALLORY}
spec:
  hosts: [www.HOST]
  gateways: [gateway]
  http:
  - match: [MATCH]
    route: [{destination: {host: mine}}]
`
	var said strings.Builder
	told := func(match string) string {
		return s.as(t, s.mallory, strings.Replace(probe, "MATCH", match, 1), "create", "--dry-run=server", "-f", "-").Stderr
	}
	// From the informers alone, which lag; and the route must be older, by a second.
	eventually(t, func() bool {
		return strings.Contains(told("{uri: {exact: /pay}, headers: {x-key: {exact: guess}}}"),
			`: spec.http[0].match[0] (uri prefix "/pay", withoutHeaders "x-key" exact ***, to hidden-backend.`+s.victim+".svc.cluster.local) of VirtualService "+s.victim+"/shop takes them first.")
	}, "the route in the way is named")
	for _, match := range []string{`{uri: {prefix: /pay}}`, `{uri: {prefix: /}}`, `{uri: {exact: /pay}}`, `{headers: {authorization: {regex: ".*"}}}`} {
		said.WriteString(told(match))
	}
	for _, secret := range []string{"s3cr3t", "t0k3n"} {
		assert.NotContains(t, said.String(), secret)
	}
}
