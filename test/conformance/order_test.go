package conformance

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/envoy"
	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

const (
	// orderWorlds are judged when no flag says how many.
	orderWorlds = 1000
	// directedRequests fit what an entry asks of each thing by itself, undirectedRequests are any:
	// so many are tried for an entry, and for a list of routes.
	directedRequests, undirectedRequests = 250, 50
)

// A spot is a match entry of the VirtualService; the entry is -1 for a route without a match.
type spot struct{ route, entry int }

func (s spot) String() string {
	if s.entry < 0 {
		return fmt.Sprintf("spec.http[%d]", s.route)
	}
	return fmt.Sprintf("spec.http[%d].match[%d]", s.route, s.entry)
}

var spotName = regexp.MustCompile(`^r(\d+)(?:-d\d+)?(?:\.(?:m(\d+))?.*)?$`)

// spotOf reads the name that orderWorld.named made; ok is false for a route that is not ours.
func spotOf(r *routev3.Route) (s spot, ok bool) {
	m := spotName.FindStringSubmatch(r.GetName())
	if m == nil {
		return s, false
	}
	s.route, _ = strconv.Atoi(m[1])
	s.entry = -1
	if m[2] != "" {
		s.entry, _ = strconv.Atoi(m[2])
	}
	return s, true
}

// An orderView is what one istiod makes of a world.
type orderView struct {
	world  *orderWorld
	mesh   *istiod.Mesh
	tally  *tally
	routes map[string]map[string]*routev3.RouteConfiguration // by proxy
	random *rand.Rand
	// directed are the requests for istiod's routes by name, any those for each list.
	directed map[string][]*envoy.Request
	any      []*envoy.Request
}

func newOrderView(w *orderWorld, m *istiod.Mesh, n *tally) *orderView {
	v := &orderView{
		world: w, mesh: m, tally: n, routes: map[string]map[string]*routev3.RouteConfiguration{},
		random: rand.New(rand.NewSource(w.seed)), directed: map[string][]*envoy.Request{},
	}
	space := wholeSpace()
	for range undirectedRequests {
		v.any = append(v.any, space.draw(v.random))
	}
	return v
}

// configuration is that of a proxy on a port, nil if it has none.
func (v *orderView) configuration(p istiod.Proxy, port uint32) *routev3.RouteConfiguration {
	prefix := ""
	if p.Gateway {
		prefix = "http."
	}
	known := v.routes[p.String()]
	if known == nil {
		var names []string
		for _, port := range orderPorts {
			names = append(names, fmt.Sprint(prefix, port))
		}
		known = v.mesh.Route(p, names...)
		v.routes[p.String()] = known
	}
	return known[fmt.Sprint(prefix, port)]
}

// ours reports whether a virtual host has routes of the world.
func ours(vh *routev3.VirtualHost) bool {
	return slices.ContainsFunc(vh.GetRoutes(), func(r *routev3.Route) bool {
		_, ok := spotOf(r)
		return ok
	})
}

// landsOn checks that the witness of a live entry lands on it, where it says.
func (v *orderView) landsOn(want spot, r *validate.Request) error {
	if strings.ContainsAny(r.Path, "?#") || !strings.HasPrefix(r.Path, "/") {
		return fmt.Errorf("%s has a witness that no client can send: %+v", want, *r)
	}
	rc := v.configuration(v.world.proxy(r.Gateway, r.SourceNamespace, r.SourceLabels), r.Port)
	vh := envoy.VirtualHost(rc, r.Authority)
	if !ours(vh) && v.world.asksAuthority() {
		// An entry may ask for an authority that no request for the hosts has.
		v.tally.add("live for another host", 1)
		i := slices.IndexFunc(rc.GetVirtualHosts(), ours)
		if i >= 0 {
			vh = rc.GetVirtualHosts()[i]
		}
	}
	hit, err := envoy.Route(vh, sent(r))
	if err != nil {
		return err
	}
	if got, ok := spotOf(hit); !ok || got != want {
		return fmt.Errorf("%s is said to be live, but its witness %+v lands on %q of\n%s", want, *r, hit.GetName(), routesText(vh))
	}
	return nil
}

// asksAuthority reports whether an entry has a condition on the authority.
func (w *orderWorld) asksAuthority() bool {
	for _, vs := range w.virtualServices() {
		for _, r := range vs.Spec.Http {
			for _, m := range r.Match {
				if m.Authority != nil {
					return true
				}
				for _, name := range slices.Concat(slices.Collect(maps.Keys(m.Headers)), slices.Collect(maps.Keys(m.WithoutHeaders))) {
					if name = strings.ToLower(name); name == "host" || name == ":authority" {
						return true
					}
				}
			}
		}
	}
	return false
}

func routesText(vh *routev3.VirtualHost) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  virtual host %q\n", vh.GetName())
	for _, r := range vh.GetRoutes() {
		fmt.Fprintf(&b, "    %s %v\n", r.GetName(), r.GetMatch())
	}
	return b.String()
}

// reached returns those suspects that a request lands on at the pods of a gateway, or at sidecars and
// waypoints for mesh, each with the first such request.
func (v *orderView) reached(gateway string, suspects map[spot]bool) (map[spot]string, error) {
	out := map[spot]string{}
	for _, p := range v.world.proxies(gateway) {
		for _, port := range orderPorts {
			if err := v.reachedIn(v.configuration(p, port), fmt.Sprintf("%s, port %d", p, port), suspects, out); err != nil {
				return nil, err
			}
		}
	}
	if gateway != mesh.MeshGateway {
		return out, nil
	}
	for _, host := range orderHosts {
		of := v.mesh.Waypoint(orderNamespace, host)
		for _, port := range orderPorts {
			if err := v.reachedIn(of[int(port)], fmt.Sprintf("a waypoint of %s, port %d", host, port), suspects, out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// reachedIn adds to out those suspects that a request lands on in one configuration.
func (v *orderView) reachedIn(rc *routev3.RouteConfiguration, at string, suspects map[spot]bool, out map[spot]string) error {
	for _, vh := range rc.GetVirtualHosts() {
		if !ours(vh) {
			continue
		}
		v.tally.add("lists of routes", 1)
		requests := slices.Clone(v.any)
		for _, r := range vh.GetRoutes() {
			if s, ok := spotOf(r); ok && suspects[s] && out[s] == "" {
				more, err := v.requestsFor(r)
				if err != nil {
					return err
				}
				requests = append(requests, more...)
			}
		}
		v.tally.add("requests", len(requests))
		for _, q := range requests {
			hit, err := envoy.Route(vh, q)
			if err != nil {
				return err
			}
			if s, ok := spotOf(hit); ok && suspects[s] && out[s] == "" {
				out[s] = fmt.Sprintf("%+v at %s, of\n%s", *q, at, routesText(vh))
			}
		}
	}
	return nil
}

// requestsFor are requests that each condition of r allows by itself.
func (v *orderView) requestsFor(r *routev3.Route) ([]*envoy.Request, error) {
	if known, ok := v.directed[r.GetName()]; ok {
		return known, nil
	}
	space, err := wholeSpace().within(r.GetMatch())
	if err != nil {
		return nil, err
	}
	var out []*envoy.Request
	for range directedRequests {
		if q := space.draw(v.random); q != nil {
			out = append(out, q)
		}
	}
	v.directed[r.GetName()] = out
	return out, nil
}

// judge holds what validate says of w against the routes that istiod makes of it; ordered says that
// each route must be live.
func (w *orderWorld) judge(t testing.TB, n *tally, ordered bool) error {
	t.Helper()
	w = w.named()
	verdicts := validate.Verdicts(w.vs, w.delegates)
	if verdicts == nil {
		n.add("too large", 1)
		return nil
	}
	dead, deadRoutes := map[spot]bool{}, map[int]bool{}
	for i := range w.vs.Spec.Http {
		deadRoutes[i] = true
	}
	for _, v := range verdicts {
		if v.State == validate.Dead {
			dead[spot{v.Route, v.Entry}] = true
		} else {
			delete(deadRoutes, v.Route)
		}
	}
	if ordered && len(deadRoutes) > 0 {
		return fmt.Errorf("dead routes: %v", slices.Sorted(maps.Keys(deadRoutes)))
	}
	findings := validate.RouteOrder(w.vs, w.delegates)
	if got := refusedRoutes(findings); !maps.Equal(got, deadRoutes) {
		return fmt.Errorf("refused are the routes %v, and dead %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(deadRoutes)))
	}
	n.add("orders judged", 1)
	n.add("dead entries", len(dead))
	n.add("dead routes", len(deadRoutes))
	for i := range deadRoutes {
		if w.vs.Spec.Http[i].Delegate != nil {
			n.add("dead routes, delegating", 1)
		}
	}
	var err error
	istiod.Run(t, w.objects(), istiod.Options{}, func(m *istiod.Mesh) {
		view := newOrderView(w, m, n)
		for _, gateway := range orderGateways {
			if err = errors.Join(view.judgeLive(gateway, verdicts), view.judgeDead(gateway, dead)); err != nil {
				return
			}
		}
	})
	if err != nil || len(deadRoutes) == 0 {
		return err
	}
	return w.judgeOrder(t, n, findings)
}

// refusedRoutes are those with an error of their own.
func refusedRoutes(findings []finding.Finding) map[int]bool {
	out := map[int]bool{}
	for _, f := range findings {
		var i int
		if _, err := fmt.Sscanf(f.Path, "spec.http[%d]", &i); err == nil && f.Severity == finding.Error {
			out[i] = true
		}
	}
	return out
}

// judgeLive holds the live entries whose witness is for a gateway, or for mesh.
func (v *orderView) judgeLive(gateway string, verdicts []validate.Verdict) error {
	for _, verdict := range verdicts {
		s, r := spot{verdict.Route, verdict.Entry}, verdict.Witness
		switch {
		case verdict.State == validate.Dead:
			continue
		case verdict.State == validate.Unknown:
			if gateway == mesh.MeshGateway {
				v.tally.add("undecided", 1)
			}
			continue
		case v.world.vs.Spec.Http[s.route].Delegate != nil: // its routes are the delegate's
			if gateway == mesh.MeshGateway {
				v.tally.add("not dead, delegating", 1)
			}
			continue
		case r == nil:
			return fmt.Errorf("%s is said to be live, without a witness", s)
		case !slices.Contains(orderGateways, r.Gateway):
			return fmt.Errorf("the witness of %s is for a gateway that is not there: %+v", s, *r)
		case r.Gateway != gateway:
			continue
		case v.world.samePods && gateway != mesh.MeshGateway: // other routes of the two may come first
			v.tally.add("live at shared pods", 1)
			continue
		}
		v.tally.add("live", 1)
		if err := v.landsOn(s, r); err != nil {
			return err
		}
	}
	return nil
}

// judgeDead holds the dead entries.
func (v *orderView) judgeDead(gateway string, dead map[spot]bool) error {
	if len(dead) == 0 {
		return nil
	}
	reached, err := v.reached(gateway, dead)
	for s, by := range reached {
		return fmt.Errorf("%s is said to be dead, and takes %s", s, by)
	}
	return err
}

// listedRoutes are the places that a text lists, one by one or as a range.
var listedRoutes = regexp.MustCompile(`spec\.http\[(\d+)\](?: to spec\.http\[(\d+)\])?`)

func routesIn(text string) []int {
	var out []int
	for _, m := range listedRoutes.FindAllStringSubmatch(text, -1) {
		first, _ := strconv.Atoi(m[1])
		last := first
		if m[2] != "" {
			last, _ = strconv.Atoi(m[2])
		}
		for i := first; i <= last; i++ {
			out = append(out, i)
		}
	}
	return out
}

// judgeOrder holds the order that the messages name: in it, no route is dead.
func (w *orderWorld) judgeOrder(t testing.TB, n *tally, findings []finding.Finding) error {
	t.Helper()
	order, ok := validate.WorkingOrder(w.vs, w.delegates)
	for _, f := range findings {
		_, text, named := strings.Cut(f.Remedy, "The order that works: ")
		if !named {
			continue
		}
		if listed := routesIn(text); !ok || !slices.Equal(listed, order) {
			return fmt.Errorf("the remedy names the order %v, and WorkingOrder %v (%v)", listed, order, ok)
		}
	}
	if !ok {
		n.add("no order works", 1)
		return nil
	}
	n.add("working orders", 1)
	sorted := *w
	sorted.vs = w.vs.DeepCopy()
	for i, from := range order {
		sorted.vs.Spec.Http[i] = w.vs.Spec.Http[from]
	}
	if err := sorted.judge(t, n, true); err != nil {
		return fmt.Errorf("in the order that works, %v: %w", order, err)
	}
	return nil
}

// What validate says of the routes of one VirtualService holds for those that istiod makes of it: no
// request reaches a dead one, the witness of a live one lands on it, what is refused is dead, and
// the order that a message names works.
func TestRouteOrderDifferential(t *testing.T) {
	t.Parallel()
	n := &tally{}
	eachWorld(t, orderWorlds, func(seed int64) string {
		w, refused := newOrderWorld(seed)
		n.add("refused by Istio", refused)
		err := w.judge(t, n, false)
		if err == nil {
			return ""
		}
		w = shrunk(w, func(w *orderWorld) iter.Seq[*orderWorld] { return w.smaller(t) }, func(w *orderWorld) bool {
			return w.accepted() && w.judge(t, &tally{}, false) != nil
		})
		return fmt.Sprintf("%v\nsmallest:\n%v\n%s", err, w.judge(t, &tally{}, false), w.text(t))
	})
	n.report(t, "live", "dead entries", "dead routes", "dead routes, delegating", "working orders")
}

// The requests that find nothing on dead entries do find the live ones, most of them. It checks the
// check above, which passes too when its requests are bad.
func TestRouteOrderRequestsReachLiveEntries(t *testing.T) {
	t.Parallel()
	var live, found int
	n := &tally{}
	for seed := range int64(60) {
		w, _ := newOrderWorld(seed)
		w.samePods = false
		w = w.named()
		suspects := map[spot]bool{}
		for _, v := range validate.Verdicts(w.vs, w.delegates) {
			if v.State == validate.Live && w.vs.Spec.Http[v.Route].Delegate == nil {
				suspects[spot{v.Route, v.Entry}] = true
			}
		}
		live += len(suspects)
		istiod.Run(t, w.objects(), istiod.Options{}, func(m *istiod.Mesh) {
			view := newOrderView(w, m, n)
			for _, gateway := range orderGateways {
				reached, err := view.reached(gateway, suspects)
				if err != nil {
					t.Error(err)
				}
				for s := range reached {
					found++
					delete(suspects, s)
				}
			}
		})
	}
	t.Logf("%d of %d", found, live)
	if found*100 < live*90 {
		t.Errorf("of %d live entries, requests reach %d", live, found)
	}
}
