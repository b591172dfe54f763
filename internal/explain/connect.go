package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// port returns how client connects to a port of svc.
func (h *host) port(c mesh.Client, svc *mesh.Service, p mesh.Port, ways []way) ClientPort {
	routed, _ := p.Originates()
	out := ClientPort{Port: portOf(p.ServicePort), ExpectsTLS: routed, Connections: []Connection{}}
	bySubset := map[string][]Way{}
	for _, w := range ways {
		if slices.Contains(w.ports(c), p.GetNumber()) {
			bySubset[w.subset] = append(bySubset[w.subset], w.Way)
		}
	}
	if !c.Gateway && !svc.Unexported {
		if p.TakesHTTP() {
			if vs := h.world.CallsTakenBy(c, h.Host, p.GetNumber()); vs != nil {
				out.CallsTakenBy = refOf(vs)
			}
		}
		if out.CallsTakenBy == nil {
			bySubset[""] = append(bySubset[""], Way{Kind: Direct, Speaks: speaks(p)})
		}
	}
	for _, subset := range slices.Sorted(maps.Keys(bySubset)) {
		needs := h.world.Judged(mesh.Need{View: mesh.View{Client: c, Service: svc, Port: p}, Subset: subset})
		for i, n := range needs {
			conn := h.connection(n, bySubset[subset])
			conn.Others = len(needs) > 1 && conn.Workloads == nil && i == len(needs)-1
			out.Connections = append(out.Connections, conn)
		}
	}
	return out
}

func speaks(p mesh.Port) string {
	switch {
	case p.SpeaksTLS():
		return "TLS"
	case p.TakesHTTP():
		return "HTTP"
	}
	return "TCP"
}

func (h *host) connection(n mesh.Need, ways []Way) Connection {
	out := Connection{
		Subset: n.Subset, TLS: contextOf(n), Why: whyText(n), Adds: h.webhook.adds(n), Ways: slices.Clone(ways),
	}
	if n.Rule != nil {
		out.Workloads = n.Rule.Selector
		out.Rule = &Field{Ref: *refOf(cmp.Or(n.TLS.From, n.Rule.Members[0]))}
		if n.TLS.From != nil {
			out.Rule.Path = n.TLS.Path()
		}
	}
	speaksHTTP := func(w Way) bool { return w.Speaks == "HTTP" }
	if out.TLS != nil && !slices.ContainsFunc(ways, speaksHTTP) {
		// The name is that of an HTTP request: Envoy has none of other connections.
		out.TLS.AutoSNI, out.TLS.AutoName = false, false
	}
	for i := range out.Ways {
		w := &out.Ways[i]
		w.State = stateOf(n, out.TLS, w.Speaks)
		if out.TLS != nil && out.TLS.AutoSNI && speaksHTTP(*w) {
			w.SNI = w.Host
			if w.Kind == Direct && w.SNI == "" && !mesh.IsWildcard(h.Host) {
				w.SNI = h.Host
			}
		}
		if w.Dead != "" {
			w.State = Dead
		}
	}
	out.State = stateOfAll(out.Ways)
	return out
}

// stateOfAll is the worst state of the ways that are not dead, dead if all are.
func stateOfAll(ways []Way) State {
	out := None
	for _, w := range ways {
		if w.State != Dead {
			out = worse(out, w.State)
		}
	}
	if out == None && len(ways) > 0 {
		return Dead
	}
	return out
}

// stateOf is what becomes of what comes to a connection.
func stateOf(n mesh.Need, tls *TLSContext, speaks string) State {
	switch {
	case n.TLS.Level == mesh.LevelNoSubset, n.Subset != "" && n.Rule == nil:
		return Unreachable
	case tls != nil && speaks == "TLS":
		return DoubleTLS
	case tls != nil:
		return TLS
	case speaks == "TLS":
		return ApplicationTLS
	case speaks == "TCP", n.Service.Entries[0].Spec.GetLocation() != networking.ServiceEntry_MESH_EXTERNAL:
		return AsSent // Within the mesh Istio may encrypt by itself.
	}
	return Plaintext
}

var severity = []State{Plaintext, DoubleTLS, Dead, Unreachable, AsSent, ApplicationTLS, TLS, None}

func worse(a, b State) State {
	return severity[min(slices.Index(severity, a), slices.Index(severity, b))]
}

// addRules adds the DestinationRules that fit the host, in force or not.
func (h *host) addRules(out *Client, c mesh.Client, svc *mesh.Service) {
	inForce, _ := h.world.EffectiveRules(c, svc)
	for _, e := range inForce {
		first := e.Members[0]
		rule := Rule{Ref: *refOf(first), Host: e.Host, Workloads: e.Selector}
		for _, dr := range e.Members {
			rule.Managed = rule.Managed || mesh.IsManaged(dr)
			rule.Injected = rule.Injected || injected(dr)
			if dr != first {
				rule.Merged = append(rule.Merged, *refOf(dr))
			}
			if dr != e.PolicyFrom && dr.Spec.GetTrafficPolicy() != nil {
				rule.Ignored = append(rule.Ignored, *refOf(dr))
			}
		}
		out.Rules = append(out.Rules, rule)
	}
	elsewhere := 0
	for _, p := range h.world.PassedRules(c, svc) {
		if p.Reason == mesh.RuleElsewhere {
			elsewhere++
			if elsewhere > maxPassed {
				out.MorePassedRules++
				continue
			}
		}
		passed := PassedRule{Ref: *refOf(p.Rule), Host: mesh.RuleHost(p.Rule), Reason: p.Reason, Text: ruleText(p, c, svc, h.world)}
		if p.By != nil {
			passed.By = refOf(p.By)
		}
		out.PassedRules = append(out.PassedRules, passed)
	}
}

// injected reports whether the webhook put TLS into the rule, and it stands there yet.
func injected(dr *networkingv1.DestinationRule) bool {
	if dr.Annotations[mutate.InjectedAnnotation] == "" {
		return false
	}
	tree, err := mutate.Tree(dr)
	return err == nil && len(mutate.Injected(tree)) > 0
}

// meshCA stands for what ISTIO_MUTUAL uses.
const meshCA = "mesh"

// contextOf is the TLS that the proxies open, nil: none. It follows
// buildUpstreamClusterTLSContext, constructUpstreamTLS and setAutoSniAndAutoSanValidation.
func contextOf(n mesh.Need) *TLSContext {
	if n.Rule == nil || !n.TLS.Encrypts() || n.Rule.CredentialIgnored(n.Client, n.TLS) || certificateLacks(n.TLS.Settings) {
		return nil
	}
	s := n.TLS.Settings
	out := &TLSContext{Mode: s.GetMode().String(), SNI: s.GetSni(), SubjectAltNames: []string{}}
	out.SubjectAltNames = append(out.SubjectAltNames, s.GetSubjectAltNames()...)
	if s.GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL {
		out.SNI = cmp.Or(out.SNI, fmt.Sprintf("outbound_.%d_.%s_.%s", n.Port.GetNumber(), n.Subset, n.Service.Host))
		out.CA, out.ClientCertificate = meshCA, meshCA
		if len(out.SubjectAltNames) == 0 {
			out.SubjectAltNames = namesOf(n.Service)
		}
		return out
	}
	out.AutoSNI = out.SNI == ""
	out.CA = cmp.Or(s.GetCaCertificates(), "system")
	if secret := s.GetCredentialName(); secret != "" {
		out.CA = "secret " + secret
		if config, ok := strings.CutPrefix(secret, "configmap://"); ok {
			out.CA = "configmap " + config
		}
	}
	if s.GetMode() == networking.ClientTLSSettings_MUTUAL {
		out.ClientCertificate = s.GetClientCertificate()
		if s.GetCredentialName() != "" {
			out.ClientCertificate = "secret " + s.GetCredentialName()
		}
	}
	if s.GetInsecureSkipVerify().GetValue() {
		out.CA, out.SubjectAltNames = "", []string{}
		return out
	}
	dynamic := mesh.IsWildcard(n.Service.Host) && n.Service.Entries[0].Spec.GetResolution() == networking.ServiceEntry_DYNAMIC_DNS
	out.AutoName = dynamic || out.AutoSNI && len(out.SubjectAltNames) == 0
	if len(out.SubjectAltNames) == 0 {
		out.SubjectAltNames = namesOf(n.Service)
	}
	return out
}

// certificateLacks reports whether istiod builds no TLS, since it has no certificate to
// show. Its validation refuses such a rule, which may be in a file all the same.
func certificateLacks(s *networking.ClientTLSSettings) bool {
	return s.GetMode() == networking.ClientTLSSettings_MUTUAL && s.GetCredentialName() == "" && (s.GetClientCertificate() == "" || s.GetPrivateKey() == "")
}

// namesOf are the subjectAltNames of the ServiceEntries, sorted.
func namesOf(svc *mesh.Service) []string {
	out := []string{}
	for _, se := range svc.Entries {
		out = append(out, se.Spec.GetSubjectAltNames()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// webhook is what it would do about the rules of one host.
type webhook struct {
	policy  *policy.Policy
	mode    func(string) policy.Mode
	plan    mutate.RulePlan
	written []mutate.RuleChange
}

func (h *host) plan() error {
	h.webhook = webhook{policy: h.Policy, mode: h.Mode}
	if !h.bare.MayBeTarget(h.Host) {
		return nil
	}
	var err error
	if h.webhook.plan, err = h.site.Plan(h.Host); err != nil || len(h.webhook.plan.Changes) == 0 {
		return err
	}
	converged, err := decision.Converge(h.bare, h.Policy, h.Host, h.Mode)
	h.webhook.written = converged.Changes
	return err
}

// adds returns what the webhook would add for a connection.
func (w *webhook) adds(n mesh.Need) []Addition {
	out := []Addition{}
	if contextOf(n) != nil {
		return out
	}
	for _, c := range w.plan.Changes {
		if c.Action == mutate.Adopt || w.policy.DestinationRules == policy.IgnoreRules || !slices.ContainsFunc(c.Needs, func(o mesh.Need) bool {
			return o.Port.GetNumber() == n.Port.GetNumber() && o.Subset == n.Subset && o.Client.Gateway == n.Client.Gateway &&
				(o.Client.Namespace == n.Client.Namespace || o.Client.Namespace == mesh.OtherNamespaces)
		}) {
			continue
		}
		add := Addition{Text: c.String()}
		switch mode := w.mode(c.Rule.Namespace); {
		case w.policy.DestinationRules == policy.RequireRules:
			add.Withheld = "the policy says that you bring it (destinationRules: Require)"
		case slices.ContainsFunc(w.written, func(o mutate.RuleChange) bool { return *refOf(o.Rule) == *refOf(c.Rule) }):
		case mode != policy.Enforce:
			add.Withheld = modeText(c.Rule.Namespace, mode)
		default:
			add.Withheld = "the objects that need it are in namespaces that are not in mode enforce"
		}
		out = append(out, add)
	}
	return out
}

func modeText(namespace string, mode policy.Mode) string {
	return fmt.Sprintf("namespace %s is in mode %s", namespace, mode)
}

// addsHeaders returns what the webhook would add to a route.
func (h *host) addsHeaders(vs *networkingv1.VirtualService, ri, di int) []Addition {
	key := mesh.ObjectOf(vs)
	changes, known := h.headers[key]
	if !known {
		_, changes = decision.HeaderEdits(h.bare, h.Policy, vs)
		h.headers[key] = changes
	}
	var out []Addition
	for _, at := range []string{fmt.Sprintf("spec.http[%d]: ", ri), fmt.Sprintf("spec.http[%d].route[%d]: ", ri, di)} {
		for _, text := range changes {
			if !strings.HasPrefix(text, at+"set ") {
				continue
			}
			add := Addition{Text: strings.TrimPrefix(text, at+"set ")}
			if mode := h.Mode(vs.Namespace); mode != policy.Enforce {
				add.Withheld = modeText(vs.Namespace, mode)
			}
			out = append(out, add)
		}
	}
	return out
}
