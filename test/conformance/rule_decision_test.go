package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	v3 "istio.io/istio/pilot/pkg/xds/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
)

// TestDecisionDifferential stores what is decided about random objects, and asks istiod what that does to the
// clusters of all proxies: plaintext HTTP that is routed to a TLS port is encrypted, or there is a finding; and
// nothing else changed for anybody, unless a warning told so.
func TestDecisionDifferential(t *testing.T) {
	t.Parallel()
	var n tally
	ask := decisionsDiffer(&n)
	eachWorld(t, 300, func(seed int64) string {
		w := routeWorld(seed)
		if ask(t, w) == "" {
			return ""
		}
		return ask.explain(t, w)
	})
	n.report(t, met, changed, told)
}

// What is counted.
const (
	stored         = "objects stored"
	refusedObjects = "objects refused"
	met            = "clusters that a need asks for, encrypted"
	changed        = "clusters changed by the product"
	told           = "clusters changed for clients of TLS, with a warning"
	beside         = "clusters changed for sidecars beside a gateway"
	routed         = "clusters that HTTP is routed to, encrypted"
	open           = "clusters that HTTP is routed to, in clear, with a finding"
	appeared       = "clusters of a subset that a created rule carries along, new to some"
	guessed        = "clusters that a gateway routes HTTP to, in clear, by a route without a port to one of several services"
	divided        = "clusters in clear, or encrypted without need, of a port that ServiceEntries say different things of"
)

func decisionsDiffer(count *tally) differs {
	return func(t testing.TB, w *world) string {
		t.Helper()
		before, after, findings, err := applied(t, w)
		if err != nil {
			return err.Error()
		}
		count.add(stored, len(before))
		count.add(refusedObjects, len(w.objects)-len(before))
		v := rulesVerdict{count: count, world: w, mesh: scenario.Stored(after, w.policy), findings: findings}
		was := map[string]map[string]*clusterv3.Cluster{}
		options := istiod.Options{RootNamespace: w.policy.RootNamespace}
		istiod.Run(t, typed(before), options, func(i *istiod.Mesh) {
			for _, p := range worldProxies() {
				was[p.String()] = i.Clusters(p)
			}
		})
		var difference string
		istiod.Run(t, typed(after), options, func(i *istiod.Mesh) {
			for _, p := range worldProxies() {
				if difference = v.of(t, p, i, was[p.String()]); difference != "" {
					return
				}
			}
		})
		return difference
	}
}

// applied applies the VirtualServices of w one by one where all else is already, and brings the rules in line, as the
// reconciler does. before are the objects that were not refused, as they were written; after is what is stored then.
func applied(t testing.TB, w *world) (before, after []scenario.Object, findings []scenario.Finding, err error) {
	t.Helper()
	var routes []scenario.Object
	for _, o := range w.objects {
		one := scenario.Object{Raw: written(t, o), Typed: o}
		if _, ok := o.(*networkingv1.VirtualService); ok {
			routes = append(routes, one)
		} else {
			before, after = append(before, one), append(after, one)
		}
	}
	// What is told of the objects when they are applied themselves.
	if findings, err = found(after, w.policy); err != nil {
		return nil, nil, nil, err
	}
	for _, one := range routes {
		s := scenario.Scenario{Mesh: after, Request: []scenario.Object{one}, Policy: w.policy}
		got, all, err := s.Compute()
		if err != nil {
			return nil, nil, nil, err
		}
		findings = append(findings, got.Findings...)
		if !got.Refused {
			before, after = append(before, one), all
		}
	}
	told, err := found(after, w.policy)
	if err != nil {
		return nil, nil, nil, err
	}
	findings = append(findings, told...)
	if after, err = (&scenario.Scenario{Policy: w.policy}).Converge(after); err != nil {
		return nil, nil, nil, err
	}
	told, err = found(after, w.policy)
	return before, after, append(findings, told...), err
}

// found is what is found about all objects.
func found(objects []scenario.Object, pol *policy.Policy) ([]scenario.Finding, error) {
	m := scenario.World(objects, pol)
	var out []scenario.Finding
	for _, o := range objects {
		if !o.Decided() {
			continue
		}
		outcome, err := decision.Decide(m, pol, o.Typed, o.Raw)
		if err != nil {
			return nil, err
		}
		for _, f := range outcome.Findings {
			out = append(out, scenario.Finding{Code: f.Code, Message: f.Message})
		}
	}
	return out, nil
}

// rulesVerdict judges what istiod builds of what was stored.
type rulesVerdict struct {
	count    *tally
	world    *world
	mesh     *mesh.World
	findings []scenario.Finding
}

func (v *rulesVerdict) of(t testing.TB, p istiod.Proxy, i *istiod.Mesh, was map[string]*clusterv3.Cluster) string {
	t.Helper()
	is := i.Clusters(p)
	maps.DeleteFunc(is, func(name string, _ *clusterv3.Cluster) bool { return v.byChance(p, name) })
	maps.DeleteFunc(was, func(name string, _ *clusterv3.Cluster) bool { return v.byChance(p, name) })
	if d := v.needs(t, p, is); d != "" {
		return d
	}
	if d := v.inClear(t, p, i, is); d != "" {
		return d
	}
	return v.harm(t, p, was, is)
}

// byChance reports whether what p does is no matter of the rules alone. A gateway may see another service behind the host
// of a cluster than a sidecar beside it: where both run, istiod shows to both what the first of them sees
// (doGetSidecarScope). Of several workloadSelectors that fit a pod the oldest rule's counts, and a created rule is young.
func (v *rulesVerdict) byChance(p istiod.Proxy, name string) bool {
	_, host, ok := split(name)
	if !ok {
		return false
	}
	if v.selectedTwice(p, host) {
		return true
	}
	if !p.Gateway {
		return false
	}
	own := v.mesh.Service(mesh.Client{Namespace: p.Namespace, Gateway: true}, host)
	theirs := v.mesh.Service(mesh.Client{Namespace: p.Namespace}, host)
	return own != nil && own.Namespace != theirs.Namespace
}

func (v *rulesVerdict) selectedTwice(p istiod.Proxy, host string) bool {
	selectors := map[string]bool{}
	for _, pattern := range append(mesh.WildcardsOf(host), host) {
		for _, dr := range v.mesh.RulesFor(pattern) {
			if s := dr.Spec.GetWorkloadSelector(); s != nil && dr.Namespace == p.Namespace && selects(s.GetMatchLabels(), p) {
				selectors[fmt.Sprint(s.GetMatchLabels())] = true
			}
		}
	}
	return len(selectors) > 1
}

// needs compares what the product says of its needs with what p does.
func (v *rulesVerdict) needs(t testing.TB, p istiod.Proxy, is map[string]*clusterv3.Cluster) string {
	for _, host := range hosts {
		judged := map[string]bool{}
		for _, n := range v.needsOf(p, host) {
			name := clusterName(n.Port.GetNumber(), n.Subset, host)
			if judged[name] || v.byChance(p, name) || n.Rule != nil && !selects(n.Rule.Selector, p) {
				continue
			}
			judged[name] = true
			got := transportOf(t, is[name])
			want := said(n.Rule, n.Client, host, n.Port.GetNumber(), n.Subset)
			if got.absent && mayLackEndpoints(n.Service, n.Subset) || got.automatic && want == (transport{}) {
				continue
			}
			if got != want {
				return fmt.Sprintf("%s: %s is needed, %v for istiod, %v for mesh", p, name, got, want)
			}
			if n.Satisfied() && !got.encrypts && !got.absent {
				return fmt.Sprintf("%s: %s is said to be encrypted, and is %v", p, name, got)
			}
			if got.encrypts {
				v.count.add(met, 1)
			}
		}
	}
	return ""
}

// needsOf returns the needs that p stands for.
func (v *rulesVerdict) needsOf(p istiod.Proxy, host string) []mesh.Need {
	client := clientOf(v.mesh, p, host)
	return slices.DeleteFunc(v.mesh.Needs(host, v.world.policy.Originate == policy.Always), func(n mesh.Need) bool {
		return n.Client.Gateway != p.Gateway || n.Client.Namespace != p.Namespace && n.Client.Namespace != client.Namespace || !selects(n.Client.Labels, p)
	})
}

// inClear looks for TLS ports that p routes plaintext HTTP to, whatever the product says of needs.
func (v *rulesVerdict) inClear(t testing.TB, p istiod.Proxy, i *istiod.Mesh, is map[string]*clusterv3.Cluster) string {
	if p.Gateway && !v.known(p.Namespace) {
		return ""
	}
	for name := range routedIn(i.Routes(p)) {
		port, host, ok := split(name)
		client := clientOf(v.mesh, p, host)
		svc := v.mesh.RoutedService(client, host)
		if !ok || svc == nil || is[name] == nil {
			continue
		}
		at := slices.IndexFunc(svc.Ports(), func(p mesh.Port) bool { return p.GetNumber() == port })
		if at < 0 {
			return fmt.Sprintf("%s: %s has a port that mesh does not know", p, name)
		}
		if wants, _ := svc.Ports()[at].Originates(); !wants {
			continue
		}
		if transportOf(t, is[name]).encrypts {
			v.count.add(routed, 1)
			continue
		}
		switch {
		case p.Gateway && v.guessed(host):
			v.count.add(guessed, 1)
		case v.divided(host, port):
			v.count.add(divided, 1)
		case v.found(fmt.Sprintf(" %s:%d ", host, port), finding.TLSDisabled, finding.CredentialIgnored, finding.TLSMissing):
			v.count.add(open, 1)
		default:
			return fmt.Sprintf("%s: routes plaintext HTTP to %s in clear, and there is no finding", p, name)
		}
	}
	return ""
}

// known reports whether the product can know that gateways run in namespace, and needs not guess.
func (v *rulesVerdict) known(namespace string) bool {
	return slices.ContainsFunc(v.world.objects, func(o metav1.Object) bool {
		_, ok := o.(*networkingv1.Gateway)
		return ok && slices.Contains(v.mesh.GatewayNamespaces(types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}), namespace)
	})
}

// guessed reports whether a route without a port leads to a host of several ServiceEntries: a gateway then counts the
// ports of one service, and sends to another.
func (v *rulesVerdict) guessed(host string) bool {
	return len(v.mesh.ServiceEntriesFor(host)) > 1 && slices.ContainsFunc(v.mesh.RoutesTo(host), mesh.HostsTellPorts)
}

// divided reports whether ServiceEntries say different things of a port of host: what one client needs harms another.
func (v *rulesVerdict) divided(host string, port uint32) bool {
	type word struct{ routed, alone, speaksTLS bool }
	words := map[word]bool{}
	for _, se := range v.mesh.ServiceEntriesFor(host) {
		for _, p := range se.Spec.GetPorts() {
			if p.GetNumber() == port {
				p := mesh.Port{ServicePort: p, Entry: se}
				routed, alone := p.Originates()
				words[word{routed, alone, p.SpeaksTLS()}] = true
			}
		}
	}
	return len(words) > 1
}

func (v *rulesVerdict) found(text string, codes ...finding.Code) bool {
	return slices.ContainsFunc(v.findings, func(f scenario.Finding) bool {
		return slices.Contains(codes, f.Code) && strings.Contains(f.Message, text)
	})
}

// routedIn are the clusters that HTTP routes lead to.
func routedIn(routes map[string]*routev3.RouteConfiguration) map[string]bool {
	out := map[string]bool{}
	for _, rc := range routes {
		for _, vh := range rc.GetVirtualHosts() {
			for _, r := range vh.GetRoutes() {
				out[r.GetRoute().GetCluster()] = true
				for _, c := range r.GetRoute().GetWeightedClusters().GetClusters() {
					out[c.GetName()] = true
				}
			}
		}
	}
	return out
}

// split returns the port and the host of a cluster.
func split(name string) (port uint32, host string, ok bool) {
	parts := strings.Split(name, "|")
	if len(parts) != 4 || parts[0] != "outbound" {
		return 0, "", false
	}
	n, err := strconv.ParseUint(parts[1], 10, 16)
	return uint32(n), parts[3], err == nil
}

// harm looks for clusters of p that are different from what they would be without the product, and should not.
func (v *rulesVerdict) harm(t testing.TB, p istiod.Proxy, was, is map[string]*clusterv3.Cluster) string {
	for name := range was {
		if is[name] == nil {
			return fmt.Sprintf("%s: %s is gone", p, name)
		}
	}
	for name, c := range is {
		before, after := transportOf(t, was[name]), transportOf(t, c)
		if before.absent {
			if !strings.Contains(name, "||") {
				v.count.add(appeared, 1)
				continue
			}
			return fmt.Sprintf("%s: %s is new", p, name)
		}
		if a, b := other(t, was[name]), other(t, c); !proto.Equal(a, b) {
			return fmt.Sprintf("%s: %s is no more\n%v\nbut\n%v", p, name, a, b)
		}
		if before == after {
			continue
		}
		port, host, _ := split(name)
		svc := v.mesh.RoutedService(clientOf(v.mesh, p, host), host)
		if before.encrypts || !after.encrypts || svc == nil {
			return fmt.Sprintf("%s: %s was %v and is %v", p, name, before, after)
		}
		if after.certificate == "" && after.sni != host && !v.said(after.sni) {
			return fmt.Sprintf("%s: %s is %v: nobody said that name", p, name, after)
		}
		at := slices.IndexFunc(svc.Ports(), func(p mesh.Port) bool { return p.GetNumber() == port })
		wants, _ := svc.Ports()[at].Originates()
		meant := slices.ContainsFunc(v.needsOf(p, host), func(n mesh.Need) bool { return n.Port.GetNumber() == port })
		switch {
		case meant, wants && !svc.Ports()[at].SpeaksTLS():
			v.count.add(changed, 1)
		case v.found(fmt.Sprintf("port %d of %s has ", port, host), finding.DoubleTLS):
			v.count.add(told, 1)
		case !p.Gateway && v.privateIn(p.Namespace, host):
			v.count.add(beside, 1)
		case v.divided(host, port):
			v.count.add(divided, 1)
		default:
			return fmt.Sprintf("%s: %s was %v and is %v: nobody meant that, and nobody was told", p, name, before, after)
		}
	}
	return ""
}

// said reports whether a user's rule, whose tls may have been copied, has that sni.
func (v *rulesVerdict) said(sni string) bool {
	return sni == "" || slices.ContainsFunc(v.world.objects, func(o metav1.Object) bool {
		dr, ok := o.(*networkingv1.DestinationRule)
		return ok && strings.Contains(dr.Spec.String(), fmt.Sprintf("sni:%q", sni))
	})
}

// privateIn reports whether there is a rule for host that is private to the namespace of a gateway that needs it. The
// sidecars of that namespace see it too.
func (v *rulesVerdict) privateIn(namespace, host string) bool {
	return slices.ContainsFunc(v.mesh.RulesFor(host), func(dr *networkingv1.DestinationRule) bool {
		to := dr.Spec.GetExportTo()
		private := dr.Spec.GetWorkloadSelector() != nil || len(to) == 1 && (to[0] == mesh.ExportPrivate || to[0] == namespace)
		return private && dr.Namespace == namespace &&
			slices.ContainsFunc(v.mesh.Needs(host, false), func(n mesh.Need) bool { return n.Client.Gateway && n.Client.Namespace == namespace })
	})
}

// other is what of a cluster has nothing to do with TLS: all but the transport sockets, the names to verify, and the
// rule's name.
func other(t testing.TB, c *clusterv3.Cluster) *clusterv3.Cluster {
	t.Helper()
	out := withoutTransport(c)
	const options = v3.HttpProtocolOptionsType
	if o := out.GetTypedExtensionProtocolOptions()[options]; o != nil {
		http := &httpv3.HttpProtocolOptions{}
		if err := o.UnmarshalTo(http); err != nil {
			t.Fatal(err)
		}
		http.UpstreamHttpProtocolOptions = nil
		// HTTP/1.1 without settings is what a cluster has that says nothing.
		if proto.Equal(http.GetExplicitHttpConfig().GetHttpProtocolOptions(), &corev3.Http1ProtocolOptions{}) {
			http.UpstreamProtocolOptions = nil
		}
		delete(out.TypedExtensionProtocolOptions, options)
		if !proto.Equal(http, &httpv3.HttpProtocolOptions{}) {
			rest, err := anypb.New(http)
			if err != nil {
				t.Fatal(err)
			}
			out.TypedExtensionProtocolOptions[options] = rest
		}
	}
	return out
}
