package converge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// delay is what passes between two objects that are applied apart.
const delay = time.Second

// seed is one of the two examples that the product was made for, in parts that may
// come in any order.
type seed struct {
	name string
	// parts are the manifests; the last one is the user's own DestinationRule, which
	// may be left out.
	parts []string
	// want is what they come to, without and with that rule.
	want, wantOwn string
	// host and names are what each run has its own of.
	host  string
	names []string
}

// TestOrder applies the objects of each seed in every order, in one kubectl call and
// with delays in between.
func TestOrder(t *testing.T) {
	t.Parallel()
	var together, apart []*orderRun
	for _, s := range []seed{ingress(t), sidecar(t)} {
		for _, own := range []bool{false, true} {
			n := len(s.parts)
			if !own {
				n--
			}
			for _, order := range permutations(n) {
				together = append(together, s.run(t, "together", order, own))
				apart = append(apart, s.run(t, "apart", order, own))
			}
		}
	}
	require.Len(t, together, 30+8)
	all := slices.Concat(together, apart)

	t.Run("apply", func(t *testing.T) {
		applyAll(t, together)
		t.Run("apart", func(t *testing.T) {
			t.Parallel()
			for i := range 4 {
				if i > 0 {
					time.Sleep(delay)
					servers.swap()
				}
				var next strings.Builder
				for _, r := range apart {
					if i < len(r.manifests) {
						next.WriteString(r.manifests[i])
					}
				}
				kubectlApply(t, next.String())
			}
		})
	})

	var namespaces []string
	decided := [2]map[string]bool{servers.decided(0), servers.decided(1)}
	for _, r := range all {
		namespaces = append(namespaces, r.namespaces...)
	}
	t.Run("comes to", func(t *testing.T) {
		for _, r := range all {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				logOnFailure(t, r.namespaces...)
				comes(t, r.namespaces, r.want)
				for replica, namespaces := range decided {
					assert.True(t, slices.ContainsFunc(r.namespaces, func(ns string) bool { return namespaces[ns] }), "replica %d decided", replica)
				}
			})
		}
	})
	require.False(t, t.Failed(), "not all come to the same")
	gaveBack(t, namespaces...)
	before := cluster.versions(namespaces...)
	t.Run("again", func(t *testing.T) { applyAll(t, all) })
	stays(t, namespaces...)
	assert.Equal(t, before, cluster.versions(namespaces...), "applying everything again writes nothing")
}

// applyAll applies the runs, one object right after the other, by four kubectls side by
// side.
func applyAll(t *testing.T, runs []*orderRun) {
	t.Helper()
	for some := range slices.Chunk(runs, (len(runs)+3)/4) {
		t.Run("some", func(t *testing.T) {
			t.Parallel()
			var manifests strings.Builder
			for _, r := range some {
				manifests.WriteString(strings.Join(r.manifests, ""))
			}
			kubectlApply(t, manifests.String())
		})
	}
}

// orderRun is one seed in one order.
type orderRun struct {
	name       string
	namespaces []string
	manifests  []string
	want       string
}

var runs int

// run renames all that the run has its own of, so that it meets no other.
func (s seed) run(t *testing.T, how string, order []int, own bool) *orderRun {
	t.Helper()
	runs++
	r := &orderRun{name: fmt.Sprintf("%s %s %v", s.name, how, order)}
	host := fmt.Sprintf("order-%d.example.com", runs)
	replace := []string{
		s.host, host, mesh.RuleName(s.host, nil), mesh.RuleName(host, nil),
		// What the Gateway and its Service are found by.
		"istio: ingressgateway", fmt.Sprintf("istio: order-%d", runs), "- example.com", fmt.Sprintf("- www.order-%d.example.com", runs),
	}
	for _, name := range s.names {
		r.namespaces = append(r.namespaces, fmt.Sprintf("order-%d-%s", runs, name))
		replace = append(replace, "namespace: "+name+"\n", "namespace: "+r.namespaces[len(r.namespaces)-1]+"\n")
		require.NoError(t, createNamespace(t.Context(), r.namespaces[len(r.namespaces)-1]))
	}
	rename := strings.NewReplacer(replace...)
	for _, i := range order {
		r.manifests = append(r.manifests, rename.Replace(s.parts[i]))
	}
	r.want = rename.Replace(s.want)
	if own {
		r.want = rename.Replace(s.wantOwn)
	}
	return r
}

// ingress is the example with a gateway, its routes in the order that works.
func ingress(t *testing.T) seed {
	t.Helper()
	known, own := load(t, "ingress-seed-clients-known"), load(t, "ingress-seed-own-rule")
	entry, gateway := manifest(t, known.Mesh, mesh.ServiceEntryKind), manifest(t, known.Mesh, "Gateway", "Service")
	rule := manifest(t, own.Mesh, mesh.DestinationRuleKind)
	stored := texts(t, known.Want.Stored...)
	return seed{
		name: "ingress", host: "samplebucket1234.s3.ap-southeast-2.amazonaws.com", names: []string{"istio-system", "default"},
		parts:   []string{entry, gateway, manifest(t, known.Request, mesh.VirtualServiceKind), rule},
		want:    entry + gateway + stored + owned(t, known.Want.Rules, "s3"),
		wantOwn: entry + gateway + stored + rule,
	}
}

// sidecar is the example in which sidecars originate TLS for port 443.
func sidecar(t *testing.T) seed {
	t.Helper()
	alone, own := load(t, "sidecar-seed"), load(t, "sidecar-seed-as-written")
	rule := manifest(t, own.Request, mesh.DestinationRuleKind)
	stored := texts(t, alone.Want.Stored...)
	return seed{
		name: "sidecar", host: "edition.cnn.com", names: []string{"default"},
		parts:   []string{manifest(t, alone.Request, mesh.ServiceEntryKind), manifest(t, alone.Request, mesh.VirtualServiceKind), rule},
		want:    stored + owned(t, alone.Want.Rules, "cnn"),
		wantOwn: stored + rule,
	}
}

func load(t *testing.T, name string) *scenario.Scenario {
	t.Helper()
	all, err := scenario.All("../scenarios")
	require.NoError(t, err)
	i := slices.IndexFunc(all, func(s *scenario.Scenario) bool { return s.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return all[i]
}

// manifest returns the objects of the given kinds.
func manifest(t *testing.T, from []scenario.Object, kinds ...string) string {
	t.Helper()
	var found []map[string]any
	for _, o := range from {
		if kind, _ := o.Raw["kind"].(string); slices.Contains(kinds, kind) {
			found = append(found, o.Raw)
		}
	}
	require.Len(t, found, len(kinds))
	return texts(t, found...)
}

// owned adds the owner to the rules, which want.yaml leaves out.
func owned(t *testing.T, rules []map[string]any, entry string) string {
	t.Helper()
	for _, r := range rules {
		(&unstructured.Unstructured{Object: r}).SetOwnerReferences([]metav1.OwnerReference{
			{APIVersion: mesh.APIVersion, Kind: mesh.ServiceEntryKind, Name: entry, UID: types.UID("uid of ServiceEntry " + entry)},
		})
	}
	return texts(t, rules...)
}

func texts(t *testing.T, objects ...map[string]any) string {
	t.Helper()
	var b strings.Builder
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		require.NoError(t, err)
		b.WriteString("---\n" + string(text))
	}
	return b.String()
}

// permutations returns the orders of n things.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for at := range n {
			out = append(out, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	return out
}
