package webhook

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// oneRule is an API server that holds one DestinationRule, or none.
type oneRule struct {
	client.Reader
	client.Writer
	rule *networkingv1.DestinationRule
	// sent is what was written last.
	sent []byte
}

func (s *oneRule) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	out, ok := o.(*networkingv1.DestinationRule)
	if s.rule == nil || !ok {
		return apierrors.NewNotFound(schema.GroupResource{}, "rule")
	}
	s.rule.DeepCopyInto(out)
	return nil
}

func (s *oneRule) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	return s.write(o)
}

func (s *oneRule) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	return s.write(o)
}

func (s *oneRule) write(o client.Object) (err error) {
	s.sent, err = json.Marshal(o)
	return err
}

func ringChange() mutate.RuleChange {
	const host = "api.vendor.com"
	rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{
		Namespace: "egress", Name: mesh.RuleName(host, nil), Labels: map[string]string{mesh.ManagedByLabel: mesh.ManagedBy},
	}}
	rule.Spec.Host = host
	rule.Spec.TrafficPolicy = &networking.TrafficPolicy{LoadBalancer: &networking.LoadBalancerSettings{LbPolicy: &networking.LoadBalancerSettings_ConsistentHash{
		ConsistentHash: &networking.LoadBalancerSettings_ConsistentHashLB{HashAlgorithm: &networking.LoadBalancerSettings_ConsistentHashLB_RingHash_{
			RingHash: &networking.LoadBalancerSettings_ConsistentHashLB_RingHash{MinimumRingSize: 1024},
		}},
	}}}
	return mutate.RuleChange{Action: mutate.Create, Host: host, Rule: rule}
}

// A rule that carries a policy along is written as the CRD takes it.
func TestCreateWritesNumbers(t *testing.T) {
	c := ringChange()
	edited := c.Rule.DeepCopy()
	edited.Spec.TrafficPolicy = nil
	other := c.Rule.DeepCopy() // which is not known as a rule of the host
	other.ResourceVersion, other.Spec.Host = "7", "www.vendor.com"
	for name, s := range map[string]*oneRule{"created": {}, "restored": {rule: edited}, "its host was edited": {rule: other}} {
		t.Run(name, func(t *testing.T) {
			w := &ruleWriter{writer: s, live: s}
			_, err := w.create(t.Context(), c, false)
			require.NoError(t, err)
			var out struct {
				Kind string
				Spec map[string]any
			}
			require.NoError(t, json.Unmarshal(s.sent, &out))
			assert.Equal(t, mesh.DestinationRuleKind, out.Kind)
			assert.Equal(t, map[string]any{"host": c.Host, "trafficPolicy": map[string]any{
				"loadBalancer": map[string]any{"consistentHash": map[string]any{"ringHash": map[string]any{"minimumRingSize": 1024.0}}},
			}}, out.Spec)
		})
	}
}

// What has the name alone is somebody else's.
func TestCreateLeavesAnotherRuleAlone(t *testing.T) {
	c := ringChange()
	other := c.Rule.DeepCopy()
	other.Labels = nil
	s := &oneRule{rule: other}
	_, err := (&ruleWriter{writer: s, live: s}).create(t.Context(), c, false)
	require.ErrorContains(t, err, "stands in the way")
	assert.True(t, stuck(err))
	assert.Nil(t, s.sent)

	other = c.Rule.DeepCopy()
	other.ResourceVersion, other.Spec.TrafficPolicy = "7", nil
	s.rule = other
	_, err = (&ruleWriter{writer: s, live: s}).create(t.Context(), c, false)
	require.ErrorContains(t, err, "was changed")
	assert.True(t, isRace(err))
	assert.Nil(t, s.sent)
}
