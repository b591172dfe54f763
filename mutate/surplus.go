package mutate

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// Surplus is a rule that holds more of ours than anything needs: a whole managed rule,
// ports or clients of one, or TLS in a user's rule. An admission under way may rely on it
// all the same, since its object is not stored yet; so it is not taken away at once.
type Surplus struct {
	// Rule is the rule as it is; a user's is bare.
	Rule *networkingv1.DestinationRule
	// Want is what it should come to. For a rule of the user's that needs nothing of ours,
	// its Injections are empty; for a managed one that nothing needs, it is nil.
	Want *RuleChange
	// Yields says that it stands in the way: of a rule of the user's that some client would
	// have, or of TLS. That does not wait.
	Yields bool
}

// Managed reports whether it is a managed rule.
func (s Surplus) Managed() bool { return s.Want == nil || s.Want.Action != Inject }

// Sum identifies what the rule should come to.
func (s Surplus) Sum() string {
	if s.Want == nil {
		return "none"
	}
	if s.Want.Action == Inject {
		return sumOf(s.Want.Rule.Annotations[InjectedAnnotation])
	}
	return sumOf(&s.Want.Rule.Spec)
}

// keeping judges what a managed rule does if it is kept beside what a plan desires.
type keeping struct {
	drafts      *drafts
	plan        *RulePlan
	managed     []*networkingv1.DestinationRule
	always      bool
	bare, after *mesh.World // after what is desired
	all         *mesh.World // see keptAll
}

// inTheWay reports whether dr takes a rule of the user's from some client, or TLS.
func (k *keeping) inTheWay(dr *networkingv1.DestinationRule) bool {
	kept := k.keptAll()
	return k.drafts.takes(k.after, kept, dr) ||
		k.open(kept) > len(k.plan.Unmet) && k.open(k.with(withRule(k.desired(), dr))) > len(k.plan.Unmet)
}

// keptAll is the world with all of ours that may stay for a while, together: one may make
// good what another takes.
func (k *keeping) keptAll() *mesh.World {
	if k.all == nil {
		rules := k.desired()
		for _, dr := range k.managed {
			if i := slices.IndexFunc(k.plan.Desired, func(c RuleChange) bool { return sameName(c.Rule, dr) }); i >= 0 {
				dr = beside(k.plan.Desired[i].Rule, dr)
			}
			rules = withRule(rules, dr)
		}
		k.all = k.with(rules)
	}
	return k.all
}

func (k *keeping) desired() []*networkingv1.DestinationRule {
	return withChanges(k.drafts.users, k.plan.Desired)
}

func (k *keeping) with(rules []*networkingv1.DestinationRule) *mesh.World {
	return k.bare.WithRules(k.drafts.host, rules)
}

func (k *keeping) open(w *mesh.World) int { return len(lacks(w.Needs(k.drafts.host, k.always))) }

// compare fills in Changes and Surplus: what differs between Desired and the rules that
// are there.
func (p *RulePlan) compare(managed, users []*networkingv1.DestinationRule, k *keeping) error {
	for _, c := range p.Desired {
		if c.Action != Create {
			continue
		}
		i := slices.IndexFunc(managed, func(dr *networkingv1.DestinationRule) bool { return sameName(dr, c.Rule) })
		if i < 0 {
			p.Changes = append(p.Changes, c)
			continue
		}
		have := managed[i]
		if have.Annotations[UnusedAnnotation] == "" && proto.Equal(&c.Rule.Spec, &have.Spec) && SameOwners(c.Rule, have) {
			continue
		}
		wide := c
		wide.Rule = beside(c.Rule, have)
		surplus := !proto.Equal(&wide.Rule.Spec, &c.Rule.Spec)
		wide.Unused = surplus
		switch {
		case !proto.Equal(&wide.Rule.Spec, &have.Spec), !surplus && have.Annotations[UnusedAnnotation] != "":
			p.Changes = append(p.Changes, wide)
		case !SameOwners(c.Rule, have):
			wide.Action = Adopt
			p.Changes = append(p.Changes, wide)
		}
		if surplus {
			want := c
			want.Rule = c.Rule.DeepCopy()
			want.Rule.ResourceVersion = have.ResourceVersion
			p.Surplus = append(p.Surplus, Surplus{Rule: have, Want: &want, Yields: k.inTheWay(wide.Rule)})
		}
	}
	for _, have := range managed {
		if !slices.ContainsFunc(p.Desired, func(c RuleChange) bool { return sameName(have, c.Rule) }) {
			p.Surplus = append(p.Surplus, Surplus{Rule: have, Yields: k.inTheWay(have)})
		}
	}
	for _, have := range users {
		if err := p.compareInjected(have); err != nil {
			return err
		}
	}
	return nil
}

// compareInjected compares what is injected into a user's rule with what should be.
func (p *RulePlan) compareInjected(have *networkingv1.DestinationRule) error {
	want := RuleChange{Action: Inject, Host: p.Host, Rule: have}
	if i := slices.IndexFunc(p.Desired, func(c RuleChange) bool { return c.Action == Inject && sameName(c.Rule, have) }); i >= 0 {
		want = p.Desired[i]
	}
	had, needed := parseMarks(have.Annotations[InjectedAnnotation]), marks{}
	if len(want.Injections) > 0 {
		needed = parseMarks(want.Rule.Annotations[InjectedAnnotation])
	} else if len(had) > 0 {
		want.Rule = have.DeepCopy()
		delete(want.Rule.Annotations, InjectedAnnotation)
	}
	lacks, surplus := false, false
	for at, sum := range needed {
		if held, ok := had[at]; at != policyPlace && (!ok || held != sum) {
			lacks = true
		}
	}
	var own bool
	for at := range had {
		if _, ok := needed[at]; ok || at == policyPlace {
			continue
		}
		there, err := hasOwnEntry(have, at)
		if err != nil {
			return err
		}
		surplus, own = true, own || there
	}
	if lacks || !surplus && have.Annotations[UnusedAnnotation] != "" {
		c := want
		c.Unused = surplus
		p.Changes = append(p.Changes, c)
	}
	if surplus {
		p.Surplus = append(p.Surplus, Surplus{Rule: have, Want: &want, Yields: own})
	}
	return nil
}

// hasOwnEntry reports whether the user has an entry of their own where a whole one was
// injected.
func hasOwnEntry(bare *networkingv1.DestinationRule, at string) (bool, error) {
	tree, err := Tree(bare)
	if err != nil {
		return false, fmt.Errorf("%s: %w", mesh.ObjectOf(bare), err)
	}
	list, port, ok := locate(tree, at)
	return ok && !strings.HasSuffix(at, tlsOnly) &&
		slices.ContainsFunc(entriesAt(tree, list), func(e any) bool { return portOf(e) == port }), nil
}

// beside returns want with what have holds beyond it that an admission under way may
// rely on: clients that see it, and ports with our TLS.
func beside(want, have *networkingv1.DestinationRule) *networkingv1.DestinationRule {
	out := want.DeepCopy()
	out.ResourceVersion = have.ResourceVersion
	if !slices.Equal(want.Spec.GetExportTo(), have.Spec.GetExportTo()) {
		out.Spec.ExportTo = widened(want.Spec.GetExportTo(), have.Spec.GetExportTo())
	}
	wanted := map[uint32]struct{}{}
	for _, e := range want.Spec.GetTrafficPolicy().GetPortLevelSettings() {
		wanted[e.GetPort().GetNumber()] = struct{}{}
	}
	for _, e := range have.Spec.GetTrafficPolicy().GetPortLevelSettings() {
		_, dup := wanted[e.GetPort().GetNumber()]
		if tls := e.GetTls(); !dup && tls.GetMode() == networking.ClientTLSSettings_SIMPLE && tls.GetSni() == want.Spec.GetHost() {
			if out.Spec.TrafficPolicy == nil {
				out.Spec.TrafficPolicy = &networking.TrafficPolicy{}
			}
			out.Spec.TrafficPolicy.PortLevelSettings = append(out.Spec.TrafficPolicy.PortLevelSettings, e.DeepCopy())
		}
	}
	keepTLS(out.Spec.GetTrafficPolicy(), have.Spec.GetTrafficPolicy(), want.Spec.GetHost())
	for _, s := range out.Spec.GetSubsets() {
		i := slices.IndexFunc(have.Spec.GetSubsets(), func(h *networking.Subset) bool { return h.GetName() == s.GetName() })
		if i >= 0 {
			keepTLS(s.GetTrafficPolicy(), have.Spec.GetSubsets()[i].GetTrafficPolicy(), want.Spec.GetHost(), out.Spec.GetTrafficPolicy())
		}
	}
	byPort(out)
	return out
}

// keepTLS gives the port entries of want that carry no tls along that of have, where it
// is ours: SIMPLE for host, or a copy from want or from above it.
func keepTLS(want, have *networking.TrafficPolicy, host string, above ...*networking.TrafficPolicy) {
	for _, e := range want.GetPortLevelSettings() {
		same := func(o *networking.TrafficPolicy_PortTrafficPolicy) bool {
			return o.GetPort().GetNumber() == e.GetPort().GetNumber()
		}
		i := slices.IndexFunc(have.GetPortLevelSettings(), same)
		if e == nil || e.GetTls() != nil || i < 0 {
			continue
		}
		tls := have.GetPortLevelSettings()[i].GetTls()
		ours := tls.GetMode() == networking.ClientTLSSettings_SIMPLE && tls.GetSni() == host
		for _, p := range append([]*networking.TrafficPolicy{want}, above...) {
			ours = ours || tls != nil && proto.Equal(tls, p.GetTls())
			if k := slices.IndexFunc(p.GetPortLevelSettings(), same); k >= 0 {
				ours = ours || tls != nil && proto.Equal(tls, p.GetPortLevelSettings()[k].GetTls())
			}
		}
		if ours && tls.GetMode() != networking.ClientTLSSettings_DISABLE {
			e.Tls = tls.DeepCopy()
		}
	}
}

// follows reports whether kept carries along what the wildcard rule was says. An
// admission under way may have made it so, and takes nothing from anybody.
func (d *drafts) follows(kept *networkingv1.DestinationRule, was *mesh.Effective) bool {
	if !mesh.IsWildcard(was.Host) || was.Namespace() != kept.Namespace {
		return false
	}
	carried := d.frame(kept.Namespace, kept.Spec.GetExportTo(), was, nil)
	return sameName(carried, kept) && proto.Equal(&beside(carried, kept).Spec, &kept.Spec)
}

// takes reports whether, with kept among the rules of host, some client has kept in
// place of a rule of the user's, which it does not follow.
func (d *drafts) takes(without, with *mesh.World, kept *networkingv1.DestinationRule) bool {
	for _, now := range inForce(without, with, d.host) {
		if now.was != nil && now.is != nil && !mesh.IsManaged(now.was.Members[0]) && !d.follows(kept, now.was) &&
			slices.ContainsFunc(now.is.Members, func(dr *networkingv1.DestinationRule) bool { return sameName(dr, kept) }) {
			return true
		}
	}
	return false
}

// WithOwnersOf returns the owner references of have with the ServiceEntries of want.
func WithOwnersOf(have, want *networkingv1.DestinationRule) []metav1.OwnerReference {
	out := slices.Clone(want.OwnerReferences)
	for _, o := range have.OwnerReferences {
		if o.Kind != mesh.ServiceEntryKind {
			out = append(out, o)
		}
	}
	return out
}

// SameOwners reports whether two rules have the same ServiceEntries as owners.
func SameOwners(a, b *networkingv1.DestinationRule) bool {
	return slices.Equal(entryOwners(a), entryOwners(b))
}

func entryOwners(dr *networkingv1.DestinationRule) []types.UID {
	var out []types.UID
	for _, o := range dr.OwnerReferences {
		if o.Kind == mesh.ServiceEntryKind {
			out = append(out, o.UID)
		}
	}
	slices.Sort(out)
	return out
}
