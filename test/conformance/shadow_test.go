package conformance

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/envoy"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// shadowWorlds are judged when no flag says how many; shadowSample is how many worlds there are to
// one in which it is counted what is found.
const shadowWorlds, shadowSample = 600, 10

// A shadowedRoute is a route of which a warning says that no request for a host reaches it at a
// gateway.
type shadowedRoute struct {
	vs            string // namespace/name
	route         int
	host, gateway string
}

var (
	atGateway = regexp.MustCompile(`^No request for (.*?) reaches (.*) of VirtualService (\S+): `)
	atSidecar = regexp.MustCompile(`^Sidecars take the routes of hosts? (.*?) from VirtualService \S+ alone.*, and ignore those of VirtualService (\S+): its (.*?) gets? no request from the mesh`)
)

// warnedOf reads what a warning says. What it only counts it does not say.
func warnedOf(message string) ([]shadowedRoute, error) {
	var vs, places, routes string
	if m := atGateway.FindStringSubmatch(message); m != nil {
		places, routes, vs = m[1], m[2], m[3]
	} else if m := atSidecar.FindStringSubmatch(message); m != nil {
		places, vs, routes = m[1], m[2], m[3]
	} else {
		return nil, fmt.Errorf("cannot read %q", message)
	}
	var out []shadowedRoute
	for place := range strings.SplitSeq(strings.ReplaceAll(places, " and ", ", "), ", ") {
		host, gateway, ok := strings.Cut(place, " at gateway ")
		if !ok {
			gateway = mesh.MeshGateway
		}
		if strings.Contains(host, " other") {
			continue
		}
		for _, i := range routesIn(routes) {
			out = append(out, shadowedRoute{vs, i, host, gateway})
		}
	}
	return out, nil
}

// warned are the routes that applying each VirtualService of w warns of. What is said of another one
// is said of it, too, when that is applied.
func (w *shadowWorld) warned() (map[shadowedRoute]string, error) {
	world := w.view()
	own, others := map[shadowedRoute]string{}, map[shadowedRoute]string{}
	for _, vs := range w.virtualServices() {
		for _, f := range validate.Shadowed(world, nil, vs) {
			if strings.HasPrefix(f.Message, "And ") {
				continue
			}
			read, err := warnedOf(f.Message)
			if err != nil {
				return nil, err
			}
			for _, r := range read {
				if r.vs == fullName(vs) {
					own[r] = f.Message
				} else {
					others[r] = f.Message
				}
			}
		}
	}
	for r, message := range others {
		if _, ok := own[r]; !ok {
			return nil, fmt.Errorf("%+v is warned of, but not when it is applied itself: %s", r, message)
		}
	}
	return own, nil
}

var shadowRequests = func() []*envoy.Request {
	var out []*envoy.Request
	for _, path := range []string{"/", "/a", "/api", "/api/v1", "/api/v1/x", "/API/v1", "/apiz", "/b/c", "/api/v2", "/web"} {
		for _, method := range []string{"GET", "POST"} {
			for _, headers := range []map[string]string{nil, {"x": "1"}, {"x": "2"}} {
				out = append(out, &envoy.Request{Method: method, Path: path, Headers: headers})
			}
		}
	}
	return out
}()

// A reachedAt holds the names of the routes that requests reach at a proxy, by the domain they ask for.
type reachedAt map[string]map[string]bool

// reached asks istiod which routes requests reach at each proxy. With only, the other VirtualServices are
// not there.
func (w *shadowWorld) reached(t testing.TB, only *networkingv1.VirtualService) (map[string]reachedAt, error) {
	t.Helper()
	proxies := map[string]istiod.Proxy{}
	for _, of := range w.proxies() {
		for _, p := range of {
			proxies[p.String()] = p
		}
	}
	out := map[string]reachedAt{}
	var err error
	istiod.Run(t, w.named(only), istiod.Options{}, func(m *istiod.Mesh) {
		for _, name := range slices.Sorted(maps.Keys(proxies)) { // a gateway comes before a sidecar
			p := proxies[name]
			out[name] = reachedAt{}
			var routes map[string]*routev3.RouteConfiguration
			if p.Gateway {
				routes = m.Routes(p)
			} else {
				routes = m.Route(p, "80", "8080")
			}
			for port, rc := range routes {
				for _, vh := range rc.GetVirtualHosts() {
					for _, domain := range vh.GetDomains() {
						domain = withoutPort(domain)
						if !p.Gateway && !w.meshPort(port, domain) {
							continue
						}
						if err = out[name].add(vh, domain); err != nil {
							return
						}
					}
				}
			}
		}
	})
	return out, err
}

func (r reachedAt) add(vh *routev3.VirtualHost, domain string) error {
	if r[domain] == nil {
		r[domain] = map[string]bool{}
	}
	for _, q := range shadowRequests {
		hit, err := envoy.Route(vh, q)
		if err != nil {
			return err
		}
		r[domain][hit.GetName()] = true
	}
	return nil
}

func withoutPort(domain string) string {
	if i := strings.LastIndexByte(domain, ':'); i > 0 {
		domain = domain[:i]
	}
	return strings.TrimSuffix(domain, ".")
}

// live reports whether a request for the host reaches r at a proxy of the gateway.
func (w *shadowWorld) live(r shadowedRoute, reached map[string]reachedAt) bool {
	for _, p := range w.proxies()[r.gateway] {
		for domain, routes := range reached[p.String()] {
			if routes[routeName(r.vs, r.route)] && mesh.HostWithin(domain, strings.ToLower(r.host)) &&
				(r.gateway != mesh.MeshGateway || !w.moreSpecific(r, domain)) {
				return true
			}
		}
	}
	return false
}

// moreSpecific reports whether another host of the same VirtualService is why sidecars have its routes for a
// domain.
func (w *shadowWorld) moreSpecific(r shadowedRoute, domain string) bool {
	for _, vs := range w.virtualServices() {
		if fullName(vs) == r.vs {
			return slices.ContainsFunc(vs.Spec.Hosts, func(h string) bool {
				return h != r.host && mesh.HostWithin(domain, h) && mesh.HostWithin(h, r.host)
			})
		}
	}
	return false
}

// judge holds the warnings of w against the routes that istiod makes of it; sampled also counts
// what of all that is shadowed they tell.
func (w *shadowWorld) judge(t testing.TB, n *tally, sampled bool) error {
	t.Helper()
	warned, err := w.warned()
	if err != nil {
		return err
	}
	n.add("warned", len(warned))
	if len(warned) == 0 && !sampled {
		return nil
	}
	all, err := w.reached(t, nil)
	if err != nil {
		return err
	}
	for r, message := range warned {
		if w.live(r, all) {
			return fmt.Errorf("a request reaches %+v, of which a warning says: %s", r, message)
		}
	}
	if !sampled {
		return nil
	}
	for _, vs := range w.virtualServices() {
		alone, err := w.reached(t, vs)
		if err != nil {
			return err
		}
		for _, r := range routesOf(vs) {
			if w.live(r, alone) && !w.live(r, all) {
				n.add("shadowed in the sample", 1)
				if _, ok := warned[r]; ok {
					n.add("of these, warned of", 1)
				}
			}
		}
	}
	return nil
}

// routesOf are the routes of vs for each host at each gateway.
func routesOf(vs *networkingv1.VirtualService) []shadowedRoute {
	var out []shadowedRoute
	for _, gateway := range vs.Spec.Gateways {
		for _, host := range vs.Spec.Hosts {
			for i := range vs.Spec.Http {
				out = append(out, shadowedRoute{fullName(vs), i, host, gateway})
			}
		}
	}
	return out
}

// What a warning says of VirtualServices that share a host holds for the lists of routes that istiod
// makes of them: no request reaches what it calls shadowed.
func TestShadowedDifferential(t *testing.T) {
	t.Parallel()
	n := &tally{}
	eachWorld(t, shadowWorlds, func(seed int64) string {
		w := newShadowWorld(t, seed)
		err := w.judge(t, n, seed%shadowSample == 0)
		if err == nil {
			return ""
		}
		w = shrunk(w, func(w *shadowWorld) iter.Seq[*shadowWorld] { return w.smaller(t) }, func(w *shadowWorld) bool { return w.judge(t, &tally{}, false) != nil })
		return fmt.Sprintf("%v\nsmallest:\n%v\n%s", err, w.judge(t, &tally{}, false), toYAML(t, w.objects...))
	})
	n.report(t, "warned", "of these, warned of")
}
