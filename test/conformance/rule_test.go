package conformance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
)

// TestEffectiveRuleDifferential compares what internal/mesh says of TLS with the clusters that istiod builds, for
// every proxy, host, port and subset of random worlds.
func TestEffectiveRuleDifferential(t *testing.T) {
	t.Parallel()
	var n tally
	ask := rulesDiffer(&n)
	eachWorld(t, 500, func(seed int64) string {
		w := ruleWorld(seed)
		n.add("objects", len(w.objects))
		n.add("refused by Istio", w.refused)
		if ask(t, w) == "" {
			return ""
		}
		return ask.explain(t, w)
	})
	n.report(t, encryptedClusters)
}

const encryptedClusters = "clusters with TLS"

// worldProxies are a gateway and the sidecars of pods with several labels in every namespace; the gateways come first.
func worldProxies() []istiod.Proxy {
	var out []istiod.Proxy
	all := slices.Concat(namespaces, []string{elsewhere})
	for _, ns := range all {
		out = append(out, istiod.Proxy{Namespace: ns, Gateway: true, Labels: map[string]string{"istio": "in"}})
	}
	for _, ns := range all {
		out = append(out,
			istiod.Proxy{Namespace: ns},
			istiod.Proxy{Namespace: ns, Labels: map[string]string{"app": "x"}},
			istiod.Proxy{Namespace: ns, Labels: map[string]string{"app": "x", "v": "1", "istio": "in"}})
	}
	return out
}

func rulesDiffer(n *tally) differs {
	return func(t testing.TB, w *world) (difference string) {
		t.Helper()
		m := model(w.objects, w.policy)
		istiod.Run(t, w.objects, istiod.Options{RootNamespace: w.policy.RootNamespace}, func(i *istiod.Mesh) {
			for _, p := range worldProxies() {
				clusters := i.Clusters(p)
				for _, host := range hosts {
					if difference = hostDiffers(t, m, p, host, clusters, n); difference != "" {
						return
					}
				}
			}
		})
		return difference
	}
}

func hostDiffers(t testing.TB, m *mesh.World, p istiod.Proxy, host string, clusters map[string]*clusterv3.Cluster, n *tally) string {
	client := clientOf(m, p, host)
	svc := m.Service(client, host)
	for _, port := range ports {
		for _, subset := range append([]string{""}, subsets...) {
			name := clusterName(port, subset, host)
			want := transportOf(t, clusters[name])
			got := transport{absent: true}
			var rule *mesh.Effective
			if svc != nil && hasPort(svc, port) {
				rule = ruleFor(m, client, svc, p)
				got = said(rule, client, host, port, subset)
				if want.absent && mayLackEndpoints(svc, subset) {
					continue
				}
				if want.automatic && got == (transport{}) {
					continue
				}
			}
			if want.encrypts {
				n.add(encryptedClusters, 1)
			}
			if got != want {
				return fmt.Sprintf("%s: %s is %v for istiod, %v for mesh", p, name, want, got)
			}
		}
	}
	return ""
}

// model is the mesh as the product sees it.
func model(objects []metav1.Object, pol *policy.Policy) *mesh.World {
	var in mesh.Objects
	for _, o := range objects {
		in.Add(o)
	}
	return decision.World(in, pol)
}

// clientOf is the client that stands for p in the product's questions about host.
func clientOf(m *mesh.World, p istiod.Proxy, host string) mesh.Client {
	if p.Gateway {
		return mesh.Client{Namespace: p.Namespace, Gateway: true, Known: true, Labels: p.Labels}
	}
	for _, c := range m.ClientsOf(host) {
		if !c.Gateway && c.Namespace == p.Namespace {
			return c
		}
	}
	return mesh.Client{Namespace: mesh.OtherNamespaces, Known: true}
}

// ruleFor is the rule that mesh says applies to p.
func ruleFor(m *mesh.World, client mesh.Client, svc *mesh.Service, p istiod.Proxy) *mesh.Effective {
	rules, _ := m.EffectiveRules(client, svc)
	for _, e := range rules {
		if selects(e.Selector, p) {
			return e
		}
	}
	return nil
}

func selects(selector map[string]string, p istiod.Proxy) bool {
	for k, v := range selector {
		if p.Labels[k] != v {
			return false
		}
	}
	return true
}

func hasPort(svc *mesh.Service, number uint32) bool {
	return slices.ContainsFunc(svc.Ports(), func(p mesh.Port) bool { return p.GetNumber() == number })
}

// mayLackEndpoints reports whether istiod may have no endpoint to build a cluster from, of which mesh knows nothing.
func mayLackEndpoints(svc *mesh.Service, subset string) bool {
	return slices.ContainsFunc(svc.Entries, func(se *networkingv1.ServiceEntry) bool {
		return len(se.Spec.GetEndpoints()) == 0 && se.Spec.GetResolution() == networking.ServiceEntry_DNS && subset != ""
	})
}

func clusterName(port uint32, subset, host string) string {
	return fmt.Sprintf("outbound|%d|%s|%s", port, subset, host)
}

// transport is how a proxy connects.
type transport struct {
	absent, encrypts bool
	// automatic: encrypted towards endpoints that have a sidecar of the mesh.
	automatic bool
	// sni, authority and certificate are the names that are presented, of what the server's certificate is verified
	// against, and of the client's own.
	sni, authority, certificate string
}

// said is the transport that mesh says rule leads to.
func said(rule *mesh.Effective, client mesh.Client, host string, port uint32, subset string) transport {
	if rule == nil {
		return transport{absent: subset != ""}
	}
	tls := rule.TLS(port, subset)
	if tls.Level == mesh.LevelNoSubset {
		return transport{absent: true}
	}
	if !tls.Encrypts() || rule.CredentialIgnored(client, tls) {
		return transport{}
	}
	s := tls.Settings
	out := transport{encrypts: true, sni: s.GetSni(), authority: "file-root:" + cmp.Or(s.GetCaCertificates(), "system")}
	switch {
	case s.GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL:
		out.sni = cmp.Or(out.sni, fmt.Sprintf("outbound_.%d_.%s_.%s", port, subset, host))
		out.authority, out.certificate = "ROOTCA", "default"
		return out
	case s.GetCredentialName() != "":
		name := s.GetCredentialName()
		if !strings.Contains(name, "://") {
			name = "kubernetes://" + name
		}
		out.authority = name + "-cacert"
		if s.GetMode() == networking.ClientTLSSettings_MUTUAL {
			out.certificate = name
		}
	case s.GetMode() == networking.ClientTLSSettings_MUTUAL:
		out.certificate = fmt.Sprintf("file-cert:%s~%s", s.GetClientCertificate(), s.GetPrivateKey())
	}
	return out
}

// transportOf is the transport of a cluster that istiod built.
func transportOf(t testing.TB, c *clusterv3.Cluster) transport {
	t.Helper()
	if c == nil {
		return transport{absent: true}
	}
	if matches := c.GetTransportSocketMatches(); len(matches) > 0 {
		if c.GetTransportSocket() != nil || len(matches) != 2 || matches[1].GetName() != "tlsMode-disabled" {
			t.Fatalf("%s: unknown transport socket matches %v", c.GetName(), matches)
		}
		return transport{automatic: true}
	}
	ctx := tlsOf(c)
	if ctx == nil {
		return transport{}
	}
	out := transport{
		encrypts:  true,
		sni:       ctx.GetSni(),
		authority: ctx.GetCommonTlsContext().GetCombinedValidationContext().GetValidationContextSdsSecretConfig().GetName(),
	}
	for _, s := range ctx.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
		out.certificate += s.GetName()
	}
	return out
}

func (tr transport) String() string {
	switch {
	case tr.absent:
		return "absent"
	case tr.automatic:
		return "mTLS within the mesh"
	case !tr.encrypts:
		return "plaintext"
	}
	return fmt.Sprintf("TLS (sni %q, authority %q, certificate %q)", tr.sni, tr.authority, tr.certificate)
}
