package report

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// What one page holds at most, the worst first. A host in the table takes 1.5 kB, its details
// 3 kB and more: 10,000 hosts are 17 MB, which a browser opens in seconds.
const (
	maxDetailed = 1000 // hosts with the details of their clients
	maxClients  = 20   // of one host
	maxWays     = 20   // of one connection
	maxFindings = 5000
	maxChanges  = 5000
)

// view is what the template reads.
type view struct {
	Security string
	Style    template.CSS
	Script   template.JS

	Headline, Subline string
	Answer            look
	Facts             []Fact
	Tiles             []tile
	Shares            []share
	Sections          []section
	Notes             []string

	Hosts      table[hostRow]
	Findings   table[findingRow]
	Changes    table[changeRow]
	Namespaces table[namespaceRow]
	Legend     []look
	// Filter are the namespaces that rows are about.
	Filter []string
}

// table is a section of the page.
type table[row any] struct {
	ID, Title, Empty string
	// Said is how many rows there are.
	Said    string
	Columns []column
	Rows    []row
}

type column struct {
	Name   string
	Sort   string // the order at first
	Number bool
}

type tile struct {
	look
	Link  string
	Count int
	What  string
}

// share is the part of the hosts that are in a state, in per cent from X on.
type share struct {
	State    look
	Count    int
	X, Width string
}

type section struct {
	ID, Name string
	Count    int
}

type findingRow struct {
	Finding
	State look
	// HostID is where the page has the host that it is about, "" nowhere.
	HostID string
}

type changeRow struct{ Change }

type namespaceRow struct {
	Namespace
	Severity string
}

func newView(r *Report) *view {
	v := &view{
		Security: security(),
		Style:    template.CSS(style), //nolint:gosec // Our own.
		Script:   template.JS(script), //nolint:gosec // Our own.
		Facts:    r.Facts,
		Notes:    slices.Clone(r.Notes),
		Legend:   append(slices.Clone(states), severities[finding.Error], severities[finding.Warning]),
	}
	v.hosts(r)
	v.findings(r)
	v.changes(r)
	v.namespaces(r)
	v.sum(r)
	namespaces := map[string]struct{}{}
	for _, h := range v.Hosts.Rows {
		for _, ns := range h.Namespaces {
			namespaces[ns] = struct{}{}
		}
	}
	for _, n := range r.Namespaces {
		namespaces[n.Name] = struct{}{}
	}
	v.Filter = slices.Sorted(maps.Keys(namespaces))
	return v
}

func (v *view) hosts(r *Report) {
	t := &v.Hosts
	t.ID, t.Title = "hosts", "Hosts"
	t.Empty = "No ServiceEntry declares an external host, and no route leads to one."
	t.Columns = []column{{Name: "Host"}, {Name: "Port"}, {Name: "TLS", Sort: "ascending"}, {Name: "Rule in force"}, {Name: "Clients"}, {Name: "Routes", Number: true}}
	for i := range r.Hosts {
		if row := newHostRow(&r.Hosts[i]); r.Namespace == "" || slices.Contains(row.Namespaces, r.Namespace) {
			t.Rows = append(t.Rows, row)
		}
	}
	t.Said = count(len(t.Rows), "host")
	slices.SortStableFunc(t.Rows, func(a, b hostRow) int {
		return cmp.Or(cmp.Compare(a.State.Rank, b.State.Rank), cmp.Compare(a.Host.Host, b.Host.Host))
	})
	for i := range t.Rows[:min(len(t.Rows), maxDetailed)] {
		t.Rows[i].detail()
	}
	if len(t.Rows) > maxDetailed {
		v.note("Details are here for the first %d of %d hosts, the worst. `egress-tls explain HOST` has those of each.", maxDetailed, len(t.Rows))
	}
}

func (v *view) findings(r *Report) {
	t := &v.Findings
	t.ID, t.Title, t.Said, t.Empty = "findings", "Findings", count(len(r.Findings), "finding"), "No object has a finding."
	t.Columns = []column{{Name: "Severity", Sort: "ascending"}, {Name: "Code"}, {Name: "Object"}, {Name: "Field"}}
	known := map[string]bool{}
	for _, h := range v.Hosts.Rows {
		known[h.Host.Host] = true
	}
	for _, f := range r.Findings[:min(len(r.Findings), maxFindings)] {
		row := findingRow{Finding: f, State: severities[f.Severity]}
		if known[f.Host] {
			row.HostID = hostID(f.Host)
		}
		t.Rows = append(t.Rows, row)
	}
	if len(r.Findings) > maxFindings {
		v.note("The first %d of %d findings are here, errors first. -o json has all.", maxFindings, len(r.Findings))
	}
}

func (v *view) changes(r *Report) {
	t := &v.Changes
	t.ID, t.Title, t.Said, t.Empty = "changes", "What the webhook would change", count(len(r.Changes), "object"), "Nothing."
	t.Columns = []column{{Name: "Object"}, {Name: "Change"}}
	for _, c := range r.Changes[:min(len(r.Changes), maxChanges)] {
		t.Rows = append(t.Rows, changeRow{c})
	}
	if len(r.Changes) > maxChanges {
		v.note("The first %d of %d changes are here. -o json has all.", maxChanges, len(r.Changes))
	}
}

func (v *view) namespaces(r *Report) {
	t := &v.Namespaces
	t.ID, t.Title, t.Said, t.Empty = "namespaces", "Namespaces", count(len(r.Namespaces), "namespace"), "No object was judged."
	t.Columns = []column{
		{Name: "Namespace", Sort: "ascending"},
		{Name: "Mode"},
		{Name: "Objects", Number: true},
		{Name: "Errors", Number: true},
		{Name: "Warnings", Number: true},
		{Name: "Changes", Number: true},
		{Name: "Findings"},
	}
	for _, n := range r.Namespaces {
		row := namespaceRow{n, ok}
		switch {
		case n.Errors > 0:
			row.Severity = string(finding.Error)
		case n.Warnings > 0:
			row.Severity = string(finding.Warning)
		}
		t.Rows = append(t.Rows, row)
	}
}

func (v *view) note(format string, args ...any) {
	v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
}

// sum says first what the reader must know.
func (v *view) sum(r *Report) {
	hosts := make([]int, len(states))
	for _, h := range v.Hosts.Rows {
		hosts[h.State.Rank]++
	}
	var errors, warnings, objects, plain, doubtful int
	for _, f := range r.Findings {
		if f.Severity == finding.Error {
			errors++
		} else {
			warnings++
		}
	}
	for _, h := range v.Hosts.Rows {
		if slices.ContainsFunc(h.Ports, func(p portRow) bool { return p.State == plainPort }) {
			plain++
		}
		if h.Severity != ok {
			doubtful++
		}
	}
	for _, n := range r.Namespaces {
		objects += n.Objects
	}
	inClear := hosts[plaintext.Rank]
	dead := deadRoutes(r)

	v.Headline, v.Answer = headline(len(v.Hosts.Rows), inClear, dead, errors, warnings+doubtful, plain)
	known := count(len(v.Hosts.Rows), "external host")
	if plain > 0 {
		known += fmt.Sprintf(", %d by plain HTTP", plain)
	}
	v.Subline = fmt.Sprintf("%s. %s and %s in %s.", known, count(errors, "error"), count(warnings, "warning"), count(objects, "object"))
	v.Tiles = []tile{
		{mark("unlocked", "bad", inClear), "#hosts", inClear, "TLS hosts in clear"},
		{mark("blocked", "bad", dead), "#findings", dead, "dead routes"},
		{mark("cross", "bad", errors), "#findings", errors, "errors"},
		{mark("alert", "warn", warnings), "#findings", warnings, "warnings"},
		{look{Icon: "plus", Class: "open"}, "#changes", len(r.Changes), "objects to change"},
		{look{Icon: "boxes", Class: "open"}, "#namespaces", objects, "objects judged"},
	}
	before := 0
	for rank, n := range hosts {
		if n > 0 {
			v.Shares = append(v.Shares, share{states[rank], n, percent(before, len(v.Hosts.Rows)), percent(n, len(v.Hosts.Rows))})
		}
		before += n
	}
	v.Sections = []section{
		{v.Hosts.ID, "Hosts", len(v.Hosts.Rows)},
		{v.Findings.ID, "Findings", len(r.Findings)},
		{v.Changes.ID, "Changes", len(r.Changes)},
		{v.Namespaces.ID, "Namespaces", len(r.Namespaces)},
	}
}

// deadRoutes counts the routes that no request takes: those of findings, and those that are
// dead for all clients, as where another VirtualService has all calls.
func deadRoutes(r *Report) int {
	alive := map[string]bool{}
	for _, h := range r.Hosts {
		for _, c := range h.Clients {
			for _, p := range c.Ports {
				for _, conn := range p.Connections {
					for _, w := range conn.Ways {
						if w.Kind == explain.HTTPRoute && (r.Namespace == "" || w.VirtualService.Namespace == r.Namespace) {
							path, _, _ := strings.Cut(w.Path, ".route[")
							route := w.VirtualService.String() + " " + path
							alive[route] = alive[route] || w.Dead == ""
						}
					}
				}
			}
		}
	}
	for _, f := range r.Findings {
		if f.Code == finding.CatchAllNotLast || f.Code == finding.UnreachableRoute {
			alive[f.Object.Namespace+"/"+f.Object.Name+" "+f.Path] = false
		}
	}
	dead := 0
	for _, live := range alive {
		if !live {
			dead++
		}
	}
	return dead
}

// headline is the answer in one sentence.
func headline(hosts, inClear, dead, errors, doubtful, plain int) (string, look) {
	const fine = "No TLS port is reached in clear"
	var said []string
	if inClear > 0 {
		said = append(said, are(inClear, "host", "reached in clear"))
	}
	if dead > 0 {
		said = append(said, are(dead, "route", "dead"))
	}
	switch {
	case len(said) > 0:
		return strings.Join(said, ", "), look{Class: "bad", Icon: "cross"}
	case errors > 0:
		return "Admission would refuse what is stored: " + count(errors, "error"), look{Class: "bad", Icon: "cross"}
	case doubtful > 0:
		return fine + " and no route is dead, but some need a look", look{Class: "warn", Icon: "alert"}
	case hosts == 0:
		return "No external host is known", look{Class: "open", Icon: "question"}
	case plain > 0:
		return fine + " and no route is dead; " + are(plain, "host", "reached by plain HTTP"), look{Class: "open", Icon: "unlocked"}
	}
	return fine + ", and no route is dead", look{Class: "good", Icon: "check"}
}

// mark is good where there is nothing.
func mark(icon, class string, n int) look {
	if n == 0 {
		class = "good"
	}
	return look{Icon: icon, Class: class}
}

func are(n int, what, state string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s is %s", what, state)
	}
	return fmt.Sprintf("%d %ss are %s", n, what, state)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func percent(n, of int) string { return strconv.FormatFloat(100*float64(n)/float64(of), 'f', 2, 64) }
