package decision

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// RuleNamespaces returns the namespaces that Rules are written to, sorted.
func (o Outcome) RuleNamespaces() []string {
	var out []string
	for _, c := range o.Rules {
		out = append(out, c.Rule.Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Permit takes out of Rules what the mode of a rule's namespace forbids to write,
// and finds TLSMissing in its place: a managed rule may be created unless the mode
// is off, a user's rule is changed only in mode enforce.
//
// It is an error where requests that o makes would leave in clear. What the rule
// of another namespace does to the clients of that namespace is only a warning: it
// must not let one tenant block another.
func (o Outcome) Permit(about metav1.Object, mode func(namespace string) policy.Mode) Outcome {
	var rules []mutate.RuleChange
	o.Findings = slices.Clone(o.Findings)
	for _, c := range o.Rules {
		m := mode(c.Rule.Namespace)
		if m == policy.Enforce || (c.Action == mutate.Create && m != policy.Off) {
			rules = append(rules, c)
			continue
		}
		f := finding.Finding{
			Code:     finding.TLSMissing,
			Severity: finding.Warning,
			Object:   mesh.ObjectOf(about),
			Message: fmt.Sprintf("plaintext HTTP to %s would leave the mesh in clear: %s is needed, and namespace %s is in mode %s, in which it is not written.",
				c.Host, c, c.Rule.Namespace, m),
			Remedy:  fmt.Sprintf("Write it yourself (`egress-tls render` prints it), or label the namespace %s=%s.", policy.ModeLabel, policy.Enforce),
			Subject: c.Rule.Namespace + "/" + c.Rule.Name,
			Host:    c.Host,
		}
		if slices.ContainsFunc(c.Needs, func(n mesh.Need) bool {
			return n.Client.Gateway || n.Client.Namespace == about.GetNamespace() || n.Client.Namespace == mesh.OtherNamespaces
		}) {
			f.Severity = finding.Error
		}
		o.Findings = append(o.Findings, f)
	}
	o.Rules = rules
	finding.Sort(o.Findings)
	return o
}
