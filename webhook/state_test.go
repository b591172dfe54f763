package webhook

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

func TestRulesAreCountedByWhoseTheyAreAndWhetherTheyAreNeeded(t *testing.T) {
	ours := map[string]string{mesh.ManagedByLabel: mesh.ManagedBy}
	injected := map[string]string{mutate.InjectedAnnotation: "port/443=0"}
	unused := map[string]string{mutate.UnusedAnnotation: "2026-01-01T00:00:00Z 0"}
	both := map[string]string{mutate.InjectedAnnotation: "port/443=0", mutate.UnusedAnnotation: "2026-01-01T00:00:00Z 0"}
	generated := mesh.RuleName("a.example.com", nil)
	var stored informers
	for _, rule := range []struct {
		namespace, name     string
		labels, annotations map[string]string
	}{
		{"a", generated, ours, nil},
		{"b", generated, ours, nil},
		{"c", generated, ours, unused},
		{"c", "users", nil, injected},
		{"d", "users", nil, both},
		{"d", "untouched", nil, nil},
		{"d", "labelled", ours, nil}, // with a name that is not ours
	} {
		stored = append(stored, scenario.Object{Typed: &networkingv1.DestinationRule{
			ObjectMeta: metav1.ObjectMeta{Namespace: rule.namespace, Name: rule.name, Labels: rule.labels, Annotations: rule.annotations},
			Spec:       networking.DestinationRule{Host: "a.example.com"},
		}})
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(newRuleStates(stored))
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	counts := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		counts[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetGauge().GetValue()
	}
	assert.Equal(t, map[string]float64{"managed needed": 2, "managed unused": 1, "injected needed": 1, "injected unused": 1}, counts)
}
