package validate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// gatewayObject is Gateway gw/NAME on pods istio=NAME, with one server a hosts list:
// "PORT HOST,HOST".
func gatewayObject(name string, servers ...string) string {
	out := "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: " + name + ", namespace: gw}\n" +
		"spec:\n  selector: {istio: " + name + "}\n  servers:\n"
	for i, s := range servers {
		port, hosts, _ := strings.Cut(s, " ")
		protocol, tls := "HTTP", ""
		if port == "443" {
			protocol, tls = "HTTPS", ", tls: {mode: SIMPLE}"
		}
		out += fmt.Sprintf("  - {port: {number: %s, name: p%d, protocol: %s}, hosts: [%q]%s}\n",
			port, i, protocol, strings.ReplaceAll(hosts, ",", `", "`), tls)
	}
	return out
}

// route is a VirtualService "NAMESPACE/NAME"; age counts days, 0 is not stored yet.
// Each entry of http is the match of a route to a host of the object's name, "-" none.
func route(name string, age int, spec string, http ...string) string {
	ns, name, _ := strings.Cut(name, "/")
	created := ""
	if age > 0 {
		created = fmt.Sprintf(", creationTimestamp: '2026-01-%02dT00:00:00Z'", 31-age)
	}
	out := "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " + name + ", namespace: " + ns + created + "}\nspec:\n"
	for field := range strings.SplitSeq(spec, "; ") {
		if field != "" {
			out += "  " + field + "\n"
		}
	}
	out += "  http:\n"
	for _, m := range http {
		switch {
		case strings.HasPrefix(m, "delegate"):
			d, match, _ := strings.Cut(m, " ")
			_, d, _ = strings.Cut(d, "=")
			out += "  - {delegate: {name: " + d + "}, match: [" + match + "]}\n"
		case m == "-":
			out += "  - {route: [{destination: {host: " + name + "}}]}\n"
		default:
			out += "  - {route: [{destination: {host: " + name + "}}], match: [" + m + "]}\n"
		}
	}
	return out
}

const pods = `---
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: pods}
spec: {selector: {istio: g}}
`

func shadowed(t *testing.T, text, name string) []finding.Finding {
	t.Helper()
	all := objects(t, text)
	w := scenario.World(all, policy.Default())
	ns, name, _ := strings.Cut(name, "/")
	vs := w.VirtualService(ns, name)
	require.NotNil(t, vs)
	return validate.Shadowed(w, nil, vs)
}

// short lists "object path: message" up to the reason.
func short(fs []finding.Finding) []string {
	var out []string
	for _, f := range fs {
		message, _, _ := strings.Cut(f.Message, " first. At a gateway")
		out = append(out, f.Object.Namespace+"/"+f.Object.Name+" "+f.Path+": "+message)
	}
	return out
}

const atG = "hosts: [e.com]; gateways: [gw/g]"

func TestShadowedAtGateway(t *testing.T) {
	const (
		api   = "{uri: {prefix: /api}}"
		apiV1 = "{uri: {prefix: /api/v1}}"
		root  = "{uri: {prefix: /}}"
		all   = "{uri: {regex: '/.*'}}"
	)
	g := gatewayObject("g", "80 *") + pods
	takes := func(path, text, by string) []string {
		return []string{"a/new " + path + ": No request for e.com at gateway gw/g reaches " + path + " (" + text + ", to new) of VirtualService a/new: " + by + " of VirtualService b/old takes them"}
	}
	apiTakes := `spec.http[0].match[0] (uri prefix "/api", to old)`
	for _, c := range []struct {
		name, world string
		want        []string
	}{
		{"alone", g + route("a/new", 0, atG, api), nil},
		{"an older prefix takes a longer one", g + route("b/old", 2, atG, api) + route("a/new", 0, atG, apiV1), takes("spec.http[0]", `uri prefix "/api/v1"`, apiTakes)},
		{"other routes live", g + route("b/old", 2, atG, api) + route("a/new", 0, atG, "{uri: {prefix: /web}}", apiV1), takes("spec.http[1]", `uri prefix "/api/v1"`, apiTakes)},
		{"several routes", g + route("b/old", 2, atG, api, "{uri: {exact: /x}}") + route("a/new", 0, atG, apiV1, "{uri: {exact: /x}}"), []string{
			`a/new spec.http: No request for e.com at gateway gw/g reaches spec.http[0] (uri prefix "/api/v1", to new) and spec.http[1] (uri exact "/x", to new) of VirtualService a/new: ` +
				apiTakes + ` and spec.http[1].match[0] (uri exact "/x", to old) of VirtualService b/old take them`,
		}},
		{"the gateway may be unknown", route("b/old", 2, atG, api) + route("a/new", 0, atG, apiV1), takes("spec.http[0]", `uri prefix "/api/v1"`, apiTakes)},
		{"the name of a gateway is resolved", g + route("gw/old", 2, "hosts: [e.com]; gateways: [g]", api) + route("a/new", 0, "hosts: [e.com]; gateways: [g.gw.svc.cluster.local]", apiV1), []string{
			`a/new spec.http[0]: No request for e.com at gateway gw/g reaches spec.http[0] (uri prefix "/api/v1", to new) of VirtualService a/new: ` + apiTakes + ` of VirtualService gw/old takes them`,
		}},
		{"hosts compare without case", g + route("b/old", 2, "hosts: [E.com]; gateways: [gw/g]", api) + route("a/new", 0, atG, apiV1), takes("spec.http[0]", `uri prefix "/api/v1"`, apiTakes)},
		{"one that is dead by itself is not said again", g + route("b/old", 2, atG, api) + route("a/new", 0, atG, "{uri: {prefix: /web}}", "{uri: {prefix: /web/x}}"), nil},
		{"a shorter prefix lives", g + route("b/old", 2, atG, apiV1) + route("a/new", 0, atG, api), nil},
		{"catch-alls come last", g + route("b/old", 2, atG, root) + route("a/new", 0, atG, api), nil},
		{"so does one without a match", g + route("b/old", 2, atG, "-") + route("a/new", 0, atG, api), nil},
		{"and the regex .*", g + route("b/old", 2, atG, "{uri: {regex: '.*'}}") + route("a/new", 0, atG, api), nil},
		{"of two catch-alls the older stays in front", g + route("b/old", 2, atG, root) + route("a/new", 0, atG, "-"), takes("spec.http[0]", "no match", `spec.http[0].match[0] (uri prefix "/", to old)`)},
		{"a catch-all that Istio does not know", g + route("b/old", 2, atG, all) + route("a/new", 0, atG, api), takes("spec.http[0]", `uri prefix "/api"`, `spec.http[0].match[0] (uri regex "/.*", to old)`)},
		{"it also comes before an older one that Istio knows", g + route("a/old", 2, atG, "-") + route("b/new", 0, atG, all), nil},
		{"what Istio drops behind a catch-all takes nothing", g + route("b/old", 2, atG, root, api) + route("a/new", 0, atG, apiV1), nil},
		{"nor what it drops on one port", g + route("b/old", 2, atG, "{port: 80}", api) + route("a/new", 0, atG, apiV1), nil},
		{"an age of the same second is decided by the name", g + route("b/z", 2, atG, api) + route("c/a", 2, atG, apiV1) + route("a/new", 2, atG, apiV1), []string{
			`a/new spec.http[0]: No request for e.com at gateway gw/g reaches spec.http[0] (uri prefix "/api/v1", to new) of VirtualService a/new: spec.http[0].match[0] (uri prefix "/api/v1", to a) of VirtualService c/a takes them`,
		}},
		{"conditions that the older one asks for more", g + route("b/old", 2, atG, "{uri: {prefix: /api}, headers: {x: {exact: '1'}}}") + route("a/new", 0, atG, apiV1), nil},
		{"another gateway", g + route("b/old", 2, "hosts: [e.com]; gateways: [gw/other]", api) + route("a/new", 0, atG, apiV1), nil},
		{"a match at another gateway", g + route("b/old", 2, "hosts: [e.com]; gateways: [gw/g, gw/other]", "{uri: {prefix: /api}, gateways: [gw/other]}") + route("a/new", 0, atG, apiV1), nil},
		{"live at another gateway of the same pods", route("b/old", 2, atG, api) + route("a/new", 0, "hosts: [e.com]; gateways: [gw/g, gw/other]", apiV1), nil},
		{
			"live at another gateway of other pods", g + gatewayObject("h", "80 *") + route("b/old", 2, atG, api) + route("a/new", 0, "hosts: [e.com]; gateways: [gw/g, gw/h]", apiV1),
			takes("spec.http[0]", `uri prefix "/api/v1"`, apiTakes),
		},
		{"a wildcard and an exact host of its own that lives", g + route("b/old", 2, "hosts: ['*.com']; gateways: [gw/g]", api) + route("a/new", 0, "hosts: ['*.com', e.com]; gateways: [gw/g]", apiV1), nil},
		{"another host", g + route("b/old", 2, "hosts: [f.com]; gateways: [gw/g]", api) + route("a/new", 0, atG, apiV1), nil},
		{"one host of two", g + route("b/old", 2, atG, api) + route("a/new", 0, "hosts: [f.com, e.com]; gateways: [gw/g]", apiV1), takes("spec.http[0]", `uri prefix "/api/v1"`, apiTakes)},
		{"a wildcard beside an exact host", g + route("b/old", 2, "hosts: ['*.com']; gateways: [gw/g]", api) + route("a/new", 0, atG, apiV1), nil},
		{"a server for the exact host makes one of both", gatewayObject("g", "80 e.com") + pods + route("b/old", 2, "hosts: ['*.com']; gateways: [gw/g]", api) + route("a/new", 0, atG, apiV1), takes("spec.http[0]", `uri prefix "/api/v1"`, apiTakes)},
		{"an exception from a wildcard is meant", gatewayObject("g", "80 e.com,f.com") + pods + route("b/old", 2, atG, api) + route("a/new", 0, "hosts: ['*.com']; gateways: [gw/g]", apiV1), nil},
		{"no server for the host", gatewayObject("g", "80 f.com") + pods + route("b/old", 2, atG, api) + route("a/new", 0, atG, apiV1), nil},
		{"a server for the namespace of one", gatewayObject("g", "80 a/e.com") + pods + route("b/old", 2, atG, api) + route("a/new", 0, atG, apiV1), nil},
		{"each server counts", gatewayObject("g", "80 *", "443 a/*") + pods + route("b/old", 2, atG, api) + route("a/new", 0, atG, apiV1), nil},
		{"servers of a port come in their order", gatewayObject("g", "80 a/*", "80 *") + pods + route("b/old", 2, atG, api) + route("a/new", 0, atG, apiV1), nil},
		{"private ones come before", g + route("b/old", 2, atG, api) + route("pods/new", 0, atG+"; exportTo: [.]", api, apiV1), nil},
		{"exported by name comes before public", g + route("b/old", 0, atG+"; exportTo: [pods]", api) + route("a/new", 2, atG, apiV1), takes("spec.http[0]", `uri prefix "/api/v1"`, apiTakes)},
		{"not exported to the pods", g + route("b/old", 2, atG+"; exportTo: [a]", api) + route("a/new", 0, atG, apiV1), nil},
		{"not exported to all who may be the pods", gatewayObject("g", "80 *") + route("b/old", 2, atG+"; exportTo: [pods]", api) + route("a/new", 0, atG, apiV1), nil},
		{"seen by nobody", g + route("b/old", 2, atG, api) + route("a/new", 0, atG+"; exportTo: ['~']", apiV1), nil},
		{
			"through a delegate", g + route("b/d", 2, "", api) + route("b/old", 2, atG, "delegate=d "+root) + route("a/new", 0, atG, apiV1),
			takes("spec.http[0]", `uri prefix "/api/v1"`, "spec.http[0].match[0] (through VirtualService b/d spec.http[0], to delegate d)"),
		},
		{
			"a delegate that is dead", g + route("a/d", 2, "", apiV1) + route("b/old", 2, atG, api) + route("a/new", 0, atG, "delegate=d "+api),
			[]string{`a/new spec.http[0]: No request for e.com at gateway gw/g reaches spec.http[0] (uri prefix "/api", to delegate d) of VirtualService a/new: ` + apiTakes + ` of VirtualService b/old takes them`},
		},
		{"a delegate that nobody knows", g + route("b/old", 2, atG, root) + route("a/new", 0, atG, "delegate=d "+root), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var own []finding.Finding
			for _, f := range shadowed(t, c.world, nameOf(c.world)) {
				if f.Object.Name == "new" {
					own = append(own, f)
				}
				assert.Equal(t, finding.ShadowedByVirtualService, f.Code)
				assert.Equal(t, finding.Warning, f.Severity)
			}
			assert.ElementsMatch(t, c.want, short(own))
		})
	}
}

// nameOf is the namespace of new, and its name.
func nameOf(world string) string {
	_, rest, _ := strings.Cut(world, "metadata: {name: new, namespace: ")
	return rest[:strings.IndexAny(rest, ",}")] + "/new"
}

const atMesh = "hosts: [e.com]; gateways: [mesh]"

func TestShadowedAtSidecars(t *testing.T) {
	for _, c := range []struct {
		name, world string
		want        []string
	}{
		{"the oldest has the host", route("b/old", 2, "hosts: [e.com]", "{uri: {prefix: /x}}") + route("a/new", 0, atMesh, "{uri: {prefix: /y}}", "-"), []string{
			`a/new spec.hosts[0]: Sidecars take the routes of host e.com from VirtualService b/old alone, which comes first (by age, then by name), and ignore those of VirtualService a/new: its spec.http[0] (uri prefix "/y", to new) and spec.http[1] (no match, to new) get no request from the mesh; what VirtualService b/old does not match is answered with 404.`,
		}},
		{"one host of several", route("b/old", 2, atMesh, "-") + route("a/new", 0, "hosts: [f.com, e.com]", "-"), []string{
			`a/new spec.hosts[1]: Sidecars take the routes of host e.com from VirtualService b/old alone, which comes first (by age, then by name), and ignore those of VirtualService a/new: its spec.http[0] (no match, to new) gets no request from the mesh; what VirtualService b/old does not match is answered with 404.`,
		}},
		{"all hosts", route("b/old", 2, "hosts: [f.com, e.com]", "-") + route("a/new", 0, "hosts: [e.com, f.com]", "-"), []string{
			`a/new spec.hosts: Sidecars take the routes of hosts e.com and f.com from VirtualService b/old alone, which comes first (by age, then by name), and ignore those of VirtualService a/new: its spec.http[0] (no match, to new) gets no request from the mesh; what VirtualService b/old does not match is answered with 404.`,
		}},
		{"a short name is that of the namespace", route("a/old", 2, "hosts: [e]", "-") + route("a/new", 0, "hosts: [e.a.svc.cluster.local]", "-"), []string{
			`a/new spec.hosts[0]: Sidecars take the routes of host e.a.svc.cluster.local from VirtualService a/old alone, which comes first (by age, then by name), and ignore those of VirtualService a/new: its spec.http[0] (no match, to new) gets no request from the mesh; what VirtualService a/old does not match is answered with 404.`,
		}},
		{"a short name of another namespace", route("b/old", 2, "hosts: [e]", "-") + route("a/new", 0, "hosts: [e]", "-"), nil},
		{"exported by name comes before", route("b/old", 0, atMesh+"; exportTo: [c, a]", "-") + route("a/new", 2, atMesh, "-"), nil},
		{"whichever is first", route("b/old", 0, atMesh+"; exportTo: [c, a]", "-") + route("a/new", 2, atMesh+"; exportTo: ['*', a]", "-") + route("b/all", 3, atMesh, "-"), []string{
			`a/new spec.hosts[0]: Sidecars take the routes of host e.com from VirtualService b/all alone, which comes first (by age, then by name), and ignore those of VirtualService a/new: its spec.http[0] (no match, to new) gets no request from the mesh; what VirtualService b/all does not match is answered with 404.`,
		}},
		{"an older one that is not seen everywhere", route("b/old", 2, atMesh+"; exportTo: [c]", "-") + route("a/new", 0, atMesh, "-"), nil},
		{"a wildcard leaves the exact host alone", route("b/old", 2, "hosts: ['*.com']", "-") + route("a/new", 0, atMesh, "-"), nil},
		{"no route on the port", route("b/old", 2, atMesh, "{port: 8080}") + route("a/new", 0, atMesh, "-"), nil},
		{"routes on one port", route("b/old", 2, atMesh, "{port: 8080}") + route("a/new", 0, atMesh, "{port: 8080, uri: {prefix: /}}", "-"), []string{
			`a/new spec.http[0]: Sidecars take the routes of host e.com from VirtualService b/old alone, which comes first (by age, then by name), and ignore those of VirtualService a/new: its spec.http[0] (uri prefix "/", port 8080, to new) gets no request from the mesh; what VirtualService b/old does not match is answered with 404.`,
		}},
		{"no route for the pods", route("b/old", 2, atMesh, "{sourceLabels: {app: x}}") + route("a/new", 0, atMesh, "-"), nil},
		{"no route for sidecars", route("b/old", 2, "hosts: [e.com]; gateways: [mesh, gw/g]", "{gateways: [gw/g]}") + route("a/new", 0, atMesh, "-"), nil},
		{"the mesh and a gateway are apart", route("b/old", 2, atG, "-") + route("a/new", 0, atMesh, "-"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, short(shadowed(t, c.world, "a/new")))
		})
	}
}

// The whole text, and what who takes the requests is told.
func TestShadowedText(t *testing.T) {
	t.Parallel()
	w := gatewayObject("g", "80 *") + pods + route("b/old", 2, atG, "-") + route("a/new", 0, atG, "{uri: {regex: '/.*'}}")
	got := shadowed(t, w, "a/new")
	require.Len(t, got, 1)
	assert.Equal(t, shadowed(t, w, "b/old"), got, "both are told the same")
	assert.Equal(t, finding.Object{APIVersion: "networking.istio.io/v1", Kind: "VirtualService", Namespace: "b", Name: "old"}, got[0].Object)
	assert.Equal(t, `ShadowedByVirtualService at spec.http[0]: No request for e.com at gateway gw/g reaches spec.http[0] (no match, to old) of VirtualService b/old: `+
		`spec.http[0].match[0] (uri regex "/.*", to new) of VirtualService a/new takes them first. At a gateway Istio puts the routes of all VirtualServices of a host into one list: `+
		`catch-alls come last, whatever their age. Move spec.http[0] of VirtualService b/old into VirtualService a/new, before spec.http[0]; `+
		`or narrow the match there, or give VirtualService b/old another host or gateway.`, got[0].Text())
}

// An update tells of those whose requests it newly takes, not of all.
func TestShadowedByAnUpdate(t *testing.T) {
	t.Parallel()
	g := gatewayObject("g", "80 *") + pods
	others := route("a/one", 1, atG, "{uri: {prefix: /one}}") + route("a/two", 1, atG, "{uri: {prefix: /two}}")
	now := objects(t, g+others+route("b/old", 2, atG, "{uri: {prefix: /one}}", "{uri: {prefix: /two}}"))
	was := objects(t, route("b/old", 2, atG, "{uri: {prefix: /one}}"))[0].Typed.(*networkingv1.VirtualService)
	w := scenario.World(now, policy.Default())
	vs := w.VirtualService("b", "old")
	names := func(fs []finding.Finding) (out []string) {
		for _, f := range fs {
			out = append(out, f.Object.Name)
		}
		return out
	}
	assert.Equal(t, []string{"one", "two"}, names(validate.Shadowed(w, nil, vs)))
	assert.Equal(t, []string{"two"}, names(validate.Shadowed(w, func() *networkingv1.VirtualService { return was }, vs)))
	assert.Empty(t, validate.Shadowed(w, func() *networkingv1.VirtualService { return vs }, vs))
}

// Many are bounded in number and length, and the same at every run.
func TestShadowedIsBounded(t *testing.T) {
	t.Parallel()
	w := gatewayObject("g", "80 *") + pods + route("b/old", 9, atG, "{uri: {prefix: /}, ignoreUriCase: true, method: {regex: '.*'}}")
	for i := range 30 {
		w += route(fmt.Sprintf("a/v%02d", i), 1, "hosts: [e.com, f.com]; gateways: [gw/g]", strings.Split(strings.Repeat("{uri: {exact: /"+strings.Repeat("x", 300)+"}}\n", 9), "\n")[:9]...)
	}
	got := shadowed(t, w, "b/old")
	require.Len(t, got, 6)
	assert.Equal(t, got, shadowed(t, w, "b/old"))
	for _, f := range got {
		assert.LessOrEqual(t, len(f.Message), 1000)
		assert.LessOrEqual(t, len(f.Remedy), 1000)
	}
	assert.Contains(t, got[5].Message, "And 25 more like these.")
}

// What is looked at are those that share a host, so a large mesh costs nothing; and a
// host that very many share is given up: each would else be judged beside all others.
func TestShadowedInALargeMesh(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		differ int
	}{{"hosts of their own", 1}, {"one host", 0}} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			const n = 3000
			for i := range n {
				b.WriteString(route(fmt.Sprintf("a/v%d", i), 1, "hosts: ["+fmt.Sprintf("h%d.com", i*c.differ)+"]; gateways: [gw/g]", "{uri: {prefix: /x}}"))
			}
			all := objects(t, b.String())
			w := scenario.World(all, policy.Default())
			for _, o := range all {
				assert.Empty(t, validate.Shadowed(w, nil, o.Typed.(*networkingv1.VirtualService)))
			}
		})
	}
}
