package conformance

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// kept are the faults that remain with us, and why they may.
var kept = map[string]struct {
	faults []string
	reason string
}{
	"headers-destination-brings-its-own":        {ofVendor(`X-Forwarded-Proto "http"`), "the user set it"},
	"headers-forwarded-proto-kept":              {ofVendor(`X-Forwarded-Proto "http"`), "the user set it"},
	"headers-host-mismatch":                     {ofVendor(`Host "www.vendor.com"`), "the user set it: HostHeaderMismatch"},
	"headers-removed-stay-removed":              {ofVendor(`X-Forwarded-Proto ""`), "the user removes it"},
	"headers-rewrite-authority-mismatch":        {ofVendor(`Host "other.vendor.com"`), "the user set it: HostHeaderMismatch"},
	"headers-route-authority-beats-destination": {ofVendor(`Host "www.vendor.com"`), "the user set it: HostHeaderMismatch"},
	"ingress-seed-clients-guessed": {
		[]string{"samplebucket1234.s3.ap-southeast-2.amazonaws.com:443: no cluster"},
		"a gateway in the Gateway's namespace would not see the ServiceEntry, so it is guessed to be in the root namespace",
	},
	"mode-audit":                  {nothingDone, "mode audit"},
	"mode-exempt-namespace":       {nothingDone, "exempt"},
	"mode-off":                    {nothingDone, "mode off"},
	"mode-warn":                   {nothingDone, "mode warn"},
	"policy-exempt-host":          {append(of("api.partner.com:443", nothing...), nothingDone...), "exempt"},
	"policy-headers-ignore":       {ofVendor(`Host ""`, `X-Forwarded-Proto ""`), "headers: Ignore"},
	"policy-rules-ignore-missing": {ofVendor("plaintext"), "destinationRules: Ignore"},
	"rule-istio-mutual":           {ofVendor(`SNI "outbound_.443_._.api.vendor.com"`), "the user chose ISTIO_MUTUAL: MutualToExternal"},
	"rule-port-entry-without-tls": {ofVendor(`SNI "front.vendor.com"`), "the user chose it, one level above"},
	"rule-subset-unknown":         {ofVendor("no cluster"), "the user's rule has no such subset"},

	"serviceentry-claims-kubernetes-service": {of("payments.shop.svc.cluster.local:80", nothing...), "the ServiceEntry does not speak for a Kubernetes service of another namespace"},
	"serviceentry-exported-nowhere":          {ofVendor("no cluster"), "the sidecars of other namespaces do not see the ServiceEntry"},
	"serviceentry-exported-nowhere-twice":    {ofVendor("no cluster"), "the oldest ServiceEntry has no such port"},
	"serviceentry-exported-nowhere-gateway":  {ofVendor("no cluster"), "NoExactServiceEntry"},
	"serviceentry-not-exported-to-gateway":   {ofVendor("no cluster"), "NoExactServiceEntry"},
	"serviceentry-two-namespaces":            {ofVendor("no cluster"), "the sidecars of other namespaces see neither ServiceEntry"},
}

// nothing is how requests leave that nobody looks after.
var (
	nothing     = []string{`Host ""`, `X-Forwarded-Proto ""`, "plaintext"}
	nothingDone = ofVendor(nothing...)
)

func ofVendor(faults ...string) []string { return of("api.vendor.com:443", faults...) }

func of(target string, faults ...string) []string {
	out := make([]string, len(faults))
	for i, f := range faults {
		out[i] = target + ": " + f
	}
	return out
}

// ahead are the scenarios in which something is done before it is needed, and why.
var ahead = map[string]string{
	"annotation-always":              "a rule before any route",
	"rule-injected-beside-own-entry": "what is taken back was not needed",
	"policy-originate-always":        "a rule before any route",
	"headers-weight-zero":            "istiod leaves out destinations of weight 0, and the next step of a canary raises it",
}

// Every scenario, before real istiod: what reaches an external server's TLS port is as that server
// wants it, and would not be without us; and nobody else's connections change. What is explained of
// the hosts is what istiod tells the proxies.
func TestScenarios(t *testing.T) {
	all, err := scenario.All(scenarios)
	require.NoError(t, err)
	names := map[string]bool{}
	for _, s := range all {
		names[s.Name] = true
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			p := play(t, s)
			without, with := observe(t, p, p.without), observe(t, p, p.with)
			assert.Empty(t, without.unexplained)
			assert.Empty(t, with.unexplained)
			before, after := without.faults(p), with.faults(p)
			switch {
			case s.Want.Refused:
				if refusedForTLS(s) {
					assert.NotEmpty(t, before, "refused, and istiod has nothing against it")
				}
			default:
				assert.Equal(t, kept[s.Name].faults, after, kept[s.Name].reason)
				if len(s.Want.Changes)+len(s.Want.Rules) > 0 {
					assert.Equal(t, ahead[s.Name] == "", !slices.Equal(before, after), "without us it is the same: %s", ahead[s.Name])
				}
			}
			assertUnharmed(t, p, without, with)
		})
	}
	for name := range kept {
		assert.Contains(t, names, name, "no such scenario")
	}
	for name := range ahead {
		assert.Contains(t, names, name, "no such scenario")
	}
}

// refusedForTLS reports whether a request is refused for what it sends to a TLS port, not for its
// own form.
func refusedForTLS(s *scenario.Scenario) bool {
	return slices.ContainsFunc(s.Want.Findings, func(f scenario.Finding) bool {
		return f.Severity == finding.Error &&
			slices.Contains([]finding.Code{finding.TLSDisabled, finding.TLSMissing, finding.CredentialIgnored, finding.HeadersMissing}, f.Code)
	})
}

// assertUnharmed: TLS comes to the clusters that plaintext HTTP is sent to, and to no other without
// the warning DoubleTLS; nothing else of a cluster changes.
func assertUnharmed(t *testing.T, p *played, without, with *observed) {
	t.Helper()
	warned := slices.ContainsFunc(p.Want.Findings, func(f scenario.Finding) bool { return f.Code == finding.DoubleTLS })
	if p.Want.Refused {
		return
	}
	var harmed []string
	for _, key := range slices.Sorted(maps.Keys(with.clusters)) {
		now, was := with.clusters[key], without.clusters[key]
		if !assert.NotNil(t, was, "%s is new", key) {
			continue
		}
		assert.Equal(t, prototext.Format(withoutTransport(was)), prototext.Format(withoutTransport(now)), key)
		if proto.Equal(tlsOf(was), tlsOf(now)) {
			continue
		}
		assert.Nil(t, tlsOf(was), "%s had TLS before", key)
		if with.raw[key] {
			harmed = append(harmed, key)
		}
	}
	if warned {
		assert.NotEmpty(t, harmed, "warned of DoubleTLS, and nobody gets it")
	} else {
		assert.Empty(t, harmed, "these clients may speak TLS themselves")
	}
	for key := range without.clusters {
		assert.Contains(t, with.clusters, key)
	}
}
