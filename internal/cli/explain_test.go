package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

const bucket = "samplebucket1234.s3.ap-southeast-2.amazonaws.com"

func TestExplainSeeds(t *testing.T) {
	for name, args := range map[string][]string{
		"ingress-author": {bucket, "-f", "testdata/ingress-author.yaml"},
		"ingress":        {bucket, "-f", "testdata/ingress.yaml"},
		"sidecar":        {"edition.cnn.com", "-f", "testdata/sidecar.yaml"},
	} {
		for format, ending := range map[string]string{"text": "txt", "json": "json"} {
			got := run("", append([]string{"explain", "-o", format}, args...)...)
			assert.Equal(t, OK, got.code, name)
			assert.Empty(t, got.err, name)
			golden(t, "testdata/"+name+".explain."+ending, got.out)
		}
	}
}

// After render nothing goes in clear, and the webhook has nothing to add.
func TestExplainWhatIsRendered(t *testing.T) {
	for name, host := range map[string]string{"ingress": bucket, "sidecar": "edition.cnn.com", "inject": "edition.cnn.com", "explain": "api.payments.example.com"} {
		rendered := run("", "render", "-f", "testdata/"+name+".yaml")
		require.Equal(t, OK, rendered.code, name)
		got := run(rendered.out, "explain", host, "-f", "-")
		assert.Equal(t, OK, got.code, name)
		assert.NotContains(t, got.out, "PLAINTEXT", name)
		assert.NotContains(t, got.out, "would add", name)
		assert.Contains(t, got.out, "\nTLS to port ", name)
	}
}

// What is said of hosts of which there is little to say.
func TestExplainLittle(t *testing.T) {
	of := func(hosts, exportTo string) string {
		return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec:\n  hosts: [" + hosts + "]\n" +
			"  exportTo: [" + exportTo + "]\n  resolution: DNS\n  ports: [{number: 443, name: https, protocol: HTTPS}]\n"
	}
	ofTLS := func(host, resolution, tls string) string {
		return strings.NewReplacer("resolution: DNS", "resolution: "+resolution, "name: https, protocol: HTTPS", "name: http, protocol: HTTP").Replace(of(host, "'*'")) +
			"---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: " + host + ", trafficPolicy: {tls: {" + tls + "}}}\n"
	}
	known := of("api.vendor.com, www.vendor.com", "'*'")
	var all strings.Builder
	for _, tc := range []struct {
		input string
		args  []string
	}{
		{known, []string{"other.example.com"}},
		{known, []string{"[2001:db8::1]:8443"}},
		{known, []string{"ap.vendor.com"}}, // Did you mean
		{known, []string{"web.shop.svc.cluster.local"}},
		{known, []string{"*.example.com"}},
		{known, []string{"api.vendor.com:8443"}},
		{known, []string{"api.vendor.com:443", "--from", "shop"}},
		{of("'*.vendor.com'", "'*'"), []string{"api.vendor.com"}},
		{of("'*.vendor.com', api.vendor.com", "'*'"), []string{"*.vendor.com", "--ascii"}},
		{of("api.vendor.com", "'~'"), []string{"api.vendor.com", "--from", "shop"}},
		{of("api.vendor.com", "egress"), []string{"api.vendor.com"}},
		{vsOf("  http:\n  - route:\n    - destination: {host: api.vendor.com, port: {number: 443}}\n"), []string{"api.vendor.com"}},
		{of("api.vendor.com", "'*'") + "---\n" + vsOf("  http:\n  - route:\n    - destination: {host: a.example.com}\n    mirror: {host: api.vendor.com}\n    mirrors: [{destination: {host: api.vendor.com, port: {number: 8443}}}]\n"), []string{"api.vendor.com"}},
		{of("api.vendor.com", "'*'") + "---\n" + vsOf("  tcp:\n  - match: [{port: 443, destinationSubnets: [10.0.0.0/8]}, {}]\n    route:\n    - destination: {host: api.vendor.com}\n"), []string{"api.vendor.com"}},
		{strings.Replace(of("a.example.com", "'*'"), "HTTPS", "HTTP", 1) + "---\n" + vsOf("  http: [{directResponse: {status: 503}}]\n"), []string{"a.example.com"}},
		{strings.NewReplacer("443", "80", "HTTPS", "TCP").Replace(of("a.example.com, api.vendor.com", "'*'")) + "---\n" + vsOf("  http:\n  - route:\n    - destination: {host: api.vendor.com, port: {number: 80}}\n"), []string{"api.vendor.com"}}, // The route is dead.
		{ofTLS("'*.vendor.com'", "DYNAMIC_DNS", "mode: SIMPLE, sni: a.vendor.com"), []string{"*.vendor.com"}},
		{ofTLS("api.vendor.com", "DNS", "mode: MUTUAL"), []string{"api.vendor.com"}},
	} {
		got := run(tc.input, append([]string{"explain", "-f", "-"}, tc.args...)...)
		assert.Equal(t, OK, got.code)
		assert.Empty(t, got.err)
		all.WriteString("$ egress-tls explain " + strings.Join(tc.args, " ") + "\n" + got.out + "\n")
	}
	golden(t, "testdata/explain-little.txt", all.String())
}

// What is said of scenarios, in which more than one thing is to be known.
func TestExplainScenarios(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	var all strings.Builder
	for _, name := range []string{
		"delegate-executed-by-its-root", "double-tls-passthrough-at-same-gateway", "managed-equal", "mode-warn", "policy-exempt-host",
		"policy-rules-require", "rule-credential-on-sidecar", "rule-exportto-kept-apart", "rule-injected-again", "rule-istio-mutual",
		"rule-subset-overrides", "rule-two-older-without-tls", "rule-workload-selector-hides", "serviceentry-two-namespaces",
		"serviceentry-wildcard-only", "tls-names-of-the-serviceentry",
	} {
		t.Chdir(filepath.Join(here, "../../test/scenarios", name))
		args := []string{"explain", "-f", "request.yaml"}
		for file, flag := range map[string]string{"mesh.yaml": "--background", "policy.yaml": "--policy"} {
			if _, err := os.Stat(file); err == nil {
				args = append(args, flag, file)
			}
		}
		for _, host := range []string{"api.vendor.com", "edition.cnn.com", "api.partner.com"} {
			if got := run("", append(args, host)...); assert.Equal(t, OK, got.code, got.err) && !strings.Contains(got.out, "NoServiceEntry") {
				all.WriteString("# " + name + "\n" + got.out + "\n")
			}
		}
	}
	t.Chdir(here)
	golden(t, "testdata/explain-scenarios.txt", all.String())
}

// The hazards that no other output here shows, and what is said of them.
func TestExplainHazards(t *testing.T) {
	const entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec:\n  hosts: [api.vendor.com]\n  resolution: DNS\n  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]\n---\n"
	rule := func(tls string) string {
		return entry + "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: api.vendor.com, trafficPolicy: {tls: {mode: SIMPLE, " + tls + "}}}\n---\n"
	}
	route := func(gateways string) string {
		return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [shop.example.com], gateways: [" + gateways + "], http: [{route: [{destination: {host: api.vendor.com}}]}]}\n"
	}
	for name, tc := range map[string]struct{ input, want, remedy string }{
		"CertificateNotVerified": {rule("insecureSkipVerify: true"), "DestinationRule default/r says insecureSkipVerify: the certificate of api.vendor.com is not verified, and any server can pose as it.", "Remove insecureSkipVerify."},
		"NameNotVerified":        {rule("sni: api.vendor.com"), "DestinationRule default/r sets an sni and no subjectAltNames: Istio then accepts the certificate of a known authority for any name, not only for api.vendor.com.", "Add subjectAltNames: [api.vendor.com] next to the sni."},
		"NameNotVerified of TCP": {strings.ReplaceAll(rule(""), "name: http, protocol: HTTP", "name: tcp, protocol: TCP"), "DestinationRule default/r sets neither sni nor subjectAltNames, and what comes to port 80 is not HTTP, which would tell the name: the proxy asks for none, and accepts the certificate of a known authority for any name, not only for api.vendor.com.", "Add sni: api.vendor.com and subjectAltNames: [api.vendor.com]."},
		"SNIOfRequest":           {rule("caCertificates: system") + route("g"), "DestinationRule default/r sets no sni, so the proxy asks for the Host of each request: on the way of VirtualService default/v spec.http[0] that is whatever the client sent.", "Set sni: api.vendor.com in the DestinationRule, and Host: api.vendor.com on the route."},
		"GatewayGuessed":         {entry + route("g"), "nothing tells where the gateway's pods with any labels run; namespace default is a guess, and what is said of them as well.", "Give the Services of the gateways too, or list the namespace as gatewayNamespaces in the policy."},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, _ := strings.Cut(name, " of ")
			got := run(tc.input, "explain", "api.vendor.com", "-f", "-", "-o", "json")
			var host explain.Host
			require.NoError(t, json.Unmarshal([]byte(got.out), &host))
			i := slices.IndexFunc(host.Hazards, func(z explain.Hazard) bool { return z.Code == code })
			require.GreaterOrEqual(t, i, 0, got.out)
			assert.Equal(t, explain.Hazard{Code: code, Severity: finding.Warning, Message: tc.want, Remedy: tc.remedy}, host.Hazards[i])
		})
	}
}

// Where each namespace has its own, the answer grows with their number, not its square.
func TestExplainManyNamespaces(t *testing.T) {
	var in strings.Builder
	for i := range 13 {
		fmt.Fprintf(&in, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: n%[1]d}
spec: {hosts: [api.vendor.com], exportTo: [.], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r, namespace: n%[1]d}
spec: {host: api.vendor.com}
---
`, i)
	}
	got := run(in.String(), "explain", "api.vendor.com", "--from", "n0", "-f", "-")
	assert.Equal(t, OK, got.code)
	assert.Equal(t, 10, strings.Count(got.out, ": it is exported only to namespace "))
	assert.Contains(t, got.out, "not 2 more: they are not exported to these clients either\n")
	assert.Equal(t, 10, strings.Count(got.out, ": Istio looks only into "))
	assert.Contains(t, got.out, "not 2 more: Istio does not look into their namespaces either\n")
	page := run(in.String(), "check", "-o", "html", "-f", "-")
	assert.Equal(t, 26, strings.Count(page.out, "<li>2 more</li>"))
}

func TestExplainUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no host":        {nil, "no host given: explain HOST[:PORT], such as api.example.com:443"},
		"two":            {[]string{"a.com", "b.com"}, `unexpected argument "b.com": one host is explained at a time, and files are given as -f FILE`},
		"no name":        {[]string{"a b"}, `"a b" is no host: give a name such as api.example.com, *.example.com, an IP address or a URL`},
		"nothing":        {[]string{"https://"}, `"https://" is no host: give a name such as api.example.com, *.example.com, an IP address or a URL`},
		"a wildcard":     {[]string{"api.*.com"}, `"api.*.com" is no host: give a name such as api.example.com, *.example.com, an IP address or a URL`},
		"no namespace":   {[]string{"a.com", "--from", "."}, `--from "." is no namespace`},
		"port 0":         {[]string{"a.com:0"}, `"0" is no port: it is a number from 1 to 65535`},
		"a named port":   {[]string{"a.com:https"}, `"https" is no port: it is a number from 1 to 65535`},
		"unknown format": {[]string{"a.com", "-o", "yaml"}, `unknown output format "yaml" for -o; it is one of text, json`},
	} {
		t.Run(name, func(t *testing.T) {
			got := run("", append([]string{"explain", "-f", "testdata/sidecar.yaml"}, tc.args...)...)
			assert.Equal(t, result{Unusable, "", "egress-tls: " + tc.want + "\negress-tls: see 'egress-tls explain --help'\n"}, got)
		})
	}
}

func TestParseHost(t *testing.T) {
	for text, want := range map[string]struct {
		host string
		port uint32
	}{
		"api.example.com":                       {"api.example.com", 0},
		"api.example.com:8443":                  {"api.example.com", 8443},
		"API.Example.com.":                      {"api.example.com", 0},
		"api.example.com.:443":                  {"api.example.com", 443},
		"https://api.example.com/v1?x=http://y": {"api.example.com", 0},
		"http://me:pw@api.example.com:80/":      {"api.example.com", 80},
		"api.example.com/v1":                    {"api.example.com", 0},
		"*.example.com":                         {"*.example.com", 0},
		"*":                                     {"*", 0},
		"10.0.0.1":                              {"10.0.0.1", 0},
		"10.0.0.1:443":                          {"10.0.0.1", 443},
		"2001:DB8::1":                           {"2001:db8::1", 0},
		"[2001:db8::1]":                         {"2001:db8::1", 0},
		"https://[2001:db8::1]:443/x":           {"2001:db8::1", 443},
	} {
		host, port, err := parseHost(text)
		require.NoError(t, err, text)
		assert.Equal(t, want.host, host, text)
		assert.Equal(t, want.port, port, text)
	}
}

// What objects hold does not reach the terminal as it is; colour is where it is asked for.
func TestExplainIsPrintable(t *testing.T) {
	got := run(`{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "e\u001b[31m"}, "spec": {"hosts": ["api.vendor.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP\n\u001b]0;x"}]}}`,
		"explain", "api.vendor.com", "-f", "-")
	assert.NotContains(t, got.out, "\x1b")
	assert.Contains(t, got.out, `e\x1b[31m`)

	got = run("", "explain", "edition.cnn.com", "-f", "testdata/sidecar.yaml", "--color", "always")
	assert.True(t, strings.HasPrefix(got.out, "\x1b[1medition.cnn.com\x1b[0m\n\n\x1b[1;31mPLAINTEXT\x1b[0m to port 443 from all sidecars"), got.out)
}

// The documentation shows what is printed.
func TestExplainDocs(t *testing.T) {
	const page, command, behind = "../../docs/explain.md", "$ egress-tls explain api.payments.example.com -f manifests/\n", "```\n\nThe first lines"
	text := read(t, page)
	head, rest, ok := strings.Cut(text, command)
	require.True(t, ok)
	_, tail, ok := strings.Cut(rest, behind)
	require.True(t, ok)

	objects, root := read(t, "testdata/explain.yaml"), t.TempDir()
	require.NoError(t, os.Mkdir(root+"/manifests", 0o700))
	require.NoError(t, os.WriteFile(root+"/manifests/payments.yaml", []byte(objects), 0o600))
	here, err := os.Getwd()
	require.NoError(t, err)
	t.Chdir(root)
	got := run("", "explain", "api.payments.example.com", "-f", "manifests/")
	t.Chdir(here)
	assert.Equal(t, OK, got.code)
	golden(t, page, head+command+got.out+behind+tail)
}
