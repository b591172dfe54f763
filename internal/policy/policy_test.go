package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

const head = "apiVersion: config.egress-tls.dev/v1alpha1\nkind: EgressTLSPolicy\n"

func TestLoadFillsDefaults(t *testing.T) {
	got, err := policy.Load([]byte(head))
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

// The whole file of the design.
func TestLoadReadsEveryField(t *testing.T) {
	got, err := policy.Load([]byte(head + `
mode: warn                # default for namespaces without the label
exemptions:
  namespaces: [a]
  usernames: [system:admin]
  hosts: ["*.example.com"]
rootNamespace: mesh
gatewayNamespaces: [edge]
originate: Always
destinationRules: Require
headers: Ignore
tls:
  caCertificates: system
  subjectAltNames: Host
routeOrder: Warn
`))
	require.NoError(t, err)
	assert.Equal(t, &policy.Policy{
		APIVersion:        policy.APIVersion,
		Kind:              policy.Kind,
		Mode:              policy.Warn,
		Exemptions:        policy.Exemptions{Namespaces: []string{"a"}, Usernames: []string{"system:admin"}, Hosts: []string{"*.example.com"}},
		RootNamespace:     "mesh",
		GatewayNamespaces: []string{"edge"},
		Originate:         policy.Always,
		DestinationRules:  policy.RequireRules,
		Headers:           policy.IgnoreHeaders,
		TLS:               policy.TLS{CACertificates: "system", SubjectAltNames: policy.SANsHost},
		RouteOrder:        policy.WarnOrder,
	}, got)
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"empty", "", "policy: apiVersion: \"\" is not \"config.egress-tls.dev/v1alpha1\"\npolicy: kind: \"\" is not \"EgressTLSPolicy\""},
		{"another kind", "apiVersion: v1\nkind: ConfigMap\n", "policy: apiVersion: \"v1\" is not \"config.egress-tls.dev/v1alpha1\"\npolicy: kind: \"ConfigMap\" is not \"EgressTLSPolicy\""},
		{"an unknown field", head + "modes: warn\n", `policy: error unmarshaling JSON: while decoding JSON: json: unknown field "modes"`},
		{"an unknown field further down", head + "tls:\n  sni: x\n", `policy: error unmarshaling JSON: while decoding JSON: json: unknown field "sni"`},
		{"a key twice", head + "mode: warn\nmode: off\n", "policy: error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key \"mode\" already set in map"},
		{"a list for a word", head + "mode: [warn]\n", "policy: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go struct field Policy.mode of type policy.Mode"},
		{"a second document", head + "---\n" + head, "policy: the file holds more than one document; keep one EgressTLSPolicy"},
		{"a second document behind a comment", "# first\n---\n" + head + "--- # second\nmode: warn\n", "policy: the file holds more than one document; keep one EgressTLSPolicy"},
		{"mode", head + "mode: Enforce\n", `policy: mode: "Enforce" is not one of enforce, warn, audit, off`},
		{"originate", head + "originate: always\n", `policy: originate: "always" is not one of WhenRouted, Always`},
		{"destinationRules", head + "destinationRules: Deny\n", `policy: destinationRules: "Deny" is not one of Create, Require, Ignore`},
		{"headers", head + "headers: Create\n", `policy: headers: "Create" is not one of Inject, Require, Ignore`},
		{"routeOrder", head + "routeOrder: \"\"\n", `policy: routeOrder: "" is not one of Deny, Warn, Ignore`},
		{"subjectAltNames", head + "tls: {subjectAltNames: host}\n", `policy: tls.subjectAltNames: "host" is not one of None, Host`},
		{"no root namespace", head + "rootNamespace: \"\"\n", "policy: rootNamespace: must not be empty: Istio looks up DestinationRules there"},
		{"empty entries", head + "gatewayNamespaces: [a, \"\"]\nexemptions: {hosts: [\"\"], usernames: [\"\"], namespaces: [\"\"]}\n", "policy: exemptions.hosts[0]: must not be empty\npolicy: exemptions.namespaces[0]: must not be empty\npolicy: exemptions.usernames[0]: must not be empty\npolicy: gatewayNamespaces[1]: must not be empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := policy.Load([]byte(c.file))
			require.EqualError(t, err, c.want)
		})
	}
}

func TestLoadTakesOneDocumentInAnyDress(t *testing.T) {
	for name, file := range map[string]string{
		"a separator first":     "---\n" + head,
		"a comment first":       "# The policy.\n# ---\n---\n" + head,
		"a separator last":      head + "---\n",
		"comments last":         head + "---\n# nothing more\n...\n",
		"Windows line ends":     strings.ReplaceAll("---\n"+head, "\n", "\r\n"),
		"dashes in a value":     head + "exemptions:\n  usernames:\n  - \"---x\"\n",
		"no newline at end":     strings.TrimSuffix(head, "\n"),
		"JSON":                  `{"apiVersion": "config.egress-tls.dev/v1alpha1", "kind": "EgressTLSPolicy"}`,
		"an empty one at front": "---\n# empty\n---\n" + head,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.Load([]byte(file))
			require.NoError(t, err)
			assert.Equal(t, policy.Enforce, got.Mode)
		})
	}
}

// YAML 1.1 takes off for a boolean.
func TestLoadReadsOff(t *testing.T) {
	for _, file := range []string{head + "mode: off\n", head + "mode: \"off\"\n"} {
		got, err := policy.Load([]byte(file))
		require.NoError(t, err)
		assert.Equal(t, policy.Off, got.Mode)
	}
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
