package mesh

import (
	"cmp"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// APIVersion is the version in which objects are read and written.
const APIVersion = "networking.istio.io/v1"

// The kinds that decisions are made about.
const (
	ServiceEntryKind    = "ServiceEntry"
	VirtualServiceKind  = "VirtualService"
	DestinationRuleKind = "DestinationRule"
)

// ObjectOf names o for a finding. An object from an informer carries no type
// and is named with APIVersion.
func ObjectOf(o metav1.Object) finding.Object {
	out := finding.Object{APIVersion: APIVersion, Namespace: o.GetNamespace(), Name: cmp.Or(o.GetName(), o.GetGenerateName())}
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		out.Kind, out.APIVersion = ServiceEntryKind, cmp.Or(o.APIVersion, APIVersion)
	case *networkingv1.VirtualService:
		out.Kind, out.APIVersion = VirtualServiceKind, cmp.Or(o.APIVersion, APIVersion)
	case *networkingv1.DestinationRule:
		out.Kind, out.APIVersion = DestinationRuleKind, cmp.Or(o.APIVersion, APIVersion)
	}
	return out
}
