package mesh_test

// What this package claims, against istiod's own code, on random input. The code
// is copied from the module istio.io/istio (pilot/pkg/model/push_context.go,
// destination_rule.go, sidecar.go, pilot/pkg/networking/util/util.go; 1.32-dev of
// August 2026), cut down to what is asked here: the module itself is too large for
// a unit test. The conformance tests run it.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

const root = "istio-system"

// istiod's destinationRuleIndex.
type ruleIndex struct {
	local, exported map[string]*consolidated
	rootLocal       *consolidated
}

type consolidated struct{ specific, wildcard map[string][]*mdr }

type mdr struct {
	exportTo map[string]bool
	rule     *networkingv1.DestinationRule
	from     []string
}

func newConsolidated() *consolidated {
	return &consolidated{map[string][]*mdr{}, map[string][]*mdr{}}
}

// setDestinationRules.
func setDestinationRules(rules []*networkingv1.DestinationRule) *ruleIndex {
	rules = slices.Clone(rules)
	slices.SortFunc(rules, func(a, b *networkingv1.DestinationRule) int {
		if a.Spec.WorkloadSelector != nil && b.Spec.WorkloadSelector == nil {
			return -1
		}
		if a.Spec.WorkloadSelector == nil && b.Spec.WorkloadSelector != nil {
			return 1
		}
		if r := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); r != 0 {
			return r
		}
		if r := strings.Compare(a.Name, b.Name); r != 0 {
			return r
		}
		return strings.Compare(a.Namespace, b.Namespace)
	})
	idx := &ruleIndex{map[string]*consolidated{}, map[string]*consolidated{}, newConsolidated()}
	for _, rule := range rules {
		ns := rule.Namespace
		exportTo := map[string]bool{}
		if rule.Spec.WorkloadSelector == nil {
			for _, e := range rule.Spec.ExportTo {
				exportTo[e] = true
			}
		} else {
			exportTo["."] = true
		}
		if len(exportTo) == 0 || exportTo["*"] || exportTo["."] || exportTo[ns] {
			if idx.local[ns] == nil {
				idx.local[ns] = newConsolidated()
			}
			mergeDestinationRule(idx.local[ns], rule, exportTo)
		}
		privateOnly := len(exportTo) == 1 && (exportTo["."] || exportTo[ns])
		if !privateOnly {
			if idx.exported[ns] == nil {
				idx.exported[ns] = newConsolidated()
			}
			mergeDestinationRule(idx.exported[ns], rule, exportTo)
		} else if ns == root {
			mergeDestinationRule(idx.rootLocal, rule, exportTo)
		}
	}
	return idx
}

func mergeDestinationRule(p *consolidated, rule *networkingv1.DestinationRule, exportTo map[string]bool) {
	host := rule.Spec.Host
	rules := p.specific
	if strings.HasPrefix(host, "*") {
		rules = p.wildcard
	}
	key := rule.Namespace + "/" + rule.Name
	if list, ok := rules[host]; ok {
		separately := true
		for _, m := range list {
			superset := len(m.exportTo) > 0
			for e := range m.exportTo {
				superset = superset && exportTo[e]
			}
			switch {
			case maps.Equal(exportTo, m.exportTo):
				separately = false
			case superset:
				separately = true
			default:
				separately = true
				continue
			}
			existing := m.rule.Spec.WorkloadSelector
			incoming := rule.Spec.WorkloadSelector
			bothWithout := existing == nil && incoming == nil
			bothWith := existing != nil && incoming != nil
			match := maps.Equal(existing.GetMatchLabels(), incoming.GetMatchLabels())
			if bothWith && !match {
				separately = true
				continue
			}
			if bothWithout || (bothWith && match) {
				separately = false
			}
			copied := m.rule.DeepCopy()
			m.rule = copied
			m.from = append(m.from, key)
			have := map[string]bool{}
			for _, s := range copied.Spec.Subsets {
				have[s.Name] = true
			}
			for _, s := range rule.Spec.Subsets {
				if !have[s.Name] {
					copied.Spec.Subsets = append(copied.Spec.Subsets, s)
				}
			}
			if copied.Spec.TrafficPolicy == nil && rule.Spec.TrafficPolicy != nil {
				copied.Spec.TrafficPolicy = rule.Spec.TrafficPolicy
			}
		}
		if separately {
			rules[host] = append(rules[host], &mdr{exportTo, rule, []string{key}})
		}
		return
	}
	rules[host] = append(rules[host], &mdr{exportTo, rule, []string{key}})
}

func mostSpecificHostMatch(needle string, c *consolidated) ([]*mdr, bool) {
	if c == nil {
		return nil, false
	}
	if v, ok := c.specific[needle]; ok {
		return v, true
	}
	best, found := "", false
	for h := range c.wildcard {
		if strings.HasSuffix(needle, h[1:]) && (!found || len(h) > len(best)) {
			best, found = h, true
		}
	}
	return c.wildcard[best], found
}

func (idx *ruleIndex) destinationRule(proxyNamespace, host, serviceNamespace string) []*mdr {
	if proxyNamespace != root {
		if drs, ok := mostSpecificHostMatch(host, idx.local[proxyNamespace]); ok {
			return drs
		}
	} else if drs, ok := mostSpecificHostMatch(host, idx.rootLocal); ok {
		return drs
	}
	for _, owner := range []string{serviceNamespace, root} {
		drs, _ := mostSpecificHostMatch(host, idx.exported[owner])
		var out []*mdr
		for _, m := range drs {
			if len(m.exportTo) == 0 || m.exportTo["*"] || m.exportTo[proxyNamespace] {
				out = append(out, m)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// SidecarScope.DestinationRule.
func pick(drs []*mdr, proxyNamespace string, labels map[string]string) *mdr {
	var catchAll *mdr
	for _, m := range drs {
		selector := m.rule.Spec.WorkloadSelector
		if selector == nil {
			catchAll = m
		}
		if proxyNamespace == m.rule.Namespace && selector != nil && subset(selector.GetMatchLabels(), labels) {
			return m
		}
	}
	return catchAll
}

func subset(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// The TLS that istiod applies: GetPortLevelTrafficPolicy, MergeSubsetTrafficPolicy.
func clusterTLS(rule *networkingv1.DestinationRule, port uint32, subsetName string) (tls *networking.ClientTLSSettings, built bool) {
	policy, _ := portLevel(rule.Spec.TrafficPolicy, port)
	if subsetName == "" {
		return policy.GetTls(), true
	}
	for _, s := range rule.Spec.Subsets {
		if s.Name != subsetName {
			continue
		}
		if s.TrafficPolicy == nil {
			return policy.GetTls(), true
		}
		own, has := portLevel(s.TrafficPolicy, port)
		if policy == nil || own.Tls != nil || has {
			return own.Tls, true
		}
		return policy.Tls, true
	}
	return nil, false
}

func portLevel(policy *networking.TrafficPolicy, port uint32) (*networking.TrafficPolicy, bool) {
	for _, p := range policy.GetPortLevelSettings() {
		if p.Port != nil && p.Port.Number == port {
			return &networking.TrafficPolicy{Tls: p.Tls}, true
		}
	}
	return policy, false
}

func TestEffectiveRulesAreIstiods(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(drawRule), 0, 6).Draw(t, "rules")
		for i, r := range rules {
			r.Name = fmt.Sprintf("%s-%d", r.Name, i)
		}
		w := mesh.NewWorld(mesh.Objects{DestinationRules: rules}, mesh.Options{RootNamespace: root})
		istio := setDestinationRules(rules)

		clientNamespace := rapid.SampledFrom([]string{"a", "b", root, "elsewhere"}).Draw(t, "client")
		svc := &mesh.Service{Host: "api.vendor.com", Namespace: rapid.SampledFrom([]string{"a", "b", root}).Draw(t, "service")}
		labels := rapid.SampledFrom([]map[string]string{nil, {"app": "x"}, {"app": "x", "v": "1"}, {"v": "1"}}).Draw(t, "labels")
		gateway := rapid.Bool().Draw(t, "gateway")

		want := pick(istio.destinationRule(clientNamespace, svc.Host, svc.Namespace), clientNamespace, labels)
		client := mesh.Client{Namespace: clientNamespace, Gateway: gateway, Known: true}
		if clientNamespace == "elsewhere" {
			client.Namespace = mesh.OtherNamespaces
		}
		if gateway {
			client.Labels = labels
		}
		found, hidden := w.EffectiveRules(client, svc)
		// Of what may apply, what does to a pod with these labels.
		var got *mesh.Effective
		for _, e := range found {
			if e.Selector == nil || subset(e.Selector, labels) {
				got = e
				break
			}
		}
		if want == nil {
			require.Nil(t, got)
			if len(istio.destinationRule(clientNamespace, svc.Host, svc.Namespace)) > 0 {
				require.NotNil(t, hidden, "something hides the rules of other namespaces")
			}
			return
		}
		require.NotNil(t, got)
		var members []string
		for _, m := range got.Members {
			members = append(members, m.Namespace+"/"+m.Name)
		}
		require.Equal(t, want.from, members)
		for _, port := range []uint32{443, 80} {
			for _, name := range []string{"", "v1", "v2"} {
				tls, built := clusterTLS(want.rule, port, name)
				said := got.TLS(port, name)
				require.Equal(t, built, said.Level != mesh.LevelNoSubset)
				require.Equal(t, tls.GetMode(), said.Mode(), "port %d subset %q of %v", port, name, members)
				require.Equal(t, tls == nil, said.Settings == nil)
				if said.Settings != nil {
					require.NotNil(t, said.From)
				}
			}
		}
	})
}

func drawRule(t *rapid.T) *networkingv1.DestinationRule {
	dr := &networkingv1.DestinationRule{}
	dr.Name = rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "name")
	dr.Namespace = rapid.SampledFrom([]string{"a", "b", root, "d"}).Draw(t, "namespace")
	dr.CreationTimestamp = metav1.NewTime(time.Unix(int64(rapid.IntRange(1, 4).Draw(t, "created")), 0))
	dr.Spec.Host = rapid.SampledFrom([]string{"api.vendor.com", "api.vendor.com", "api.vendor.com", "*.vendor.com", "*.com", "*", "other.com"}).Draw(t, "host")
	dr.Spec.ExportTo = drawExportTo(t)
	switch rapid.IntRange(0, 5).Draw(t, "selector") {
	case 0:
		dr.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": "x"}}
	case 1:
		dr.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"v": "1"}}
	case 2:
		if rapid.Bool().Draw(t, "empty") {
			dr.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{}
		}
	}
	dr.Spec.TrafficPolicy = drawPolicy(t)
	for _, name := range []string{"v1", "v2"} {
		if rapid.IntRange(0, 3).Draw(t, name) == 0 {
			dr.Spec.Subsets = append(dr.Spec.Subsets, &networking.Subset{Name: name, TrafficPolicy: drawPolicy(t)})
		}
	}
	return dr
}

func drawExportTo(t *rapid.T) []string {
	return rapid.SampledFrom([][]string{nil, nil, {"."}, {"*"}, {"~"}, {"a"}, {"b"}, {"a", "b"}, {".", "b"}, {root}}).Draw(t, "exportTo")
}

func drawPolicy(t *rapid.T) *networking.TrafficPolicy {
	if rapid.IntRange(0, 2).Draw(t, "policy") == 0 {
		return nil
	}
	p := &networking.TrafficPolicy{Tls: drawTLS(t)}
	for _, port := range []uint32{443, 80} {
		if rapid.IntRange(0, 2).Draw(t, "entry") == 0 {
			p.PortLevelSettings = append(p.PortLevelSettings, &networking.TrafficPolicy_PortTrafficPolicy{
				Port: &networking.PortSelector{Number: port}, Tls: drawTLS(t),
			})
		}
	}
	return p
}

func drawTLS(t *rapid.T) *networking.ClientTLSSettings {
	mode := rapid.IntRange(-2, 3).Draw(t, "mode")
	if mode < 0 {
		return nil
	}
	return &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_TLSmode(mode)}
}

// servicesExportedToNamespace, selectServices, appendSidecarServices,
// canMergeServices: the namespace and the ports of what a proxy sees behind host.
func sidecarScopeService(entries []*networkingv1.ServiceEntry, proxyNamespace string, gateway bool) (namespace string, ports []uint32) {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(i, j *networkingv1.ServiceEntry) int {
		if r := i.CreationTimestamp.Compare(j.CreationTimestamp.Time); r != 0 {
			return r
		}
		// By Attributes.Name, which is the host, then the namespace.
		return strings.Compare(i.Namespace, j.Namespace)
	})
	var public []*networkingv1.ServiceEntry
	exported := map[string][]*networkingv1.ServiceEntry{}
	for _, s := range entries {
		to := s.Spec.ExportTo
		if len(to) == 0 || slices.Contains(to, "*") {
			public = append(public, s)
			continue
		}
		if slices.Contains(to, "~") {
			continue
		}
		private := false
		for _, e := range to {
			if e == "." || e == s.Namespace {
				if private {
					continue
				}
				e, private = s.Namespace, true
			}
			exported[e] = append(exported[e], s)
		}
	}
	services := append(slices.Clone(exported[proxyNamespace]), public...)
	if !gateway {
		valid := ""
		for _, s := range services {
			if valid == "" || s.Namespace == proxyNamespace {
				valid = s.Namespace
			}
		}
		services = slices.DeleteFunc(services, func(s *networkingv1.ServiceEntry) bool { return s.Namespace != valid })
	}
	var first *networkingv1.ServiceEntry
	for _, s := range services {
		if first == nil {
			first, namespace = s, s.Namespace
		} else if s.Namespace != first.Namespace || s.Spec.Resolution != first.Spec.Resolution ||
			!maps.Equal(s.Labels, first.Labels) || !maps.Equal(set(s.Spec.ExportTo), set(first.Spec.ExportTo)) {
			continue
		}
		for _, p := range s.Spec.Ports {
			if !slices.Contains(ports, p.Number) {
				ports = append(ports, p.Number)
			}
		}
	}
	return namespace, ports
}

func set(in []string) map[string]bool {
	out := map[string]bool{}
	for _, v := range in {
		out[v] = true
	}
	return out
}

func TestServicesAreIstiods(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *networkingv1.ServiceEntry {
			se := &networkingv1.ServiceEntry{}
			se.Namespace = rapid.SampledFrom([]string{"a", "b", root}).Draw(t, "namespace")
			se.CreationTimestamp = metav1.NewTime(time.Unix(int64(rapid.IntRange(1, 4).Draw(t, "created")), 0))
			se.Spec.Hosts = []string{"api.vendor.com"}
			se.Spec.ExportTo = drawExportTo(t)
			se.Labels = rapid.SampledFrom([]map[string]string{nil, nil, {"x": "1"}}).Draw(t, "labels")
			se.Spec.Resolution = rapid.SampledFrom([]networking.ServiceEntry_Resolution{networking.ServiceEntry_DNS, networking.ServiceEntry_DNS, networking.ServiceEntry_STATIC}).Draw(t, "resolution")
			for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]uint32{80, 443, 8443}), 1, 2, rapid.ID[uint32]).Draw(t, "ports") {
				se.Spec.Ports = append(se.Spec.Ports, &networking.ServicePort{Number: n, Protocol: "HTTP"})
			}
			return se
		}), 0, 4).Draw(t, "entries")
		for i, se := range entries {
			se.Name = fmt.Sprintf("se-%d", i)
		}
		w := mesh.NewWorld(mesh.Objects{ServiceEntries: entries}, mesh.Options{RootNamespace: root})
		client := mesh.Client{
			Namespace: rapid.SampledFrom([]string{"a", "b", root, "elsewhere"}).Draw(t, "client"),
			Gateway:   rapid.Bool().Draw(t, "gateway"),
		}
		namespace, ports := sidecarScopeService(entries, client.Namespace, client.Gateway)
		if client.Namespace == "elsewhere" {
			client.Namespace = mesh.OtherNamespaces
		}
		got := w.Service(client, "api.vendor.com")
		if namespace == "" {
			require.Nil(t, got)
			return
		}
		require.NotNil(t, got)
		require.Equal(t, namespace, got.Namespace)
		var numbers []uint32
		for _, p := range got.Ports() {
			numbers = append(numbers, p.GetNumber())
		}
		require.Equal(t, ports, numbers)
	})
}
