package mutate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// Injection is one place in an existing DestinationRule that gets TLS.
type Injection struct {
	Host string
	Port uint32
	// Subset is the subset whose own trafficPolicy gets it, at SubsetIndex;
	// "": the rule's.
	Subset      string
	SubsetIndex int
	// Entry is the existing portLevelSettings entry that gets tls, -1: a new
	// entry is appended.
	Entry int
	// NamesListed says that the ServiceEntry lists the subjectAltNames that the
	// server's certificate is verified against; Istio takes them where the rule has
	// none.
	NamesListed bool
}

// Place returns the field that gets TLS.
func (i Injection) Place() string {
	s := "spec.trafficPolicy.portLevelSettings"
	if i.Subset != "" {
		s = fmt.Sprintf("spec.subsets[%d].trafficPolicy.portLevelSettings", i.SubsetIndex)
	}
	if i.Entry >= 0 {
		s += fmt.Sprintf("[%d].tls", i.Entry)
	}
	return s
}

// inheritable are the destination-level settings that a portLevelSettings entry
// can hold and does not inherit (istio #58297), so a new entry carries them along.
var inheritable = [...]string{"loadBalancer", "connectionPool", "outlierDetection"}

// InjectEdits returns the edits that bring what we injected into the raw
// DestinationRule tree, which they do not change, to injections; these are places in
// the rule without anything of ours (Bare). What is injected beyond them is taken
// back, unless keep says of its place that it stays for now. keep may be nil.
//
// A new port entry gets tls SIMPLE and copies of the settings that it would otherwise
// switch off; an existing entry without tls gets a copy of the tls of the level above,
// since the user said which, else SIMPLE.
func InjectEdits(tree map[string]any, injections []Injection, tls policy.TLS, keep func(place string) bool) ([]Edit, error) {
	have := held(tree)
	bare, _ := copied(tree).(map[string]any)
	removals := have.removals(tree)
	if _, err := Patch(bare, removals); err != nil {
		return nil, fmt.Errorf("failed to take back what was injected: %w", err)
	}
	want := marks{}
	var edits []Edit
	for _, in := range injections {
		e, err := in.edit(bare, tls)
		if err != nil {
			return nil, err
		}
		edits = append(edits, e)
		want[in.place()] = sum(in.place(), e.Value)
	}
	for _, at := range have.places() {
		if _, dup := want[at]; dup || keep == nil || !keep(at) {
			continue
		}
		if e, ok := again(tree, bare, at, have[at]); ok {
			edits = append(edits, e)
			want[at] = have[at]
		}
	}
	if slices.ContainsFunc(edits, func(e Edit) bool { return slices.Equal(e.Path, wholeEntry) }) {
		if at, err := mapAt(bare, wholeEntry[:2]); err == nil && at == nil {
			want[policyPlace] = ""
		}
	}
	text, had := want.String(), annotation(tree, InjectedAnnotation)
	switch {
	case want.equal(have) && text == had:
		return nil, nil
	case want.equal(have):
		edits = nil
	default:
		edits = slices.Concat(removals, edits)
	}
	// What stands in the annotation is replaced: it is ours.
	e := Edit{Path: []string{"metadata", "annotations", InjectedAnnotation}, Value: text}
	if text == "" {
		e.Value, e.Remove = nil, true
		if all, err := mapAt(tree, e.Path[:2]); err == nil && len(all) == 1 {
			e.Path = e.Path[:2]
		}
	}
	return append(edits, e), nil
}

// KeepAll takes nothing back.
func KeepAll(string) bool { return true }

// wholeEntry is where a new entry of the rule's own policy goes.
var wholeEntry = []string{"spec", "trafficPolicy", "portLevelSettings", "-"}

// edit is what carries out the injection on the raw rule without anything of ours.
func (i Injection) edit(bare map[string]any, tls policy.TLS) (Edit, error) {
	path := []string{"spec", "trafficPolicy"}
	if i.Subset != "" {
		path = []string{"spec", "subsets", strconv.Itoa(i.SubsetIndex), "trafficPolicy"}
	}
	level, err := mapAt(bare, path)
	if err != nil {
		return Edit{}, err
	}
	if i.Entry >= 0 {
		return Edit{Path: append(path, "portLevelSettings", strconv.Itoa(i.Entry), "tls"), Value: upperTLS(bare, level, i, tls)}, nil
	}
	entry := map[string]any{
		"port": map[string]any{"number": float64(i.Port)},
		"tls":  simpleTLS(i, tls),
	}
	for _, k := range inheritable {
		if v := level[k]; v != nil {
			entry[k] = v
		}
	}
	return Edit{Path: append(path, "portLevelSettings", "-"), Value: entry}, nil
}

// upperTLS is the tls that an entry without its own gets: that of its level,
// for a subset without one that of the rule, else SIMPLE.
func upperTLS(tree, level map[string]any, in Injection, tls policy.TLS) any {
	if v, ok := level["tls"].(map[string]any); ok {
		return v
	}
	if in.Subset != "" {
		base, _ := mapAt(tree, []string{"spec", "trafficPolicy"})
		entries, _ := base["portLevelSettings"].([]any)
		for _, e := range entries {
			entry, _ := e.(map[string]any)
			port, _ := entry["port"].(map[string]any)
			if v, ok := entry["tls"].(map[string]any); ok && port["number"] == float64(in.Port) {
				return v
			}
		}
		if v, ok := base["tls"].(map[string]any); ok {
			return v
		}
	}
	return simpleTLS(in, tls)
}

// simple returns the tls that is written: SIMPLE with the SNI, since Istio's
// automatic one has failed with a rewritten Host (istio #50126); with the host as
// the name to verify, since Istio verifies one by itself only where it sets the SNI
// (setAutoSniAndAutoSanValidation), and without it any certificate of a trusted
// authority would do; and the policy's settings.
func (i Injection) simple(tls policy.TLS) *networking.ClientTLSSettings {
	out := &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE, Sni: i.Host, CaCertificates: tls.CACertificates}
	if tls.SubjectAltNames == policy.SANsHost && !i.NamesListed {
		out.SubjectAltNames = []string{i.Host}
	}
	return out
}

// simpleTLS is the same as JSON.
func simpleTLS(in Injection, tls policy.TLS) map[string]any {
	simple := in.simple(tls)
	out := map[string]any{"mode": simple.GetMode().String(), "sni": simple.GetSni()}
	if simple.GetCaCertificates() != "" {
		out["caCertificates"] = simple.GetCaCertificates()
	}
	for _, name := range simple.GetSubjectAltNames() {
		out["subjectAltNames"] = []any{name}
	}
	return out
}

func annotation(tree map[string]any, key string) string {
	m, err := mapAt(tree, []string{"metadata", "annotations"})
	if err != nil {
		return ""
	}
	s, _ := m[key].(string)
	return s
}

// mapAt walks path; a missing map on the way reads as empty.
func mapAt(tree map[string]any, path []string) (map[string]any, error) {
	var at any = tree
	for i, step := range path {
		switch node := at.(type) {
		case nil:
			return nil, nil
		case map[string]any:
			at = node[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n < 0 || n >= len(node) {
				return nil, fmt.Errorf("%s has no element %s", strings.Join(path[:i], "."), step)
			}
			at = node[n]
		default:
			return nil, fmt.Errorf("%s is neither a map nor a list", strings.Join(path[:i], "."))
		}
	}
	if at == nil {
		return nil, nil
	}
	m, ok := at.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is no map", strings.Join(path, "."))
	}
	return m, nil
}

// Tree returns the object as encoding/json reads it into a map, with numbers where the
// API server asks for them.
func Tree(o any) (map[string]any, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("failed to encode: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("failed to decode: %w", err)
	}
	if _, ok := o.(*networkingv1.DestinationRule); ok {
		numbers(tree["spec"])
	}
	return tree, nil
}

// numbers makes numbers of the 64-bit ones in a DestinationRule's spec, all of them under
// consistentHash: Istio's types encode them as strings, which Istio's CRD refuses.
func numbers(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if hash, ok := e.(map[string]any); ok && k == "consistentHash" {
				toNumber(hash, "minimumRingSize")
				toNumber(hash["ringHash"], "minimumRingSize")
				toNumber(hash["maglev"], "tableSize")
			}
			numbers(e)
		}
	case []any:
		for _, e := range v {
			numbers(e)
		}
	}
}

func toNumber(v any, key string) {
	m, _ := v.(map[string]any)
	if text, ok := m[key].(string); ok {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			m[key] = n
		}
	}
}

// injected returns dr as it is after the injections.
func injected(dr *networkingv1.DestinationRule, injections []Injection, tls policy.TLS) (*networkingv1.DestinationRule, error) {
	tree, err := Tree(dr)
	if err != nil {
		return nil, err
	}
	edits, err := InjectEdits(tree, injections, tls, nil)
	if err != nil {
		return nil, err
	}
	if _, err := Patch(tree, edits); err != nil {
		return nil, err
	}
	out := &networkingv1.DestinationRule{}
	if err := retype(tree, out); err != nil {
		return nil, fmt.Errorf("%s: %w", mesh.ObjectOf(dr), err)
	}
	return out, nil
}

// retype decodes a tree.
func retype(tree map[string]any, out any) error {
	raw, err := json.Marshal(tree)
	if err != nil {
		return fmt.Errorf("failed to encode: %w", err)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("failed to decode: %w", err)
	}
	return nil
}
