package e2e

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// assertForetold: before the request is applied, check says of it, with the cluster as
// background, what admission is going to say.
func assertForetold(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	got := runCLI(t, s, "", "check", "-f", s.RequestFile)
	assert.Equal(t, s.Want.Findings, ofScenario(got.Findings))
	want := cli.OK
	if s.Want.Refused {
		want = cli.Found
	}
	assert.Equal(t, want, got.code)
}

// cliResult is what the commands that judge print with -o json.
type cliResult struct {
	Findings []finding.Finding

	code int
}

// runCLI runs a command on the cluster, under the scenario's policy.
func runCLI(t *testing.T, s *scenario.Scenario, stdin string, args ...string) (out cliResult) {
	t.Helper()
	policy := s.PolicyFile
	if policy == "" {
		policy = writeFile(t, defaultPolicy)
	}
	args = append(args, "-o", "json", "--kubeconfig", plane.Kubeconfig, "--policy", policy)
	var stdout, stderr bytes.Buffer
	out.code = cli.Run(args, cli.Streams{In: strings.NewReader(stdin), Out: &stdout, Err: &stderr}, "test")
	assert.Empty(t, stderr.String())
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &out), stdout.String())
	return out
}

// ofScenario shows findings as want.yaml does.
func ofScenario(findings []finding.Finding) []scenario.Finding {
	var out []scenario.Finding
	for _, f := range findings {
		out = append(out, scenario.Finding{
			Code: f.Code, Severity: f.Severity, Path: f.Path, CoveredBy: f.CoveredBy, Message: f.Message, Remedy: f.Remedy,
			Object: scenario.FindingObject{Kind: f.Object.Kind, Namespace: f.Object.Namespace, Name: f.Object.Name},
		})
	}
	return out
}
