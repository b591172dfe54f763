package mutate

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// Action is what happens to a DestinationRule.
type Action string

// Create writes a managed rule whole, Inject adds TLS to a user's. Adopt gives a managed
// rule that is as it should be the owner references that it lacks, or takes away those
// of owners that are gone; no admission waits for that.
const (
	Create Action = "create"
	Inject Action = "inject"
	Adopt  Action = "adopt"
)

// RuleChange is one DestinationRule that a host lacks, or that lacks TLS.
type RuleChange struct {
	Action Action
	Host   string
	// Ports are the service ports that get TLS, sorted.
	Ports []uint32
	// Rule is the rule as it should be, with the resourceVersion that this was decided
	// on, if it exists. To Inject, carry out Injections on the raw object instead, so
	// that nothing else of it is touched.
	Rule       *networkingv1.DestinationRule
	Injections []Injection
	// Shared says that clients beside gateways of the needs may see the rule, at a port
	// whose clients may speak TLS themselves.
	Shared bool
	// Unused says that something of ours stays in the rule that nothing needs: it stays
	// marked with UnusedAnnotation, if it is.
	Unused bool
	// Needs are what makes it necessary.
	Needs []mesh.Need
}

// String names the change for warnings and logs.
func (c RuleChange) String() string {
	ports := make([]string, len(c.Ports))
	for i, p := range c.Ports {
		ports[i] = strconv.FormatUint(uint64(p), 10)
	}
	tls := fmt.Sprintf("TLS to %s on port %s", c.Host, strings.Join(ports, ", "))
	if c.Action == Inject {
		return fmt.Sprintf("%s in DestinationRule %s/%s", tls, c.Rule.Namespace, c.Rule.Name)
	}
	return fmt.Sprintf("DestinationRule %s/%s with %s", c.Rule.Namespace, c.Rule.Name, tls)
}

// RulePlan is what the DestinationRules of one host come to.
type RulePlan struct {
	Host string
	// Needs are all of the host's, judged without the managed rules.
	Needs []mesh.Need
	// Desired are the managed rules that the host should have, and the
	// injections that its users' rules lack.
	Desired []RuleChange
	// Changes are those of Desired that are not in the world yet. They take nothing away:
	// what a rule of ours holds beyond Desired, it holds after them too.
	Changes []RuleChange
	// Surplus are the rules that hold more of ours than Desired.
	Surplus []Surplus
	// Unmet are needs that Desired cannot meet: nothing but a user's hand can.
	Unmet []mesh.Need
}

// Rules plans the DestinationRules of host: what must exist so that every need
// is met that the user did not switch off.
//
// The user's rules are judged as if the managed ones did not exist, and without what was
// injected into them (w holds bare rules, see Bare), so the plan is the same whatever was
// written before. For each need without TLS:
//   - the rule in force is for exactly this host: TLS is injected into it, at the
//     level that decides; a second rule beside it would lose against the older
//     one (istio #60169);
//   - it is for a wildcard: an exact rule beside it carries its policy along,
//     since an SNI would be wrong for the wildcard's other hosts;
//   - there is none: a rule is created. For a port whose clients may speak TLS
//     themselves, and which only gateways of known namespaces reach, in each
//     gateway's namespace and private to it; otherwise in the ServiceEntry's
//     namespace for all who see the ServiceEntry. Where some client would then
//     lose a user's rule, in the root namespace, and if it would there too,
//     nowhere.
func Rules(w *mesh.World, host string, pol *policy.Policy) (RulePlan, error) {
	plan := RulePlan{Host: host}
	managed, users := split(w.RulesFor(host))
	bare := w
	if len(managed) > 0 {
		bare = w.WithRules(host, users)
	}
	always := pol.Originate == policy.Always
	plan.Needs = bare.Needs(host, always)

	lacking := make([]mesh.Need, 0, len(plan.Needs))
	for _, n := range plan.Needs {
		if n.Lacks() {
			lacking = append(lacking, n)
		}
	}
	// Those that have a rule first: what they get hangs on it, the others may do elsewhere.
	slices.SortStableFunc(lacking, func(a, b mesh.Need) int { return cmp.Compare(ruleless(a), ruleless(b)) })
	d := drafts{host: host, name: mesh.RuleName(host, nil), needs: plan.Needs, users: users, root: w.RootNamespace(), pol: pol}
	after := bare
	for again := len(lacking) > 0; again; { // Each time with one rule less, or one need more: neither is found twice.
		d.list = nil
		for _, n := range lacking {
			d.add(n)
		}
		for _, n := range d.hidden {
			if i := d.find(Create, n.Rule.Members[0]); i >= 0 {
				d.inject(d.list[i], n)
			}
		}
		var err error
		if plan.Desired, err = d.changes(); err != nil {
			return plan, fmt.Errorf("failed to plan the DestinationRules of %s: %w", host, err)
		}
		after = bare.WithRules(host, withChanges(users, plan.Desired))
		if again = d.findHarm(bare, after); !again {
			needs := after.Needs(host, always)
			again = d.findHidden(needs)
			// Trust the model of Istio, not the plan: judge the world that it leads to.
			plan.Unmet = lacks(needs)
		}
	}

	k := keeping{drafts: &d, plan: &plan, managed: managed, always: always, bare: bare, after: after}
	if err := plan.compare(managed, users, &k); err != nil {
		return plan, fmt.Errorf("failed to compare the DestinationRules of %s: %w", host, err)
	}
	return plan, nil
}

// split returns the managed rules, and the users'.
func split(rules []*networkingv1.DestinationRule) (managed, users []*networkingv1.DestinationRule) {
	for i, dr := range rules {
		switch {
		case !mesh.IsManaged(dr):
			users = append(users, dr)
		case len(managed) == i:
			managed = rules[: i+1 : i+1] // So far all of them are.
		default:
			managed = append(managed, dr)
		}
	}
	return managed, users
}

// lacks returns those of needs, which it changes, that lack TLS.
func lacks(needs []mesh.Need) []mesh.Need {
	return slices.DeleteFunc(needs, func(n mesh.Need) bool { return !n.Lacks() })
}

func ruleless(n mesh.Need) int {
	if n.Rule == nil {
		return 1
	}
	return 0
}

// withChanges returns the user's rules as they are after changes, and those that are created.
func withChanges(users []*networkingv1.DestinationRule, changes []RuleChange) []*networkingv1.DestinationRule {
	out := slices.Clone(users)
	for _, c := range changes {
		out = withRule(out, c.Rule)
	}
	return out
}

// withRule returns rules with dr, in place of one of its name.
func withRule(rules []*networkingv1.DestinationRule, dr *networkingv1.DestinationRule) []*networkingv1.DestinationRule {
	return append(slices.DeleteFunc(rules, func(o *networkingv1.DestinationRule) bool { return sameName(o, dr) }), dr)
}

// drafts collects what the needs of a host ask for, one draft a rule.
type drafts struct {
	host  string
	name  string // of a rule for all workloads
	needs []mesh.Need
	users []*networkingv1.DestinationRule // those for exactly the host
	root  string
	pol   *policy.Policy
	list  []*draft
	// excluded are rules that must be neither created nor injected into.
	excluded map[types.NamespacedName]bool
	// strays are rules of the root namespace that are there for its own ServiceEntries only.
	strays map[types.NamespacedName]bool
	// hidden are needs of the clients of a rule that is created: it hides from them what
	// meets the needs of others.
	hidden []mesh.Need
}

type draft struct {
	action     Action
	rule       *networkingv1.DestinationRule // the user's, or the frame of a new one
	carries    *mesh.Effective               // what a new one carries along
	injections []Injection
	needs      []mesh.Need
}

func (d *drafts) add(n mesh.Need) {
	switch {
	case n.Rule != nil && !mesh.IsWildcard(n.Rule.Host):
		target := n.TLS.From
		if target == nil {
			target = n.Rule.Members[0]
		}
		if !d.bars(target, n) {
			d.inject(d.draftFor(Inject, target), n)
		}
	case n.Rule != nil:
		from := n.Rule.Members[0]
		d.create(d.frame(from.Namespace, from.Spec.GetExportTo(), n.Rule, nil), n)
	case n.Hidden != nil:
		// Private by name: with "." Istio would merge it into a rule with a
		// workloadSelector, which counts as private by ".".
		ns := n.Hidden.Namespace()
		d.create(d.frame(ns, []string{ns}, nil, n.Service), n)
	case n.Port.SpeaksTLS() && d.onlyRouted(n.Port.GetNumber()):
		d.create(d.frame(n.Client.Namespace, []string{mesh.ExportPrivate}, nil, n.Service), n)
	default:
		entry := n.Service.Entries[0]
		exportTo := entry.Spec.GetExportTo()
		if n.Service.Unexported {
			exportTo = []string{mesh.ExportPrivate}
		}
		if !d.create(d.frame(entry.Namespace, exportTo, nil, n.Service), n) {
			d.create(d.frame(d.root, named(exportTo, entry.Namespace), nil, n.Service), n)
		}
	}
}

// bars reports whether rule must not be written for n.
func (d *drafts) bars(rule *networkingv1.DestinationRule, n mesh.Need) bool {
	return d.excluded[nameOf(rule)] || d.strays[nameOf(rule)] && n.Service.Namespace != d.root
}

// create drafts a rule, unless it would do harm: the need then stays unmet.
func (d *drafts) create(rule *networkingv1.DestinationRule, n mesh.Need) bool {
	if d.bars(rule, n) || d.overrides(rule) || mesh.ResolveHost(d.host, rule.Namespace) != d.host {
		return false // The last: Istio completes a rule's host, but not a ServiceEntry's.
	}
	if i := d.find(Create, rule); i >= 0 && !sameRule(d.list[i].carries, n.Rule) {
		return false
	}
	dr := d.draftFor(Create, rule)
	dr.carries = n.Rule
	d.inject(dr, n)
	// Wildcard rules for other workloads of the namespace are less specific now: they become exact too.
	for _, m := range d.needs {
		if m.Rule == nil || m.Lacks() || !mesh.IsWildcard(m.Rule.Host) || m.Client.Namespace != rule.Namespace || m.Rule.Namespace() != rule.Namespace {
			continue
		}
		other := d.frame(rule.Namespace, m.Rule.Members[0].Spec.GetExportTo(), m.Rule, nil)
		if !d.excluded[nameOf(other)] && d.find(Create, other) < 0 {
			d.list = append(d.list, &draft{action: Create, rule: other, carries: m.Rule, needs: []mesh.Need{m}})
		}
	}
	return true
}

// findHarm marks a rule that takes from some workloads what they have, and reports
// whether it found one.
func (d *drafts) findHarm(before, after *mesh.World) bool {
	if len(d.list) == 0 {
		return false
	}
	if !before.AnyRule(d.host) && !slices.ContainsFunc(d.list, func(dr *draft) bool { return dr.rule.Namespace == d.root && !isPrivate(dr.rule) }) {
		return false // There is nothing to take away, and only from the root namespace a rule strays.
	}
	found := false
	for svc, now := range inForce(before, after, d.host) {
		if dr := d.straying(svc, now.is); dr != nil {
			d.strays = with(d.strays, dr.rule)
			found = true
			break
		}
		if dr := d.harmful(now.was, now.is); dr != nil {
			d.excluded = with(d.excluded, dr.rule)
			found = true
			break
		}
	}
	return found
}

func with(rules map[types.NamespacedName]bool, rule *networkingv1.DestinationRule) map[types.NamespacedName]bool {
	if rules == nil {
		rules = map[types.NamespacedName]bool{}
	}
	rules[nameOf(rule)] = true
	return rules
}

// findHidden adds to hidden the needs that a created rule must meet as well, and reports
// whether it found one. A rule private to a gateway's namespace for one port, say, takes
// the shared rule for another one from all clients there.
func (d *drafts) findHidden(after []mesh.Need) bool {
	found := false
	for _, n := range after {
		if !n.Lacks() || n.Rule == nil || d.find(Create, n.Rule.Members[0]) < 0 || d.bars(n.Rule.Members[0], n) ||
			slices.ContainsFunc(d.hidden, func(o mesh.Need) bool {
				return sameName(o.Rule.Members[0], n.Rule.Members[0]) && o.Port.GetNumber() == n.Port.GetNumber() && o.Subset == n.Subset &&
					o.Client.Namespace == n.Client.Namespace && o.Client.Gateway == n.Client.Gateway
			}) {
			continue
		}
		d.hidden = append(d.hidden, n)
		found = true
	}
	return found
}

// applied are the rules that some workloads apply in one and in another world; nil: none.
type applied struct{ was, is *mesh.Effective }

// inForce yields what workloads see behind host, and the rules that they apply to it in
// the one and in the other world.
func inForce(before, after *mesh.World, host string) iter.Seq2[*mesh.Service, applied] {
	return func(yield func(*mesh.Service, applied) bool) {
		routed := len(before.RoutesTo(host)) > 0
		sees := func(client mesh.Client) *mesh.Service {
			if routed {
				return before.RoutedService(client, host)
			}
			return before.Service(client, host)
		}
		for _, client := range before.ClientsOf(host) {
			svc := sees(client)
			if svc == nil {
				continue
			}
			if client.Gateway {
				// Of a gateway's pods no labels are known: any workloadSelector may fit them.
				client.Gateway = false
				if same := sees(client); same != nil && same.Namespace == svc.Namespace && slices.Equal(same.Entries, svc.Entries) {
					continue // Sidecars of the namespace are among the clients.
				}
			}
			had, _ := before.EffectiveRules(client, svc)
			has, _ := after.EffectiveRules(client, svc)
			for _, rules := range [...][]*mesh.Effective{had, has} {
				for _, e := range rules {
					if !yield(svc, applied{forWorkloads(had, e.Selector), forWorkloads(has, e.Selector)}) {
						return
					}
				}
			}
		}
	}
}

// straying returns the draft of the rule in force that reaches past the services that it
// is for, nil: it does not. The root namespace is where Istio looks for a rule whoever's
// ServiceEntry a client sees: there a tenant's host would change the TLS of another
// tenant's ServiceEntry for the same host. What the root namespace's own ServiceEntries need
// stays: a tenant's takes no TLS from the whole mesh.
func (d *drafts) straying(svc *mesh.Service, is *mesh.Effective) *draft {
	if is == nil || is.Namespace() != d.root || svc.Namespace == d.root {
		return nil
	}
	i := slices.IndexFunc(d.list, func(dr *draft) bool {
		return !d.excluded[nameOf(dr.rule)] && !d.strays[nameOf(dr.rule)] && !isPrivate(dr.rule) &&
			slices.ContainsFunc(is.Members, func(m *networkingv1.DestinationRule) bool { return sameName(m, dr.rule) }) &&
			!slices.ContainsFunc(dr.needs, func(n mesh.Need) bool { return n.Service.Namespace == svc.Namespace }) &&
			slices.ContainsFunc(svc.Ports(), func(p mesh.Port) bool {
				return slices.ContainsFunc(dr.injections, func(in Injection) bool { return in.Port == p.GetNumber() })
			})
	})
	if i < 0 {
		return nil
	}
	return d.list[i]
}

// harmful returns the draft that makes workloads apply the rule now, where that is
// not what they had: neither was, nor a created rule that carries was along, nor was
// with TLS injected. nil: there is none.
func (d *drafts) harmful(was, now *mesh.Effective) *draft {
	first := func(action Action, is func(*draft) bool) *draft {
		i := slices.IndexFunc(d.list, func(dr *draft) bool { return dr.action == action && !d.excluded[nameOf(dr.rule)] && is(dr) })
		if i < 0 {
			return nil
		}
		return d.list[i]
	}
	if was != nil && now != nil && was.PolicyFrom != nil && now.PolicyFrom != nil && !sameName(was.PolicyFrom, now.PolicyFrom) {
		// Its first trafficPolicy wins over that of a rule that it is merged with.
		if dr := first(Inject, func(dr *draft) bool { return sameName(dr.rule, now.PolicyFrom) }); dr != nil {
			return dr
		}
	}
	kept := now
	created := first(Create, func(dr *draft) bool { return now != nil && sameName(dr.rule, now.Members[0]) })
	if created != nil {
		kept = created.carries
	}
	if sameRule(was, kept) {
		return nil
	}
	if created == nil && was != nil {
		// What was in force is hidden, by a rule that is more specific.
		created = first(Create, func(dr *draft) bool { return dr.rule.Namespace == was.Namespace() })
	}
	return created
}

// forWorkloads returns the rule for the workloads of selector, or the one for all
// others, or nil.
func forWorkloads(rules []*mesh.Effective, selector map[string]string) *mesh.Effective {
	for _, e := range rules {
		if e.Selector == nil || selector != nil && maps.Equal(e.Selector, selector) {
			return e
		}
	}
	return nil
}

func sameRule(a, b *mesh.Effective) bool {
	return (a == nil) == (b == nil) && (a == nil || sameName(a.Members[0], b.Members[0]))
}

// overrides reports whether some client would see both rule and a user's rule for
// the host. Istio keeps rules of one namespace apart that differ in exportTo, and
// of those that a client sees the last counts, which is the new one.
func (d *drafts) overrides(rule *networkingv1.DestinationRule) bool {
	return slices.ContainsFunc(d.users, func(user *networkingv1.DestinationRule) bool {
		if user.Namespace != rule.Namespace || (user.Spec.GetWorkloadSelector() != nil) != (rule.Spec.GetWorkloadSelector() != nil) {
			return false
		}
		if rule.Namespace == d.root && isPrivate(user) != isPrivate(rule) {
			// The root namespace looks at what is private to it first, and at that alone.
			return false
		}
		mine, theirs := audience(rule), audience(user)
		if slices.Contains(mine, mesh.ExportPublic) {
			return len(theirs) > 0
		}
		return slices.ContainsFunc(theirs, func(ns string) bool { return ns == mesh.ExportPublic || slices.Contains(mine, ns) })
	})
}

// audience returns the namespaces that see a rule, or public among them.
func audience(dr *networkingv1.DestinationRule) []string {
	if dr.Spec.GetWorkloadSelector() != nil {
		return []string{dr.Namespace}
	}
	if len(dr.Spec.GetExportTo()) == 0 {
		return []string{mesh.ExportPublic}
	}
	return slices.DeleteFunc(named(dr.Spec.GetExportTo(), dr.Namespace), func(ns string) bool { return ns == mesh.ExportNone })
}

// named returns an exportTo of namespace with the namespace's name for "private".
func named(exportTo []string, namespace string) []string {
	out := slices.Clone(exportTo)
	for i := range out {
		if out[i] == mesh.ExportPrivate {
			out[i] = namespace
		}
	}
	return out
}

// find returns the index of the draft of rule, or -1.
func (d *drafts) find(action Action, rule *networkingv1.DestinationRule) int {
	return slices.IndexFunc(d.list, func(dr *draft) bool { return dr.action == action && sameName(dr.rule, rule) })
}

// draftFor returns the draft of rule. Where several needs ask for one rule, for
// there is one of a name in a namespace, it serves all of them: it is exported to
// all their clients.
func (d *drafts) draftFor(action Action, rule *networkingv1.DestinationRule) *draft {
	i := d.find(action, rule)
	if i < 0 {
		d.list = append(d.list, &draft{action: action, rule: rule})
		return d.list[len(d.list)-1]
	}
	dr := d.list[i]
	if action == Create {
		dr.rule.Spec.ExportTo = widened(dr.rule.Spec.GetExportTo(), rule.Spec.GetExportTo())
		for _, o := range rule.OwnerReferences {
			if !slices.ContainsFunc(dr.rule.OwnerReferences, func(p metav1.OwnerReference) bool { return p.UID == o.UID }) {
				dr.rule.OwnerReferences = append(dr.rule.OwnerReferences, o)
			}
		}
	}
	return dr
}

// widened joins two exportTo; an empty one is public.
func widened(a, b []string) []string {
	switch {
	case len(a) == 0 || slices.Contains(a, mesh.ExportPublic):
		return a
	case len(b) == 0 || slices.Contains(b, mesh.ExportPublic):
		return b
	}
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// isPrivate reports whether only the rule's own namespace sees it.
func isPrivate(dr *networkingv1.DestinationRule) bool {
	to := dr.Spec.GetExportTo()
	return dr.Spec.GetWorkloadSelector() != nil || (len(to) == 1 && (to[0] == mesh.ExportPrivate || to[0] == dr.Namespace))
}

func (d *drafts) inject(dr *draft, n mesh.Need) {
	dr.needs = append(dr.needs, n)
	in := Injection{Host: d.host, Port: n.Port.GetNumber(), Entry: -1}
	switch n.TLS.Level {
	case mesh.LevelPort:
		in.Entry = n.TLS.Entry
	case mesh.LevelSubsetPort:
		in.Entry, in.Subset = n.TLS.Entry, n.Subset
		in.SubsetIndex = slices.IndexFunc(dr.rule.Spec.GetSubsets(), func(s *networking.Subset) bool { return s.GetName() == n.Subset })
	}
	if !slices.Contains(dr.injections, in) {
		dr.injections = append(dr.injections, in)
	}
}

// fit moves the injections to where the policy that the draft carries along has
// room for them: its needs saw different rules.
func (dr *draft) fit() {
	fitting := dr.injections[:0]
	for _, in := range dr.injections {
		if in.Subset == "" {
			in.Entry = slices.IndexFunc(dr.rule.Spec.GetTrafficPolicy().GetPortLevelSettings(), func(e *networking.TrafficPolicy_PortTrafficPolicy) bool {
				return e.GetPort().GetNumber() == in.Port
			})
			if in.Entry >= 0 && dr.rule.Spec.GetTrafficPolicy().GetPortLevelSettings()[in.Entry].GetTls() != nil {
				continue
			}
		}
		if !slices.Contains(fitting, in) {
			fitting = append(fitting, in)
		}
	}
	dr.injections = fitting
}

// listNames notes on the injections whether each client that needs them sees a
// ServiceEntry which lists the names to verify.
func (dr *draft) listNames() {
	listed := !slices.ContainsFunc(dr.needs, func(n mesh.Need) bool {
		return !slices.ContainsFunc(n.Service.Entries, func(se *networkingv1.ServiceEntry) bool {
			return len(se.Spec.GetSubjectAltNames()) > 0
		})
	})
	for i := range dr.injections {
		dr.injections[i].NamesListed = listed
	}
}

// onlyRouted reports whether the clients that need TLS on the port can call it by
// their routes alone: gateways of known namespaces, and sidecars that do not see the
// service otherwise.
func (d *drafts) onlyRouted(port uint32) bool {
	return !slices.ContainsFunc(d.needs, func(n mesh.Need) bool {
		return n.Port.GetNumber() == port && !n.Service.Unexported && (!n.Client.Gateway || !n.Client.Known)
	})
}

// frame makes a managed rule without TLS, with the policy of a wildcard rule, if
// any.
func (d *drafts) frame(namespace string, exportTo []string, wildcard *mesh.Effective, svc *mesh.Service) *networkingv1.DestinationRule {
	out := &networkingv1.DestinationRule{
		TypeMeta: metav1.TypeMeta{APIVersion: mesh.APIVersion, Kind: mesh.DestinationRuleKind},
		ObjectMeta: metav1.ObjectMeta{
			Name:      d.name,
			Namespace: namespace,
		},
	}
	out.Spec.Host = d.host
	out.Spec.ExportTo = slices.Clone(exportTo)
	if wildcard != nil {
		if wildcard.Selector != nil {
			// For the same workloads, beside the rule for all others.
			out.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: maps.Clone(wildcard.Selector)}
			out.Name = mesh.RuleName(d.host, wildcard.Selector)
		}
		if p := wildcard.Policy(); p != nil {
			out.Spec.TrafficPolicy = p.DeepCopy()
		}
		for _, s := range wildcard.Subsets() {
			out.Spec.Subsets = append(out.Spec.Subsets, s.DeepCopy())
		}
	}
	if svc != nil {
		for _, se := range svc.Entries {
			if se.Namespace == namespace && se.UID != "" {
				out.OwnerReferences = append(out.OwnerReferences, metav1.OwnerReference{
					APIVersion: mesh.APIVersion, Kind: mesh.ServiceEntryKind, Name: se.Name, UID: se.UID,
				})
			}
		}
	}
	return out
}

// changes finishes the drafts, in a fixed order.
func (d *drafts) changes() ([]RuleChange, error) {
	var out []RuleChange
	for _, dr := range d.list {
		if dr.action == Create {
			dr.fit()
		}
		dr.listNames()
		slices.SortFunc(dr.injections, func(a, b Injection) int {
			return cmp.Or(cmp.Compare(a.Subset, b.Subset), cmp.Compare(a.Port, b.Port))
		})
		rule, err := d.finished(dr)
		if err != nil {
			return nil, err
		}
		ports := make([]uint32, 0, len(dr.needs))
		shared := !isPrivate(rule)
		for _, n := range dr.needs {
			ports = append(ports, n.Port.GetNumber())
			shared = shared || n.Port.SpeaksTLS() && !d.onlyRouted(n.Port.GetNumber())
		}
		slices.Sort(ports)
		c := RuleChange{
			Action: dr.action, Host: d.host, Ports: slices.Compact(ports),
			Rule: rule, Needs: dr.needs, Shared: shared,
		}
		if dr.action == Inject {
			c.Injections = dr.injections
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b RuleChange) int {
		return cmp.Or(cmp.Compare(a.Rule.Namespace, b.Rule.Namespace), cmp.Compare(a.Rule.Name, b.Rule.Name))
	})
	return out, nil
}

// finished returns the draft's rule with its injections.
func (d *drafts) finished(dr *draft) (*networkingv1.DestinationRule, error) {
	if dr.action == Create {
		dr.rule.Labels = map[string]string{mesh.ManagedByLabel: mesh.ManagedBy}
	}
	if dr.action == Create && dr.carries == nil {
		// It holds nothing yet, so nothing is inherited, and nothing in the way.
		rule := dr.rule
		rule.Spec.TrafficPolicy = &networking.TrafficPolicy{}
		for _, in := range dr.injections {
			rule.Spec.TrafficPolicy.PortLevelSettings = append(rule.Spec.TrafficPolicy.PortLevelSettings, &networking.TrafficPolicy_PortTrafficPolicy{
				Port: &networking.PortSelector{Number: in.Port}, Tls: in.simple(d.pol.TLS),
			})
		}
		return rule, nil
	}
	rule, err := injected(dr.rule, dr.injections, d.pol.TLS)
	if err == nil && dr.action == Create {
		delete(rule.Annotations, InjectedAnnotation)
		if len(rule.Annotations) == 0 {
			rule.Annotations = nil
		}
		byPort(rule)
	}
	return rule, err
}

// byPort sorts the port entries of a rule of ours, which says the same in any order.
func byPort(dr *networkingv1.DestinationRule) {
	slices.SortStableFunc(dr.Spec.GetTrafficPolicy().GetPortLevelSettings(), func(a, b *networking.TrafficPolicy_PortTrafficPolicy) int {
		return cmp.Compare(a.GetPort().GetNumber(), b.GetPort().GetNumber())
	})
}

// MarshalRule encodes a created rule without the fields that only the server
// sets.
func MarshalRule(dr *networkingv1.DestinationRule) (map[string]any, error) {
	tree, err := Tree(dr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", mesh.ObjectOf(dr), err)
	}
	delete(tree, "status")
	if meta, ok := tree["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
		delete(meta, "resourceVersion")
	}
	return tree, nil
}

func sameName(a, b metav1.Object) bool { return nameOf(a) == nameOf(b) }

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
