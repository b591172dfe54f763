package report

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

var update = flag.Bool("update", false, "rewrite testdata")

func write(t *testing.T, r Report) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, r.Write(&out))
	return out.String()
}

// host is one that a gateway and sidecars reach.
func host(name string, state explain.State) explain.Host {
	vendor := explain.Ref{Namespace: "shop", Name: "vendor"}
	port := func(ways ...explain.Way) []explain.ClientPort {
		c := explain.Connection{
			State: state, Why: "spec.trafficPolicy.tls of DestinationRule shop/vendor says mode SIMPLE", Ways: ways,
			Rule: &explain.Field{Ref: vendor, Path: "spec.trafficPolicy.tls"},
			TLS:  &explain.TLSContext{Mode: "SIMPLE", SNI: name, CA: "system", SubjectAltNames: []string{name}},
		}
		if state != explain.TLS {
			c.TLS, c.Rule, c.Why = nil, nil, "no DestinationRule is in force, and Istio adds no TLS by itself"
			c.Adds = []explain.Addition{{Text: "TLS to " + name}, {Text: "TLS elsewhere", Withheld: "namespace shop is in mode audit"}}
		}
		return []explain.ClientPort{{Port: explain.Port{Number: 443, Protocol: "HTTPS"}, ExpectsTLS: true, Connections: []explain.Connection{c}}}
	}
	route := explain.Way{Kind: explain.HTTPRoute, State: state, VirtualService: &vendor, Path: "spec.http[0]", Match: `uri prefix "/api"`, Host: name, ForwardedProto: "https"}
	dead := route
	dead.State, dead.Path, dead.Dead = explain.Dead, "spec.http[1]", "spec.http[0].match[0] takes all its requests"
	return explain.Host{
		Host:    name,
		Answers: []explain.Answer{{State: state, Text: "TLS to port 443 from all sidecars."}},
		ServiceEntries: []explain.ServiceEntry{{
			Ref: vendor, Host: name, Location: "MESH_EXTERNAL", Resolution: "DNS", VisibleIn: []string{"shop", "web"},
			Ports: []explain.Port{{Number: 443, Protocol: "HTTPS"}, {Number: 80, Protocol: "HTTP", TargetPort: 443}},
		}},
		Hazards: []explain.Hazard{{
			Code: "DoubleTLS", Severity: finding.Warning, Message: "clients that speak TLS get TLS inside TLS.", Remedy: "Give them a port.",
			Object: &finding.Object{Kind: "ServiceEntry", Namespace: "shop", Name: "vendor"}, Path: "spec.ports[0]",
		}},
		Clients: []explain.Client{
			{
				Kind: explain.Gateway, Namespace: "istio-system", Guessed: true, Sees: []explain.Ref{vendor}, Ports: port(route, dead),
				Rules: []explain.Rule{{Ref: vendor, Host: name, Managed: true, Merged: []explain.Ref{{Namespace: "shop", Name: "old"}}}},
				PassedRules: []explain.PassedRule{{
					Ref: explain.Ref{Namespace: "istio-system", Name: "all"}, Host: "*.example.com",
					Text: "DestinationRule shop/vendor is of namespace shop, where Istio looks first",
				}},
			},
			// May not be there, and does not count.
			{Kind: explain.Sidecar, Namespace: "istio-system", BesideGateway: true, Ports: port(explain.Way{Kind: explain.Direct, State: explain.DoubleTLS})},
			{
				Kind: explain.Sidecar, Sees: []explain.Ref{vendor}, Ports: port(explain.Way{Kind: explain.Direct, State: state}),
				Passed: []explain.PassedEntry{{Ref: explain.Ref{Namespace: "web", Name: "vendor"}, Host: name, Text: "its exportTo (.) does not list all namespaces"}},
			},
		},
	}
}

func sample() Report {
	vs := finding.Object{Kind: "VirtualService", Namespace: "shop", Name: "front"}
	return Report{
		Facts: []Fact{{"Time", "22 November 2026, 14:30 UTC"}, {"Context", "prod"}},
		Hosts: []explain.Host{host("good.example.com", explain.TLS), host("bad.example.com", explain.Plaintext)},
		Findings: []Finding{
			{finding.Finding{
				Code: finding.CatchAllNotLast, Severity: finding.Error, Object: vs, Path: "spec.http[1]", CoveredBy: []string{"spec.http[0].match[0]", "spec.http[0].match[1]"},
				Message: "It can never match. For example.", Summary: "It can never match.", Remedy: "Put it first.", Notes: []string{"A stray dash?"},
				Example: &finding.Example{Request: "GET /", GoesTo: "a:80", By: "spec.http[0].match[0]", InsteadOf: "b:80"},
				Related: []finding.Place{{Object: vs, Path: "spec.http[2]", Text: "its other half"}},
			}, "front.yaml:12"},
			{finding.Finding{Code: finding.TLSDisabled, Severity: finding.Warning, Object: vs, Message: "It may fail.", Host: "bad.example.com"}, ""},
		},
		Changes:    []Change{{Object: vs, Lines: []string{"spec.http[0]: set request headers Host: good.example.com", "DestinationRule shop/egress-tls"}}},
		Namespaces: []Namespace{{"shop", "enforce", 3, 1, 1, 1, []CodeCount{{finding.CatchAllNotLast, 1}, {finding.TLSDisabled, 1}}}, {"web", "audit", 1, 0, 0, 0, nil}},
		Notes:      []string{"Not all was read."},
	}
}

// The whole page but its style and script, and their hashes.
func TestPage(t *testing.T) {
	got := write(t, sample())
	got = strings.Replace(got, strings.TrimSpace(style), "STYLE", 1)
	got = strings.Replace(got, strings.TrimSpace(script), "SCRIPT", 1)
	got = regexp.MustCompile(`(Policy" content=)"[^"]*"`).ReplaceAllString(got, `$1"SECURITY"`) // See TestSecurity.
	if *update {
		require.NoError(t, os.WriteFile("testdata/page.html", []byte(got), 0o600))
	}
	want, err := os.ReadFile("testdata/page.html")
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestHeadline(t *testing.T) {
	for want, tc := range map[string]struct {
		hosts, clear, dead, errors, doubtful, plain int
		class                                       string
	}{
		"1 host is reached in clear, 2 routes are dead":                                           {9, 1, 2, 3, 4, 1, "bad"},
		"3 hosts are reached in clear":                                                            {9, 3, 0, 0, 0, 0, "bad"},
		"1 route is dead":                                                                         {9, 0, 1, 1, 0, 0, "bad"},
		"Admission would refuse what is stored: 2 errors":                                         {9, 0, 0, 2, 1, 0, "bad"},
		"No TLS port is reached in clear and no route is dead, but some need a look":              {9, 0, 0, 0, 1, 1, "warn"},
		"No TLS port is reached in clear and no route is dead; 2 hosts are reached by plain HTTP": {9, 0, 0, 0, 0, 2, "open"},
		"No TLS port is reached in clear, and no route is dead":                                   {9, 0, 0, 0, 0, 0, "good"},
		"No external host is known":                                                               {0, 0, 0, 0, 0, 0, "open"},
	} {
		got, mark := headline(tc.hosts, tc.clear, tc.dead, tc.errors, tc.doubtful, tc.plain)
		assert.Equal(t, want, got)
		assert.Equal(t, tc.class, mark.Class, want)
	}
}

// What no finding tells is no good news.
func TestSum(t *testing.T) {
	sum := func(r Report) *view { return newView(&r) }
	plain := host("plain.example.com", explain.Plaintext)
	plain.Clients = plain.Clients[2:]
	plain.Clients[0].Ports[0].ExpectsTLS = false
	plain.Hazards = nil
	v := sum(Report{Hosts: []explain.Host{plain}})
	assert.Equal(t, "No TLS port is reached in clear and no route is dead; 1 host is reached by plain HTTP", v.Headline)
	assert.Equal(t, "1 external host, 1 by plain HTTP. 0 errors and 0 warnings in 0 objects.", v.Subline)

	// Routes that lead elsewhere take all its calls: that is no harm.
	taken := plain
	taken.Clients = []explain.Client{{Kind: explain.Sidecar, Sees: []explain.Ref{{}}, Ports: []explain.ClientPort{{CallsTakenBy: &explain.Ref{}}}}}
	v = sum(Report{Hosts: []explain.Host{taken}})
	assert.Equal(t, "No TLS port is reached in clear, and no route is dead", v.Headline)
	assert.Equal(t, unused, v.Hosts.Rows[0].State)

	hazard := plain
	hazard.Hazards = []explain.Hazard{{Code: "SNIOfRequest", Severity: finding.Warning}}
	assert.Equal(t, "No TLS port is reached in clear and no route is dead, but some need a look", sum(Report{Hosts: []explain.Host{hazard}}).Headline)

	// The dead route of the sample is another one than that of its finding, and counts once for both hosts.
	r := sample()
	r.Hosts = []explain.Host{host("a.example.com", explain.TLS), host("b.example.com", explain.TLS)}
	assert.Equal(t, "2 routes are dead", sum(r).Headline)
	r.Findings = nil
	assert.Equal(t, "1 route is dead", sum(r).Headline)
	r.Namespace = "shop"
	assert.Equal(t, "1 route is dead", sum(r).Headline)
	r.Namespace = "istio-system"
	assert.Equal(t, "No TLS port is reached in clear and no route is dead, but some need a look", sum(r).Headline)
}

func TestStates(t *testing.T) {
	expects, plain := explain.ClientPort{ExpectsTLS: true}, explain.ClientPort{}
	verified := explain.TLSContext{CA: "system", SubjectAltNames: []string{"a"}}
	for _, tc := range []struct {
		state explain.State
		port  explain.ClientPort
		tls   *explain.TLSContext
		want  look
	}{
		{explain.Plaintext, expects, nil, plaintext},
		{explain.Plaintext, plain, nil, plainPort},
		{explain.DoubleTLS, expects, &verified, doubleTLS},
		{explain.Dead, expects, nil, dead},
		{explain.Unreachable, expects, nil, unreachable},
		{explain.AsSent, plain, nil, asSent},
		{explain.ApplicationTLS, expects, nil, application},
		{explain.TLS, expects, &verified, tls},
		{explain.TLS, expects, &explain.TLSContext{CA: "system", AutoName: true}, tls},
		{explain.TLS, expects, &explain.TLSContext{CA: "system"}, notVerified},
		{explain.TLS, expects, &explain.TLSContext{SubjectAltNames: []string{"a"}}, notVerified},
		{explain.TLS, expects, &explain.TLSContext{CA: "system", AutoName: true, ClientCertificate: "c"}, mutual},
		{explain.None, expects, nil, unused},
	} {
		assert.Equal(t, tc.want, stateOf(tc.state, tc.port, tc.tls), "%s %+v", tc.state, tc.tls)
	}
	for rank, s := range states {
		assert.Equal(t, rank, s.Rank, s.Word)
	}
}

// docs/scan.md says what each state means.
func TestStatesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/scan.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(doc), "| state | |\n|---|---|\n")
	var want []string
	for _, s := range states {
		want = append(want, "| "+s.Word+" |")
	}
	assert.Equal(t, want, regexp.MustCompile(`(?m)^\| [\w' ]+ \|`).FindAllString(table[:strings.Index(table, "\n\n")+1], -1))
}

func TestEntryText(t *testing.T) {
	for want, visible := range map[string][]string{
		"visible nowhere":           nil,
		"visible in all namespaces": {"*"},
		"visible in shop, web":      {"shop", "web"},
	} {
		se := explain.ServiceEntry{
			Ref: explain.Ref{Namespace: "shop", Name: "a"}, Host: "a.example.com", Location: "MESH_EXTERNAL", Resolution: "DNS", VisibleIn: visible,
			Ports: []explain.Port{{Number: 443, Protocol: "HTTPS"}, {Number: 80, Protocol: "HTTP", TargetPort: 443}},
		}
		assert.Equal(t, "ServiceEntry shop/a: a.example.com on port 443 HTTPS, 80 HTTP (targetPort 443), MESH_EXTERNAL, resolution DNS, "+want, entryText(se))
	}
}

func TestTLSText(t *testing.T) {
	for want, context := range map[string]*explain.TLSContext{
		"none": nil,
		"SIMPLE, SNI a, authority system, certificate for a or b":                                                        {Mode: "SIMPLE", SNI: "a", CA: "system", SubjectAltNames: []string{"a", "b"}},
		"SIMPLE, SNI is the Host of each request, authority system, certificate for the Host of each request":            {Mode: "SIMPLE", AutoSNI: true, CA: "system", AutoName: true},
		"SIMPLE, SNI is the Host of each request, authority system, certificate for a, and for the Host of each request": {Mode: "SIMPLE", AutoSNI: true, CA: "system", AutoName: true, SubjectAltNames: []string{"a"}},
		"SIMPLE, no SNI, authority system, certificate for any name":                                                     {Mode: "SIMPLE", CA: "system"},
		"SIMPLE, SNI a, certificate not verified":                                                                        {Mode: "SIMPLE", SNI: "a"},
		"MUTUAL, SNI a, authority /ca.pem, certificate for any name, own certificate /etc/client.pem":                    {Mode: "MUTUAL", SNI: "a", CA: "/ca.pem", ClientCertificate: "/etc/client.pem"},
	} {
		assert.Equal(t, want, tlsText(context))
	}
}

// Clients of which the same is said share one place.
func TestClientsAreGrouped(t *testing.T) {
	sidecars := func(namespace, wildcard string) explain.Client {
		return explain.Client{Kind: explain.Sidecar, Namespace: namespace, Wildcard: wildcard}
	}
	gateway := explain.Client{Kind: explain.Gateway, Namespace: "edge"}
	for want, clients := range map[string][]explain.Client{
		"":                                      nil,
		"Gateways in edge; All sidecars":        {gateway, sidecars("a", ""), sidecars("", "")},
		"Sidecars in a; Sidecars in all others": {sidecars("a", "x"), sidecars("", "")},
		"Sidecars in a, all others; Sidecars in b": {sidecars("a", ""), sidecars("b", "x"), sidecars("", "")},
	} {
		row := newHostRow(&explain.Host{Clients: clients})
		row.detail()
		var titles []string
		for _, d := range row.Details {
			titles = append(titles, d.Title)
		}
		assert.Equal(t, want, strings.Join(titles, "; "))
	}
}

func TestNamespacesText(t *testing.T) {
	for want, namespaces := range map[string][]string{
		"":                nil,
		"all others":      {""},
		"a, all others":   {"a", ""},
		"a, b, c":         {"a", "b", "c"},
		"a, b, c, 2 more": {"a", "b", "c", "d", "e"},
	} {
		assert.Equal(t, want, namespacesText(namespaces))
	}
}

// A page of any cluster can be opened.
func TestBounds(t *testing.T) {
	r := sample()
	for i := range maxDetailed {
		r.Hosts = append(r.Hosts, host(fmt.Sprintf("h%d.example.com", i), explain.TLS))
	}
	for i := range maxClients {
		r.Hosts[0].Clients = append(r.Hosts[0].Clients, explain.Client{Kind: explain.Sidecar, Namespace: "a", Wildcard: fmt.Sprint(i)})
	}
	connection := &r.Hosts[1].Clients[0].Ports[0].Connections[0]
	connection.Ways = append(connection.Ways, make([]explain.Way, maxWays)...)
	for len(r.Findings) <= maxFindings {
		r.Findings = append(r.Findings, r.Findings[1])
	}
	for len(r.Changes) <= maxChanges {
		r.Changes = append(r.Changes, r.Changes[0])
	}
	got := write(t, r)
	assert.Equal(t, maxDetailed+2, strings.Count(got, ` id="host-`)-maxDetailed)
	assert.Equal(t, maxDetailed, strings.Count(got, `class="detail"`))
	assert.Contains(t, got, `<p class="more">3 more clients: <code>egress-tls explain good.example.com</code> shows them.</p>`)
	assert.Equal(t, 1, strings.Count(got, "<li>2 more</li>"))
	for _, note := range []string{
		"Details are here for the first 1000 of 1002 hosts, the worst. `egress-tls explain HOST` has those of each.",
		"The first 5000 of 5001 findings are here, errors first. -o json has all.",
		"The first 5000 of 5001 changes are here. -o json has all.",
	} {
		assert.Contains(t, got, note)
	}
}

// What objects hold becomes neither markup nor an attribute's end, and turns no text around.
func TestHostileNames(t *testing.T) {
	r := sample()
	hostile(reflect.ValueOf(&r).Elem())
	got := write(t, r)
	assert.NotContains(t, got, "\u202e")
	assert.NotContains(t, got, "<img")
	assert.NotContains(t, got, `"evil`)
	assert.Contains(t, got, `\u202e&#34;evil&lt;img&gt;`)
	tags := func(page string) []string { return regexp.MustCompile(`</?[a-z0-9]+[ />]`).FindAllString(page, -1) }
	assert.True(t, slices.Equal(tags(write(t, sample())), tags(got)), "the same elements")
}

// hostile makes evil of all strings, but of words that decide what is shown.
func hostile(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		const evil = "\u202e\"evil<img>"
		if v.Type().PkgPath() == "" && v.String() != "" && !strings.HasPrefix(v.String(), evil) {
			v.SetString(evil + v.String())
		}
	case reflect.Pointer:
		if !v.IsNil() {
			hostile(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			hostile(v.Index(i))
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			hostile(field)
		}
	default:
	}
}

// The browser obeys style and script only if they are what the page says.
func TestSecurity(t *testing.T) {
	got := write(t, sample())
	between := func(a, b string) string {
		_, rest, _ := strings.Cut(got, a)
		text, _, _ := strings.Cut(rest, b)
		return text
	}
	assert.Equal(t, "default-src &#39;none&#39;; script-src &#39;"+strings.ReplaceAll(hash(between("<script>", "</script>")), "+", "&#43;")+
		"&#39;; style-src &#39;"+strings.ReplaceAll(hash(between("<style>", "</style>")), "+", "&#43;")+"&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;", between(`Content-Security-Policy" content="`, `"`))
	assert.NotContains(t, got, " style=")
	assert.NotContains(t, got, "://")
}

// Every icon that is shown is drawn.
func TestIcons(t *testing.T) {
	for _, m := range regexp.MustCompile(`<use href="#([^"]*)"`).FindAllStringSubmatch(write(t, sample()), -1) {
		assert.Contains(t, page, `<symbol id="`+m[1]+`"`)
	}
	for _, s := range append(states, dead, severities[finding.Error], severities[finding.Warning]) {
		assert.Contains(t, page, `<symbol id="`+s.Icon+`"`, s.Word)
		assert.Contains(t, style, "."+s.Class+" {", s.Word)
	}
}
