package validate

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// TLS judges what the user's own DestinationRules do to the needs of a host:
//
//   - TLSDisabled (error): the rule in force says DISABLE, so the requests leave in
//     clear towards a TLS port. That is the user's word, so it is not changed.
//   - CredentialIgnored (error): the rule says SIMPLE or MUTUAL with a
//     credentialName, which a sidecar ignores without a workloadSelector and sends
//     plaintext (istio #31738).
//   - MutualToExternal (warning): ISTIO_MUTUAL presents a certificate of the mesh,
//     which no external host trusts.
//
// There is one finding for each rule, port and VirtualService that leads there,
// about the rule. TLS that lacks is no finding here: mutate.Rules adds it.
func TLS(host string, needs []mesh.Need) []finding.Finding {
	var out []finding.Finding
	for _, n := range needs {
		if n.Rule == nil || n.TLS.From == nil {
			continue
		}
		var code finding.Code
		switch {
		case n.TLS.Disabled():
			code = finding.TLSDisabled
		case n.Rule.CredentialIgnored(n.Client, n.TLS):
			code = finding.CredentialIgnored
		case n.TLS.Mode() == networking.ClientTLSSettings_ISTIO_MUTUAL:
			code = finding.MutualToExternal
		default:
			continue
		}
		if len(n.Sources) == 0 {
			out = append(out, tlsFinding(code, host, n, nil))
		}
		for _, s := range n.Sources {
			out = append(out, tlsFinding(code, host, n, &s))
		}
	}
	finding.Sort(out)
	// Clients and routes beyond the first say the same again. Equal texts are neighbours.
	return slices.CompactFunc(out, func(a, b finding.Finding) bool {
		return a.Code == b.Code && a.Object == b.Object && a.Path == b.Path && a.Message == b.Message
	})
}

func tlsFinding(code finding.Code, host string, n mesh.Need, src *mesh.Source) finding.Finding {
	port := n.Port.GetNumber()
	f := finding.Finding{
		Code:     code,
		Severity: finding.Error,
		Object:   mesh.ObjectOf(n.TLS.From),
		Path:     n.TLS.WordPath(),
		Subject:  fmt.Sprintf("%s:%d", host, port),
		Host:     host,
	}
	if n.TLS.Level == mesh.LevelSubset || n.TLS.Level == mesh.LevelSubsetPort {
		f.Subject += "/" + n.Subset
	}
	who := fmt.Sprintf("plaintext HTTP requests to %s:%d", host, port)
	if src != nil {
		vs := mesh.ObjectOf(src.VirtualService)
		who = fmt.Sprintf("the HTTP requests that %s sends to %s:%d", vs, host, port)
		f.Subject += " " + vs.String()
		f.Related = []finding.Place{{
			Object: vs, Path: fmt.Sprintf("spec.http[%d].route[%d].destination", src.Route, src.Destination),
			Text: fmt.Sprintf("sends plaintext HTTP to %s:%d", host, port),
		}}
	}
	switch code {
	case finding.TLSDisabled:
		f.Message = fmt.Sprintf("%s switches TLS off (mode %s), so %s leave the mesh in clear.", f.Object, n.TLS.Mode(), who)
		f.Remedy = fmt.Sprintf("Set mode: SIMPLE and sni: %s there, or remove that tls and it is added.", host)
	case finding.CredentialIgnored:
		f.Message = fmt.Sprintf("%s sets credentialName %q without a workloadSelector; sidecars ignore such tls, so %s leave the mesh in clear.",
			f.Object, n.TLS.Word().GetCredentialName(), who)
		f.Remedy = "Add a workloadSelector to the rule, or use caCertificates in place of credentialName."
	case finding.MutualToExternal:
		f.Severity = finding.Warning
		f.Message = fmt.Sprintf("%s uses ISTIO_MUTUAL for %s, which is outside of the mesh and does not know its certificates: the TLS handshake is likely to fail.", f.Object, who)
		f.Remedy = "Use mode: SIMPLE, or MUTUAL with a certificate that the host accepts."
	}
	return f
}

// Reachable finds the destinations of a VirtualService that no exact, visible ServiceEntry
// stands behind although one nearly fits: Envoy has no cluster for the host, so
// the requests fail, and nothing can be added that would help. One finding
// (NoExactServiceEntry, a warning) for each destination.
func Reachable(leads *mesh.Leads) []finding.Finding {
	w, vs := leads.World, leads.VirtualService
	var out []finding.Finding
	for ri, r := range vs.Spec.GetHttp() {
		if !mesh.Sends(r) {
			continue
		}
		for di, d := range r.GetRoute() {
			host := mesh.ResolveHost(d.GetDestination().GetHost(), vs.Namespace)
			if !mesh.IsExternal(host) || w.Exempt(host) {
				continue
			}
			f := finding.Finding{Code: finding.NoExactServiceEntry, Severity: finding.Warning, Subject: host, Host: host}
			if exact := w.ServiceEntriesFor(host); len(exact) > 0 {
				clients := leads.Clients(r, host)
				if len(clients) == 0 || slices.ContainsFunc(clients, func(c mesh.Client) bool { return w.RoutedService(c, host) != nil }) {
					continue
				}
				f.Message = fmt.Sprintf("%s lists %q but is not exported to %s, where the proxies of this route run; they have no cluster for it, so the requests fail and no TLS can be added.",
					mesh.ObjectOf(exact[0]), host, clientNames(clients))
				f.Remedy = "Export the ServiceEntry to them: see its exportTo."
				f.Related = []finding.Place{{Object: mesh.ObjectOf(exact[0]), Path: "spec.exportTo", Text: "is not exported to the proxies"}}
			} else if wild := w.WildcardServiceEntriesFor(host); len(wild) > 0 {
				f.Message = fmt.Sprintf("only the wildcard of %s covers %q; Envoy has no cluster for the exact host, so the requests fail and no TLS can be added.",
					mesh.ObjectOf(wild[0]), host)
				f.Remedy = fmt.Sprintf("List %q in the hosts of a ServiceEntry.", host)
				f.Related = []finding.Place{{Object: mesh.ObjectOf(wild[0]), Path: "spec.hosts", Text: "only a wildcard covers the host"}}
			} else {
				continue
			}
			f.Object = mesh.ObjectOf(vs)
			f.Path = fmt.Sprintf("spec.http[%d].route[%d].destination.host", ri, di)
			out = append(out, f)
		}
	}
	return out
}

func clientNames(clients []mesh.Client) string {
	var names []string
	others := false
	for _, c := range clients {
		if c.Namespace == mesh.OtherNamespaces {
			others = true
			continue
		}
		if name := fmt.Sprintf("namespace %q", c.Namespace); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if others {
		names = append(names, "any other namespace")
	}
	switch len(names) {
	case 1:
		return names[0]
	case 2:
		return names[0] + " or " + names[1]
	}
	return fmt.Sprintf("%s or %d further ones", names[0], len(names)-1)
}
