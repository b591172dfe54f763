package manifest

import (
	"fmt"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsjson "sigs.k8s.io/json"
)

const istioGroup = "networking.istio.io"

// unmarshal decodes as the API server does: the case of a field's name counts.
func unmarshal(raw []byte, into any) error {
	return sigsjson.UnmarshalCaseSensitivePreserveInts(raw, into)
}

type object interface {
	metav1.Object
	runtime.Object
}

// decode returns the typed object of a known kind, nil for all others. An error
// names the place, the object and the field.
func decode(d *Document, namespace string) (metav1.Object, error) {
	fresh, err := kindOf(d.APIVersion, d.Kind)
	if err != nil {
		return nil, fmt.Errorf("%s%w", d.Prefix(""), err)
	}
	if fresh == nil {
		return nil, nil
	}
	out := fresh()
	if err := unmarshal(d.json, out); err != nil {
		return nil, decodeError(d, namespace, fresh)
	}
	out.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(d.APIVersion, d.Kind))
	if out.GetName() == "" && out.GetGenerateName() == "" {
		return nil, fmt.Errorf("%s%s has no metadata.name", d.Prefix(""), d.Kind)
	}
	if _, ok := out.(*corev1.Namespace); !ok && out.GetNamespace() == "" {
		out.SetNamespace(namespace)
	}
	return out, nil
}

// kindOf returns how to make an object of a known kind. All versions that Istio
// serves have the same fields. A kind that decisions read under a version that
// Istio does not serve is an error, since it would go unchecked in silence.
func kindOf(apiVersion, kind string) (func() object, error) {
	group, version, _ := strings.Cut(apiVersion, "/")
	if apiVersion == "v1" {
		switch kind {
		case "Service":
			return func() object { return &corev1.Service{} }, nil
		case "Namespace":
			return func() object { return &corev1.Namespace{} }, nil
		}
	}
	if group == istioGroup && kind == "" {
		return nil, fmt.Errorf("an object of %s has no kind", apiVersion)
	}
	var fresh func() object
	switch kind {
	case "ServiceEntry":
		fresh = func() object { return &networkingv1.ServiceEntry{} }
	case "VirtualService":
		fresh = func() object { return &networkingv1.VirtualService{} }
	case "DestinationRule":
		fresh = func() object { return &networkingv1.DestinationRule{} }
	case "Gateway":
		fresh = func() object { return &networkingv1.Gateway{} }
	}
	switch {
	case fresh == nil:
		return nil, nil
	case apiVersion == "":
		return nil, fmt.Errorf("%s has no apiVersion", kind)
	case group != istioGroup:
		return nil, nil // Of another project, such as the Gateway API's Gateway.
	}
	switch version {
	case "v1", "v1beta1", "v1alpha3":
		return fresh, nil
	}
	return nil, fmt.Errorf("%s has apiVersion %q; Istio serves %s/v1, v1beta1 and v1alpha3", kind, apiVersion, istioGroup)
}
