package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// largeRoute is a VirtualService with n routes to the host, and perhaps one for
// everything before them; in JSON, which kubectl reads fastest.
func (s site) largeRoute(n int, catchAllFirst bool) string {
	routes := make([]string, 0, n+1)
	if catchAllFirst {
		routes = append(routes, `{"route":[{"destination":{"host":"welcome"}}]}`)
	}
	for i := range n {
		routes = append(routes, s.fill(fmt.Sprintf(`{"match":[{"uri":{"prefix":"/p%d/"}}],"route":[{"destination":{"host":"HOST","port":{"number":443}}}]}`, i)))
	}
	return s.fill(`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"large","namespace":"NAMESPACE"},"spec":{"hosts":["www.HOST"],"gateways":["gateway"],"http":[` +
		strings.Join(routes, ",") + `]}}`)
}

func TestRouteOfTenThousandIsDecidedInTime(t *testing.T) {
	newestOnly(t)
	s := readySite(t)
	warnings := does(t, s.largeRoute(10_000, false), "create", "--dry-run=server", "-f", "-")
	assert.Equal(t, s.headers(0), warnings[0])
	assert.Contains(t, warnings, "would create "+s.rule())

	_, reason := refused(t, s.largeRoute(10_000, true), "create", "-f", "-")
	got := strings.Split(reason, "\n")
	assert.Equal(t, "VirtualService "+s.namespace+"/large is refused:", got[0])
	assert.LessOrEqual(t, len(reason), 8<<10)
	assert.Contains(t, reason, "CatchAllNotLast at spec.http[1]: ")
}

// 3 MB is what the API server takes; etcd takes half of that.
func TestObjectOfThreeMegabytesIsDecidedInTime(t *testing.T) {
	newestOnly(t)
	s := readySite(t)
	big := s.largeRoute(1, false)
	pad := func(size int) string {
		return strings.Replace(big, `"hosts":[`, `"hosts":[`+strings.Repeat(`"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example",`, (size-len(big))/71), 1)
	}
	const limit = 3 << 20
	warnings := does(t, pad(limit-64<<10), "create", "--dry-run=server", "-f", "-")
	assert.Equal(t, []string{s.headers(0), "would create " + s.rule()}, warnings)

	stored := kubectl(t, pad(limit-64<<10), "create", "-f", "-")
	assert.Equal(t, 1, stored.ExitCode)
	assert.Regexp(t, `(?m)^Error from server: error when creating "STDIN": rpc error: code = ResourceExhausted desc = trying to send message larger than max \(3\d{6} vs. 2097152\)$`, stored.Stderr)
	tooLarge := kubectl(t, pad(limit+64<<10), "create", "-f", "-")
	assert.Equal(t, "Error from server (RequestEntityTooLarge): error when creating \"STDIN\": Request entity too large: limit is 3145728\n", tooLarge.Stderr)
}

// A route that the work budget leaves open is admitted, counted, and named in the
// debug log.
func TestUndecidedRouteIsAdmittedAndCounted(t *testing.T) {
	newestOnly(t)
	webhook := ownServer(t, controlplane.WebhookOptions{Args: []string{"--log-level=debug"}})
	s := newSite(t)
	warnings := does(t, s.fill(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: undecided, namespace: NAMESPACE}
spec:
  hosts: [welcome]
  http:
  - match: [{uri: {regex: "/(a|b)*a(a|b){40}"}}]
    route: [{destination: {host: welcome}}]
  - match: [{uri: {regex: "/(a|b)*a(a|b){41}"}}]
    route: [{destination: {host: welcome}}]
`), "create", "-f", "-")
	assert.Empty(t, warnings)
	assert.Contains(t, metrics(t, webhook), "\negress_tls_route_matches_undecided_total 1\n")
	assert.Regexp(t, `"msg":"route order undecided",.*"kind":"VirtualService","namespace":"`+s.namespace+
		`","name":"undecided","matches":1,"paths":"spec\.http\[1\]\.match\[0\]"`, webhook.Log())
}

// What the schema of the CRDs refuses, the API server refuses by itself, in its
// own words: the mutating phase lets it pass.
func TestWrongTypesAreRefusedByTheSchema(t *testing.T) {
	s := readySite(t)
	for field, want := range map[string]string{
		`http: text`:                        `spec.http: Invalid value: "string": spec.http in body must be of type array: "string"`,
		`http: [text]`:                      `spec.http[0]: Invalid value: "string": spec.http[0] in body must be of type object: "string"`,
		`hosts: {}`:                         `spec.hosts: Invalid value: "object": spec.hosts in body must be of type array: "object"`,
		`http: [{match: [{port: eighty}]}]`: `spec.http[0].match[0].port: Invalid value: "string": spec.http[0].match[0].port in body must be of type integer: "string"`,
	} {
		result := kubectl(t, s.fill("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: wrong, namespace: NAMESPACE}\nspec: {"+field+"}\n"), "create", "-f", "-")
		assert.Equal(t, 1, result.ExitCode)
		// What follows is worded otherwise in each version of Kubernetes.
		assert.True(t, strings.HasPrefix(result.Stderr, `The VirtualService "wrong" is invalid: `+"\n* "+want+"\n"), result.Stderr)
	}
}
