package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// The codes of hazards that are no findings: what is seen only when all objects of a
// host are seen together. Like those of findings they are stable.
const (
	NoServiceEntry         = "NoServiceEntry"
	OnlyWildcard           = "OnlyWildcard"
	ExportedNowhere        = "ExportedNowhere"
	UnknownPort            = "UnknownPort"
	PlaintextToTLSPort     = "PlaintextToTLSPort"
	TLSInTLS               = "TLSInTLS"
	CertificateNotVerified = "CertificateNotVerified"
	NameNotVerified        = "NameNotVerified"
	SNIOfRequest           = "SNIOfRequest"
	GatewayGuessed         = "GatewayGuessed"
	HostExempt             = "HostExempt"
)

// judged are the findings of an object, by the host that they are about; "" for those
// about all its hosts.
type judged struct {
	object   metav1.Object
	findings map[string][]finding.Finding
	// dead are the routes of which it is proved that no request reaches them, and why.
	dead map[string]string
}

// judge decides about an object as admission would.
func (e *Explainer) judge(o metav1.Object) (*judged, error) {
	key := mesh.ObjectOf(o)
	if out := e.judged[key]; out != nil {
		return out, nil
	}
	var raw map[string]any
	if _, ok := o.(*networkingv1.DestinationRule); ok {
		var err error
		if raw, err = mutate.Tree(o); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	mode := e.Mode(o.GetNamespace())
	if mode == policy.Off {
		mode = policy.Warn // To be told all the same.
	}
	outcome, err := e.site.Judge(o, raw, mode, e.Mode)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	out := &judged{o, map[string][]finding.Finding{}, map[string]string{}}
	for _, f := range outcome.Findings {
		for _, host := range hostsOf(o, f) {
			out.findings[host] = append(out.findings[host], f)
		}
		if f.Code == finding.CatchAllNotLast || f.Code == finding.UnreachableRoute {
			out.dead[f.Path] = cmp.Or(strings.Join(f.CoveredBy, ", "), "its own conditions contradict each other")
		}
	}
	e.judged[key] = out
	return out, nil
}

// hostsOf returns the hosts that a finding about o is about: the one that it is for, or
// those that its route leads to; "" if it is about o as a whole.
func hostsOf(o metav1.Object, f finding.Finding) []string {
	if f.Host != "" {
		return []string{f.Host}
	}
	vs, ok := o.(*networkingv1.VirtualService)
	if !ok || f.Object != mesh.ObjectOf(vs) {
		return []string{""}
	}
	var hosts []string
	var i int
	if n, err := fmt.Sscanf(f.Path, "spec.http[%d]", &i); err == nil && n == 1 && i < len(vs.Spec.GetHttp()) {
		for _, d := range vs.Spec.GetHttp()[i].GetRoute() {
			hosts = append(hosts, mesh.ResolveHost(d.GetDestination().GetHost(), vs.Namespace))
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// dead says why no request reaches a route, "" if some may.
func (h *host) dead(vs *networkingv1.VirtualService, ri int) string {
	j, err := h.judge(vs)
	if err != nil {
		return "" // addHazards comes to the same error.
	}
	by := j.dead[fmt.Sprintf("spec.http[%d]", ri)]
	if strings.HasPrefix(by, "spec.") {
		by += " takes all its requests"
	}
	return by
}

// deadRoots says why no request reaches the delegate vs, "" if some may.
func (h *host) deadRoots(vs *networkingv1.VirtualService) string {
	out := ""
	if mesh.IsDelegate(vs) {
		for _, s := range h.world.RootRoutes(vs) {
			why := h.dead(s.VirtualService, s.Route)
			if why == "" {
				return ""
			}
			out = fmt.Sprintf("VirtualService %s delegates to it by spec.http[%d], and there %s", refOf(s.VirtualService), s.Route, why)
		}
	}
	return out
}

func (h *host) addHazards(out *Host) error {
	findings, err := h.findings()
	if err != nil {
		return err
	}
	codes := map[finding.Code]bool{}
	for _, f := range findings {
		codes[f.Code] = true
		object := f.Object
		out.Hazards = append(out.Hazards, Hazard{string(f.Code), f.Severity, &object, f.Path, f.Message, f.Remedy})
	}
	add := func(severity finding.Severity, code, remedy, format string, args ...any) {
		z := Hazard{Code: code, Severity: severity, Message: fmt.Sprintf(format, args...), Remedy: remedy}
		if !slices.ContainsFunc(out.Hazards, func(o Hazard) bool { return o.Code == z.Code && o.Message == z.Message }) {
			out.Hazards = append(out.Hazards, z)
		}
	}
	h.addEntryHazards(out, codes, add)
	for _, c := range out.Clients {
		if c.Guessed {
			add(finding.Warning, GatewayGuessed, "Give the Services of the gateways too, or list the namespace as gatewayNamespaces in the policy.",
				"nothing tells where the gateway's pods with %s run; namespace %s is a guess, and what is said of them as well.", selectorText(c.Labels), c.Namespace)
		}
		for _, p := range c.Ports {
			for _, conn := range p.Connections {
				h.addConnectionHazards(c, p, conn, codes, add)
			}
		}
	}
	slices.SortStableFunc(out.Hazards, func(a, b Hazard) int { return cmp.Compare(a.Severity, b.Severity) })
	return nil
}

// findings are those of all objects that have to do with the host.
func (h *host) findings() ([]finding.Finding, error) {
	var objects []metav1.Object
	for _, pattern := range mesh.HostAndWildcards(h.Host) {
		for _, se := range h.world.ServiceEntriesFor(pattern) {
			objects = append(objects, se)
		}
		for _, dr := range h.world.RulesFor(pattern) {
			objects = append(objects, dr)
		}
	}
	for _, vs := range slices.Concat(h.world.RoutesTo(h.Host), h.world.TLSRoutesTo(h.Host)) {
		objects = append(objects, vs)
	}
	var decided []decision.Decided
	for _, o := range objects {
		j, err := h.judge(o)
		if err != nil {
			return nil, err
		}
		decided = append(decided, decision.Decided{Object: o, Outcome: decision.Outcome{Findings: slices.Concat(j.findings[h.Host], j.findings[""])}})
	}
	return decision.Union(decided), nil
}

type adder func(severity finding.Severity, code, remedy, format string, args ...any)

func (h *host) addEntryHazards(out *Host, codes map[finding.Code]bool, add adder) {
	exact := h.world.ServiceEntriesFor(h.Host)
	switch {
	case len(out.ServiceEntries) == 0:
		if mesh.IsKubernetesService(h.Host) {
			add(finding.Warning, NoServiceEntry, "Ask for a host outside of the cluster.", "%s is the name of a Kubernetes service, not of an external host.", h.Host)
			return
		}
		if _, err := netip.ParseAddr(h.Host); err == nil {
			add(finding.Warning, NoServiceEntry, "Ask for the name in its hosts, if a ServiceEntry has the address.",
				"%s is an IP address, and ServiceEntries are found by the names in their hosts: their addresses and endpoints are not looked at.", h.Host)
			return
		}
		if mesh.IsWildcard(h.Host) {
			add(finding.Warning, NoServiceEntry, "Ask for a host that it covers.", "no ServiceEntry lists the wildcard %s.", h.Host)
			return
		}
		add(finding.Warning, NoServiceEntry, fmt.Sprintf("Declare it: a ServiceEntry with hosts: [%s].", h.Host),
			"no ServiceEntry lists %s, or a wildcard that covers it. What happens to calls of applications then hangs on meshConfig.outboundTrafficPolicy, which is not among the objects: with ALLOW_ANY, the default, sidecars pass them on as they are, and nothing encrypts them; with REGISTRY_ONLY they are refused (502, or a reset connection). Routes to it fail in both cases.", h.Host)
		return
	case len(exact) == 0 && !codes[finding.NoExactServiceEntry]:
		add(finding.Warning, OnlyWildcard, fmt.Sprintf("List %s in the hosts of a ServiceEntry.", h.Host),
			"only a wildcard covers %s: Istio builds no cluster for the host itself, so routes to it fail and no TLS can be added for it alone.", h.Host)
	}
	if h.world.Exempt(h.Host) {
		add(finding.Warning, HostExempt, "Remove it there, if that is not meant.", "the policy exempts %s (exemptions.hosts): the webhook adds nothing for it, and finds nothing.", h.Host)
	}
	if !slices.ContainsFunc(out.ServiceEntries, func(se ServiceEntry) bool { return len(se.VisibleIn) > 0 }) {
		add(finding.Warning, ExportedNowhere, "Correct its exportTo.", "every ServiceEntry of %s is exported nowhere (exportTo: ~).", h.Host)
	}
	var ports []uint32
	for _, se := range out.ServiceEntries {
		for _, p := range se.Ports {
			ports = append(ports, p.Number)
		}
	}
	slices.Sort(ports)
	if ports = slices.Compact(ports); h.Port != 0 && !slices.Contains(ports, h.Port) {
		add(finding.Warning, UnknownPort, "Ask for one of these, or add the port to the ServiceEntry.",
			"no ServiceEntry of %s has port %d; they have %s. Calls to it are treated as those to an unknown host: passed on as they are with meshConfig.outboundTrafficPolicy ALLOW_ANY, refused with REGISTRY_ONLY.", h.Host, h.Port, portsText(ports))
	}
}

func (h *host) addConnectionHazards(c Client, p ClientPort, conn Connection, codes map[finding.Code]bool, add adder) {
	var rule string
	if conn.Rule != nil {
		rule = "DestinationRule " + conn.Rule.String()
	}
	known := codes[finding.TLSDisabled] || codes[finding.TLSMissing] || codes[finding.CredentialIgnored]
	if p.ExpectsTLS && conn.State == Plaintext && !known {
		remedy := "Add a DestinationRule with tls for the port."
		if len(conn.Adds) > 0 {
			remedy = "Let `egress-tls render`, or the webhook in mode enforce, add what lacks: " + conn.Adds[0].Text + "."
		}
		add(finding.Error, PlaintextToTLSPort, remedy, "plaintext HTTP goes to port %d of %s, where the server speaks TLS: it answers with an error (protocol error), and who listens on the way reads the request.", p.Number, h.Host)
	}
	for _, w := range conn.Ways {
		if w.State == DoubleTLS && !codes[finding.DoubleTLS] && !beside(c, w) {
			add(finding.Warning, TLSInTLS, "Give plaintext clients a port of their own, of protocol HTTP with targetPort: 443, and those that speak TLS one without tls.",
				"clients that speak TLS themselves to port %d of %s get TLS inside of TLS: %s. The handshake fails.", p.Number, h.Host, conn.Why)
		}
		if conn.TLS != nil && conn.TLS.AutoSNI && w.Kind == HTTPRoute && !strings.EqualFold(w.Host, h.Host) {
			add(finding.Warning, SNIOfRequest, fmt.Sprintf("Set sni: %s in the DestinationRule, and Host: %s on the route.", h.Host, h.Host),
				"%s sets no sni, so the proxy asks for the Host of each request: on the way of VirtualService %s %s that is %s.", rule, w.VirtualService, w.Path, cmp.Or(quoted(w.Host), "whatever the client sent"))
		}
	}
	if t := conn.TLS; t != nil {
		switch {
		case t.CA == "":
			add(finding.Warning, CertificateNotVerified, "Remove insecureSkipVerify.", "%s says insecureSkipVerify: the certificate of %s is not verified, and any server can pose as it.", rule, h.Host)
		case !anyName(t) || conn.State == DoubleTLS:
		case t.SNI == "":
			add(finding.Warning, NameNotVerified, fmt.Sprintf("Add sni: %s and subjectAltNames: [%s].", h.Host, h.Host),
				"%s sets neither sni nor subjectAltNames, and what comes to port %d is not HTTP, which would tell the name: the proxy asks for none, and accepts the certificate of a known authority for any name, not only for %s.", rule, p.Number, h.Host)
		default:
			add(finding.Warning, NameNotVerified, fmt.Sprintf("Add subjectAltNames: [%s] next to the sni.", h.Host),
				"%s sets an sni and no subjectAltNames: Istio then accepts the certificate of a known authority for any name, not only for %s.", rule, h.Host)
		}
	}
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%q", s)
}

func portsText(ports []uint32) string {
	out := make([]string, len(ports))
	for i, p := range ports {
		out[i] = fmt.Sprint(p)
	}
	return listText(out)
}
