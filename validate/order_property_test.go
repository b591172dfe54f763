package validate

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
)

// What the package says of random VirtualServices, held against the naive model. A
// long run: go test ./validate -run Property -rounds 20000 -sample 1000 -v

var (
	propertyRounds = flag.Int("rounds", 400, "random VirtualServices per property")
	propertySample = flag.Int("sample", 60, "requests per match entry at most; 0 for all, which can be millions")
	propertySeed   = flag.Int64("random", 1, "seed of the random VirtualServices")
	propertyExact  = flag.Bool("exact", true, "demand an answer for every match entry, and every order that exists")
)

// A trial is one random VirtualService and what there is to know of it.
type trial struct {
	vs, delegate *networkingv1.VirtualService
	delegates    Delegates
	routes       []naiveRoute
	varied       []varied
	verdicts     []Verdict
	draw         func(int) int
}

func newTrial(g routegen.Generator, vs, delegate *networkingv1.VirtualService) *trial {
	c := &trial{vs: vs, delegate: delegate, draw: g.Draw}
	c.delegates = func(_, name string) *networkingv1.VirtualService {
		if delegate != nil && name == delegate.Name {
			return delegate
		}
		return nil
	}
	c.routes = naiveMerged(vs, delegate)
	c.varied = variedBy(vs, c.routes)
	c.verdicts = Verdicts(vs, c.delegates)
	return c
}

func (c *trial) String() string { return dump(c.vs, c.delegate) }

// optional: an entry is left out by waypoints, so that later ones are left undecided.
func (c *trial) optional() bool {
	return slices.ContainsFunc(c.routes, func(r naiveRoute) bool {
		return r.match != nil && len(r.match.SourceLabels) > 0 && slices.Contains(r.match.Gateways, meshGateway)
	})
}

func (c *trial) delegating(route int) bool { return c.vs.Spec.Http[route].Delegate != nil }

func (c *trial) reach(r *Request) *naiveRoute { return naiveReach(c.routes, c.vs.Namespace, r) }

func (c *trial) unknown() bool {
	return slices.ContainsFunc(c.verdicts, func(v Verdict) bool { return v.State == Unknown })
}

// tally counts what a run has seen, so that an idle property shows.
type tally struct {
	services, pairs, live, dead, joint, unknown, unreached, examples int
	// outside are live entries whose witness alone reaches them: it is no request of
	// the enumeration.
	outside int
}

// reached enumerates requests, most of them such as an entry takes by itself, and
// returns the paths of the routes and entries that they reach.
func (c *trial) reached(most int, n *tally) map[string]bool {
	out := map[string]bool{}
	visit := func(r *Request) {
		n.pairs++
		if to := c.reach(r); to != nil {
			out[httpPath(to.route)] = true
			if to.delegate < 0 {
				out[matchPath(to.route, to.entry)] = true
			}
		}
	}
	eachRequest(c.varied, nil, c.vs.Namespace, c.draw, most, visit)
	for i := range c.routes {
		eachRequest(c.varied, c.routes[i].match, c.vs.Namespace, c.draw, most, visit)
	}
	return out
}

// check holds the verdicts and the findings of a trial against the model.
func (c *trial) check(t testing.TB, most int, n *tally) {
	t.Helper()
	c.checkShape(t)
	n.services++
	reached := c.reached(most, n)
	dead := map[int]int{} // by route
	for _, v := range c.verdicts {
		path := matchPath(v.Route, v.Entry)
		if c.delegating(v.Route) {
			// Judged by what the root allows; its routes are the delegate's.
			if v.State == Dead {
				dead[v.Route]++
			}
			continue
		}
		switch v.State {
		case Dead:
			n.dead++
			dead[v.Route]++
			if len(v.CoveredBy) > 1 {
				n.joint++
			}
			require.False(t, reached[path], "%s is dead, by %v, and reached\n%s", path, v.CoveredBy, c)
		case Live:
			n.live++
			c.checkWitness(t, v)
			if !reached[path] {
				n.outside++
			}
		default:
			n.unknown++
			require.False(t, *propertyExact && !c.optional(), "%s is unknown\n%s", path, c)
		}
		if !reached[path] {
			n.unreached++
		}
	}
	for i := range c.vs.Spec.Http {
		if dead[i] == len(c.of(i)) {
			require.False(t, reached[httpPath(i)], "%s is dead and reached\n%s", httpPath(i), c)
		}
	}
	n.examples += c.checkFindings(t)
}

func (c *trial) of(route int) (out []Verdict) {
	for _, v := range c.verdicts {
		if v.Route == route {
			out = append(out, v)
		}
	}
	return out
}

// checkShape: one verdict an entry, in order, and only a live one has a witness.
func (c *trial) checkShape(t testing.TB) {
	t.Helper()
	var want, got []string
	for i, r := range c.vs.Spec.Http {
		if len(r.Match) == 0 {
			want = append(want, httpPath(i))
		}
		for j := range r.Match {
			want = append(want, matchPath(i, j))
		}
	}
	for _, v := range c.verdicts {
		got = append(got, matchPath(v.Route, v.Entry))
		require.True(t, v.State == Dead || len(v.CoveredBy) == 0, "%+v\n%s", v, c)
		if !c.delegating(v.Route) {
			require.Equal(t, v.State == Live, v.Witness != nil, "%+v\n%s", v, c)
			for _, path := range v.CoveredBy {
				require.Less(t, slices.Index(want, path), slices.Index(want, matchPath(v.Route, v.Entry)), "%+v\n%s", v, c)
				require.NotEqual(t, -1, slices.Index(want, path), "%+v\n%s", v, c)
			}
		}
	}
	require.Equal(t, want, got, "%s", c)
}

// checkWitness: the model sends the witness to this very entry.
func (c *trial) checkWitness(t testing.TB, v Verdict) {
	t.Helper()
	wellFormed(t, v.Witness)
	to := c.reach(v.Witness)
	path := matchPath(v.Route, v.Entry)
	require.NotNil(t, to, "%s: %s reaches nothing\n%s", path, shownRequest(v.Witness), c)
	require.Equal(t, path, matchPath(to.route, to.entry), "%s\n%s", shownRequest(v.Witness), c)
}

// wellFormed: what a user could send. Port and gateway are where, not what.
func wellFormed(t testing.TB, r *Request) {
	t.Helper()
	bad := func(s, more string) bool {
		return strings.ContainsAny(s, more) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	}
	require.True(t, strings.HasPrefix(r.Path, "/") && !bad(r.Path, "?# "), "%s", shownRequest(r))
	require.False(t, r.Method == "" || bad(r.Method, " "), "%s", shownRequest(r))
	require.False(t, bad(r.Authority+r.Scheme+r.SourceNamespace, " "), "%s", shownRequest(r))
	for k, v := range r.Headers {
		require.False(t, bad(k, " ") || bad(v, "") || k != naiveFold(k), "%s", shownRequest(r))
	}
	for k, v := range r.Query {
		require.False(t, bad(k, "&=# ") || bad(v, "&# "), "%s", shownRequest(r))
	}
}

// checkFindings: an error for each route all of whose entries are dead, and a warning
// for each other dead entry; for nothing else, but for live entries that could be
// left out. It returns how many of the messages have an example that was tried.
func (c *trial) checkFindings(t testing.TB) (examples int) {
	t.Helper()
	var want, got []string
	for i := range c.vs.Spec.Http {
		of := c.of(i)
		routeDead := !slices.ContainsFunc(of, func(v Verdict) bool { return v.State != Dead })
		if routeDead {
			want = append(want, httpPath(i)+" dead")
			continue
		}
		for _, v := range of {
			if v.State == Dead {
				want = append(want, matchPath(i, v.Entry)+" ineffective")
			}
		}
	}
	for _, f := range RouteOrder(c.vs, c.delegates) {
		if strings.Contains(f.Message, " adds nothing: ") {
			c.checkSuperfluous(t, f)
			continue
		}
		if f.Code == finding.IneffectiveMatch {
			got = append(got, f.Path+" ineffective")
			continue
		}
		require.Equal(t, finding.Error, f.Severity, "%s", f.Text())
		got = append(got, f.Path+" dead")
		if c.checkExample(t, f) {
			examples++
		}
	}
	require.ElementsMatch(t, want, got, "%s", c)
	return examples
}

// checkSuperfluous: without the entry, its requests reach the same route.
func (c *trial) checkSuperfluous(t testing.TB, f finding.Finding) {
	t.Helper()
	var route, entry int
	_, err := fmt.Sscanf(f.Path, "spec.http[%d].match[%d]", &route, &entry)
	require.NoError(t, err)
	without := c.vs.DeepCopy()
	m := &without.Spec.Http[route].Match
	*m = slices.Delete(*m, entry, entry+1)
	routes := naiveMerged(without, c.delegate)
	eachRequest(c.varied, c.vs.Spec.Http[route].Match[entry], c.vs.Namespace, c.draw, *propertySample, func(r *Request) {
		if to := c.reach(r); to != nil && to.route == route {
			then := naiveReach(routes, c.vs.Namespace, r)
			require.True(t, then != nil && then.route == route, "%s\n%s", f.Text(), c)
		}
	})
}

// exampleOf reads the example of a message, of which the rest is prose.
var exampleOf = regexp.MustCompile(`For example, (\S+) (\S+)(?: \((.*?)\))? goes to (d\d+|delegate d|delegate nobody)\b`)

// checkExample: the example request of a message goes where the message says. What
// the message leaves out is as usual: the host of the VirtualService, a port and a
// source that no entry names.
func (c *trial) checkExample(t testing.TB, f finding.Finding) bool {
	t.Helper()
	m := exampleOf.FindStringSubmatch(f.Message)
	if len(m) == 0 || strings.Contains(m[0], `"`) {
		return false // quoted for its strange characters
	}
	r := someRequest()
	r.Method, r.Port = m[1], 82
	path, query, _ := strings.Cut(m[2], "?")
	r.Path = path
	if query != "" {
		k, v, _ := strings.Cut(query, "=")
		r.Query[k] = v
	}
	if len(c.vs.Spec.Gateways) > 0 {
		r.Gateway = naiveResolve(c.vs.Spec.Gateways[0], c.vs.Namespace)
	}
	if m[3] != "" {
		for with := range strings.SplitSeq(m[3], ", ") {
			kind, value, _ := strings.Cut(with, " ")
			switch kind {
			case "authority":
				r.Authority = value
			case "scheme":
				r.Scheme = value
			case "header":
				k, v, _ := strings.Cut(value, ": ")
				r.Headers[k] = v
			case "port":
				_, _ = fmt.Sscan(value, &r.Port)
			case "gateway":
				r.Gateway = value
			case "source":
				what, v, _ := strings.Cut(value, " ")
				if what == "namespace" {
					r.SourceNamespace = v
				} else {
					k, v, _ := strings.Cut(v, "=")
					r.SourceLabels[k] = v
				}
			default:
				t.Fatalf("cannot read %q", f.Message)
			}
		}
	}
	to := c.reach(r)
	require.NotNil(t, to, "%s\n%s\n%s", f.Message, shownRequest(r), c)
	require.Equal(t, m[4], destination(c.vs.Spec.Http[to.route]), "%s\n%s\n%s", f.Message, shownRequest(r), c)
	return true
}

func TestPropertyVerdicts(t *testing.T) {
	g := routegen.Random(*propertySeed)
	n := &tally{}
	for range *propertyRounds {
		vs := g.VirtualService(4, false)
		var d *networkingv1.VirtualService
		if g.Chance(20) {
			d = g.Delegated(vs)
		}
		newTrial(g, vs, d).check(t, *propertySample, n)
	}
	t.Logf("%+v", *n)
	require.Positive(t, n.dead)
	require.Positive(t, n.live)
	require.Positive(t, n.examples)
	if *propertyExact {
		require.Greater(t, n.joint*10, n.dead, "entries are often covered only together")
	}
}

// What is said to cover an entry covers it by itself; and an entry that nothing
// covers takes no request even alone.
func TestPropertyCoveredBySuffices(t *testing.T) {
	g := routegen.Random(*propertySeed + 2)
	n := &tally{}
	for range *propertyRounds {
		vs := g.VirtualService(4, false)
		for _, v := range Verdicts(vs, nil) {
			if v.State != Dead {
				continue
			}
			n.dead++
			if len(v.CoveredBy) > 1 {
				n.joint++
			}
			only := &networkingv1.VirtualService{ObjectMeta: vs.ObjectMeta}
			only.Spec.Hosts, only.Spec.Gateways = vs.Spec.Hosts, vs.Spec.Gateways
			for _, path := range append(slices.Clone(v.CoveredBy), matchPath(v.Route, v.Entry)) {
				only.Spec.Http = append(only.Spec.Http, &networking.HTTPRoute{Match: entryAt(vs, path)})
			}
			c := newTrial(g, only, nil)
			last := len(only.Spec.Http) - 1
			require.Equal(t, Dead, c.of(last)[0].State, "%v\n%s\n%s", v, c, dump(vs))
			require.False(t, c.reached(*propertySample, n)[httpPath(last)], "%v\n%s\n%s", v, c, dump(vs))
			n.services++
		}
	}
	t.Logf("%+v", *n)
	require.Positive(t, n.dead)
}

// entryAt returns the entry at a path such as spec.http[0].match[1], none for a route
// without a match.
func entryAt(vs *networkingv1.VirtualService, path string) []*networking.HTTPMatchRequest {
	var route, entry int
	if n, _ := fmt.Sscanf(path, "spec.http[%d].match[%d]", &route, &entry); n < 2 {
		return nil
	}
	return []*networking.HTTPMatchRequest{vs.Spec.Http[route].Match[entry]}
}

func reordered(vs *networkingv1.VirtualService, order []int) *networkingv1.VirtualService {
	out := vs.DeepCopy()
	for i, o := range order {
		out.Spec.Http[i] = vs.Spec.Http[o]
	}
	return out
}

// In the working order no route is dead, and where some stay dead, all that were live
// still are; none of all the orders has each route reached, or more of them.
func TestPropertyWorkingOrder(t *testing.T) {
	g := routegen.Random(*propertySeed + 3)
	n := &tally{}
	var found, none, missed int
	for range *propertyRounds/2 + 1 { // all orders of some are tried
		vs := g.VirtualService(4, false)
		var d *networkingv1.VirtualService
		if g.Chance(20) {
			d = g.Delegated(vs)
		}
		c := newTrial(g, vs, d)
		if !finding.HasErrors(RouteOrder(vs, c.delegates)) {
			continue
		}
		n.services++
		order, ok := WorkingOrder(vs, c.delegates)
		if ok {
			found++
			require.ElementsMatch(t, identity(len(vs.Spec.Http)), order)
			sorted := newTrial(g, reordered(vs, order), d)
			for i := range sorted.vs.Spec.Http {
				require.True(t, slices.ContainsFunc(sorted.of(i), func(v Verdict) bool { return v.State != Dead }), "%v\n%s", order, c)
			}
			sorted.checkFindings(t)
			continue
		}
		none++
		before, after := deadIn(c.vs, nil, c.delegates), deadIn(c.vs, order, c.delegates)
		require.Subset(t, before, after, "%v\n%s", order, c)
		if d != nil || c.unknown() || len(vs.Spec.Http) > 4 {
			continue
		}
		if better := anyOrder(g, vs, n); better != nil {
			missed++
			require.False(t, *propertyExact, "%v works\n%s", better, c)
		}
		permutations(identity(len(vs.Spec.Http)), 0, func(p []int) bool {
			other := deadIn(vs, p, c.delegates)
			require.False(t, len(other) < len(after) && isSubset(other, after), "%v is better than %v\n%s", p, order, c)
			return true
		})
	}
	t.Logf("%d orders, %d without any, %d missed; %+v", found, none, missed, *n)
	require.Positive(t, found)
	require.Positive(t, none)
}

// deadIn returns the routes, by their number in vs, that are dead in an order; nil is
// the given one.
func deadIn(vs *networkingv1.VirtualService, order []int, delegates Delegates) (dead []int) {
	if order == nil {
		order = identity(len(vs.Spec.Http))
	}
	live := map[int]bool{}
	for _, v := range Verdicts(reordered(vs, order), delegates) {
		live[order[v.Route]] = live[order[v.Route]] || v.State != Dead
	}
	for i := range order {
		if !live[i] {
			dead = append(dead, i)
		}
	}
	return dead
}

func isSubset(a, b []int) bool {
	return !slices.ContainsFunc(a, func(i int) bool { return !slices.Contains(b, i) })
}

// anyOrder tries all orders: by the requests of the model, or by the verdicts, each
// route is reached.
func anyOrder(g routegen.Generator, vs *networkingv1.VirtualService, n *tally) (order []int) {
	permutations(identity(len(vs.Spec.Http)), 0, func(p []int) bool {
		c := newTrial(g, reordered(vs, p), nil)
		reached := c.reached(*propertySample/4+1, n)
		for i := range p {
			live := slices.ContainsFunc(c.of(i), func(v Verdict) bool { return v.State == Live })
			if !live && !reached[httpPath(i)] {
				return true
			}
		}
		order = slices.Clone(p)
		return false
	})
	return order
}

func identity(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// permutations visits each order of s[from:] until visit returns false.
func permutations(s []int, from int, visit func([]int) bool) bool {
	if from == len(s) {
		return visit(s)
	}
	for i := from; i < len(s); i++ {
		s[from], s[i] = s[i], s[from]
		if !permutations(s, from+1, visit) {
			return false
		}
		s[from], s[i] = s[i], s[from]
	}
	return true
}

// Whatever root a delegate comes under, what is an error in it is never reached.
func TestPropertyDeadInADelegateIsDeadUnderEveryRoot(t *testing.T) {
	g := routegen.Random(*propertySeed + 1)
	n := &tally{}
	deadRoutes, reachedWarned := 0, 0
	for range *propertyRounds {
		d := g.VirtualService(4, true)
		d.Name, d.Spec.Hosts, d.Spec.Gateways = "d", nil, nil
		fs := RouteOrder(d, nil)
		if len(fs) == 0 {
			continue
		}
		for range 3 {
			root := g.VirtualService(2, true)
			for _, r := range root.Spec.Http {
				r.Delegate, r.Route = &networking.Delegate{Name: "d"}, nil
			}
			c := newTrial(g, root, d)
			n.services++
			reached := map[string]bool{}
			for i := range c.routes {
				eachRequest(c.varied, c.routes[i].match, "shop", g.Draw, *propertySample/2+1, func(r *Request) {
					n.pairs++
					if to := c.reach(r); to != nil {
						reached[httpPath(to.delegate)] = true
					}
				})
			}
			for _, f := range fs {
				if f.Severity == finding.Error {
					deadRoutes++
					require.False(t, reached[f.Path], "%s\n%s", f.Text(), c)
				} else if reached[f.Path] {
					reachedWarned++
				}
			}
		}
	}
	t.Logf("%d dead under a root; %d warned of and reached under one; %+v", deadRoutes, reachedWarned, *n)
	require.Positive(t, deadRoutes)
	require.Positive(t, reachedWarned, "the warning is not idle")
}
