package webhook

import (
	"maps"
	"slices"
	"strings"
	"unique"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// cacheOptions drop from the cache what no decision reads.
func cacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: stripObject,
		// A read must not block on, or start, an informer that nobody listed.
		ReaderFailOnMissingInformer: true,
	}
}

// stripObject makes an object small before an informer keeps it. What is written starts from
// what the API server has, never from what is left here: nothing gets lost in an object that
// way. Of a DestinationRule the spec stays whole, since a rule beside it carries it along.
func stripObject(in any) (any, error) {
	switch o := in.(type) {
	case *corev1.Service:
		stripMeta(&o.ObjectMeta, nil)
		o.Spec = corev1.ServiceSpec{Selector: o.Spec.Selector}
		o.Status = corev1.ServiceStatus{}
	case *corev1.Namespace:
		stripMeta(&o.ObjectMeta, func(label string) bool { return label == policy.ModeLabel })
		o.Spec, o.Status = corev1.NamespaceSpec{}, corev1.NamespaceStatus{}
	case *networkingv1.ServiceEntry:
		// Those of one host count as one service if their labels are the same.
		stripMeta(&o.ObjectMeta, func(string) bool { return true })
		o.TypeMeta = typeMeta(o.TypeMeta, mesh.ServiceEntryKind)
		o.Status.Reset()
		o.Spec.Endpoints, o.Spec.Addresses = nil, nil
	case *networkingv1.VirtualService:
		stripMeta(&o.ObjectMeta, nil)
		o.TypeMeta = typeMeta(o.TypeMeta, mesh.VirtualServiceKind)
		o.Status.Reset()
		stripRoutes(&o.Spec)
	case *networkingv1.DestinationRule:
		stripMeta(&o.ObjectMeta, func(label string) bool { return label == mesh.ManagedByLabel })
		o.TypeMeta = typeMeta(o.TypeMeta, mesh.DestinationRuleKind)
		o.Status.Reset()
	case *networkingv1.Gateway:
		stripMeta(&o.ObjectMeta, nil)
		o.Status.Reset()
		for _, s := range o.Spec.Servers {
			stripServer(s)
		}
	case metav1.Object:
		o.SetManagedFields(nil)
	}
	return in, nil
}

// stripMeta leaves what identifies the object and orders it by age, the labels that are
// asked for, and the annotations that decide something: ours and istiod's own.
func stripMeta(m *metav1.ObjectMeta, label func(string) bool) {
	m.ManagedFields, m.Finalizers = nil, nil
	m.Namespace = sharedText(m.Namespace)
	m.Labels = stripLabels(m, label)
	maps.DeleteFunc(m.Annotations, func(k, _ string) bool {
		return !strings.HasPrefix(k, "egress-tls.dev/") && !strings.HasPrefix(k, "internal.istio.io/")
	})
	if len(m.Annotations) == 0 {
		m.Annotations = nil
	}
}

// stripLabels are those that are asked for. Objects of one chart or team have the same keys, and
// many of their values are their own name or namespace.
func stripLabels(m *metav1.ObjectMeta, label func(string) bool) map[string]string {
	if label == nil {
		return nil
	}
	var out map[string]string
	for k, v := range m.Labels {
		if !label(k) {
			continue
		}
		switch v {
		case m.Name:
			v = m.Name
		case m.Namespace:
			v = m.Namespace
		}
		if out == nil {
			out = make(map[string]string, len(m.Labels))
		}
		out[sharedText(k)] = v
	}
	return out
}

// sharedText is s, held once for all that have it.
func sharedText(s string) string { return unique.Make(s).Value() }

// typeMeta is t, as strings that all objects share.
func typeMeta(t metav1.TypeMeta, kind string) metav1.TypeMeta {
	if ours := (metav1.TypeMeta{APIVersion: mesh.APIVersion, Kind: kind}); t == ours {
		return ours
	}
	return t
}

// stripRoutes leaves what tells where requests go, under which conditions, and what their
// headers are.
func stripRoutes(vs *networking.VirtualService) {
	var known [][]*networking.HTTPRouteDestination
	for _, r := range vs.Http {
		if r == nil {
			continue
		}
		r.Timeout, r.Retries, r.Fault, r.CorsPolicy = nil, nil, nil, nil
		r.Route, known = shared(r.Route, known)
	}
}

// maxShared bounds the search for a route that leads to the same.
const maxShared = 8

// shared returns the destinations that are known, if to says the same: most routes of an
// object lead to few places.
func shared(to []*networking.HTTPRouteDestination, known [][]*networking.HTTPRouteDestination) (same []*networking.HTTPRouteDestination, _ [][]*networking.HTTPRouteDestination) {
	if len(to) == 0 {
		return to, known
	}
	i := slices.IndexFunc(known, func(k []*networking.HTTPRouteDestination) bool {
		return slices.EqualFunc(k, to, func(a, b *networking.HTTPRouteDestination) bool {
			d, e := a.GetDestination(), b.GetDestination()
			return a != nil && b != nil && d != nil && e != nil && a.Headers == nil && b.Headers == nil && a.Weight == b.Weight &&
				d.Host == e.Host && d.Subset == e.Subset && (d.Port == nil) == (e.Port == nil) && d.GetPort().GetNumber() == e.GetPort().GetNumber()
		})
	})
	switch {
	case i >= 0:
		return known[i], known
	case len(known) < maxShared:
		known = append(known, to)
	}
	return to, known
}

// stripServer leaves what tells which virtual hosts a server has.
func stripServer(s *networking.Server) {
	if s == nil {
		return
	}
	if s.Tls != nil {
		s.Tls = &networking.ServerTLSSettings{Mode: s.Tls.Mode}
	}
	s.Name, s.DefaultEndpoint = "", ""
}
