package webhook

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// A field that a later Istio adds is kept until somebody lists it here.
func TestWhatTheInformersDrop(t *testing.T) {
	metadata := []string{
		"metadata.annotations.kubectl.kubernetes.io/last-applied-configuration", "metadata.finalizers", "metadata.managedFields",
	}
	labels := []string{"metadata.labels.app.kubernetes.io/managed-by", "metadata.labels.team"}
	for _, tt := range []struct {
		object client.Object
		spec   proto.Message
		want   []string
	}{
		{object: &networkingv1.ServiceEntry{}, want: []string{"spec.addresses", "spec.endpoints", "status.addresses", "status.conditions", "status.observedGeneration", "status.validationMessages"}},
		{object: &networkingv1.VirtualService{}, want: append([]string{
			"spec.http[].corsPolicy", "spec.http[].fault", "spec.http[].retries", "spec.http[].timeout",
			"status.conditions", "status.observedGeneration", "status.validationMessages",
		}, "metadata.labels")},
		{object: &networkingv1.DestinationRule{}, want: append([]string{
			"status.conditions", "status.observedGeneration", "status.validationMessages",
		}, labels[1:]...)},
		{object: &networkingv1.Gateway{}, want: append([]string{
			"spec.servers[].defaultEndpoint", "spec.servers[].name",
			"spec.servers[].tls.caCertCredentialName", "spec.servers[].tls.caCertificates", "spec.servers[].tls.caCrl", "spec.servers[].tls.cipherSuites",
			"spec.servers[].tls.credentialName", "spec.servers[].tls.credentialNames", "spec.servers[].tls.httpsRedirect", "spec.servers[].tls.insecureSkipVerify",
			"spec.servers[].tls.maxProtocolVersion", "spec.servers[].tls.minProtocolVersion", "spec.servers[].tls.privateKey",
			"spec.servers[].tls.serverCertificate", "spec.servers[].tls.subjectAltNames", "spec.servers[].tls.tlsCertificates",
			"spec.servers[].tls.verifyCertificateHash", "spec.servers[].tls.verifyCertificateSpki",
			"status.conditions", "status.observedGeneration", "status.validationMessages",
		}, "metadata.labels")},
	} {
		t.Run(fmt.Sprintf("%T", tt.object), func(t *testing.T) {
			fillObject(tt.object)
			before, err := mutate.Tree(tt.object)
			require.NoError(t, err)
			stripped, err := stripObject(tt.object)
			require.NoError(t, err)
			after, err := mutate.Tree(stripped)
			require.NoError(t, err)
			want := slices.Concat(metadata, tt.want)
			slices.Sort(want)
			assert.Equal(t, want, slices.Sorted(slices.Values(lost("", before, after))))
		})
	}
}

// lost returns the paths of before that after lacks.
func lost(path string, before, after any) []string {
	switch b := before.(type) {
	case map[string]any:
		var out []string
		a, _ := after.(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(b)) {
			at := k
			if path != "" {
				at = path + "." + k
			}
			if v, ok := a[k]; ok {
				out = append(out, lost(at, b[k], v)...)
			} else {
				out = append(out, at)
			}
		}
		return out
	case []any:
		a, _ := after.([]any)
		if len(a) != len(b) {
			return []string{path}
		}
		var out []string
		for i := range b {
			out = append(out, lost(path+"[]", b[i], a[i])...)
		}
		return out
	}
	if before != after {
		return []string{path}
	}
	return nil
}

func fillObject(o client.Object) {
	now := metav1.NewTime(time.Unix(1_800_000_000, 0))
	grace := int64(1)
	meta := metav1.ObjectMeta{
		Name: "n", GenerateName: "g", Namespace: "ns", UID: "u", ResourceVersion: "1", Generation: 1,
		CreationTimestamp: now, DeletionTimestamp: &now, DeletionGracePeriodSeconds: &grace,
		Labels: map[string]string{"team": "a", "app.kubernetes.io/managed-by": "egress-tls-webhook"},
		Annotations: map[string]string{
			"kubectl.kubernetes.io/last-applied-configuration": "{}", "internal.istio.io/route-semantics": "gateway",
			"egress-tls.dev/originate": "never", "egress-tls.dev/injected": "port/443=0", "egress-tls.dev/unused-since": "x",
		},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "k", Name: "n", UID: "u"}},
		Finalizers:      []string{"f"},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		o.ObjectMeta = meta
		fill(o.Spec.ProtoReflect(), 6)
		fill(o.Status.ProtoReflect(), 6)
	case *networkingv1.VirtualService:
		o.ObjectMeta = meta
		fill(o.Spec.ProtoReflect(), 6)
		fill(o.Status.ProtoReflect(), 6)
	case *networkingv1.DestinationRule:
		o.ObjectMeta = meta
		fill(o.Spec.ProtoReflect(), 6)
		fill(o.Status.ProtoReflect(), 6)
	case *networkingv1.Gateway:
		o.ObjectMeta = meta
		fill(o.Spec.ProtoReflect(), 6)
		fill(o.Status.ProtoReflect(), 6)
	}
}

// fill sets every field of m, one of each oneof, so many levels deep.
func fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if one := f.ContainingOneof(); one != nil && m.WhichOneof(one) != nil || depth == 0 && f.Message() != nil {
			continue
		}
		switch {
		case f.IsMap():
			if f.MapValue().Message() == nil {
				m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), scalar(f.MapValue()))
			} else {
				v := m.Mutable(f).Map().NewValue()
				fill(v.Message(), depth-1)
				m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), v)
			}
		case f.IsList() && f.Message() != nil:
			fill(m.Mutable(f).List().AppendMutable().Message(), depth-1)
		case f.IsList():
			m.Mutable(f).List().Append(scalar(f))
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	default:
		return protoreflect.ValueOfInt32(1)
	}
}

// What is decided is the same about objects as the API server has them, with all that is
// dropped filled in, and about what the informers keep of them.
func TestStrippedObjectsDecideTheSame(t *testing.T) {
	all, err := scenario.All(filepath.Join("..", "test", "scenarios"))
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			compute := func(change func(metav1.Object)) scenario.Want {
				for _, o := range [][]scenario.Object{s.Mesh, s.Request} {
					for i := range o {
						change(o[i].Typed)
						o[i].Raw, err = mutate.Tree(o[i].Typed)
						require.NoError(t, err)
					}
				}
				got, _, err := s.Compute()
				require.NoError(t, err)
				// The API server's copy, which is what is edited, has it all.
				got.Stored = nil
				for _, rule := range got.Rules {
					unstructured.RemoveNestedField(rule, "metadata", "labels")
				}
				return got
			}
			want := compute(adorn)
			got := compute(func(o metav1.Object) {
				_, err := stripObject(o)
				require.NoError(t, err)
			})
			assert.Equal(t, want, got)
		})
	}
}

// adorn adds what is dropped.
func adorn(o metav1.Object) {
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "m"}})
	o.SetFinalizers([]string{"f"})
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		o.Spec.Addresses = []string{"10.0.0.1"}
		o.Spec.Endpoints = []*networking.WorkloadEntry{{Address: "10.0.0.1", Ports: map[string]uint32{"https": 443}}}
	case *networkingv1.VirtualService:
		o.Labels = map[string]string{"app.kubernetes.io/managed-by": "egress-tls-webhook"}
		for _, r := range o.Spec.Http {
			r.Timeout, r.Retries = durationpb.New(time.Second), &networking.HTTPRetry{Attempts: 1}
			r.Fault, r.CorsPolicy = &networking.HTTPFaultInjection{}, &networking.CorsPolicy{AllowHeaders: []string{"a"}}
		}
	case *networkingv1.DestinationRule:
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels["team"] = "a"
	}
}
