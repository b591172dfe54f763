package main

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/egress-tls/egress-tls-webhook/internal/decision"
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// settle waits until all that is stored is as it should be, now that nobody writes but the product.
func (s *soak) settle(ctx context.Context) {
	for _, t := range s.teams {
		if t.flips {
			t.mode = policy.Enforce
			t.label(ctx)
		}
	}
	for begun := time.Now(); ; {
		all, err := s.list(ctx)
		if err != nil {
			s.problem("%v", err)
			return
		}
		wrong := slices.Concat(s.undecided(all), s.unexpected(all))
		if len(wrong) == 0 {
			s.say("all %d objects are right %.0f s after the load", len(all), time.Since(begun).Seconds())
			return
		}
		if time.Since(begun) > settleTimeout {
			for _, w := range wrong[:min(len(wrong), maxProblems)] {
				s.problem("in the end: %s", w)
			}
			return
		}
		if !pause(ctx, 2*time.Second) {
			return
		}
	}
}

// list reads all that decisions are about.
func (s *soak) list(ctx context.Context) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for _, of := range [][2]string{
		{"v1", "Namespace"},
		{"v1", "Service"},
		{mesh.APIVersion, "Gateway"},
		{mesh.APIVersion, mesh.ServiceEntryKind},
		{mesh.APIVersion, mesh.VirtualServiceKind},
		{mesh.APIVersion, mesh.DestinationRuleKind},
	} {
		var list unstructured.UnstructuredList
		list.SetAPIVersion(of[0])
		list.SetKind(of[1] + "List")
		if err := s.admin.List(ctx, &list); err != nil {
			return nil, fmt.Errorf("failed to list %s: %w", of[1], err)
		}
		out = append(out, list.Items...)
	}
	return out, nil
}

// undecided is what the pure decisions would still change, and what they would refuse.
func (s *soak) undecided(all []unstructured.Unstructured) (wrong []string) {
	var objects mesh.Objects
	var judged []metav1.Object
	raws := map[metav1.Object]map[string]any{}
	labels, hosts := map[string]string{}, map[string]bool{}
	for _, o := range all {
		typed := map[string]metav1.Object{
			"Namespace": &corev1.Namespace{}, "Service": &corev1.Service{}, "Gateway": &networkingv1.Gateway{},
			mesh.ServiceEntryKind: &networkingv1.ServiceEntry{}, mesh.VirtualServiceKind: &networkingv1.VirtualService{}, mesh.DestinationRuleKind: &networkingv1.DestinationRule{},
		}[o.GetKind()]
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, typed); err != nil {
			return []string{fmt.Sprintf("%s cannot be read: %v", nameOf(&o), err)}
		}
		objects.Add(typed)
		raws[typed] = o.Object
		switch typed := typed.(type) {
		case *corev1.Namespace:
			labels[typed.Name] = typed.Labels[policy.ModeLabel]
		case *networkingv1.ServiceEntry:
			for _, host := range mesh.ServiceEntryHosts(typed) {
				hosts[host] = true
			}
			judged = append(judged, typed)
		case *networkingv1.VirtualService:
			judged = append(judged, typed)
		case *networkingv1.DestinationRule:
			hosts[mesh.RuleHost(typed)] = true
			judged = append(judged, typed)
		}
	}
	pol := policy.Default()
	mode := func(namespace string) policy.Mode {
		m, _ := pol.ModeFor(namespace, labels[namespace])
		return m
	}
	world := decision.World(objects, pol)
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		out, err := decision.Converge(world, pol, host, mode)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("host %s: %v", host, err))
		}
		for _, c := range out.Changes {
			wrong = append(wrong, fmt.Sprintf("host %s lacks %s %s", host, c.Action, c))
		}
		for _, s := range out.Surplus {
			wrong = append(wrong, fmt.Sprintf("nothing needs all of %s", mesh.ObjectOf(s.Rule)))
		}
		for _, f := range out.Unmet {
			wrong = append(wrong, f.Text())
		}
	}
	site := decision.NewSite(world, pol, judged...)
	for _, o := range judged {
		if mode(o.GetNamespace()) != policy.Enforce {
			continue
		}
		out, err := site.Judge(o, raws[o], policy.Enforce, mode)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %v", mesh.ObjectOf(o), err))
		case out.Answer() != decision.Unchanged:
			wrong = append(wrong, fmt.Sprintf("%s would be %s: %v %v %v", mesh.ObjectOf(o), out.Answer(), out.Changes, out.Rules, findings(out.Findings)))
		}
		if _, marked := o.GetAnnotations()[mutate.UnusedAnnotation]; marked {
			wrong = append(wrong, fmt.Sprintf("%s is marked as unused", mesh.ObjectOf(o)))
		}
	}
	return wrong
}

func findings(all []finding.Finding) (texts []string) {
	for _, f := range all {
		texts = append(texts, f.Text())
	}
	return texts
}

// unexpected is what is not as the teams have left it, or as it stays.
func (s *soak) unexpected(all []unstructured.Unstructured) (wrong []string) {
	got := map[string]*unstructured.Unstructured{}
	for i := range all {
		if o := &all[i]; o.GroupVersionKind().Group == group && o.GetKind() != "Gateway" {
			got[nameOf(o)] = o
		}
	}
	take := func(name string) *unstructured.Unstructured {
		o := got[name]
		if o == nil {
			wrong = append(wrong, name+" is missing")
		}
		delete(got, name)
		return o
	}
	for _, name := range slices.Sorted(maps.Keys(s.stays)) {
		if o := take(name); o != nil && o.GetResourceVersion() != s.stays[name] {
			wrong = append(wrong, fmt.Sprintf("%s was written again, in version %s", name, o.GetResourceVersion()))
		}
	}
	same := func(want *unstructured.Unstructured) {
		if o := take(nameOf(want)); o != nil && !reflect.DeepEqual(want.Object["spec"], o.Object["spec"]) {
			wrong = append(wrong, fmt.Sprintf("%s is %v, not %v", nameOf(want), o.Object["spec"], want.Object["spec"]))
		}
	}
	for _, t := range s.teams {
		if t.declared {
			same(t.at.Entry())
		}
		for _, name := range slices.Sorted(maps.Keys(t.routes)) {
			switch want := t.at.AsStored(name, t.routes[name]...); {
			case t.mode != policy.Enforce:
				same(t.at.Route(name, t.routes[name]...))
			case t.declared:
				same(want)
			default: // What it got while the host was declared stays.
				if o := take(nameOf(want)); o != nil && !t.fits(name, o) {
					wrong = append(wrong, fmt.Sprintf("%s is %v", nameOf(want), o.Object["spec"]))
				}
			}
		}
		needed := t.mode == policy.Enforce && t.declared && len(t.routes) > 0
		switch {
		case t.own && needed:
			same(t.ownRule(injectedTLS))
		case t.own:
			same(t.ownRule(""))
		case needed:
			same(t.at.Rule())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		wrong = append(wrong, name+" is there, and should not be")
	}
	return wrong
}
