package policy_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

const head = "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\n"

func TestLoadFillsDefaults(t *testing.T) {
	got, err := policy.Load("FILE", []byte(head))
	require.NoError(t, err)
	assert.Equal(t, policy.Default(), got)
	assert.Equal(t, &policy.Policy{
		APIVersion:       "config.egress-tls.dev/v1alpha1",
		Kind:             "EgressTLSPolicy",
		Mode:             "enforce",
		Exemptions:       policy.Exemptions{Namespaces: []string{"kube-system"}},
		RootNamespace:    "istio-system",
		Originate:        "WhenRouted",
		DestinationRules: "Create",
		Headers:          "Inject",
		TLS:              policy.TLS{SubjectAltNames: "Host"},
		RouteOrder:       "Deny",
	}, got)
}

func TestLoadReadsEveryField(t *testing.T) {
	i := slices.IndexFunc(cases(t), func(c testCase) bool { return c.Name == "every field" })
	got, err := policy.Load("FILE", []byte(cases(t)[i].text()))
	require.NoError(t, err)
	assert.Equal(t, &policy.Policy{
		APIVersion: policy.APIVersion,
		Kind:       policy.Kind,
		Mode:       policy.Warn,
		Exemptions: policy.Exemptions{
			Namespaces: []string{"a", "kube-system"},
			Usernames:  []string{"system:serviceaccount:flux-system:kustomize-controller", "Jane Doe"},
			Hosts:      []string{"*.example.com", "api.example.com", "*.com", "Capital.example.com"},
		},
		RootNamespace:     "mesh",
		GatewayNamespaces: []string{"edge"},
		Originate:         policy.Always,
		DestinationRules:  policy.RequireRules,
		Headers:           policy.IgnoreHeaders,
		TLS:               policy.TLS{CACertificates: "system", SubjectAltNames: policy.SANsNone},
		RouteOrder:        policy.WarnOrder,
	}, got)
}

// testCase is one of testdata/cases.yaml.
type testCase struct {
	Name, Policy, Want string
	File               *string
}

func (c testCase) text() string {
	if c.File != nil {
		return *c.File
	}
	return head + c.Policy
}

func cases(t testing.TB) (out []testCase) {
	data, err := os.ReadFile("testdata/cases.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, &out))
	return out
}

func TestLoad(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			_, err := policy.Load("FILE", []byte(c.text()))
			if c.Want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.Want)
		})
	}
}

func TestLoadBoundsTheFile(t *testing.T) {
	_, err := policy.Load("FILE", []byte(head+strings.Repeat("#", 1<<20)))
	require.EqualError(t, err, "FILE: is larger than 1 MiB, so it is no policy")
}

func TestLoadTakesOneDocumentInAnyDress(t *testing.T) {
	for name, file := range map[string]string{
		"a separator first":     "---\n" + head,
		"a comment first":       "# The policy.\n# ---\n---\n" + head,
		"a separator last":      head + "---\n",
		"comments last":         head + "---\n# nothing more\n...\n",
		"Windows line ends":     strings.ReplaceAll("---\n"+head, "\n", "\r\n"),
		"dashes in a value":     head + "exemptions:\n  usernames:\n  - \"---x\"\n",
		"a date as a name":      head + "gatewayNamespaces: [2026-01-01]\n",
		"no newline at end":     strings.TrimSuffix(head, "\n"),
		"JSON":                  `{"apiVersion": "config.egress-tls.dev/v1alpha1", "kind": "EgressTLSPolicy"}`,
		"an empty one at front": "---\n# empty\n---\n" + head,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.Load("FILE", []byte(file))
			require.NoError(t, err)
			assert.Equal(t, policy.Enforce, got.Mode)
		})
	}
}

// YAML 1.1 takes off for a boolean.
func TestLoadReadsOff(t *testing.T) {
	for _, file := range []string{head + "mode: off\n", head + "mode: \"off\"\n"} {
		got, err := policy.Load("FILE", []byte(file))
		require.NoError(t, err)
		assert.Equal(t, policy.Off, got.Mode)
	}
}

// Whatever the file holds, Load says yes or names the file; and what it has read is a
// policy file too.
func FuzzLoad(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(c.text())
	}
	f.Fuzz(func(t *testing.T, file string) {
		got, err := policy.Load("FILE", []byte(file))
		if err != nil {
			require.Nil(t, got)
			for line := range strings.Lines(err.Error()) {
				require.Regexp(t, `^FILE:`, line)
			}
			return
		}
		written, err := json.Marshal(got)
		require.NoError(t, err)
		again, err := policy.Load("FILE", written)
		require.NoError(t, err)
		rewritten, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(written), string(rewritten))
	})
}

func TestModeFor(t *testing.T) {
	p := policy.Default()
	p.Mode = policy.Warn
	for _, c := range []struct {
		namespace, label string
		want             policy.Mode
		known            bool
	}{
		{"shop", "", policy.Warn, true},
		{"shop", "enforce", policy.Enforce, true},
		{"shop", "warn", policy.Warn, true},
		{"shop", "audit", policy.Audit, true},
		{"shop", "off", policy.Off, true},
		{"shop", "Off", policy.Warn, false},
		{"shop", "disabled", policy.Warn, false},
		{"kube-system", "enforce", policy.Off, true},
		{"kube-system", "", policy.Off, true},
	} {
		mode, known := p.ModeFor(c.namespace, c.label)
		assert.Equal(t, c.want, mode, "%s %s", c.namespace, c.label)
		assert.Equal(t, c.known, known, "%s %s", c.namespace, c.label)
	}
}
