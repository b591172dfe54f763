// Package decision puts the pure decisions together for one object: what is
// added to it, which DestinationRules must exist beside it, and what is found
// about it. Admission, the reconciler and the CLI call this and nothing else, so
// that they cannot disagree.
//
//	World, Policy, object ──Decide──> Outcome ──┬─ Edits     to the object itself
//	                                            ├─ Rules     to create or inject
//	                                            └─ Findings  sorted
package decision

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// World is the world that objects make under a policy. What was injected into
// DestinationRules is not in it, see mutate.Bare; one that cannot be read is taken as it
// is.
func World(objs mesh.Objects, pol *policy.Policy) *mesh.World {
	cloned := false
	for i, dr := range objs.DestinationRules {
		bare, err := mutate.Bare(dr)
		if err != nil || bare == dr {
			continue
		}
		if !cloned {
			objs.DestinationRules, cloned = slices.Clone(objs.DestinationRules), true
		}
		objs.DestinationRules[i] = bare
	}
	return mesh.NewWorld(objs, Options(pol))
}

// Options are what a policy tells about the mesh.
func Options(pol *policy.Policy) mesh.Options {
	return mesh.Options{
		RootNamespace:     pol.RootNamespace,
		GatewayNamespaces: pol.GatewayNamespaces,
		ExemptHosts:       pol.Exemptions.Hosts,
	}
}

// Outcome is all that is decided about one object.
type Outcome struct {
	// Edits are what is added to the object itself; Changes say the same in words,
	// one line each.
	Edits   []mutate.Edit
	Changes []string
	// Rules are the DestinationRules, other than the object, that must exist
	// before the object is stored, and do not.
	Rules []mutate.RuleChange
	// Findings are sorted; an Error among them refuses the object in mode enforce.
	Findings []finding.Finding
	// Undecided are the places of match entries that were left undecided, neither proved dead
	// nor shown to be live. They refuse nothing.
	Undecided []string
}

// Decide decides about o, a ServiceEntry, VirtualService or DestinationRule, in
// the world after its admission: w must hold o itself. raw is o as the user
// wrote it, decoded by encoding/json; it is read, not changed.
//
// It fails only when raw cannot take what must be added, or for another type.
func Decide(w *mesh.World, pol *policy.Policy, o metav1.Object, raw map[string]any) (Outcome, error) {
	return DecideUpdate(w, pol, nil, o, raw)
}

// DecideUpdate is Decide for o in the place of old: dead routes that old has too are
// warnings. They are compared here, before their findings are bounded in number;
// finding.Ratchet does the same for all other findings. old may be nil or tell nil, and is
// asked only where it makes a difference: to read it costs as much as to read o.
func DecideUpdate(w *mesh.World, pol *policy.Policy, old func() metav1.Object, o metav1.Object, raw map[string]any) (Outcome, error) {
	return NewSite(w, pol).decide(old, o, raw)
}

func (s *Site) decide(old func() metav1.Object, o metav1.Object, raw map[string]any) (Outcome, error) {
	if old == nil {
		old = func() metav1.Object { return nil }
	}
	d := decider{site: s, world: s.world, policy: s.policy, old: old}
	var err error
	switch o := o.(type) {
	case *networkingv1.VirtualService:
		err = d.virtualService(o)
	case *networkingv1.ServiceEntry:
		err = d.serviceEntry(o)
	case *networkingv1.DestinationRule:
		err = d.destinationRule(o, raw)
	default:
		err = fmt.Errorf("no decision is made about a %T", o)
	}
	finding.Sort(d.out.Findings)
	return d.out, err
}

type decider struct {
	site   *Site
	world  *mesh.World
	policy *policy.Policy
	out    Outcome
	// old tells what an update replaces, or nil.
	old func() metav1.Object
	// self and raw are the object when it is a DestinationRule.
	self *networkingv1.DestinationRule
	raw  map[string]any
}

func (d *decider) virtualService(vs *networkingv1.VirtualService) error {
	old := func() *networkingv1.VirtualService {
		before, _ := d.old().(*networkingv1.VirtualService)
		return before
	}
	if d.policy.RouteOrder != policy.IgnoreOrder {
		var findings []finding.Finding
		findings, d.out.Undecided = validate.RouteOrderUpdate(old, vs, d.world.VirtualService)
		for _, f := range findings {
			if d.policy.RouteOrder == policy.WarnOrder {
				f.Severity = finding.Warning
			}
			d.find(f)
		}
		d.find(validate.Shadowed(d.world, old, vs)...)
	}
	leads := d.world.LeadsOf(vs)
	d.find(validate.Reachable(leads)...)
	d.headers(leads)

	hosts, delegates := mesh.HTTPDestinationHosts(vs), mesh.DelegatesOf(vs)
	if len(delegates) == 0 {
		return d.rules(hosts, func(host string) (mutate.RulePlan, error) { return d.site.rulesOf(host, vs) })
	}
	// A root is executed with the routes of its delegates.
	sources := []*networkingv1.VirtualService{vs}
	for _, name := range delegates {
		if delegate := d.world.VirtualService(name.Namespace, name.Name); delegate != nil {
			sources = append(sources, delegate)
			hosts = append(hosts, mesh.HTTPDestinationHosts(delegate)...)
		}
	}
	return d.rules(hosts, d.narrowed(sourcesIn(sources...)))
}

// sourcesIn narrows a need to what the routes of some VirtualServices make of it.
func sourcesIn(some ...*networkingv1.VirtualService) func(mesh.Need) (mesh.Need, bool) {
	return func(n mesh.Need) (mesh.Need, bool) {
		all := n.Sources
		n.Sources = nil
		for _, s := range all {
			if slices.Contains(some, s.VirtualService) {
				n.Sources = append(n.Sources, s)
			}
		}
		return n, len(n.Sources) > 0
	}
}

func (d *decider) headers(leads *mesh.Leads) {
	if d.policy.Headers == policy.IgnoreHeaders {
		return
	}
	edits, findings := mutate.Headers(leads)
	d.find(findings...)
	for group := range byPlace(edits) {
		if d.policy.Headers == policy.RequireHeaders {
			d.find(headersMissing(leads.VirtualService, group))
			continue
		}
		for _, e := range group {
			d.out.Edits = append(d.out.Edits, e.Edit)
		}
		d.out.Changes = append(d.out.Changes, fmt.Sprintf("%s: set request headers %s", group[0].Place(), headerText(group)))
	}
}

// byPlace yields the runs of edits of one place.
func byPlace(edits []mutate.HeaderEdit) iter.Seq[[]mutate.HeaderEdit] {
	return func(yield func([]mutate.HeaderEdit) bool) {
		for start := 0; start < len(edits); {
			end := start + 1
			for end < len(edits) && edits[end].Place() == edits[start].Place() {
				end++
			}
			if !yield(edits[start:end]) {
				return
			}
			start = end
		}
	}
}

func headersMissing(vs *networkingv1.VirtualService, edits []mutate.HeaderEdit) finding.Finding {
	return finding.Finding{
		Code:     finding.HeadersMissing,
		Severity: finding.Error,
		Object:   mesh.ObjectOf(vs),
		Path:     edits[0].Place(),
		Message:  fmt.Sprintf("the route leads to a TLS target without request headers %s; the external server may not recognise the request.", headerText(edits)),
		Remedy:   "Add them under headers.request.set, or let `egress-tls render -f FILE` do it.",
		Subject:  "headers " + headerText(edits),
	}
}

func headerText(edits []mutate.HeaderEdit) string {
	texts := make([]string, len(edits))
	for i, e := range edits {
		texts[i] = e.Name + ": " + e.Value
	}
	return strings.Join(texts, ", ")
}

func (d *decider) serviceEntry(se *networkingv1.ServiceEntry) error {
	if v := se.Annotations[mesh.OriginateAnnotation]; v != "" {
		if _, ok := mesh.ParseOriginate(v); !ok {
			d.find(finding.Finding{
				Code:     finding.InvalidAnnotation,
				Severity: finding.Error,
				Object:   mesh.ObjectOf(se),
				Path:     "metadata.annotations[" + mesh.OriginateAnnotation + "]",
				Message:  fmt.Sprintf("%q is not never, always, or a comma list of port numbers; it would be ignored.", v),
				Remedy:   `Write for example "443,8443".`,
				Subject:  v,
			})
		}
	}
	hosts := mesh.ServiceEntryHosts(se)
	for i, p := range se.Spec.GetPorts() {
		port := mesh.Port{ServicePort: p, Entry: se}
		routed, alone := port.Originates()
		if !routed || alone || d.policy.Originate == policy.Always ||
			d.policy.DestinationRules != policy.CreateRules || !d.waits(hosts, port) {
			continue
		}
		d.find(finding.Finding{
			Code:     finding.WaitsForRoute,
			Severity: finding.Warning,
			Object:   mesh.ObjectOf(se),
			Path:     fmt.Sprintf("spec.ports[%d]", i),
			Message: fmt.Sprintf("port %d has protocol %s, so its clients may speak TLS themselves; it gets a DestinationRule with the first HTTP route to it.",
				p.GetNumber(), p.GetProtocol()),
			Remedy:  fmt.Sprintf("If all its clients send plaintext HTTP, annotate %s: always.", mesh.OriginateAnnotation),
			Subject: fmt.Sprint(p.GetNumber()),
		})
	}
	for _, host := range hosts {
		if d.policy.Headers != policy.InjectHeaders {
			break
		}
		d.find(d.site.headersOfOthers(host)...)
	}
	return d.rules(hosts, d.narrowed(func(n mesh.Need) (mesh.Need, bool) {
		return n, slices.Contains(n.Service.Entries, se)
	}))
}

// waits reports whether no HTTP route leads to the port of any of hosts yet, and
// one might.
func (d *decider) waits(hosts []string, port mesh.Port) bool {
	possible := false
	for _, host := range hosts {
		if mesh.IsWildcard(host) || d.world.Exempt(host) {
			continue
		}
		possible = true
		for _, n := range d.world.Needs(host, false) {
			if n.Port.GetNumber() == port.GetNumber() {
				return false
			}
		}
	}
	return possible
}

func (d *decider) destinationRule(dr *networkingv1.DestinationRule, raw map[string]any) error {
	if mesh.IsManaged(dr) {
		// Ours to restore; judging it would be judging ourselves.
		return nil
	}
	d.self, d.raw = dr, raw
	isMember := func(e *mesh.Effective) bool { return e != nil && slices.ContainsFunc(e.Members, d.isSelf) }
	return d.rules(append(d.world.Hosts(mesh.RuleHost(dr)), mesh.RuleHost(dr)), d.narrowed(func(n mesh.Need) (mesh.Need, bool) {
		return n, isMember(n.Rule) || isMember(n.Hidden)
	}))
}

func (d *decider) isSelf(dr *networkingv1.DestinationRule) bool {
	return d.self != nil && mesh.ObjectOf(dr) == mesh.ObjectOf(d.self)
}

// narrowed returns the plan of a host with the needs that concern the object: concerns
// narrows a need to the part of it that the object makes, and is false when there is none.
// Other parts may belong to other teams.
func (d *decider) narrowed(concerns func(mesh.Need) (mesh.Need, bool)) func(host string) (mutate.RulePlan, error) {
	return func(host string) (mutate.RulePlan, error) {
		plan, err := d.site.Plan(host)
		return narrowed(plan, concerns), err
	}
}

func narrowed(plan mutate.RulePlan, concerns func(mesh.Need) (mesh.Need, bool)) mutate.RulePlan {
	plan.Needs, plan.Unmet = narrow(plan.Needs, concerns), narrow(plan.Unmet, concerns)
	plan.Desired, plan.Changes = slices.Clone(plan.Desired), slices.Clone(plan.Changes)
	for _, changes := range [...][]mutate.RuleChange{plan.Desired, plan.Changes} {
		for i := range changes {
			changes[i].Needs = narrow(changes[i].Needs, concerns)
		}
	}
	return plan
}

// rules decides about the DestinationRules of hosts. A plan has just the needs that concern
// the object.
func (d *decider) rules(hosts []string, planOf func(host string) (mutate.RulePlan, error)) error {
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		plan, err := planOf(host)
		if err != nil {
			return err
		}
		if err := d.takeBack(plan); err != nil {
			return err
		}
		if len(plan.Needs) == 0 {
			continue
		}
		d.find(validate.TLS(host, plan.Needs)...)
		if d.policy.DestinationRules == policy.IgnoreRules {
			continue
		}
		for _, c := range plan.Changes {
			if len(c.Needs) == 0 || c.Action == mutate.Adopt {
				continue
			}
			switch {
			case d.policy.DestinationRules == policy.RequireRules:
				d.find(tlsMissing(c.Needs, "the policy requires that you bring one (destinationRules: Require).",
					"Apply the output of `egress-tls render -f FILE`.")...)
			case c.Action == mutate.Inject && d.isSelf(c.Rule):
				if err := d.injectSelf(c); err != nil {
					return err
				}
			default:
				d.out.Rules = append(d.out.Rules, c)
			}
		}
		d.find(tlsMissing(plan.Unmet, unmetWhy, unmetRemedy)...)
		if d.policy.DestinationRules == policy.CreateRules {
			d.find(doubleTLS(d.world, plan)...)
		}
	}
	return nil
}

func (d *decider) injectSelf(c mutate.RuleChange) error {
	edits, err := mutate.InjectEdits(d.raw, c.Injections, d.policy.TLS, d.stays)
	if err != nil {
		return fmt.Errorf("failed to inject TLS into %s: %w", mesh.ObjectOf(d.self), err)
	}
	if len(edits) == 0 {
		return nil
	}
	d.out.Edits = append(d.out.Edits, edits...)
	for _, in := range c.Injections {
		d.out.Changes = append(d.out.Changes, fmt.Sprintf("%s: set tls for port %d of %s", in.Place(), in.Port, c.Host))
	}
	return nil
}

// takeBack takes out of the object under admission what was injected, is needed by
// nothing, and may not stay: see stays and mutate.InjectEdits.
func (d *decider) takeBack(plan mutate.RulePlan) error {
	i := slices.IndexFunc(plan.Surplus, func(s mutate.Surplus) bool { return d.isSelf(s.Rule) })
	if i < 0 || d.policy.DestinationRules != policy.CreateRules ||
		slices.ContainsFunc(plan.Changes, func(c mutate.RuleChange) bool { return d.isSelf(c.Rule) }) {
		return nil
	}
	edits, err := mutate.InjectEdits(d.raw, plan.Surplus[i].Want.Injections, d.policy.TLS, d.stays)
	if err != nil {
		return fmt.Errorf("failed to take TLS back from %s: %w", mesh.ObjectOf(d.self), err)
	}
	if len(edits) > 0 {
		d.out.Edits = append(d.out.Edits, edits...)
		d.out.Changes = append(d.out.Changes, "spec: took back injected tls that nothing needs any more")
	}
	return nil
}

// stays reports whether what was injected at a place of the object under admission may
// stay for now: unless the stored object has it no more. Whoever keeps our injections in
// their own files would put them back for ever.
func (d *decider) stays(place string) bool {
	old := d.old()
	if old == nil {
		return true
	}
	tree, err := mutate.Tree(old)
	return err == nil && slices.Contains(mutate.Injected(tree), place)
}

// What is said of needs that a plan cannot meet.
const (
	unmetWhy    = "none can be added that would be in force and override none of those that exist for the host."
	unmetRemedy = "Export one of the host's DestinationRules that has tls to the proxies of this route (exportTo), or give them one in their own namespace."
)

func narrow(needs []mesh.Need, concerns func(mesh.Need) (mesh.Need, bool)) []mesh.Need {
	var out []mesh.Need
	for _, n := range needs {
		if n, ok := concerns(n); ok {
			out = append(out, n)
		}
	}
	return out
}

// tlsMissing finds the needs that stay without TLS: one finding for each
// destination of a route, or for the port that needs it before any route.
func tlsMissing(needs []mesh.Need, why, remedy string) []finding.Finding {
	var out []finding.Finding
	for _, n := range needs {
		f := finding.Finding{
			Code:     finding.TLSMissing,
			Severity: finding.Error,
			Message: fmt.Sprintf("plaintext HTTP to %s:%d would leave the mesh in clear: no DestinationRule in force encrypts it, and %s",
				n.Service.Host, n.Port.GetNumber(), why),
			Remedy:  remedy,
			Subject: fmt.Sprintf("%s:%d/%s", n.Service.Host, n.Port.GetNumber(), n.Subset),
			Host:    n.Service.Host,
		}
		if len(n.Sources) == 0 {
			f.Object = mesh.ObjectOf(n.Port.Entry)
			f.Path = portPath(n.Port)
			out = append(out, f)
		}
		for _, s := range n.Sources {
			f.Object = mesh.ObjectOf(s.VirtualService)
			f.Path = fmt.Sprintf("spec.http[%d].route[%d].destination", s.Route, s.Destination)
			f.Related = []finding.Place{{Object: mesh.ObjectOf(n.Port.Entry), Path: portPath(n.Port), Text: "the port speaks TLS"}}
			out = append(out, f)
		}
	}
	finding.Sort(out)
	return slices.CompactFunc(out, func(a, b finding.Finding) bool {
		return a.Object == b.Object && a.Path == b.Path && a.Subject == b.Subject
	})
}

// doubleTLS warns of rules on a port whose clients may speak TLS themselves, when
// others than the gateways that need the rule see it, or these pass TLS through as
// well: they get TLS inside TLS (istio #17031). It names those that are known to.
func doubleTLS(w *mesh.World, plan mutate.RulePlan) []finding.Finding {
	var out []finding.Finding
	for _, c := range plan.Desired {
		for i, n := range c.Needs {
			samePort := func(o mesh.Need) bool { return o.Port == n.Port }
			if !n.Port.SpeaksTLS() || slices.ContainsFunc(c.Needs[:i], samePort) {
				continue
			}
			object, path := mesh.ObjectOf(n.Port.Entry), portPath(n.Port)
			if slices.ContainsFunc(out, func(o finding.Finding) bool { return o.Object == object && o.Path == path }) {
				continue
			}
			others := passthroughs(w, c, n.Port.GetNumber())
			if !c.Shared && len(others) == 0 {
				continue
			}
			port := strconv.FormatUint(uint64(n.Port.GetNumber()), 10)
			f := finding.Finding{
				Code:     finding.DoubleTLS,
				Severity: finding.Warning,
				Object:   object,
				Path:     path,
				Message: "port " + port + " of " + plan.Host + " has protocol " + n.Port.GetProtocol() + ", and DestinationRule " + c.Rule.Namespace + "/" + c.Rule.Name +
					" encrypts it for every client that sees the rule: those that speak TLS themselves get TLS inside TLS" + passText(others) + ".",
				Remedy:  doubleRemedy + ".",
				Subject: plan.Host + ":" + port,
				Host:    plan.Host,
			}
			if c.Shared {
				f.Remedy = doubleRemedy + "; or, if only gateways send plaintext, list their namespaces as gatewayNamespaces in the policy."
			}
			out = append(out, f)
		}
	}
	return out
}

const doubleRemedy = "Give plaintext clients a port of protocol HTTP with targetPort: 443"

// passthroughs names the VirtualServices whose TLS routes lead to the port of the
// rule's host, for clients that see the rule.
func passthroughs(w *mesh.World, c mutate.RuleChange, port uint32) []string {
	var names []string
	for _, vs := range w.TLSRoutesTo(c.Host) {
		for _, r := range vs.Spec.GetTls() {
			for _, d := range r.GetRoute() {
				p := d.GetDestination().GetPort()
				name := mesh.ObjectOf(vs).String()
				if mesh.ResolveHost(d.GetDestination().GetHost(), vs.Namespace) == c.Host &&
					(p == nil || p.GetNumber() == port) && !slices.Contains(names, name) &&
					(c.Shared || slices.ContainsFunc(w.TLSClients(vs, r, c.Host), func(client mesh.Client) bool {
						return client.Namespace == c.Rule.Namespace
					})) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

func passText(names []string) string {
	if len(names) == 0 {
		return ""
	}
	const most = 3
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return " (TLS routes of " + strings.Join(names, ", ") + " lead to it)"
}

// portPath is the field of the ServiceEntry that declares the port.
func portPath(p mesh.Port) string {
	return "spec.ports[" + strconv.Itoa(slices.Index(p.Entry.Spec.GetPorts(), p.ServicePort)) + "]"
}

func (d *decider) find(fs ...finding.Finding) { d.out.Findings = append(d.out.Findings, fs...) }
