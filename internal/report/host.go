package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// hostRow is a host in the table.
type hostRow struct {
	*explain.Host
	ID    string
	State look // the worst of Ports
	Ports []portRow
	// Severity and Namespaces are what the filters go by.
	Severity           string
	Namespaces         words
	Gateways, Sidecars string
	Routes             int
	// Detailed says that the page shows more of it: the clients in Details, but for More.
	Detailed bool
	Details  []clientRow
	More     int
}

// clientRow are clients for which all is the same, in the details of a host.
type clientRow struct {
	explain.Client
	Title      string
	namespaces []string
}

// detail takes the clients up, those of which the same is to be said together.
func (r *hostRow) detail() {
	r.Detailed = true
	number := map[explain.ClientKind]int{}
	rows := map[string]int{}
	for _, c := range r.Clients {
		number[c.Kind]++
		key := sameness(c)
		i, there := rows[key]
		switch {
		case there:
			r.Details[i].namespaces = append(r.Details[i].namespaces, c.Namespace)
		case len(r.Details) == maxClients:
			r.More++
		default:
			rows[key] = len(r.Details)
			r.Details = append(r.Details, clientRow{Client: c, namespaces: []string{c.Namespace}})
		}
	}
	for i := range r.Details {
		d := &r.Details[i]
		d.Title = d.title(number[d.Kind])
	}
}

// sameness is equal for clients that differ in nothing but their namespace.
func sameness(c explain.Client) string {
	c.Namespace = ""
	text, _ := json.Marshal(c) // It holds nothing that cannot be written.
	return string(text)
}

// title names the clients, of so many of their kind.
func (r clientRow) title(of int) string {
	kind := map[explain.ClientKind]string{explain.Gateway: "Gateways", explain.Sidecar: "Sidecars"}[r.Kind]
	if len(r.namespaces) == of && slices.Contains(r.namespaces, "") {
		return "All " + strings.ToLower(kind)
	}
	title := kind + " in " + namespacesText(r.namespaces)
	if r.BesideGateway {
		title += ", if there are any"
	}
	return title
}

// portRow is a port of a host, for all clients.
type portRow struct {
	Number   uint32
	Protocol string
	State    look
	Rules    []string
}

func hostID(host string) string { return "host-" + host }

func newHostRow(h *explain.Host) hostRow {
	row := hostRow{Host: h, ID: hostID(h.Host)}
	var gateways, sidecars []string
	for _, se := range h.ServiceEntries {
		row.Namespaces.add(se.Namespace)
	}
	routes := map[string]struct{}{}
	for _, c := range h.Clients {
		row.Namespaces.add(c.Namespace)
		switch {
		case c.Kind == explain.Gateway:
			gateways = append(gateways, c.Namespace)
		case !c.BesideGateway:
			sidecars = append(sidecars, c.Namespace)
		}
		for _, r := range c.Rules {
			row.Namespaces.add(r.Namespace)
		}
		for _, p := range c.Ports {
			for _, conn := range p.Connections {
				for _, w := range conn.Ways {
					if w.VirtualService != nil {
						row.Namespaces.add(w.VirtualService.Namespace)
						routes[w.VirtualService.String()+" "+w.Path] = struct{}{}
					}
				}
				// Of sidecars that may not be there only the details tell what would fail.
				if !c.BesideGateway || conn.State != explain.DoubleTLS {
					row.add(c, p, conn)
				}
			}
		}
	}
	row.Gateways, row.Sidecars, row.Routes = namespacesText(gateways), namespacesText(sidecars), len(routes)
	if row.Sidecars == others {
		row.Sidecars = "all namespaces"
	}
	slices.SortFunc(row.Ports, func(a, b portRow) int { return cmp.Compare(a.Number, b.Number) })
	row.State = unreachable
	if slices.ContainsFunc(h.Clients, func(c explain.Client) bool { return len(c.Ports) > 0 }) {
		row.State = unused // All calls are taken by routes that lead elsewhere.
	}
	if len(row.Ports) > 0 {
		row.State = slices.MinFunc(row.Ports, func(a, b portRow) int { return cmp.Compare(a.State.Rank, b.State.Rank) }).State
	}
	row.Severity = row.State.Severity
	for _, hazard := range h.Hazards {
		if hazard.Severity == finding.Error || row.Severity == ok {
			row.Severity = string(hazard.Severity)
		}
	}
	return row
}

// add joins what one connection says of a port to the rest.
func (r *hostRow) add(client explain.Client, p explain.ClientPort, c explain.Connection) {
	i := slices.IndexFunc(r.Ports, func(o portRow) bool { return o.Number == p.Number })
	if i < 0 {
		i = len(r.Ports)
		r.Ports = append(r.Ports, portRow{Number: p.Number, Protocol: p.Protocol, State: unused})
	}
	port := &r.Ports[i]
	if state := stateOf(c.State, p, c.TLS); state.Rank < port.State.Rank {
		port.State = state
	}
	if c.Rule == nil {
		return
	}
	rule := c.Rule.String()
	if slices.ContainsFunc(client.Rules, func(o explain.Rule) bool { return o.Managed && o.Ref == c.Rule.Ref }) {
		rule = "the webhook's in " + c.Rule.Namespace
	}
	if !slices.Contains(port.Rules, rule) {
		port.Rules = append(port.Rules, rule)
	}
}

// words is a set of words, none of them empty.
type words []string

func (w *words) add(word string) {
	if word != "" && !slices.Contains(*w, word) {
		*w = append(*w, word)
	}
}

func (w words) String() string { return strings.Join(w, " ") }

// others are all namespaces that are not named.
const others = "all others"

// namespacesText names a few of the namespaces of clients.
func namespacesText(namespaces []string) string {
	const most = 3
	var out []string
	for _, ns := range namespaces {
		if ns == "" {
			ns = others
		}
		out = append(out, ns)
	}
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("%d more", len(out)-most))
	}
	return strings.Join(out, ", ")
}

// entryText says what a ServiceEntry declares.
func entryText(se explain.ServiceEntry) string {
	var ports []string
	for _, p := range se.Ports {
		text := fmt.Sprintf("%d %s", p.Number, p.Protocol)
		if p.TargetPort != 0 {
			text += fmt.Sprintf(" (targetPort %d)", p.TargetPort)
		}
		ports = append(ports, text)
	}
	visible := "visible in " + namespacesText(se.VisibleIn)
	switch {
	case len(se.VisibleIn) == 0:
		visible = "visible nowhere"
	case slices.Contains(se.VisibleIn, mesh.ExportPublic):
		visible = "visible in all namespaces"
	}
	return fmt.Sprintf("ServiceEntry %s: %s on port %s, %s, resolution %s, %s", se.Ref, se.Host, strings.Join(ports, ", "), se.Location, se.Resolution, visible)
}

// tlsText says what the proxy adds.
func tlsText(t *explain.TLSContext) string {
	if t == nil {
		return "none"
	}
	out := []string{t.Mode}
	switch {
	case t.AutoSNI:
		out = append(out, "SNI is the Host of each request")
	case t.SNI != "":
		out = append(out, "SNI "+t.SNI)
	default:
		out = append(out, "no SNI")
	}
	names := strings.Join(t.SubjectAltNames, " or ")
	switch {
	case t.AutoName && names != "":
		names += ", and for the Host of each request"
	case t.AutoName:
		names = "the Host of each request"
	}
	switch {
	case t.CA == "":
		out = append(out, "certificate not verified")
	case names == "":
		out = append(out, "authority "+t.CA, "certificate for any name")
	default:
		out = append(out, "authority "+t.CA, "certificate for "+names)
	}
	if t.ClientCertificate != "" {
		out = append(out, "own certificate "+t.ClientCertificate)
	}
	return strings.Join(out, ", ")
}
