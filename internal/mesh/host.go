package mesh

import (
	"iter"
	"net/netip"
	"strings"
)

// ClusterDomain is the domain of Kubernetes services. Istio completes host names
// without a dot with it; it matters only for names inside of the cluster.
const ClusterDomain = "cluster.local"

// ResolveHost completes a host without a dot to the name of a Kubernetes service
// in namespace, as Istio does for destinations and DestinationRule hosts
// (ResolveShortnameToFQDN). A host with a dot, an IP address and "*" stay as
// they are; ServiceEntry hosts are never completed.
func ResolveHost(host, namespace string) string {
	if host == "" || host == "*" || strings.Contains(host, ".") {
		return host
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	return host + "." + namespace + ".svc." + ClusterDomain
}

// IsWildcard reports whether host stands for several hosts.
func IsWildcard(host string) bool {
	return strings.HasPrefix(host, "*")
}

// IsExternal reports whether a resolved destination host may be a host outside
// of the cluster: it has a dot and is no Kubernetes service name.
func IsExternal(host string) bool {
	return strings.Contains(host, ".") && !IsWildcard(host) && !IsKubernetesService(host)
}

// IsKubernetesService reports whether host is the full name of a Kubernetes service.
func IsKubernetesService(host string) bool {
	return strings.HasSuffix(strings.ToLower(host), ".svc."+ClusterDomain)
}

// WildcardFits reports whether the wildcard pattern covers the exact host:
// "*.com" covers "foo.com", "*" covers everything.
func WildcardFits(pattern, host string) bool {
	return IsWildcard(pattern) && strings.HasSuffix(host, pattern[1:])
}

// WildcardsOf returns every wildcard that covers host, most specific first, "*"
// last. Looking these up replaces a search over all objects. Istio compares
// suffixes of bytes, so "*nn.com" would cover "cnn.com" too; its validation
// (ValidateWildcardDomain) stores only "*", "*.suffix" and "*-suffix".
func WildcardsOf(host string) []string {
	var out []string
	for tail := range tails(host) {
		out = append(out, "*"+tail)
	}
	return out
}

// tails yields what follows the "*" in WildcardsOf.
func tails(host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(host) {
			if (host[i] == '.' || host[i] == '-') && !yield(host[i:]) {
				return
			}
		}
		yield("")
	}
}

// HostAndWildcards returns host, exact or a wildcard, and every other wildcard that
// covers it, most specific first.
func HostAndWildcards(host string) []string {
	return distinct(append([]string{host}, WildcardsOf(host)...)) // A wildcard covers itself.
}
