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
	Unreachable:    "No connection",
	AsSent:         "Passed on as the applications send it",
	ApplicationTLS: "TLS of the applications, passed on as it is,",
	TLS:            "TLS",
}

// said is what is alike of several clients.
type said struct {
	state State
	port  uint32
	note  string
}

// who are the clients of which something is said, and how their traffic comes there.
type who struct {
	clients []Client
	ways    []string
}

// answer says in one sentence each what becomes of the requests of whom.
func (h *host) answer(out *Host) {
	all := map[said]*who{}
	var keys []said
	var blind []Client
	for _, c := range out.Clients {
		if len(c.Ports) == 0 && len(c.Sees) == 0 {
			blind = append(blind, c)
		}
		for _, p := range c.Ports {
			for _, conn := range p.Connections {
				for _, w := range conn.Ways {
					if w.Dead != "" {
						continue
					}
					key := said{w.State, p.Number, noteOf(p, conn, w)}
					if all[key] == nil {
						all[key] = &who{}
						keys = append(keys, key)
					}
					all[key].add(c, w)
				}
			}
		}
	}
	slices.SortStableFunc(keys, func(a, b said) int {
		return cmp.Or(cmp.Compare(slices.Index(severity, a.state), slices.Index(severity, b.state)), cmp.Compare(a.port, b.port))
	})
	for _, k := range keys {
		out.State = worse(out.State, k.state)
		at := ""
		if k.port != 0 {
			at = fmt.Sprintf(" to port %d", k.port)
		}
		out.Answers = append(out.Answers, Answer{k.state, fmt.Sprintf("%s%s from %s (%s)%s.", words[k.state], at, clientsText(all[k].clients, out.Clients), listText(all[k].ways), k.note)})
	}
	h.answerRest(out, blind)
}

// answerRest says what no connection tells.
func (h *host) answerRest(out *Host, blind []Client) {
	switch {
	case len(out.ServiceEntries) == 0 && len(out.Clients) == 0:
		out.Similar = similar(h.Host, h.Hosts())
		out.Answers = append(out.Answers, Answer{None, fmt.Sprintf("Nothing is known of %s: no ServiceEntry lists it, and no route leads to it.", h.Host)})
	case len(blind) > 0:
		text := clientsText(blind, out.Clients)
		out.Answers = append(out.Answers, Answer{None, fmt.Sprintf("%s see no ServiceEntry for it.", strings.ToUpper(text[:1])+text[1:])})
	case len(out.Answers) == 0:
		out.Answers = append(out.Answers, Answer{None, "No route leads to it, and no sidecar sees it."})
	}
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
	case w.State == DoubleTLS:
		return ": the handshake fails"
	}
	return ""
}

func (w *who) add(c Client, by Way) {
	if !slices.ContainsFunc(w.clients, func(o Client) bool { return clientText(o) == clientText(c) }) {
		w.clients = append(w.clients, c)
	}
	text := "calls of applications"
	if by.VirtualService != nil {
		text = "VirtualService " + by.VirtualService.String()
	}
	if !slices.Contains(w.ways, text) {
		w.ways = append(w.ways, text)
	}
}

// clientText names a group of proxies.
func clientText(c Client) string {
	if c.Kind == Gateway {
		text := fmt.Sprintf("the gateway in namespace %s", c.Namespace)
		if len(c.Labels) > 0 {
			text = fmt.Sprintf("the gateway %s in namespace %s", selectorText(c.Labels), c.Namespace)
		}
		return text
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
	const most = 5
	if len(names) == 1 {
		return "namespace " + names[0]
	}
	if len(names) > most {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("%d more", len(names)-most))
	}
	return "namespaces " + listText(names)
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
