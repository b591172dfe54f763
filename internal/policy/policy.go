// Package policy is the one configuration file of the product: its type, its
// defaults, and what each field takes. From one list of fields (fields) come the
// strict reading of the file, its JSON schema and its documentation.
package policy

import "slices"

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

// modes are the values that ModeLabel and mode take.
func modes() []Mode { return []Mode{Enforce, Warn, Audit, Off} }

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

// Policy is the file's content; fields says what each field is for. The zero value
// is not usable: start from Default.
type Policy struct {
	APIVersion        string       `json:"apiVersion"`
	Kind              string       `json:"kind"`
	Mode              Mode         `json:"mode,omitzero"`
	Exemptions        Exemptions   `json:"exemptions,omitzero"`
	RootNamespace     string       `json:"rootNamespace,omitzero"`
	GatewayNamespaces []string     `json:"gatewayNamespaces,omitzero"`
	Originate         Originate    `json:"originate,omitzero"`
	DestinationRules  RuleAction   `json:"destinationRules,omitzero"`
	Headers           HeaderAction `json:"headers,omitzero"`
	TLS               TLS          `json:"tls,omitzero"`
	RouteOrder        OrderAction  `json:"routeOrder,omitzero"`
}

// Exemptions name what is never looked at.
type Exemptions struct {
	Namespaces []string `json:"namespaces,omitzero"`
	Usernames  []string `json:"usernames,omitzero"`
	Hosts      []string `json:"hosts,omitzero"`
}

// TLS are the settings, beside mode and sni, of every tls that is written as SIMPLE.
type TLS struct {
	CACertificates  string          `json:"caCertificates,omitzero"`
	SubjectAltNames SubjectAltNames `json:"subjectAltNames,omitzero"`
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
	if m := Mode(label); slices.Contains(modes(), m) {
		return m, true
	}
	return p.Mode, false
}
