package scenario

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

func runCLI(t *testing.T, s *Scenario, args ...string) (out string, code int) {
	t.Helper()
	if s.MeshFile != "" {
		args = append(args, "--background", s.MeshFile)
	}
	if s.PolicyFile != "" {
		args = append(args, "--policy", s.PolicyFile)
	}
	var stdout, stderr bytes.Buffer
	code = cli.Run(args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, "test")
	if args[0] == "check" || len(s.Want.Findings) == 0 {
		assert.Empty(t, stderr.String(), "render says there what check prints")
	}
	return stdout.String(), code
}

// check says of every scenario what admission says.
func TestScenariosThroughCheck(t *testing.T) {
	t.Parallel()
	all, err := All(root)
	require.NoError(t, err)
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			out, code := runCLI(t, s, "check", "-o", "json", "-f", s.RequestFile)
			var got struct {
				Findings []finding.Finding
				Summary  struct{ Errors, Warnings int }
			}
			require.NoError(t, json.Unmarshal([]byte(out), &got), out)
			var findings []Finding
			errors := 0
			for _, f := range got.Findings {
				findings = append(findings, Finding{
					Code: f.Code, Severity: f.Severity, Path: f.Path, CoveredBy: f.CoveredBy, Message: f.Message, Remedy: f.Remedy,
					Object: FindingObject{Kind: f.Object.Kind, Namespace: f.Object.Namespace, Name: f.Object.Name},
				})
				if f.Severity == finding.Error {
					errors++
				}
			}
			assert.Equal(t, s.Want.Findings, findings)
			assert.Equal(t, errors, got.Summary.Errors)
			assert.Equal(t, len(findings)-errors, got.Summary.Warnings)
			want := cli.OK
			if s.Want.Refused {
				want = cli.Found
			}
			assert.Equal(t, want, code)
		})
	}
}

// The parts of a finding say what its message and remedy say, and the order works.
func TestPartsOfFindings(t *testing.T) {
	t.Parallel()
	all, err := All(root)
	require.NoError(t, err)
	examples, orders, related := 0, 0, 0
	for _, s := range all {
		out, _ := runCLI(t, s, "check", "-o", "json", "-f", s.RequestFile)
		var got struct{ Findings []finding.Finding }
		require.NoError(t, json.Unmarshal([]byte(out), &got), out)
		for _, f := range got.Findings {
			assert.True(t, strings.HasPrefix(f.Message, f.Summary), s.Name)
			for _, note := range f.Notes {
				assert.Contains(t, f.Message, note, s.Name)
			}
			if e := f.Example; e != nil {
				examples++
				assert.Contains(t, f.Message, "For example, "+e.Request+" goes to "+e.GoesTo, s.Name)
				assert.Contains(t, f.Message, e.InsteadOf, s.Name)
				assert.Contains(t, f.CoveredBy, e.By, s.Name)
			}
			if f.Order != nil {
				orders++
				var vs *networkingv1.VirtualService
				for _, o := range s.Request {
					if v, ok := o.Typed.(*networkingv1.VirtualService); ok && v.Name == f.Object.Name && v.Namespace == f.Object.Namespace {
						vs = v.DeepCopy()
					}
				}
				routes := vs.Spec.Http
				vs.Spec.Http = nil
				for _, i := range f.Order {
					vs.Spec.Http = append(vs.Spec.Http, routes[i])
				}
				assert.Len(t, vs.Spec.Http, len(routes), s.Name)
				assert.False(t, finding.HasErrors(validate.RouteOrder(vs, nil)), s.Name)
			}
			for _, p := range f.Related {
				related++
				assert.NotEqual(t, f.Object, p.Object, s.Name)
				if f.Code != finding.TLSMissing { // It names the host.
					assert.Contains(t, f.Message, p.Object.Namespace+"/"+p.Object.Name, s.Name)
				}
			}
		}
	}
	assert.Greater(t, examples, 10)
	assert.Greater(t, orders, 10)
	assert.Greater(t, related, 10)
}

// render prints of every scenario that is admitted the rules beside it, then what is
// stored.
func TestScenariosThroughRender(t *testing.T) {
	t.Parallel()
	all, err := All(root)
	require.NoError(t, err)
	for _, s := range all {
		if s.Want.Refused {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			out, code := runCLI(t, s, "render", "-o", "json", "-f", s.RequestFile)
			require.Equal(t, cli.OK, code)
			var got struct{ Items []map[string]any }
			require.NoError(t, json.Unmarshal([]byte(out), &got), out)
			require.GreaterOrEqual(t, len(got.Items), len(s.Request))
			for i, item := range got.Items {
				// A namespace that the author left to kubectl is left to it.
				meta := item["metadata"].(map[string]any)
				if _, ok := meta["namespace"]; !ok {
					meta["namespace"] = DefaultNamespace
				}
				if i >= len(s.Request) {
					got.Items[i] = Shown(item)
				}
			}
			assert.Equal(t, s.Want.Stored, got.Items[:len(s.Request)])
			assert.ElementsMatch(t, s.Want.Rules, got.Items[len(s.Request):])
		})
	}
}
