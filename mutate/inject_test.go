package mutate_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

const host = "api.vendor.com"

func at443() mutate.Injection { return mutate.Injection{Host: host, Port: 443, Entry: -1} }

// sums are those in the annotation: of the values, as Istio's types write them.
var sums = regexp.MustCompile(`=[0-9a-f]{8}`)

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
			marker: "port/443,trafficPolicy",
		},
		{
			name: "null for a policy", spec: `{"trafficPolicy":null}`, injections: []mutate.Injection{at443()},
			want:   `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}}]}}`,
			marker: "port/443,trafficPolicy",
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
			marker: "port/443,trafficPolicy",
		},
		{
			name: "two ports; words of the annotation that say nothing are dropped", spec: `{}`, annotation: "port/8443,port/443=00000000",
			injections: []mutate.Injection{at443(), {Host: host, Port: 80, Entry: -1}},
			want:       `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}},{"port":{"number":80},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}}]}}`,
			marker:     "port/443,port/80,trafficPolicy",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := tree(t, `{"metadata":{"name":"r"},"spec":`+c.spec+`}`)
			if c.annotation != "" {
				at["metadata"] = map[string]any{"annotations": map[string]any{mutate.InjectedAnnotation: c.annotation}}
			}
			before, err := json.Marshal(at)
			require.NoError(t, err)
			edits, err := mutate.InjectEdits(at, c.injections, c.tls, mutate.KeepAll)
			require.NoError(t, err)
			untouched, err := json.Marshal(at)
			require.NoError(t, err)
			assert.JSONEq(t, string(before), string(untouched), "the tree is not changed")
			_, err = mutate.Patch(at, edits)
			require.NoError(t, err)
			spec, err := json.Marshal(at["spec"])
			require.NoError(t, err)
			assert.JSONEq(t, c.want, string(spec))
			annotation := at["metadata"].(map[string]any)["annotations"].(map[string]any)[mutate.InjectedAnnotation]
			assert.Equal(t, c.marker, sums.ReplaceAllString(annotation.(string), ""))

			// A second time there is nothing to do, and taken back the spec is as it was.
			edits, err = mutate.InjectEdits(at, c.injections, c.tls, nil)
			require.NoError(t, err)
			assert.Empty(t, edits)
			edits, err = mutate.InjectEdits(at, nil, c.tls, nil)
			require.NoError(t, err)
			_, err = mutate.Patch(at, edits)
			require.NoError(t, err)
			spec, err = json.Marshal(at["spec"])
			require.NoError(t, err)
			assert.JSONEq(t, strings.NewReplacer(`"trafficPolicy":null`, ``, `,"tls":null`, ``).Replace(c.spec), string(spec))
			assert.NotContains(t, at["metadata"], "annotations")
		})
	}
}

// What is injected beyond what is asked for stays if it may, unless the user took its
// place or the rule is for another host by now.
func TestInjectEditsKeepsForNow(t *testing.T) {
	for _, c := range []struct {
		name, edit string
		kept       string
	}{
		{"as it was injected", ``, `port/443,subset/v2/port/443/tls,trafficPolicy`},
		{"the entry was edited", `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"MUTUAL"}}]}}`, `subset/v2/port/443/tls`},
		{"an entry of the user's for the port", `{"trafficPolicy":{"portLevelSettings":[{"port":{"number":443},"tls":{"mode":"SIMPLE","sni":"api.vendor.com"}},{"port":{"number":443}}]}}`, `subset/v2/port/443/tls`},
		{"the subset is gone", `{"subsets":null}`, `port/443,trafficPolicy`},
		{"another host", `{"host":"www.vendor.com"}`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := tree(t, `{"metadata":{"annotations":{"mine":"x"}},"spec":{"host":"api.vendor.com","subsets":[{"name":"v1"},{"name":"v2","trafficPolicy":{"portLevelSettings":[{"port":{"number":443}}]}}]}}`)
			edits, err := mutate.InjectEdits(at, []mutate.Injection{at443(), {Host: host, Port: 443, Subset: "v2", SubsetIndex: 1, Entry: 0}}, policy.TLS{}, nil)
			require.NoError(t, err)
			_, err = mutate.Patch(at, edits)
			require.NoError(t, err)
			if c.edit != "" {
				maps.Copy(at["spec"].(map[string]any), tree(t, c.edit))
			}

			edits, err = mutate.InjectEdits(at, nil, policy.TLS{}, mutate.KeepAll)
			require.NoError(t, err)
			_, err = mutate.Patch(at, edits)
			require.NoError(t, err)
			annotations := at["metadata"].(map[string]any)["annotations"].(map[string]any)
			assert.Equal(t, "x", annotations["mine"])
			text, _ := annotations[mutate.InjectedAnnotation].(string)
			assert.Equal(t, c.kept, sums.ReplaceAllString(text, ""))
			assert.Equal(t, c.kept != "", len(mutate.Injected(at)) > 0)
		})
	}
}

// A copy of the user's own tls has the name that they gave, and a short host is written
// in short.
func TestInjectEditsKeepsUnderAnotherName(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		in   mutate.Injection
		kept string
	}{
		"a copy":             {`{"host":"api.vendor.com","trafficPolicy":{"tls":{"mode":"SIMPLE","sni":"front"},"portLevelSettings":[{"port":{"number":443}}]}}`, mutate.Injection{Host: host, Port: 443, Entry: 0}, `port/443/tls`},
		"a copy in a subset": {`{"host":"api.vendor.com","trafficPolicy":{"tls":{"mode":"SIMPLE","sni":"front"}},"subsets":[{"name":"v1","trafficPolicy":{"portLevelSettings":[{"port":{"number":443}}]}}]}`, mutate.Injection{Host: host, Port: 443, Subset: "v1", Entry: 0}, `subset/v1/port/443/tls`},
		"a short host":       {`{"host":"vendor"}`, mutate.Injection{Host: "vendor.egress.svc.cluster.local", Port: 443, Entry: -1}, `port/443,trafficPolicy`},
	} {
		t.Run(name, func(t *testing.T) {
			at := tree(t, `{"metadata":{"namespace":"egress"},"spec":`+c.spec+`}`)
			edits, err := mutate.InjectEdits(at, []mutate.Injection{c.in}, policy.TLS{}, nil)
			require.NoError(t, err)
			_, err = mutate.Patch(at, edits)
			require.NoError(t, err)
			edits, err = mutate.InjectEdits(at, nil, policy.TLS{}, mutate.KeepAll)
			require.NoError(t, err)
			assert.Empty(t, edits)
			assert.Equal(t, c.kept, strings.Join(mutate.Injected(at), ","))
		})
	}
}

func TestInjectEditsNothing(t *testing.T) {
	edits, err := mutate.InjectEdits(tree(t, `{}`), nil, policy.TLS{}, mutate.KeepAll)
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
			_, err := mutate.InjectEdits(tree(t, `{"spec":`+c.spec+`}`), []mutate.Injection{c.in}, policy.TLS{}, mutate.KeepAll)
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
