package conformance

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
)

// A shadowWorld is several VirtualServices that share hosts and gateways.
type shadowWorld struct{ objects []metav1.Object }

func newShadowWorld(t testing.TB, seed int64) *shadowWorld {
	t.Helper()
	parsed, err := scenario.Parse([]byte(shadowObjects(routegen.Random(seed))))
	if err != nil {
		t.Fatal(err)
	}
	w := &shadowWorld{}
	for _, o := range parsed {
		w.objects = append(w.objects, o.Typed)
	}
	return w
}

// shadowObjects draws Gateways of the same or other pods, some hosts that the mesh has, and
// VirtualServices of few hosts and conditions, some of them equally old.
func shadowObjects(g routegen.Generator) string {
	var b strings.Builder
	object := func(version, kind, name, namespace, more string) {
		fmt.Fprintf(&b, "---\napiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s%s}\n", version, kind, name, namespace, more)
	}
	const istio = "networking.istio.io/v1"
	for i := range 1 + g.Draw(2) {
		object(istio, "Gateway", fmt.Sprint("g", i), "gw", "")
		fmt.Fprintf(&b, "spec:\n  selector: {istio: %s}\n  servers:\n", routegen.Pick(g, "ingress", "ingress", "internal"))
		for s := range 1 + g.Draw(3) {
			hosts := routegen.Pick(g, `"*"`, `"*"`, `"*"`, `"*"`, `"*"`, `"*.e.com"`, `a.e.com`, `"na/*", b.e.com`, `"./*"`, `nb/a.e.com, "*.e.com"`, `a.e.com, b.e.com`)
			if g.Chance(25) {
				fmt.Fprintf(&b, "  - {port: {number: 443, name: https%d, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: c}, hosts: [%s]}\n", s, hosts)
			} else {
				fmt.Fprintf(&b, "  - {port: {number: %d, name: http%d, protocol: HTTP}, hosts: [%s]}\n", routegen.Pick(g, 80, 80, 8080), s, hosts)
			}
		}
	}
	if g.Chance(50) {
		object("v1", "Service", "ingress", "gw", "")
		b.WriteString("spec: {selector: {istio: ingress}}\n")
	}
	for _, host := range []string{"a.e.com", "b.e.com"} {
		if g.Chance(50) {
			object(istio, "ServiceEntry", host, "na", "")
			fmt.Fprintf(&b, "spec: {hosts: [%s], ports: [{number: %d, name: http, protocol: HTTP}], resolution: DNS}\n", host, routegen.Pick(g, 80, 8080))
		}
	}
	object(istio, "VirtualService", "delegate", "na", "")
	b.WriteString("spec:\n  http:\n")
	for range 1 + g.Draw(2) {
		fmt.Fprintf(&b, "  - {route: [{destination: {host: d}}]%s}\n", routegen.Pick(g, "", ", match: [{uri: {prefix: /api/v1}}]", ", match: [{headers: {x: {exact: '1'}}}]"))
	}
	for i := range 3 + g.Draw(3) {
		object(istio, "VirtualService", fmt.Sprint(routegen.Pick(g, "v", "u"), i), routegen.Pick(g, "na", "nb", "gw"),
			routegen.Pick(g, "", ", creationTimestamp: '2026-01-01T00:00:00Z'", ", creationTimestamp: '2026-01-01T00:00:00Z'", ", creationTimestamp: '2026-01-02T00:00:00Z'"))
		gateways := routegen.Pick(g, "gw/g0", "gw/g0", "gw/g0", "gw/g0", "gw/g1", "gw/g0, gw/g1", "mesh", "mesh", "mesh, gw/g0")
		hosts := routegen.Pick(g, "a.e.com", "a.e.com", "a.e.com", "a.e.com", "b.e.com", `"*.e.com"`, "a.e.com, b.e.com", `"*"`, `"*.e.com", a.e.com`)
		if hosts == `"*"` && strings.Contains(gateways, mesh.MeshGateway) {
			hosts = `"*.e.com"` // Istio allows * at gateways alone
		}
		fmt.Fprintf(&b, "spec:\n  hosts: [%s]\n  gateways: [%s]\n", hosts, gateways)
		if to := routegen.Pick(g, "", "", "", `"."`, "gw", "na", "gw, na", `"*"`, `"~"`); to != "" {
			fmt.Fprintf(&b, "  exportTo: [%s]\n", to)
		}
		b.WriteString("  http:\n")
		gateway, _, _ := strings.Cut(gateways, ",")
		for range 1 + g.Draw(3) {
			to := fmt.Sprintf("route: [{destination: {host: d%d}}]", i)
			if g.Chance(10) {
				to = "delegate: {name: delegate, namespace: na}"
			}
			var entries []string
			for range routegen.Pick(g, 0, 1, 1, 1, 1, 2) {
				entries = append(entries, shadowEntry(g, gateway))
			}
			fmt.Fprintf(&b, "  - {%s, match: [%s]}\n", to, strings.Join(entries, ", "))
		}
	}
	return b.String()
}

func shadowEntry(g routegen.Generator, gateway string) string {
	return "{" + routegen.Pick(g, "uri: {prefix: /}", "uri: {prefix: /}", "uri: {prefix: /api}", "uri: {prefix: /api/v1}", "uri: {exact: /api}",
		"uri: {regex: '.*'}", "uri: {regex: '/.*'}", "name: any", "uri: {prefix: /api}, ignoreUriCase: true", "uri: {prefix: /b}") +
		routegen.Pick(g, "", "", "", "", ", method: {exact: GET}", ", headers: {x: {exact: '1'}}", ", withoutHeaders: {x: {exact: '1'}}",
			", port: 80", ", port: 8080", ", gateways: ["+gateway+"]", ", sourceNamespace: na") + "}"
}

// virtualServices are those that are no delegates.
func (w *shadowWorld) virtualServices() []*networkingv1.VirtualService {
	var out []*networkingv1.VirtualService
	for _, o := range w.objects {
		if vs, ok := o.(*networkingv1.VirtualService); ok && !mesh.IsDelegate(vs) {
			out = append(out, vs)
		}
	}
	return out
}

// view is the world as the product sees it.
func (w *shadowWorld) view() *mesh.World {
	var in mesh.Objects
	for _, o := range w.objects {
		in.Add(o)
	}
	return decision.World(in, policy.Default())
}

// named are the objects with names by which istiod's routes are told apart: namespace/name#route.
// With only, the other VirtualServices are left out.
func (w *shadowWorld) named(only *networkingv1.VirtualService) []metav1.Object {
	var out []metav1.Object
	for _, o := range w.objects {
		vs, ok := o.(*networkingv1.VirtualService)
		if !ok || mesh.IsDelegate(vs) {
			out = append(out, o)
			continue
		}
		if only != nil && vs != only {
			continue
		}
		vs = vs.DeepCopy()
		for i, r := range vs.Spec.Http {
			r.Name = routeName(fullName(vs), i)
		}
		out = append(out, vs)
	}
	return out
}

func fullName(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

func routeName(vs string, route int) string { return fmt.Sprintf("%s#%d", vs, route) }

// proxies are the pods that may execute routes for each gateway and for mesh: those in each
// namespace that an object tells of, and in one that none does, where nothing says where a Gateway's
// pods are.
func (w *shadowWorld) proxies() map[string][]istiod.Proxy {
	namespaces := []string{"else", "gw", "na", "nb"}
	out := map[string][]istiod.Proxy{}
	for _, ns := range namespaces {
		out[mesh.MeshGateway] = append(out[mesh.MeshGateway], istiod.Proxy{Namespace: ns})
	}
	for _, o := range w.objects {
		gw, ok := o.(*networkingv1.Gateway)
		if !ok {
			continue
		}
		for _, ns := range namespaces {
			if known := w.podsOf(gw); len(known) == 0 || slices.Contains(known, ns) {
				out[fullName(gw)] = append(out[fullName(gw)], istiod.Proxy{Namespace: ns, Gateway: true, Labels: gw.Spec.Selector})
			}
		}
	}
	return out
}

// podsOf are the namespaces of the Services for a Gateway's pods.
func (w *shadowWorld) podsOf(gw *networkingv1.Gateway) []string {
	var out []string
	for _, o := range w.objects {
		if s, ok := o.(*corev1.Service); ok && s.Spec.Selector["istio"] == gw.Spec.Selector["istio"] {
			out = append(out, s.Namespace)
		}
	}
	return out
}

// meshPort reports whether sidecars have routes for a host on a port: on 80 for every host of a
// VirtualService, else for one that the mesh knows.
func (w *shadowWorld) meshPort(port, host string) bool {
	return port == "80" || slices.ContainsFunc(w.objects, func(o metav1.Object) bool {
		se, ok := o.(*networkingv1.ServiceEntry)
		return ok && se.Spec.Hosts[0] == host && fmt.Sprint(se.Spec.Ports[0].Number) == port
	})
}

// smaller are w without one thing of it.
func (w *shadowWorld) smaller(t testing.TB) iter.Seq[*shadowWorld] {
	return func(yield func(*shadowWorld) bool) {
		for objects := range smallerObjects(t, w.objects) {
			if !yield(&shadowWorld{objects}) {
				return
			}
		}
	}
}
