package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// words are how states are said.
var words = map[State]string{
	Plaintext:      "PLAINTEXT",
	DoubleTLS:      "TLS inside of TLS",
	Dead:           "Dead routes",
	Unreachable:    "No connection",
	AsSent:         "Passed on as the applications send it",
	ApplicationTLS: "TLS by the applications themselves",
	TLS:            "TLS",
}

// said is what is alike of several clients.
type said struct {
	state State
	port  uint32
	// pods are those of the clients' pods that it is said of, "" for all.
	pods, note string
	// beside says that it is said of sidecars that may not be there.
	beside bool
	// ways are how their traffic comes there, in words.
	ways string
}

// answer says in one sentence each what becomes of the requests of whom.
func (h *host) answer(out *Host) {
	clients := map[said][]Client{}
	var order []said
	var blind []Client
	for _, c := range out.Clients {
		if len(c.Ports) == 0 && len(c.Sees) == 0 {
			blind = append(blind, c)
		}
		for _, s := range saidOf(c) {
			if clients[s] == nil {
				order = append(order, s)
			}
			clients[s] = append(clients[s], c)
		}
	}
	slices.SortStableFunc(order, func(a, b said) int {
		return cmp.Or(compareBool(a.beside, b.beside), cmp.Compare(slices.Index(severity, a.state), slices.Index(severity, b.state)), cmp.Compare(a.port, b.port))
	})
	for _, s := range order {
		if !s.beside {
			out.State = worse(out.State, s.state)
		}
		at := ""
		if s.port != 0 {
			at = fmt.Sprintf(" to port %d", s.port)
		}
		text := fmt.Sprintf("%s%s from %s%s (%s)%s.", words[s.state], at, clientsText(clients[s], out.Clients), s.pods, s.ways, s.note)
		out.Answers = append(out.Answers, Answer{s.state, text})
	}
	h.answerRest(out, blind)
}

// saidOf returns what is said of one group of clients.
func saidOf(c Client) []said {
	ways := map[said][]string{}
	var order []said
	for _, p := range c.Ports {
		for _, conn := range p.Connections {
			for _, w := range conn.Ways {
				s := said{state: w.State, port: p.Number, note: noteOf(p, conn, w), beside: beside(c, w)}
				switch {
				case s.beside:
					s.pods = ", if there are any beside the gateway"
				case conn.Workloads != nil:
					s.pods = ", workloads with " + selectorText(conn.Workloads)
				case conn.Others:
					s.pods = ", all other workloads"
				}
				if ways[s] == nil {
					order = append(order, s)
				}
				text := "calls of applications"
				if w.VirtualService != nil {
					text = "VirtualService " + w.VirtualService.String()
					if w.Kind == Mirror {
						text = "copies by " + text
					}
				}
				if !slices.Contains(ways[s], text) {
					ways[s] = append(ways[s], text)
				}
			}
		}
	}
	out := make([]said, len(order))
	for i, s := range order {
		out[i] = s
		out[i].ways = boundedText(ways[s])
	}
	return out
}

// beside reports whether a client that may not be there would be harmed: it would speak
// TLS itself where a gateway's rule adds TLS.
func beside(c Client, w Way) bool {
	return c.BesideGateway && w.Kind == Direct && w.State == DoubleTLS
}

// boundedText lists the first of many.
func boundedText(items []string) string {
	const most = 5
	if len(items) > most {
		items = append(slices.Clone(items[:most]), fmt.Sprintf("%d more", len(items)-most))
	}
	return listText(items)
}

// answerRest says what no connection tells.
func (h *host) answerRest(out *Host, blind []Client) {
	switch {
	case len(out.ServiceEntries) == 0 && len(out.Clients) == 0:
		out.Similar = similar(h.Host, h.Hosts())
		out.Answers = append(out.Answers, Answer{None, fmt.Sprintf("Nothing is known of %s: no ServiceEntry lists it, and no route leads to it.", h.Host)})
	case h.Port != 0 && len(out.Answers) == 0 && len(out.ServiceEntries) > 0:
		out.Answers = append(out.Answers, Answer{None, fmt.Sprintf("No route leads to port %d, and no ServiceEntry that a sidecar sees has it.", h.Port)})
	case len(blind) > 0:
		text := clientsText(blind, out.Clients)
		out.Answers = append(out.Answers, Answer{None, fmt.Sprintf("%s see no ServiceEntry for it.", strings.ToUpper(text[:1])+text[1:])})
	case len(out.Answers) == 0 && len(takers(out)) > 0:
		out.Answers = append(out.Answers, Answer{None, fmt.Sprintf("Nothing is sent to it: its calls are taken by %s, whose routes lead elsewhere.", boundedText(takers(out)))})
	case len(out.Answers) == 0:
		out.Answers = append(out.Answers, Answer{None, "No route leads to it, and no sidecar sees it."})
	}
}

// takers are the VirtualServices that take calls of the host.
func takers(out *Host) []string {
	var all []string
	for _, c := range out.Clients {
		for _, p := range c.Ports {
			if p.CallsTakenBy != nil {
				all = append(all, "VirtualService "+p.CallsTakenBy.String())
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// noteOf says what else is to know in the same sentence.
func noteOf(p ClientPort, conn Connection, w Way) string {
	switch {
	case w.State == Plaintext && slices.ContainsFunc(conn.Adds, func(a Addition) bool { return a.Withheld == "" }):
		return ": the server expects TLS there, and the webhook would add it"
	case w.State == Plaintext && p.ExpectsTLS:
		return ": the server expects TLS there"
	case w.State == TLS && conn.TLS.CA == "":
		return ": the server's certificate is not verified"
	case w.State == TLS && anyName(conn.TLS):
		return ": the name in the server's certificate is not verified"
	case w.State == DoubleTLS:
		return ": the handshake fails"
	case w.State == Dead:
		return ": no request takes them"
	}
	return ""
}

// anyName reports whether the certificate of a known authority is accepted for every name.
func anyName(t *TLSContext) bool {
	return t.CA != "" && t.CA != meshCA && len(t.SubjectAltNames) == 0 && !t.AutoName
}

// clientText names a group of proxies.
func clientText(c Client) string {
	if c.Kind == Gateway {
		text := "the gateway"
		if len(c.Labels) > 0 {
			text += " " + selectorText(c.Labels)
		}
		if c.Guessed {
			text += ", by a guess"
		}
		return text + " in namespace " + c.Namespace
	}
	if c.Namespace == mesh.OtherNamespaces {
		return "sidecars of all other namespaces"
	}
	return "sidecars of namespace " + c.Namespace
}

// clientsText names several of all.
func clientsText(some, all []Client) string {
	var out, in, not []string
	others := false
	for _, c := range all {
		listed := slices.ContainsFunc(some, func(o Client) bool { return clientText(o) == clientText(c) })
		switch {
		case c.Kind == Gateway:
			if listed {
				out = append(out, clientText(c))
			}
		case c.Namespace == mesh.OtherNamespaces:
			others = listed
		case listed:
			in = append(in, c.Namespace)
		default:
			not = append(not, c.Namespace)
		}
	}
	switch {
	case others && len(not) == 0:
		out = append(out, "all sidecars")
	case others:
		out = append(out, "all sidecars but those of "+namespacesText(not))
	case len(in) > 0:
		out = append(out, "sidecars of "+namespacesText(in))
	}
	return listText(out)
}

func namespacesText(names []string) string {
	if len(names) == 1 {
		return "namespace " + names[0]
	}
	return "namespaces " + boundedText(names)
}

// similar returns the hosts whose names differ from host in few letters, the most
// similar first.
func similar(host string, hosts []string) []string {
	const most = 3
	type near struct {
		host     string
		distance int
	}
	var found []near
	for _, h := range hosts {
		if d := distance(host, h); d <= max(2, len(host)/5) {
			found = append(found, near{h, d})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var out []string
	for _, n := range found[:min(most, len(found))] {
		out = append(out, n.host)
	}
	return out
}

// distance counts the letters to change, add or leave out (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Words returns what an answer of that state begins with.
func Words(s State) string { return words[s] }

// LabelText writes labels as a selector does.
func LabelText(labels map[string]string) string { return strings.Join(labelList(labels), ",") }
