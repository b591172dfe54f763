package explain

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// whyText says why a connection is encrypted, or not.
func whyText(n mesh.Need) string {
	port := n.Port.GetNumber()
	if n.Rule == nil {
		switch {
		case n.Subset != "":
			return fmt.Sprintf("no DestinationRule is in force that has the subset %q: Istio builds no cluster for it, and the requests fail", n.Subset)
		case n.Hidden != nil:
			return fmt.Sprintf("no DestinationRule is in force: %s is for other workloads, and hides those of other namespaces from all pods of its own", ruleName(n.Hidden.Members[0]))
		case n.Service.Entries[0].Spec.GetLocation() != networking.ServiceEntry_MESH_EXTERNAL:
			return "no DestinationRule is in force, and the ServiceEntry is MESH_INTERNAL: Istio uses TLS of the mesh where the endpoint has a sidecar"
		}
		return "no DestinationRule is in force, and Istio adds no TLS by itself"
	}
	t := n.TLS
	switch {
	case t.Level == mesh.LevelNoSubset:
		return fmt.Sprintf("%s has no subset %q: Istio builds no cluster for it, and the requests fail", ruleName(n.Rule.Members[0]), n.Subset)
	case t.Settings == nil && t.Upper != nil:
		return fmt.Sprintf("%s of %s has no tls, and a port's entry inherits none from %s", t.Path(), ruleName(t.From), t.WordPath())
	case t.Settings == nil && (t.Level == mesh.LevelPort || t.Level == mesh.LevelSubsetPort):
		return fmt.Sprintf("%s of %s has no tls", t.Path(), ruleName(t.From))
	case t.Settings == nil:
		return fmt.Sprintf("%s says nothing of tls for port %d", ruleName(n.Rule.Members[0]), port)
	case n.Rule.CredentialIgnored(n.Client, t):
		return fmt.Sprintf("%s of %s has a credentialName, which sidecars ignore together with its tls unless the rule has a workloadSelector", t.Path(), ruleName(t.From))
	}
	if certificateLacks(t.Settings) {
		return fmt.Sprintf("%s of %s says mode MUTUAL, but has no clientCertificate and privateKey: Istio refuses that, and builds no TLS of it", t.Path(), ruleName(t.From))
	}
	return fmt.Sprintf("%s of %s says mode %s", t.Path(), ruleName(t.From), t.Mode())
}

func ruleName(dr metav1.Object) string {
	return fmt.Sprintf("DestinationRule %s/%s", dr.GetNamespace(), dr.GetName())
}

// ruleText says why a DestinationRule is not in force.
func ruleText(p mesh.PassedRule, c mesh.Client, svc *mesh.Service, w *mesh.World) string {
	switch p.Reason {
	case mesh.RuleElsewhere:
		return fmt.Sprintf("Istio looks only into %s", looksInto(svc, w))
	case mesh.RuleNotExported:
		if p.Rule.Spec.GetWorkloadSelector() != nil {
			return fmt.Sprintf("it has a workloadSelector, and counts only in namespace %s", p.Rule.Namespace)
		}
		return exportText(p.Rule.Spec.GetExportTo(), p.Rule.Namespace)
	case mesh.RuleNamespaceLater:
		return fmt.Sprintf("%s is of namespace %s, where Istio looks first", ruleName(p.By), p.By.Namespace)
	case mesh.RuleLessSpecific:
		return fmt.Sprintf("%s is for %s, which is more specific", ruleName(p.By), mesh.RuleHost(p.By))
	case mesh.RuleOtherWorkloads:
		if c.Gateway {
			return fmt.Sprintf("it is for workloads with %s, and nothing says that the gateway's pods have that", selectorText(p.Rule.Spec.GetWorkloadSelector().GetMatchLabels()))
		}
		return fmt.Sprintf("it is for workloads with %s", selectorText(p.Rule.Spec.GetWorkloadSelector().GetMatchLabels()))
	case mesh.RuleKeptApart:
		return fmt.Sprintf("%s has another exportTo, and of such rules in one namespace the last counts", ruleName(p.By))
	}
	return string(p.Reason)
}

// looksInto names the namespaces whose DestinationRules Istio looks at, in its order.
func looksInto(svc *mesh.Service, w *mesh.World) string {
	out := []string{"the clients' own namespace", svc.Namespace}
	if root := w.RootNamespace(); root != svc.Namespace {
		out = append(out, root)
	}
	return listText(out)
}

// entryText says why a ServiceEntry is not what a client sees.
func entryText(p mesh.PassedEntry, svc *mesh.Service) string {
	first := ""
	if svc != nil {
		first = fmt.Sprintf("ServiceEntry %s/%s", svc.Entries[0].Namespace, svc.Entries[0].Name)
	}
	switch p.Reason {
	case mesh.EntryNotExported:
		if slices.Contains(p.Entry.Spec.GetExportTo(), mesh.ExportNone) {
			return "it is exported nowhere (exportTo: ~)"
		}
		return exportText(p.Entry.Spec.GetExportTo(), p.Entry.Namespace)
	case mesh.EntryWildcard:
		return "Istio builds no cluster for a host that a wildcard covers: routes need the exact host"
	case mesh.EntryLessSpecific:
		return fmt.Sprintf("%s lists %s, which is more specific", first, svc.Host)
	case mesh.EntryOwnNamespaceFirst:
		return fmt.Sprintf("%s is of the clients' own namespace, which sidecars prefer", first)
	case mesh.EntryNamedFirst:
		return fmt.Sprintf("%s is exported to the clients' namespace by name, which comes before exportTo: *", first)
	case mesh.EntryOlderFirst:
		return fmt.Sprintf("%s comes first: it is older, or of the same age and its namespace is first in the alphabet", first)
	case mesh.EntryNotMerged:
		return fmt.Sprintf("%s of the same namespace comes first, and they differ in more than ports", first)
	}
	return string(p.Reason)
}

// tcpText lists the conditions of a TCP route.
func tcpText(r *networking.TCPRoute) string {
	var out []string
	for _, m := range r.GetMatch() {
		text := "any connection"
		if m.GetPort() != 0 {
			text = fmt.Sprintf("port %d", m.GetPort())
		}
		if subnets := m.GetDestinationSubnets(); len(subnets) > 0 {
			text += " to " + boundedText(subnets)
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return "any connection"
	}
	return finding.Truncate(strings.Join(out, " or "), 240)
}

// nowhereText says why a route leads nowhere.
func nowhereText(host string, port uint32, c mesh.Client, svc *mesh.Service) string {
	switch {
	case svc == nil || svc.Host != host:
		return fmt.Sprintf("these clients see no ServiceEntry that lists %s: Istio builds no cluster for it, and the requests fail", host)
	case port == 0 && c.Gateway:
		return "the route names no port, and of the host's several ports none is one of the Gateway's servers"
	case port == 0:
		return "the route names no port and so means the one that was called, which the host does not have"
	}
	return fmt.Sprintf("the ServiceEntry that these clients see has no port %d: Istio builds no cluster for it, and the requests fail", port)
}

// exportText says whom alone an object is exported to.
func exportText(to []string, own string) string {
	names := slices.Clone(to)
	for i, ns := range names {
		if ns == mesh.ExportPrivate {
			names[i] = own
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 1 {
		return fmt.Sprintf("it is exported only to namespace %s", names[0])
	}
	return fmt.Sprintf("it is exported only to namespaces %s", boundedText(names))
}

func selectorText(labels map[string]string) string {
	if len(labels) == 0 {
		return "any labels"
	}
	return strings.Join(labelList(labels), ",")
}

// listText is "a", "a and b", "a, b and c".
func listText(items []string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], ", ") + " and " + items[last]
}
