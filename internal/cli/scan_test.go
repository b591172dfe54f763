package cli

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/policyreport"
)

// stored returns the input that a cluster with these objects would be.
func stored(t *testing.T, objects ...map[string]any) *input {
	t.Helper()
	in := &input{policy: policy.Default(), files: manifest.Stored(), background: manifest.Stored(), labels: map[string]string{}}
	for _, o := range objects {
		raw, err := json.Marshal(o)
		require.NoError(t, err)
		require.NoError(t, in.files.AddStored(o["apiVersion"].(string), o["kind"].(string), raw))
	}
	for _, d := range in.files.Documents {
		if ns, ok := d.Object.(*corev1.Namespace); ok {
			in.labels[ns.Name] = ns.Labels[policy.ModeLabel]
		}
	}
	return in
}

// scanned returns what scan prints without colour.
func scanned(t *testing.T, in *input) string {
	t.Helper()
	v, err := in.judge(false)
	require.NoError(t, err)
	r, err := in.scan(v)
	require.NoError(t, err)
	var out bytes.Buffer
	writeScanText(&out, style{width: defaultWidth}, in, v, r)
	return out.String()
}

func namespace(name, mode string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": name, "labels": map[string]any{policy.ModeLabel: mode}},
	}
}

// rendered returns the objects that render makes of a file of testdata, by their kind.
func rendered(t *testing.T, file string) map[string]map[string]any {
	t.Helper()
	got := run("", "render", "-o", "json", "-f", "testdata/"+file)
	require.Equal(t, OK, got.code, got.err)
	var list struct{ Items []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(got.out), &list))
	out := map[string]map[string]any{}
	for _, o := range list.Items {
		out[o["kind"].(string)] = o
	}
	return out
}

// What was injected for a ServiceEntry and is there still when the ServiceEntry is not.
func TestScanNamesWhatNothingNeeds(t *testing.T) {
	objects := rendered(t, "inject.yaml")
	before := stored(t, objects["ServiceEntry"], objects["DestinationRule"])
	assert.Equal(t, "0 errors, 0 warnings in 2 objects of 1 namespace.\n", scanned(t, before))

	assert.Equal(t, `NAMESPACE  MODE     OBJECTS  ERRORS  WARNINGS  TO ADD  FINDINGS
web        enforce        1       0         0       0

note: Nothing needs what the webhook wrote into 1 DestinationRule
  --> DestinationRule web/cnn, a part of it
   = fix: a webhook that runs, in mode enforce, takes it away in a while.

0 errors, 0 warnings in 1 object of 1 namespace.
`, scanned(t, stored(t, objects["DestinationRule"])))

	// Where it may not be taken away, nothing is said of it.
	assert.Equal(t, "0 errors, 0 warnings in 1 object of 1 namespace.\n",
		scanned(t, stored(t, objects["DestinationRule"], namespace("web", "warn"))))
	assert.Equal(t, "0 errors, 0 warnings in 0 objects of 0 namespaces; 1 object of namespaces that are off or exempt left out.\n",
		scanned(t, stored(t, objects["DestinationRule"], namespace("web", "off"))))
}

func TestScanOfOneNamespace(t *testing.T) {
	service := func(namespace string) map[string]any {
		return map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
			"metadata": map[string]any{"name": "a", "namespace": namespace},
			"spec":     map[string]any{"hosts": []any{"a.example.com"}, "http": []any{map[string]any{"route": []any{}}, map[string]any{"route": []any{}}}},
		}
	}
	in := stored(t, namespace("x", ""), service("x"), service("y"))
	require.EqualError(t, in.split("z"), `there is no namespace "z" in the cluster`)
	require.NoError(t, in.split("x"))
	v, err := in.judge(false)
	require.NoError(t, err)
	r, err := in.scan(v)
	require.NoError(t, err)
	assert.Equal(t, 1, r.Summary.Objects)
	require.Len(t, r.Findings, 2)
	assert.Equal(t, "VirtualService x/a", r.Findings[0].Object.String())
	assert.Equal(t, "VirtualService y/a", r.Findings[1].Object.String(), "what those of x do to others")
	assert.Len(t, in.objects().VirtualServices, 2, "all others still count")
}

// A rule that routes of two namespaces lack is named once, and lacks both: neither namespace
// reads the report of the other.
func TestScanTellsEachNamespaceWhatItLacks(t *testing.T) {
	objects := []map[string]any{{
		"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
		"metadata": map[string]any{"name": "a", "namespace": "shop"},
		"spec":     map[string]any{"hosts": []any{"a.example.com"}, "resolution": "DNS", "ports": []any{map[string]any{"number": 443, "name": "tls", "protocol": "HTTPS"}}},
	}}
	for _, namespace := range []string{"one", "two"} {
		objects = append(objects, map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
			"metadata": map[string]any{"name": "pay", "namespace": namespace},
			"spec": map[string]any{"hosts": []any{"pay.shop.svc.cluster.local"}, "http": []any{map[string]any{"route": []any{
				map[string]any{"destination": map[string]any{"host": "a.example.com", "port": map[string]any{"number": 443}}},
			}}}},
		})
	}
	in := stored(t, objects...)
	in.policy.Headers = policy.IgnoreHeaders
	v, err := in.judge(false)
	require.NoError(t, err)
	r, err := in.scan(v)
	require.NoError(t, err)
	require.Len(t, r.Additions, 1)
	reports, err := in.reports(v, r)
	require.NoError(t, err)
	lacking := map[string]int{}
	for _, n := range r.Summary.Namespaces {
		lacking[n.Namespace] = n.Additions
	}
	for _, report := range reports {
		for _, result := range report.Results {
			if result.Policy == policyreport.Addition {
				assert.Equal(t, "Admission would add DestinationRule shop/egress-tls-a-example-com-7653e4959f8eac25 with TLS to a.example.com on port 443", result.Message)
				lacking["report of "+report.Namespace]++
			}
		}
		assert.Zero(t, report.Summary.Pass, report.Namespace)
	}
	assert.Equal(t, map[string]int{"shop": 1, "one": 1, "two": 1, "report of shop": 1, "report of one": 1, "report of two": 1}, lacking)
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12_345: "12,345", 1_000_001: "1,000,001"} {
		assert.Equal(t, want, number(n))
	}
	assert.Equal(t, []string{"1 namespace", "2 ServiceEntries", "1,234 objects"}, []string{many(1, "namespace"), many(2, "ServiceEntry"), many(1234, "object")})
}
