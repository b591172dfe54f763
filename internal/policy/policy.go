// Package policy is the one configuration file of the product: its type, its
// defaults, a strict loader and a validation with field paths.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The file's identity.
const (
	APIVersion = "config.egress-tls.dev/v1alpha1"
	Kind       = "EgressTLSPolicy"
)

// ModeLabel on a Namespace overrides the policy's mode for its objects.
const ModeLabel = "egress-tls.dev/mode"

// Mode says how far the webhook goes in a namespace.
type Mode string

// Enforce changes and refuses; Warn changes nothing and says what it would do;
// Audit only counts, logs and annotates; Off stays silent.
const (
	Enforce Mode = "enforce"
	Warn    Mode = "warn"
	Audit   Mode = "audit"
	Off     Mode = "off"
)

// Modes are the values that ModeLabel and mode take.
var modes = []Mode{Enforce, Warn, Audit, Off}

// Originate says when a ServiceEntry that speaks TLS gets its DestinationRule.
type Originate string

// WhenRouted waits for an HTTP route; Always does not.
const (
	WhenRouted Originate = "WhenRouted"
	Always     Originate = "Always"
)

// RuleAction says what happens when a target lacks its DestinationRule.
type RuleAction string

// Create creates or injects it, Require refuses, Ignore does nothing.
const (
	CreateRules  RuleAction = "Create"
	RequireRules RuleAction = "Require"
	IgnoreRules  RuleAction = "Ignore"
)

// HeaderAction says what happens when a route to a target lacks its headers.
type HeaderAction string

// Inject adds them, Require refuses, Ignore does nothing.
const (
	InjectHeaders  HeaderAction = "Inject"
	RequireHeaders HeaderAction = "Require"
	IgnoreHeaders  HeaderAction = "Ignore"
)

// OrderAction says what a dead route does to the answer.
type OrderAction string

// Deny refuses, Warn warns, Ignore says nothing.
const (
	DenyOrder   OrderAction = "Deny"
	WarnOrder   OrderAction = "Warn"
	IgnoreOrder OrderAction = "Ignore"
)

// SubjectAltNames says which names a created rule verifies.
type SubjectAltNames string

// None leaves subjectAltNames unset, Host writes the target's host. With an sni and
// without subjectAltNames Istio trusts any certificate of a known authority, also
// one for another name, unless the ServiceEntry lists subjectAltNames
// (setAutoSniAndAutoSanValidation).
const (
	SANsNone SubjectAltNames = "None"
	SANsHost SubjectAltNames = "Host"
)

// Policy is the file's content. The zero value is not usable: start from
// Default.
type Policy struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Mode applies to namespaces without the label egress-tls.dev/mode.
	Mode Mode `json:"mode,omitempty"`
	// Exemptions are never looked at.
	Exemptions Exemptions `json:"exemptions,omitzero"`
	// RootNamespace is Istio's meshConfig.rootNamespace.
	RootNamespace string `json:"rootNamespace,omitempty"`
	// GatewayNamespaces are namespaces in which gateway pods run, beside those
	// that the gateways' Services tell.
	GatewayNamespaces []string `json:"gatewayNamespaces,omitempty"`
	// Originate says when an HTTPS or TLS port gets its rule.
	Originate Originate `json:"originate,omitempty"`
	// DestinationRules says what to do when a rule lacks.
	DestinationRules RuleAction `json:"destinationRules,omitempty"`
	// Headers says what to do when a route lacks its headers.
	Headers HeaderAction `json:"headers,omitempty"`
	// TLS are settings of every rule that is created or injected.
	TLS TLS `json:"tls,omitzero"`
	// RouteOrder says what a dead route does to the answer.
	RouteOrder OrderAction `json:"routeOrder,omitempty"`
}

// Exemptions name what is never looked at.
type Exemptions struct {
	Namespaces []string `json:"namespaces,omitempty"`
	Usernames  []string `json:"usernames,omitempty"`
	// Hosts are target hosts, exact or "*." wildcards.
	Hosts []string `json:"hosts,omitempty"`
}

// TLS are the settings beside mode and sni.
type TLS struct {
	// CACertificates goes to tls.caCertificates as it is, e.g. "system".
	CACertificates  string          `json:"caCertificates,omitempty"`
	SubjectAltNames SubjectAltNames `json:"subjectAltNames,omitempty"`
}

// Default returns the policy in force without a file.
func Default() *Policy {
	return &Policy{
		APIVersion:       APIVersion,
		Kind:             Kind,
		Mode:             Enforce,
		Exemptions:       Exemptions{Namespaces: []string{"kube-system"}},
		RootNamespace:    "istio-system",
		Originate:        WhenRouted,
		DestinationRules: CreateRules,
		Headers:          InjectHeaders,
		TLS:              TLS{SubjectAltNames: SANsHost},
		RouteOrder:       DenyOrder,
	}
}

// Load reads a policy file. Unknown fields, duplicate keys, a second document
// and values outside of the enumerations are errors that name the field;
// what the file leaves out has its default.
func Load(data []byte) (*Policy, error) {
	p := Default()
	p.APIVersion, p.Kind = "", ""
	data, more := firstDocument(data)
	if more {
		return nil, errors.New("policy: the file holds more than one document; keep one EgressTLSPolicy")
	}
	if err := yaml.UnmarshalStrict(data, p); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if p.Mode == "false" {
		// So YAML 1.1 reads off, which is what is meant.
		p.Mode = Off
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return p, nil
}

// firstDocument returns the first document with any content, and whether there are
// more: YAML readers take the first in silence.
func firstDocument(data []byte) (first []byte, more bool) {
	var docs [][]byte
	var doc []byte
	content := false
	end := func() {
		if content {
			docs = append(docs, doc)
		}
		doc, content = nil, false
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("---")); ok && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0]))) {
			end()
			line = rest
		}
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' && !bytes.Equal(text, []byte("...")) {
			content = true
		}
		doc = append(doc, line...)
	}
	end()
	if len(docs) == 0 {
		return nil, false
	}
	return docs[0], len(docs) > 1
}

// Validate checks every field and joins all errors, each with its path.
func (p *Policy) Validate() error {
	var errs []error
	fail := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("policy: %s: %s", path, fmt.Sprintf(format, args...)))
	}
	if p.APIVersion != APIVersion {
		fail("apiVersion", "%q is not %q", p.APIVersion, APIVersion)
	}
	if p.Kind != Kind {
		fail("kind", "%q is not %q", p.Kind, Kind)
	}
	oneOf(fail, "mode", p.Mode, modes...)
	oneOf(fail, "originate", p.Originate, WhenRouted, Always)
	oneOf(fail, "destinationRules", p.DestinationRules, CreateRules, RequireRules, IgnoreRules)
	oneOf(fail, "headers", p.Headers, InjectHeaders, RequireHeaders, IgnoreHeaders)
	oneOf(fail, "routeOrder", p.RouteOrder, DenyOrder, WarnOrder, IgnoreOrder)
	oneOf(fail, "tls.subjectAltNames", p.TLS.SubjectAltNames, SANsNone, SANsHost)
	if p.RootNamespace == "" {
		fail("rootNamespace", "must not be empty: Istio looks up DestinationRules there")
	}
	for path, list := range map[string][]string{
		"exemptions.namespaces": p.Exemptions.Namespaces,
		"exemptions.usernames":  p.Exemptions.Usernames,
		"exemptions.hosts":      p.Exemptions.Hosts,
		"gatewayNamespaces":     p.GatewayNamespaces,
	} {
		for i, v := range list {
			if v == "" {
				fail(fmt.Sprintf("%s[%d]", path, i), "must not be empty")
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func oneOf[T ~string](fail func(path, format string, args ...any), path string, got T, want ...T) {
	if slices.Contains(want, got) {
		return
	}
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = string(w)
	}
	fail(path, "%q is not one of %s", got, strings.Join(names, ", "))
}

// ModeFor decides the mode of a namespace from its ModeLabel value: an
// exemption wins, then a valid label, then the policy's mode. A label that is
// no mode counts as absent; known says so, so that the caller can warn.
func (p *Policy) ModeFor(namespace, label string) (mode Mode, known bool) {
	if slices.Contains(p.Exemptions.Namespaces, namespace) {
		return Off, true
	}
	if label == "" {
		return p.Mode, true
	}
	if m := Mode(label); slices.Contains(modes, m) {
		return m, true
	}
	return p.Mode, false
}
