package e2e

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/cli"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
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

// assertScanned: scan says of what the cluster holds what check says of the same objects in
// a file. To what admission has let pass nothing has to be added; what it has refused the
// exempt user stores, and scan has the reasons for the refusal.
func assertScanned(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	if s.Want.Refused {
		storeRequest(t, s)
	}
	manifests := storedManifests(t, s)
	got := runCLI(t, s, "", "scan")
	assert.Equal(t, runCLI(t, s, manifests, "check", "-f", "-"), got.asCheck())
	var added []string
	for _, a := range got.Additions {
		added = append(added, a.Changes...)
		mode, _ := s.Policy.ModeFor(a.Object.Namespace, modes[a.Object.Namespace])
		assert.False(t, mode == policy.Enforce && !s.Want.Refused && slices.ContainsFunc(s.Request, func(o scenario.Object) bool {
			return mesh.ObjectOf(o.Typed).String() == a.Object.String()
		}), "admission has not added to %s: %s", a.Object, a.Changes)
	}
	text, _ := runText(t, s, manifests, "check", "-f", "-")
	assert.ElementsMatch(t, additions(text), added)
	if s.Want.Refused {
		assert.Subset(t, ofScenario(got.Findings), s.Want.Findings)
	}
}

// additions are what check prints as text that admission would add, without line breaks.
func additions(text string) []string {
	var out []string
	goesOn := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		added, begins := strings.CutPrefix(line, "   + would add: ")
		switch {
		case begins:
			out = append(out, added)
		case goesOn && strings.HasPrefix(line, "     "):
			out[len(out)-1] += " " + strings.TrimSpace(line)
		}
		goesOn = begins || goesOn && strings.HasPrefix(line, "     ")
	}
	return out
}

// storeRequest stores the request as it is written.
func storeRequest(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	for _, o := range s.Request {
		raw := (&unstructured.Unstructured{Object: o.Raw}).DeepCopy()
		if raw.GetKind() == "Namespace" {
			continue // setModes has.
		}
		err := writer.Create(t.Context(), raw)
		if apierrors.IsAlreadyExists(err) {
			old := raw.DeepCopy()
			require.NoError(t, reader.Get(t.Context(), client.ObjectKeyFromObject(raw), old))
			raw.SetResourceVersion(old.GetResourceVersion())
			err = writer.Update(t.Context(), raw)
		}
		require.NoError(t, err)
	}
}

// storedManifests is what the cluster holds in the end, by the files of the scenario.
func storedManifests(t *testing.T, s *scenario.Scenario) string {
	t.Helper()
	after := slices.Concat(s.Want.Stored, s.Want.Rules)
	if s.Want.Refused {
		for _, o := range s.Request {
			after = append(after, o.Raw)
		}
	}
	objects := map[finding.Object]*unstructured.Unstructured{}
	keep := func(raw map[string]any) {
		o := (&unstructured.Unstructured{Object: raw}).DeepCopy()
		key := finding.Object{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
		if old := objects[key]; old != nil {
			o.SetCreationTimestamp(old.GetCreationTimestamp())
		}
		objects[key] = o
	}
	for _, o := range s.Mesh {
		keep(o.Raw)
	}
	for _, raw := range after {
		keep(raw)
	}
	var out []string
	for _, o := range objects {
		out = append(out, text(t, o.Object))
	}
	return strings.Join(out, "---\n")
}

// cliResult is what the commands that judge print with -o json, and their exit code.
type cliResult struct {
	Findings []finding.Finding
	Summary  struct{ Errors, Warnings, Objects int }
	// Additions are only in what scan prints.
	Additions []struct {
		Object  finding.Object
		Changes []string
	}

	code int
}

// asCheck leaves what check prints too.
func (r cliResult) asCheck() cliResult {
	r.Additions = nil
	return r
}

// runCLI runs a command on the cluster, or on what it gets, under the scenario's policy.
func runCLI(t *testing.T, s *scenario.Scenario, stdin string, args ...string) (out cliResult) {
	t.Helper()
	text, code := runText(t, s, stdin, append(args, "-o", "json")...)
	require.NoError(t, json.Unmarshal([]byte(text), &out), text)
	for i := range out.Findings {
		out.Findings[i].Object.APIVersion = "" // A cluster is read in another one than files are written in.
	}
	out.code = code
	return out
}

// runText is runCLI for what a command prints for people.
func runText(t *testing.T, s *scenario.Scenario, stdin string, args ...string) (text string, exitCode int) {
	t.Helper()
	file := s.PolicyFile
	if file == "" {
		file = writeFile(t, defaultPolicy)
	}
	args = append(args, "--policy", file)
	if stdin == "" {
		args = append(args, "--kubeconfig", plane.Kubeconfig)
	}
	var stdout, stderr bytes.Buffer
	exitCode = cli.Run(args, cli.Streams{In: strings.NewReader(stdin), Out: &stdout, Err: &stderr}, "test")
	assert.Empty(t, stderr.String())
	return stdout.String(), exitCode
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
