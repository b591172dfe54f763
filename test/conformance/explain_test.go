package conformance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	v3 "istio.io/istio/pilot/pkg/xds/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
)

// TestExplanationDifferential compares what is explained of the hosts of random worlds with what istiod tells the
// proxies. TestScenarios does the same with every scenario.
func TestExplanationDifferential(t *testing.T) {
	t.Parallel()
	var n tally
	ask := differs(func(t testing.TB, w *world) (difference string) {
		istiod.Run(t, w.objects, istiod.Options{RootNamespace: w.policy.RootNamespace}, func(i *istiod.Mesh) {
			var all []pushed
			for _, p := range worldProxies() {
				all = append(all, pushed{p, i.Clusters(p), routedIn(i.Routes(p)), rawClusters(t, i.Listeners(p))})
			}
			difference = explanationDiffers(t, w.objects, w.policy, all, &n)
		})
		return difference
	})
	eachWorld(t, 150, func(seed int64) string {
		w := routeWorld(seed)
		if ask(t, w) == "" {
			return ""
		}
		return ask.explain(t, w)
	})
	n.report(t, explainedTLS, explainedPlain, explainedNowhere, explainedRoutes, explainedCalls)
}

// What is counted.
const (
	explainedTLS     = "connections with TLS"
	explainedPlain   = "connections without TLS"
	explainedNowhere = "connections that there are not"
	explainedRoutes  = "clusters that HTTP is routed to"
	explainedCalls   = "clusters that connections are passed to"
)

// pushed is what istiod tells a proxy.
type pushed struct {
	istiod.Proxy
	clusters map[string]*clusterv3.Cluster
	// http are the clusters that HTTP is routed to, raw those that connections are passed to.
	http map[string]bool
	raw  []string
}

// explanationDiffers returns where the explanation of a host in objects differs from what the proxies are told.
func explanationDiffers(t testing.TB, objects []metav1.Object, pol *policy.Policy, all []pushed, n *tally) string {
	t.Helper()
	in := explain.Input{Policy: pol, Mode: func(string) policy.Mode { return policy.Enforce }}
	for _, o := range objects {
		in.Objects.Add(o)
	}
	e := explain.New(in)
	var explained []explain.Host
	for _, host := range e.Hosts() {
		h, err := e.Explain(explain.Query{Host: host})
		if err != nil {
			return err.Error()
		}
		explained = append(explained, h)
	}
	v := rulesVerdict{mesh: mesh.NewWorld(in.Objects, decision.Options(pol))}
	for _, p := range all {
		for _, h := range explained {
			client := clientIn(h, p.Proxy)
			if client == nil || v.byChance(p.Proxy, clusterName(0, "", h.Host)) {
				continue
			}
			if d := connectionsDiffer(t, p, h, client, n); d != "" {
				return d
			}
			if slices.ContainsFunc(explained, unmerged) {
				continue
			}
			if d := waysDiffer(p, h, client, v, n); d != "" {
				return d
			}
		}
	}
	return ""
}

// unmerged reports whether ServiceEntries of one namespace say so different things of a host that istiod makes one service
// of the first. It lets sidecars listen at the ports of the others all the same, and routes lead there.
func unmerged(h explain.Host) bool {
	return slices.ContainsFunc(h.Clients, func(c explain.Client) bool {
		return slices.ContainsFunc(c.Passed, func(p explain.PassedEntry) bool { return p.Reason == mesh.EntryNotMerged })
	})
}

// clientIn is the group of proxies that p is one of; nil if it is none.
func clientIn(h explain.Host, p istiod.Proxy) *explain.Client {
	var others *explain.Client
	for i, c := range h.Clients {
		switch {
		case (c.Kind == explain.Gateway) != p.Gateway:
		case c.Namespace == p.Namespace && (!p.Gateway || selects(c.Labels, p)):
			return &h.Clients[i]
		case !p.Gateway && c.Namespace == mesh.OtherNamespaces:
			others = &h.Clients[i]
		}
	}
	return others
}

// connectionsDiffer compares each connection with its cluster.
func connectionsDiffer(t testing.TB, p pushed, h explain.Host, c *explain.Client, n *tally) string {
	t.Helper()
	for _, port := range c.Ports {
		judged := map[string]bool{}
		for _, conn := range port.Connections {
			name := clusterName(port.Number, conn.Subset, cmp.Or(c.Wildcard, h.Host))
			if conn.State == explain.Unreachable {
				name = clusterName(port.Number, conn.Subset, h.Host)
			}
			if judged[name] || !selects(conn.Workloads, p.Proxy) {
				continue
			}
			judged[name] = true
			want, got := contextIn(t, p.clusters[name], conn), contextText(conn)
			if want == absentCluster && (conn.Subset != "" || hasNoEndpoints(h)) || strings.HasPrefix(want, "mTLS") && got == plainCluster {
				continue
			}
			switch {
			case conn.TLS != nil:
				n.add(explainedTLS, 1)
			case conn.State == explain.Unreachable:
				n.add(explainedNowhere, 1)
			default:
				n.add(explainedPlain, 1)
			}
			if want != got {
				return fmt.Sprintf("%s: %s is %s for istiod, explained as %s", p, name, want, got)
			}
		}
	}
	return ""
}

func hasNoEndpoints(h explain.Host) bool {
	return slices.ContainsFunc(h.ServiceEntries, func(se explain.ServiceEntry) bool { return se.Resolution != "NONE" })
}

const (
	absentCluster = "absent"
	plainCluster  = "plaintext"
)

// contextText says what is explained of the TLS of a connection.
func contextText(conn explain.Connection) string {
	switch {
	case conn.State == explain.Unreachable:
		return absentCluster
	case conn.TLS == nil:
		return plainCluster
	}
	t := conn.TLS
	authority := "file-root:" + t.CA
	if name, ok := strings.CutPrefix(t.CA, "secret "); ok {
		authority = "kubernetes://" + name + "-cacert"
	} else if name, ok := strings.CutPrefix(t.CA, "configmap "); ok {
		authority = "configmap://" + name + "-cacert"
	}
	certificate := t.ClientCertificate
	if name, ok := strings.CutPrefix(certificate, "secret "); ok {
		certificate = "kubernetes://" + name
	}
	switch t.CA {
	case "mesh":
		authority, certificate = "ROOTCA", "default"
	case "":
		authority = ""
	}
	return fmt.Sprintf("TLS (sni %q, auto %v, authority %q, names %q, and the SNI %v, certificate %q)", t.SNI, t.AutoSNI, authority, t.SubjectAltNames, t.AutoName, certificate)
}

// contextIn says the same of a cluster that istiod built. It tells Envoy of connections that hold no HTTP as well to take
// the name of the requests: there are none.
func contextIn(t testing.TB, c *clusterv3.Cluster, conn explain.Connection) string {
	t.Helper()
	tr := transportOf(t, c)
	if !tr.encrypts {
		return tr.String()
	}
	options := &httpv3.HttpProtocolOptions{}
	if o := c.GetTypedExtensionProtocolOptions()[v3.HttpProtocolOptionsType]; o != nil {
		if err := o.UnmarshalTo(options); err != nil {
			t.Fatal(err)
		}
	}
	certificate := tr.certificate
	if path, ok := strings.CutPrefix(certificate, "file-cert:"); ok {
		certificate, _, _ = strings.Cut(path, "~")
	}
	auto := options.GetUpstreamHttpProtocolOptions()
	if !slices.ContainsFunc(conn.Ways, func(w explain.Way) bool { return w.Speaks == "HTTP" }) {
		auto = nil
	}
	return fmt.Sprintf("TLS (sni %q, auto %v, authority %q, names %q, and the SNI %v, certificate %q)", tr.sni, auto.GetAutoSni(), tr.authority, namesIn(tlsOf(c)), auto.GetAutoSanValidation(), certificate)
}

func namesIn(ctx *tlsv3.UpstreamTlsContext) []string {
	out := []string{}
	for _, m := range ctx.GetCommonTlsContext().GetCombinedValidationContext().GetDefaultValidationContext().GetMatchSubjectAltNames() { //nolint:staticcheck // It is what istiod sets.
		out = append(out, m.GetExact())
	}
	return out
}

// waysDiffer compares the ways to a host with the clusters that routes and listeners lead to. A route to a cluster that is
// not there leads nowhere.
func waysDiffer(p pushed, h explain.Host, c *explain.Client, v rulesVerdict, n *tally) string {
	routed, passed := map[string]bool{}, map[string]bool{}
	for _, port := range c.Ports {
		for _, conn := range port.Connections {
			name := clusterName(port.Number, conn.Subset, cmp.Or(c.Wildcard, h.Host))
			if !selects(conn.Workloads, p.Proxy) || p.clusters[name] == nil || conn.State == explain.Unreachable {
				continue
			}
			for _, w := range conn.Ways {
				if w.State == explain.Dead {
					continue
				}
				if w.Speaks == "HTTP" {
					routed[name] = true
				} else {
					passed[name] = true
				}
			}
		}
	}
	leads := func(name string) bool {
		port, host, ok := split(name)
		return ok && host == h.Host && p.clusters[name] != nil && !v.divided(host, port)
	}
	for name := range p.http {
		if leads(name) {
			n.add(explainedRoutes, 1)
			if !routed[name] {
				return fmt.Sprintf("%s: HTTP is routed to %s, which is not explained", p, name)
			}
		}
	}
	for _, name := range p.raw {
		if leads(name) {
			n.add(explainedCalls, 1)
			if !passed[name] {
				return fmt.Sprintf("%s: connections are passed to %s, which is not explained", p, name)
			}
		}
	}
	// Of what a hazard tells, such as another VirtualService that comes first, istiod may know less. What a sidecar sees only
	// as the destination of a route may be called at none of its ports.
	if p.Gateway || len(h.Hazards) > 0 || h.Host != strings.ToLower(h.Host) || v.mesh.CalledService(clientOf(v.mesh, p.Proxy, h.Host), h.Host) == nil {
		return ""
	}
	for name := range routed {
		if !p.http[name] {
			return fmt.Sprintf("%s: HTTP is explained to be routed to %s, and is not", p, name)
		}
	}
	return ""
}
