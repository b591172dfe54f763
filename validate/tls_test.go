package validate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

func objects(t *testing.T, text string) []scenario.Object {
	t.Helper()
	out, err := scenario.Parse([]byte(text))
	require.NoError(t, err)
	return out
}

const target = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vendor, namespace: egress}
spec: {hosts: [api.vendor.com], ports: [{number: 443, name: h, protocol: HTTPS}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: shop}
spec:
  hosts: [x]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: api.vendor.com, port: {number: 443}}}]
  - match: [{uri: {prefix: /b}}]
    route: [{destination: {host: api.vendor.com, port: {number: 443}, subset: v1}}]
---
`

// One finding for each place that says it and each VirtualService that suffers,
// whatever the number of clients and routes.
func TestTLS(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		want       []string
	}{
		{name: "SIMPLE", spec: "trafficPolicy: {tls: {mode: SIMPLE}}, subsets: [{name: v1}]"},
		{name: "no tls at all is added, not judged", spec: "trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1}]"},
		{name: "a subset that does not exist sends nothing", spec: "trafficPolicy: {tls: {mode: SIMPLE}}"},
		{
			name: "DISABLE on the destination level, for the route and its subset alike", spec: "trafficPolicy: {tls: {mode: DISABLE}}, subsets: [{name: v1}]",
			want: []string{"error TLSDisabled spec.trafficPolicy.tls [api.vendor.com:443 VirtualService shop/vs]"},
		},
		{
			name: "DISABLE is the default mode", spec: "trafficPolicy: {tls: {sni: x}}",
			want: []string{"error TLSDisabled spec.trafficPolicy.tls [api.vendor.com:443 VirtualService shop/vs]"},
		},
		{
			name: "DISABLE of the port", spec: "trafficPolicy: {tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 80}}, {port: {number: 443}, tls: {mode: DISABLE}}]}",
			want: []string{"error TLSDisabled spec.trafficPolicy.portLevelSettings[1].tls [api.vendor.com:443 VirtualService shop/vs]"},
		},
		{
			name: "an entry without tls below DISABLE", spec: "trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 443}}]}",
			want: []string{"error TLSDisabled spec.trafficPolicy.tls [api.vendor.com:443 VirtualService shop/vs]"},
		},
		{
			name: "DISABLE of the subset", spec: "trafficPolicy: {tls: {mode: SIMPLE}}, subsets: [{name: v0}, {name: v1, trafficPolicy: {tls: {mode: DISABLE}}}]",
			want: []string{"error TLSDisabled spec.subsets[1].trafficPolicy.tls [api.vendor.com:443/v1 VirtualService shop/vs]"},
		},
		{
			name: "DISABLE of the subset's port", spec: "trafficPolicy: {tls: {mode: SIMPLE}}, subsets: [{name: v1, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: DISABLE}}]}}]",
			want: []string{"error TLSDisabled spec.subsets[0].trafficPolicy.portLevelSettings[0].tls [api.vendor.com:443/v1 VirtualService shop/vs]"},
		},
		{
			name: "a subset's entry without tls below the subset's DISABLE", spec: "trafficPolicy: {tls: {mode: SIMPLE}}, subsets: [{name: v1, trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 443}}]}}]",
			want: []string{"error TLSDisabled spec.subsets[0].trafficPolicy.tls [api.vendor.com:443/v1 VirtualService shop/vs]"},
		},
		{
			name: "ISTIO_MUTUAL", spec: "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}",
			want: []string{"warning MutualToExternal spec.trafficPolicy.tls [api.vendor.com:443 VirtualService shop/vs]"},
		},
		{
			name: "credentialName", spec: "trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}",
			want: []string{"error CredentialIgnored spec.trafficPolicy.tls [api.vendor.com:443 VirtualService shop/vs]"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := objects(t, target+"{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: r, namespace: egress}, spec: {host: api.vendor.com, "+c.spec+"}}")
			w := scenario.World(all, policy.Default())
			var got []string
			for _, f := range validate.TLS("api.vendor.com", w.Needs("api.vendor.com", false)) {
				assert.Equal(t, "DestinationRule egress/r", f.Object.String())
				got = append(got, strings.Join([]string{string(f.Severity), string(f.Code), f.Path, "[" + f.Subject + "]"}, " "))
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// Without a route the finding is about plaintext to the port at all.
func TestTLSBeforeAnyRoute(t *testing.T) {
	all := objects(t, `
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: vendor, namespace: egress}, spec: {hosts: [api.vendor.com], ports: [{number: 443, name: h, protocol: HTTP}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: r, namespace: egress}, spec: {host: api.vendor.com, trafficPolicy: {tls: {mode: DISABLE}}}}
`)
	got := validate.TLS("api.vendor.com", scenario.World(all, policy.Default()).Needs("api.vendor.com", false))
	require.Len(t, got, 1)
	assert.Equal(t, "TLSDisabled at spec.trafficPolicy.tls: DestinationRule egress/r switches TLS off (mode DISABLE), so plaintext HTTP requests to api.vendor.com:443 leave the mesh in clear. "+
		"Set mode: SIMPLE and sni: api.vendor.com there, or remove that tls and it is added.", got[0].Text())
}

func TestReachable(t *testing.T) {
	entry := func(hosts, exportTo string) string {
		return "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: vendor, namespace: egress}, spec: {hosts: [" + hosts + "], exportTo: [" + exportTo + "], ports: [{number: 443, name: h, protocol: HTTPS}]}}"
	}
	route := func(spec, destination string) string {
		return "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: vs, namespace: shop}, spec: {hosts: [x], " + spec + "http: [{route: [{destination: {host: " + destination + "}}]}]}}\n---\n"
	}
	const invisible = `NoExactServiceEntry at spec.http[0].route[0].destination.host: ServiceEntry egress/vendor lists "api.vendor.com" but is not exported to %s, where the proxies of this route run; they have no cluster for it, so the requests fail and no TLS can be added. Export the ServiceEntry to them: see its exportTo.`
	for _, c := range []struct {
		name, vs, entry, want string
	}{
		{name: "exact and visible", vs: route("", "api.vendor.com"), entry: entry("api.vendor.com", "")},
		{name: "exact and visible to some of the clients", vs: route("", "api.vendor.com"), entry: entry("api.vendor.com", "shop")},
		{name: "inside of the cluster", vs: route("", "api"), entry: entry("'*'", "")},
		{name: "nothing fits: not our business", vs: route("", "api.other.com"), entry: entry("api.vendor.com", "")},
		{
			name: "only a wildcard", vs: route("", "api.vendor.com"), entry: entry("'*.vendor.com', '*'", ""),
			want: `NoExactServiceEntry at spec.http[0].route[0].destination.host: only the wildcard of ServiceEntry egress/vendor covers "api.vendor.com"; Envoy has no cluster for the exact host, so the requests fail and no TLS can be added. List "api.vendor.com" in the hosts of a ServiceEntry.`,
		},
		{name: "invisible to the one client", vs: route("exportTo: [.], ", "api.vendor.com"), entry: entry("api.vendor.com", "."), want: strings.Replace(invisible, "%s", `namespace "shop"`, 1)},
		{name: "invisible to two", vs: route("exportTo: [., b], ", "api.vendor.com"), entry: entry("api.vendor.com", "."), want: strings.Replace(invisible, "%s", `namespace "b" or namespace "shop"`, 1)},
		{name: "invisible to more", vs: route("exportTo: [., a, b], ", "api.vendor.com"), entry: entry("api.vendor.com", "."), want: strings.Replace(invisible, "%s", `namespace "a" or 2 further ones`, 1)},
		{name: "exported nowhere, and some of the clients are in its namespace", vs: route("", "api.vendor.com"), entry: entry("api.vendor.com", "'~'")},
		{name: "exported nowhere", vs: route("exportTo: [., a, b], ", "api.vendor.com"), entry: entry("api.vendor.com", "'~'"), want: strings.Replace(invisible, "%s", `namespace "a" or 2 further ones`, 1)},
		{name: "a delegate without a root has no clients to miss it", vs: strings.Replace(route("", "api.vendor.com"), "hosts: [x], ", "", 1), entry: entry("api.vendor.com", ".")},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := objects(t, c.vs+c.entry)
			var got []string
			for _, f := range validate.Reachable(scenario.World(all, policy.Default()).LeadsOf(all[0].Typed.(*networkingv1.VirtualService))) {
				got = append(got, f.Text())
			}
			assert.Equal(t, c.want, strings.Join(got, "\n"))
		})
	}
}

func TestReachableSaysNothingOfExemptHosts(t *testing.T) {
	pol := policy.Default()
	pol.Exemptions.Hosts = []string{"api.vendor.com"}
	all := objects(t, "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: vs, namespace: shop}, spec: {hosts: [x], http: [{route: [{destination: {host: api.vendor.com, port: {number: 443}}}]}]}}\n---\n"+
		"{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: wild, namespace: egress}, spec: {hosts: ['*.vendor.com']}}")
	assert.Empty(t, validate.Reachable(scenario.World(all, pol).LeadsOf(all[0].Typed.(*networkingv1.VirtualService))))
}
