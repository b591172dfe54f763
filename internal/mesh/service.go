package mesh

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// OriginateAnnotation on a ServiceEntry overrides which ports are targets:
// "never", "always", or a comma list of port numbers.
const OriginateAnnotation = "egress-tls.dev/originate"

// Service is what one client sees behind a host: the ServiceEntries of one
// namespace, merged.
type Service struct {
	Host      string
	Namespace string
	// Entries are the ServiceEntries that contribute ports, the first of which
	// gave the service its attributes.
	Entries []*networkingv1.ServiceEntry
	// Unexported: the client sees it only as the destination of its routes.
	Unexported bool

	one [1]*networkingv1.ServiceEntry // room for Entries
}

func newService(host string, first *networkingv1.ServiceEntry) *Service {
	s := &Service{Host: host, Namespace: first.Namespace, one: [1]*networkingv1.ServiceEntry{first}}
	s.Entries = s.one[:]
	return s
}

// Port is a port of a service.
type Port struct {
	*networking.ServicePort
	Entry *networkingv1.ServiceEntry
}

// Service returns what client sees behind the exact host, or nil.
//
// The order of preference is istiod's: ServiceEntries exported to the client's
// namespace by name or as private before public ones, each group oldest first
// (servicesExportedToNamespace); a sidecar prefers those of its own namespace to
// all others (convertIstioListenerToWrapper), a gateway only where sidecars run in
// its namespace too (doGetSidecarScope), which nobody can tell; further ones of the namespace that won add
// their ports if all else is equal (appendSidecarServices, canMergeServices).
//
// The answer must not be changed: who asks again gets the same.
func (w *World) Service(client Client, host string) *Service {
	if IsWildcard(host) {
		return nil
	}
	return w.serviceOf(client, host)
}

// CalledService returns what a call of client to the exact host comes to: the service
// of that host, or else the one of the most specific wildcard that it sees.
func (w *World) CalledService(client Client, host string) *Service {
	for _, h := range append([]string{host}, WildcardsOf(host)...) {
		if svc := w.serviceOf(client, h); svc != nil {
			return svc
		}
	}
	return nil
}

// serviceOf remembers what it answered.
func (w *World) serviceOf(client Client, host string) *Service {
	key := serviceKey{client.Namespace, client.Gateway, host}
	svc, known := w.known.get(key)
	if !known {
		svc = w.lookUpService(client, host)
		w.known.put(key, svc)
	}
	return svc
}

// serviceKey is all of a client that a service depends on.
type serviceKey struct {
	namespace string
	gateway   bool
	host      string
}

func (w *World) lookUpService(client Client, host string) *Service {
	all := w.entries.at(host)
	first := preferred(client, all)
	if first == nil {
		return nil
	}
	svc := newService(host, first)
	for _, group := range groups {
		for _, se := range all {
			if se != first && exportedTo(se.Spec.GetExportTo(), se.Namespace, client.Namespace) == group && canMerge(first, se) {
				svc.Entries = append(svc.Entries, se)
			}
		}
	}
	return svc
}

// groups are what is visible, in the order of preference.
var groups = [...]visibility{visibleByName, visibleToAll}

func preferred(client Client, all []*networkingv1.ServiceEntry) (first *networkingv1.ServiceEntry) {
	for _, group := range groups {
		for _, se := range all {
			if exportedTo(se.Spec.GetExportTo(), se.Namespace, client.Namespace) != group {
				continue
			}
			if !client.Gateway && se.Namespace == client.Namespace {
				return se
			}
			if first == nil {
				first = se
			}
		}
	}
	return first
}

func canMerge(a, b *networkingv1.ServiceEntry) bool {
	return a.Namespace == b.Namespace &&
		a.Spec.GetResolution() == b.Spec.GetResolution() &&
		maps.Equal(a.Labels, b.Labels) &&
		maps.Equal(a.Spec.GetWorkloadSelector().GetLabels(), b.Spec.GetWorkloadSelector().GetLabels()) &&
		slices.Equal(sorted(a.Spec.GetExportTo()), sorted(b.Spec.GetExportTo()))
}

// Ports returns the ports of the service; of several with one number the first
// counts.
func (s *Service) Ports() []Port {
	var out []Port
	for _, se := range s.Entries {
		for _, p := range se.Spec.GetPorts() {
			if p != nil && !slices.ContainsFunc(out, func(o Port) bool { return o.GetNumber() == p.GetNumber() }) {
				out = append(out, Port{p, se})
			}
		}
	}
	return out
}

// port returns the one of Ports with the number.
func (s *Service) port(number uint32) (Port, bool) {
	for _, se := range s.Entries {
		for _, p := range se.Spec.GetPorts() {
			if p != nil && p.GetNumber() == number {
				return Port{p, se}, true
			}
		}
	}
	return Port{}, false
}

// SpeaksTLS reports whether the port's protocol says that its clients speak TLS
// themselves: a rule that they see too would encrypt them twice (istio #17031).
func (p Port) SpeaksTLS() bool {
	switch strings.ToLower(p.GetProtocol()) {
	case "https", "tls":
		return true
	}
	return false
}

// plaintextTLSPort reports whether the port takes HTTP from its clients and
// leads to a TLS port: number or targetPort 443.
func (p Port) plaintextTLSPort() bool {
	switch strings.ToLower(p.GetProtocol()) {
	case "http", "http2", "grpc", "grpc-web", "":
		return p.GetNumber() == 443 || p.GetTargetPort() == 443
	}
	return false
}

// Originates decides what TLS origination the port wants.
//
// routed: plaintext HTTP that a route sends to it must be encrypted. alone: also
// before any route, since every client sends it plaintext (protocol HTTP on 443)
// or the ServiceEntry is annotated. A ServiceEntry inside of the mesh never
// originates unless its annotation lists the port.
func (p Port) Originates() (routed, alone bool) {
	a, _ := ParseOriginate(p.Entry.Annotations[OriginateAnnotation])
	switch {
	case a.Never:
		return false, false
	case a.Ports != nil:
		listed := slices.Contains(a.Ports, p.GetNumber())
		return listed, listed
	case p.Entry.Spec.GetLocation() != networking.ServiceEntry_MESH_EXTERNAL:
		return false, false
	case p.SpeaksTLS():
		return true, a.Always
	default:
		tls := p.plaintextTLSPort()
		return tls, tls
	}
}

// Originate is the parsed OriginateAnnotation; the zero value says nothing.
type Originate struct {
	Never, Always bool
	Ports         []uint32
}

// ParseOriginate reads the value of OriginateAnnotation. ok is false when it is
// none of "", "never", "always" and a comma list of ports from 1 to 65535; it
// then counts as absent.
func ParseOriginate(value string) (o Originate, ok bool) {
	switch v := strings.TrimSpace(value); v {
	case "":
		return Originate{}, true
	case "never":
		return Originate{Never: true}, true
	case "always":
		return Originate{Always: true}, true
	}
	for s := range strings.SplitSeq(value, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
		if err != nil || n == 0 {
			return Originate{}, false
		}
		o.Ports = append(o.Ports, uint32(n))
	}
	return o, true
}

type visibility int

const (
	invisible visibility = iota
	visibleByName
	visibleToAll
)

// exportedTo judges a ServiceEntry's or VirtualService's exportTo as istiod's
// initServiceRegistry does: "*" wins over all, "~" over names.
func exportedTo(exportTo []string, own, namespace string) visibility {
	switch {
	case len(exportTo) == 0 || slices.Contains(exportTo, ExportPublic):
		return visibleToAll
	case slices.Contains(exportTo, ExportNone):
		return invisible
	case namespace == OtherNamespaces:
		return invisible
	case slices.Contains(exportTo, namespace),
		own == namespace && slices.Contains(exportTo, ExportPrivate):
		return visibleByName
	}
	return invisible
}

// sorted returns the values of in, sorted and each once.
func sorted(in []string) []string {
	if len(in) < 2 {
		return in
	}
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}
