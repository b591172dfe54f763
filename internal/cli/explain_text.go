package cli

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// stateColors are those of a state; what is neither good nor bad has none.
var stateColors = map[explain.State]string{
	explain.Plaintext: sgrRed, explain.DoubleTLS: sgrRed, explain.Dead: sgrYellow, explain.Unreachable: sgrYellow, explain.AsSent: sgrYellow,
	explain.ApplicationTLS: sgrBlue, explain.TLS: sgrGreen,
}

// stateWords name a state in the tree.
var stateWords = map[explain.State]string{
	explain.Plaintext: "PLAINTEXT", explain.DoubleTLS: "TLS INSIDE OF TLS", explain.Dead: "DEAD", explain.Unreachable: "NO CONNECTION", explain.AsSent: "AS SENT",
	explain.ApplicationTLS: "APPLICATION TLS", explain.TLS: "TLS", explain.None: "NOTHING",
}

// explanation prints what is known of a host as text.
type explanation struct {
	tree
	in *input
}

// writeExplanation prints the answer, then why.
func writeExplanation(t tree, in *input, h explain.Host) {
	e := explanation{t, in}
	title := node{head: h.Host, sgr: sgrBold}
	if h.Port != 0 {
		title.head = net.JoinHostPort(h.Host, fmt.Sprint(h.Port))
	}
	if h.From != "" {
		title.text = "from namespace " + h.From
	}
	e.write(title)
	fmt.Fprintln(e.w)
	for _, a := range h.Answers {
		e.write(answerNode(a))
	}
	if len(h.Similar) > 0 {
		e.write(node{text: fmt.Sprintf("Did you mean %s?", strings.Join(h.Similar, ", "))})
	}
	if len(h.Covers) > 0 {
		e.section("Hosts that ServiceEntries list and it covers", texts(h.Covers))
	}
	var entries []node
	for _, se := range h.ServiceEntries {
		entries = append(entries, e.serviceEntry(se, h.Host))
	}
	e.section("ServiceEntries", entries)
	for _, g := range e.clients(h.Clients) {
		e.section(g.head, g.children)
	}
	var hazards []node
	for _, z := range h.Hazards {
		hazards = append(hazards, e.hazard(z))
	}
	e.section("Beware", hazards)
}

func (e *explanation) section(title string, children []node) {
	if len(children) > 0 {
		fmt.Fprintln(e.w)
		e.write(node{head: title, sgr: sgrBold, children: children})
	}
}

// answerNode colours the word that a sentence begins with.
func answerNode(a explain.Answer) node {
	head, text, _ := strings.Cut(a.Text, " ")
	if strings.HasPrefix(a.Text, explain.Words(a.State)) {
		head = explain.Words(a.State)
		text = strings.TrimPrefix(strings.TrimPrefix(a.Text, head), " ")
	}
	return node{head: head, text: text, sgr: stateColors[a.State]}
}

func texts(list []string) []node {
	out := make([]node, len(list))
	for i, text := range list {
		out[i] = node{text: text}
	}
	return out
}

func (e *explanation) serviceEntry(se explain.ServiceEntry, host string) node {
	var ports []string
	for _, p := range se.Ports {
		ports = append(ports, portText(p))
	}
	var says []string
	if se.Host != host {
		says = append(says, "lists "+se.Host)
	}
	visible := "visible in namespace " + strings.Join(se.VisibleIn, ", ")
	switch {
	case len(se.VisibleIn) == 0:
		visible = "visible nowhere"
	case slices.Contains(se.VisibleIn, mesh.ExportPublic):
		visible = "visible in all namespaces"
	case len(se.VisibleIn) > 1:
		visible = "visible in namespaces " + strings.Join(se.VisibleIn, ", ")
	}
	says = append(says, "port "+strings.Join(ports, ", "), se.Location, "resolution "+se.Resolution, visible)
	return node{text: fmt.Sprintf("%s: %s", e.named(mesh.ServiceEntryKind, se.Ref, ""), strings.Join(says, "; "))}
}

func portText(p explain.Port) string {
	text := fmt.Sprintf("%d", p.Number)
	if p.Protocol != "" {
		text += " " + p.Protocol
	}
	if p.TargetPort != 0 {
		text += fmt.Sprintf(" (targetPort %d)", p.TargetPort)
	}
	return text
}

// named is an object with the place where it stands, if that is a file.
func (e *explanation) named(kind string, r explain.Ref, path string) string {
	text := r.String()
	if path != "" {
		text += " " + path
	}
	if d := e.in.find(manifest.Key{Kind: kind, Namespace: r.Namespace, Name: r.Name}); d != nil {
		if place := d.Place(path); place != "" {
			text += " (" + place + ")"
		}
	}
	return text
}

// clients returns a section each, for sidecars that are alike together.
func (e *explanation) clients(all []explain.Client) []node {
	type group struct {
		of []explain.Client
		node
	}
	var groups []group
	sidecars := 0
	for _, c := range all {
		n := node{children: e.client(c)}
		if c.Kind == explain.Sidecar {
			sidecars++
			if i := slices.IndexFunc(groups, func(g group) bool { return g.of[0].Kind == explain.Sidecar && g.equal(n) }); i >= 0 {
				groups[i].of = append(groups[i].of, c)
				continue
			}
		}
		groups = append(groups, group{[]explain.Client{c}, n})
	}
	// Who the others are is clear when all else is said.
	isOthers := func(g group) bool { return g.of[len(g.of)-1].Namespace == mesh.OtherNamespaces }
	slices.SortStableFunc(groups, func(a, b group) int {
		switch {
		case isOthers(b) && !isOthers(a):
			return -1
		case isOthers(a) && !isOthers(b):
			return 1
		}
		return 0
	})
	var out []node
	for _, g := range groups {
		g.head = clientTitle(g.of, sidecars)
		out = append(out, g.node)
	}
	return out
}

func clientTitle(of []explain.Client, sidecars int) string {
	c := of[0]
	if c.Kind == explain.Gateway {
		title := "Gateway"
		if len(c.Labels) > 0 {
			title += " " + explain.LabelText(c.Labels)
		}
		title += " in namespace " + c.Namespace
		if c.Guessed {
			title += " (a guess)"
		}
		return title
	}
	var names []string
	others := false
	for _, c := range of {
		if c.Namespace == mesh.OtherNamespaces {
			others = true
		} else {
			names = append(names, c.Namespace)
		}
	}
	list := strings.Join(names, ", ")
	switch {
	case others && len(of) == sidecars:
		return "Sidecars of all namespaces"
	case others:
		return "Sidecars of all other namespaces"
	case len(names) == 1 && c.BesideGateway:
		return "Sidecars of namespace " + list + ", if there are any beside the gateway"
	case len(names) == 1:
		return "Sidecars of namespace " + list
	}
	return "Sidecars of namespaces " + list
}

func (e *explanation) client(c explain.Client) []node {
	var sees node
	if len(c.Sees) > 0 {
		var names []string
		for _, r := range c.Sees {
			names = append(names, r.String())
		}
		sees.text = "see ServiceEntry " + strings.Join(names, ", merged with ")
		if c.Wildcard != "" {
			sees.text += ", and of it only the wildcard " + c.Wildcard
		}
	} else if sees.text = "see no ServiceEntry"; c.Kind == explain.Sidecar {
		sees.text += ": calls are passed on as they are with meshConfig.outboundTrafficPolicy ALLOW_ANY, and refused with REGISTRY_ONLY"
	}
	for _, p := range c.Passed {
		sees.children = append(sees.children, node{text: fmt.Sprintf("not %s: %s", p.Ref, p.Text)})
	}
	if c.MorePassed > 0 {
		sees.children = append(sees.children, node{text: fmt.Sprintf("not %d more: they are not exported to these clients either", c.MorePassed)})
	}
	out := []node{sees}
	if len(c.Rules)+len(c.PassedRules) > 0 {
		out = append(out, e.rules(c))
	}
	for _, p := range c.Ports {
		out = append(out, e.port(p)...)
	}
	return out
}

// rules says which DestinationRules are in force, and why others are not.
func (e *explanation) rules(c explain.Client) node {
	var names []string
	var below []node
	for _, r := range c.Rules {
		name := fmt.Sprintf("%s for %s", r.Ref, r.Host)
		if r.Workloads != nil {
			name += " and workloads with " + cmp.Or(explain.LabelText(r.Workloads), "any labels")
		}
		if place := e.placeOf(mesh.DestinationRuleKind, r.Ref, ""); place != "" {
			name += " (" + place + ")"
		}
		names = append(names, name)
		switch {
		case r.Managed:
			below = append(below, node{text: fmt.Sprintf("%s is managed by the webhook", r.Ref)})
		case r.Injected:
			below = append(below, node{text: fmt.Sprintf("%s has tls that the webhook put there", r.Ref)})
		}
		for _, m := range r.Merged {
			text := fmt.Sprintf("with %s, which Istio merges into it", m)
			if slices.Contains(r.Ignored, m) {
				text += " without its trafficPolicy: that of the older rule counts whole"
			}
			below = append(below, node{text: text})
		}
	}
	for _, p := range c.PassedRules {
		below = append(below, node{text: fmt.Sprintf("not %s for %s: %s", p.Ref, p.Host, p.Text)})
	}
	if c.MorePassedRules > 0 {
		below = append(below, node{text: fmt.Sprintf("not %d more: Istio does not look into their namespaces either", c.MorePassedRules)})
	}
	text := "apply no DestinationRule"
	if len(names) > 0 {
		text = "apply DestinationRule " + strings.Join(names, "; then ")
	}
	return node{text: text, children: below}
}

func (e *explanation) port(p explain.ClientPort) []node {
	title := "port " + portText(p.Port)
	if p.Number == 0 {
		title = "no port"
	}
	if p.ExpectsTLS {
		title += ", where the server expects TLS"
	}
	var out []node
	if p.CallsTakenBy != nil {
		out = append(out, node{text: fmt.Sprintf("%s: VirtualService %s takes all calls of the host at this port, and its routes say where they go", title, p.CallsTakenBy)})
	}
	for _, conn := range p.Connections {
		at := title
		if conn.Subset != "" {
			at += ", subset " + conn.Subset
		}
		switch {
		case conn.Workloads != nil:
			at += ", for workloads with " + cmp.Or(explain.LabelText(conn.Workloads), "any labels")
		case conn.Others:
			at += ", for all other workloads"
		}
		n := node{text: at + ": " + stateWords[conn.State]}
		n.children = append(n.children, e.connection(conn)...)
		// The word is what people look for: it is the head.
		n.head, n.text, n.sgr = stateWords[conn.State], "on "+at, stateColors[conn.State]
		out = append(out, n)
	}
	return out
}

func (e *explanation) connection(conn explain.Connection) []node {
	why := "because " + conn.Why
	if conn.Rule != nil {
		if place := e.placeOf(mesh.DestinationRuleKind, conn.Rule.Ref, conn.Rule.Path); place != "" {
			why += " (" + place + ")"
		}
	}
	out := []node{{text: why}}
	if conn.TLS != nil {
		out = append(out, texts(tlsTexts(*conn.TLS))...)
	}
	for _, a := range conn.Adds {
		out = append(out, additionNode(a))
	}
	for _, w := range conn.Ways {
		out = append(out, e.way(w, conn))
	}
	return out
}

func (e *explanation) placeOf(kind string, r explain.Ref, path string) string {
	if d := e.in.find(manifest.Key{Kind: kind, Namespace: r.Namespace, Name: r.Name}); d != nil {
		return d.Place(path)
	}
	return ""
}

func additionNode(a explain.Addition) node {
	if a.Withheld != "" {
		return node{text: fmt.Sprintf("the webhook would add %s, but does not: %s", a.Text, a.Withheld)}
	}
	return node{text: "the webhook would add " + a.Text}
}

// tlsTexts say what the proxy asks the server for.
func tlsTexts(t explain.TLSContext) []string {
	name := "SNI " + t.SNI
	switch {
	case t.AutoSNI:
		name = "SNI: the Host of each request"
	case t.SNI == "":
		name = "no SNI"
	}
	ca := "the server's certificate must be of "
	switch t.CA {
	case "":
		ca = "the server's certificate is NOT VERIFIED"
	case "system":
		ca += "an authority that the proxy's system knows"
	case "mesh":
		ca += "the mesh's own authority"
	default:
		ca += "an authority in " + t.CA
	}
	if t.CA != "" {
		auto := "the SNI"
		if !t.AutoSNI {
			auto = "the Host of each request"
		}
		switch names := strings.Join(t.SubjectAltNames, " or "); {
		case names != "" && t.AutoName:
			ca += fmt.Sprintf(", for %s, and for %s", names, auto)
		case names != "":
			ca += ", for " + names
		case t.AutoName:
			ca += ", for " + auto
		default:
			ca += ", for ANY NAME"
		}
	}
	out := []string{fmt.Sprintf("mode %s, %s", t.Mode, name), ca}
	if t.ClientCertificate != "" {
		out = append(out, "the proxy shows a certificate of its own: "+t.ClientCertificate)
	}
	return out
}

func (e *explanation) way(w explain.Way, conn explain.Connection) node {
	if w.Kind == explain.Direct {
		n := node{text: "from calls of applications, which speak " + w.Speaks}
		n.markState(w, conn)
		return n
	}
	kind := "route"
	switch w.Kind {
	case explain.TLSRoute:
		kind = "TLS route (passthrough)"
	case explain.TCPRoute:
		kind = "TCP route"
	case explain.Mirror:
		kind = "mirror"
	}
	n := node{text: fmt.Sprintf("from the %s VirtualService %s: %s", kind, e.named(mesh.VirtualServiceKind, *w.VirtualService, w.Path), w.Match)}
	if w.Weight != 0 {
		n.text += fmt.Sprintf(", weight %d", w.Weight)
	}
	n.markState(w, conn)
	if w.Dead != "" {
		n.children = append(n.children, node{text: "no request takes it: " + w.Dead})
	}
	at := "carried out at " + strings.Join(gatewayTexts(w.Gateways), ", ")
	if len(w.Roots) > 0 {
		var roots []string
		for _, r := range w.Roots {
			roots = append(roots, r.String())
		}
		at = "carried out by delegation of VirtualService " + strings.Join(roots, ", ")
	}
	n.children = append(n.children, node{text: at})
	if w.Kind == explain.HTTPRoute {
		n.children = append(n.children, node{text: headersText(w)})
		if conn.TLS != nil && conn.TLS.AutoSNI {
			n.children = append(n.children, node{text: "SNI " + cmp.Or(w.SNI, "is the Host that the client sent")})
		}
	}
	for _, a := range w.Adds {
		n.children = append(n.children, additionNode(a))
	}
	return n
}

// markState puts a way's state at the head where it is not that of the connection.
func (n *node) markState(w explain.Way, conn explain.Connection) {
	if w.State != conn.State {
		n.head, n.sgr = stateWords[w.State], stateColors[w.State]
	}
}

func gatewayTexts(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = "Gateway " + name
		if name == mesh.MeshGateway {
			out[i] = "sidecars (mesh)"
		}
	}
	return out
}

// headersText says which headers arrive.
func headersText(w explain.Way) string {
	host := "Host as the client sent it"
	if w.Host != "" {
		host = "Host: " + w.Host
	}
	proto := "X-Forwarded-Proto as the proxy got it"
	switch {
	case w.ProtoRemoved:
		proto = "no X-Forwarded-Proto"
	case w.ForwardedProto != "":
		proto = "X-Forwarded-Proto: " + w.ForwardedProto
	}
	return fmt.Sprintf("with %s, and %s", host, proto)
}

func (e *explanation) hazard(z explain.Hazard) node {
	n := node{head: fmt.Sprintf("%s %s:", z.Severity, z.Code), sgr: sgrYellow}
	if z.Severity == finding.Error {
		n.sgr = sgrRed
	}
	if z.Object != nil {
		n.text = z.Object.Kind + " " + e.named(z.Object.Kind, explain.Ref{Namespace: z.Object.Namespace, Name: z.Object.Name}, z.Path) + ": "
	}
	n.text += z.Message
	if z.Remedy != "" {
		n.children = texts([]string{z.Remedy})
	}
	return n
}
