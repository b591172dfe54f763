package mutate_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

const host = "api.vendor.com"

func at443() mutate.Injection { return mutate.Injection{Host: host, Port: 443, Entry: -1} }

func TestInjectEdits(t *testing.T) {
	for _, c := range []struct {
		name, spec, annotation string
		injections             []mutate.Injection
		tls                    policy.TLS
		want, marker           string
	}{
		{
			name: "a rule without a policy", spec: `{"host":"h"}`, injections: []mutate.Injection{at443()},
			want:   `{"host":"h","trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}}]}}`,
			marker: "port/443",
		},
		{
			name: "null for a policy", spec: `{"trafficPolicy":null}`, injections: []mutate.Injection{at443()},
			want:   `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}}]}}`,
			marker: "port/443",
		},
		{
			name: "the settings that an entry would switch off are carried along, others are not",
			spec: `{"trafficPolicy":{"loadBalancer":{"simple":"RANDOM","future":1},"connectionPool":{"tcp":{"maxConnections":5}},"outlierDetection":{"interval":"1s"},"proxyProtocol":{"version":"V2"},"portLevelSettings":[{"port":{"number":80}}]}}`, injections: []mutate.Injection{at443()},
			want:   `{"trafficPolicy":{"loadBalancer":{"simple":"RANDOM","future":1},"connectionPool":{"tcp":{"maxConnections":5}},"outlierDetection":{"interval":"1s"},"proxyProtocol":{"version":"V2"},"portLevelSettings":[{"port":{"number":80}},{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"},"loadBalancer":{"simple":"RANDOM","future":1},"connectionPool":{"tcp":{"maxConnections":5}},"outlierDetection":{"interval":"1s"}}]}}`,
			marker: "port/443",
		},
		{
			name: "an entry without tls gets only tls, that of the level above",
			spec: `{"trafficPolicy":{"loadBalancer":{"simple":"RANDOM"},"tls":{"mode":"MUTUAL","clientCertificate":"c","future":true},"portLevelSettings":[{"port":{"number":443}}]}}`, injections: []mutate.Injection{{Host: host, Port: 443, Entry: 0}},
			want:   `{"trafficPolicy":{"loadBalancer":{"simple":"RANDOM"},"tls":{"mode":"MUTUAL","clientCertificate":"c","future":true},"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"MUTUAL","clientCertificate":"c","future":true}}]}}`,
			marker: "port/443/tls",
		},
		{
			name: "an entry without tls and nothing above: SIMPLE",
			spec: `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":null}]}}`, injections: []mutate.Injection{{Host: host, Port: 443, Entry: 0}},
			want:   `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}}]}}`,
			marker: "port/443/tls",
		},
		{
			name: "a subset's entry gets the tls of the subset",
			spec: `{"trafficPolicy":{"tls":{"mode":"SIMPLE"}},"subsets":[{"name":"v1"},{"name":"v2","trafficPolicy":{"tls":{"mode":"MUTUAL"},"portLevelSettings":[{"port":{"number":443}}]}}]}`, injections: []mutate.Injection{{Host: host, Port: 443, Subset: "v2", SubsetIndex: 1, Entry: 0}},
			want:   `{"trafficPolicy":{"tls":{"mode":"SIMPLE"}},"subsets":[{"name":"v1"},{"name":"v2","trafficPolicy":{"tls":{"mode":"MUTUAL"},"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"MUTUAL"}}]}}]}`,
			marker: "subset/v2/port/443/tls",
		},
		{
			name: "a subset's entry gets the tls of the rule's entry, if the subset has none",
			spec: `{"trafficPolicy":{"tls":{"mode":"SIMPLE"},"portLevelSettings":[{"port":{"number":80},"tls":{"mode":"SIMPLE"}},{"port":{"number":443},"tls":{"mode":"MUTUAL"}}]},"subsets":[{"name":"v2","trafficPolicy":{"portLevelSettings":[{"port":{"number":443}}]}}]}`, injections: []mutate.Injection{{Host: host, Port: 443, Subset: "v2", Entry: 0}},
			want:   `{"trafficPolicy":{"tls":{"mode":"SIMPLE"},"portLevelSettings":[{"port":{"number":80},"tls":{"mode":"SIMPLE"}},{"port":{"number":443},"tls":{"mode":"MUTUAL"}}]},"subsets":[{"name":"v2","trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"MUTUAL"}}]}}]}`,
			marker: "subset/v2/port/443/tls",
		},
		{
			name: "a subset's entry gets the tls of the rule, if nothing nearer says any",
			spec: `{"trafficPolicy":{"tls":{"mode":"MUTUAL"}},"subsets":[{"name":"v2","trafficPolicy":{"portLevelSettings":[{"port":{"number":443}}]}}]}`, injections: []mutate.Injection{{Host: host, Port: 443, Subset: "v2", Entry: 0}},
			want:   `{"trafficPolicy":{"tls":{"mode":"MUTUAL"}},"subsets":[{"name":"v2","trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"MUTUAL"}}]}}]}`,
			marker: "subset/v2/port/443/tls",
		},
		{
			name: "the policy's settings", spec: `{}`, injections: []mutate.Injection{at443()},
			tls:    policy.TLS{CACertificates: "system", SubjectAltNames: policy.SANsHost},
			want:   `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com","caCertificates":"system","subjectAltNames":["api.vendor.com"]}}]}}`,
			marker: "port/443",
		},
		{
			name: "markers join those of earlier injections, sorted, each once", spec: `{}`, annotation: "port/8443,port/443",
			injections: []mutate.Injection{at443(), {Host: host, Port: 80, Entry: -1}},
			want:       `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}},{"port":{"number":80},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}}]}}`,
			marker:     "port/443,port/80,port/8443",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := tree(t, `{"metadata":{"name":"r"},"spec":`+c.spec+`}`)
			if c.annotation != "" {
				at["metadata"] = map[string]any{"annotations": map[string]any{mutate.InjectedAnnotation: c.annotation}}
			}
			before, err := json.Marshal(at)
			require.NoError(t, err)
			edits, err := mutate.InjectEdits(at, c.injections, c.tls)
			require.NoError(t, err)
			untouched, err := json.Marshal(at)
			require.NoError(t, err)
			assert.JSONEq(t, string(before), string(untouched), "the tree is not changed")
			_, err = mutate.Patch(at, edits)
			require.NoError(t, err)
			spec, err := json.Marshal(at["spec"])
			require.NoError(t, err)
			assert.JSONEq(t, c.want, string(spec))
			assert.Equal(t, c.marker, at["metadata"].(map[string]any)["annotations"].(map[string]any)[mutate.InjectedAnnotation])
		})
	}
}

func TestInjectEditsNothing(t *testing.T) {
	edits, err := mutate.InjectEdits(tree(t, `{}`), nil, policy.TLS{})
	require.NoError(t, err)
	assert.Empty(t, edits)
}

func TestInjectEditsRefuseWhatLeadsNowhere(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		in         mutate.Injection
		want       string
	}{
		{"a string for the policy", `{"trafficPolicy":"x"}`, at443(), "spec.trafficPolicy is no map"},
		{"a list for the spec", `[]`, at443(), "spec has no element trafficPolicy"},
		{"a string for the spec", `"x"`, at443(), "spec is neither a map nor a list"},
		{"a subset that is not there", `{"subsets":[]}`, mutate.Injection{Port: 443, Subset: "v1", Entry: 0}, "spec.subsets has no element 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := mutate.InjectEdits(tree(t, `{"spec":`+c.spec+`}`), []mutate.Injection{c.in}, policy.TLS{})
			require.EqualError(t, err, c.want)
		})
	}
}

func TestInjectionPlace(t *testing.T) {
	for want, in := range map[string]mutate.Injection{
		"spec.trafficPolicy.portLevelSettings":                   at443(),
		"spec.trafficPolicy.portLevelSettings[2].tls":            {Port: 443, Entry: 2},
		"spec.subsets[1].trafficPolicy.portLevelSettings[0].tls": {Port: 443, Entry: 0, Subset: "v2", SubsetIndex: 1},
		"spec.subsets[1].trafficPolicy.portLevelSettings":        {Port: 443, Entry: -1, Subset: "v2", SubsetIndex: 1},
	} {
		assert.Equal(t, want, in.Place())
	}
}
