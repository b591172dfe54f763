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

// InjectedAnnotation on a DestinationRule records what was injected, so that it
// can be taken back: a sorted comma list of "port/443" (a whole portLevelSettings
// entry), "port/443/tls" (only its tls) and the same behind "subset/NAME/".
const InjectedAnnotation = "egress-tls.dev/injected"

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

// marker is the Injection's word in InjectedAnnotation.
func (i Injection) marker() string {
	s := "port/" + strconv.FormatUint(uint64(i.Port), 10)
	if i.Entry >= 0 {
		s += "/tls"
	}
	if i.Subset != "" {
		s = "subset/" + i.Subset + "/" + s
	}
	return s
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

// InjectEdits returns the edits that carry out injections on the raw DestinationRule
// tree, which it does not change. A new port entry gets tls SIMPLE and copies of
// the settings that it would otherwise switch off; an existing entry without tls
// gets a copy of the tls of the level above, since the user said which, else
// SIMPLE.
func InjectEdits(tree map[string]any, injections []Injection, tls policy.TLS) ([]Edit, error) {
	if len(injections) == 0 {
		return nil, nil
	}
	var edits []Edit
	markers := splitMarkers(annotation(tree, InjectedAnnotation))
	for _, in := range injections {
		path := []string{"spec", "trafficPolicy"}
		if in.Subset != "" {
			path = []string{"spec", "subsets", strconv.Itoa(in.SubsetIndex), "trafficPolicy"}
		}
		level, err := mapAt(tree, path)
		if err != nil {
			return nil, err
		}
		if in.Entry >= 0 {
			edits = append(edits, Edit{
				append(slices.Clone(path), "portLevelSettings", strconv.Itoa(in.Entry), "tls"),
				upperTLS(tree, level, in, tls),
			})
		} else {
			entry := map[string]any{
				"port": map[string]any{"number": float64(in.Port)},
				"tls":  simpleTLS(in, tls),
			}
			for _, k := range inheritable {
				if v := level[k]; v != nil {
					entry[k] = v
				}
			}
			edits = append(edits, Edit{append(slices.Clone(path), "portLevelSettings", "-"), entry})
		}
		if m := in.marker(); !slices.Contains(markers, m) {
			markers = append(markers, m)
		}
	}
	slices.Sort(markers)
	// An annotation that stands already with other content is replaced: it is ours.
	edits = append(edits, Edit{[]string{"metadata", "annotations", InjectedAnnotation}, strings.Join(markers, ",")})
	return edits, nil
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

// simpleTLS returns the tls that is written: SIMPLE with the SNI, since Istio's
// automatic one has failed with a rewritten Host (istio #50126); with the host as
// the name to verify, since Istio verifies one by itself only where it sets the SNI
// (setAutoSniAndAutoSanValidation), and without it any certificate of a trusted
// authority would do; and the policy's settings.
func simpleTLS(in Injection, tls policy.TLS) map[string]any {
	out := map[string]any{"mode": networking.ClientTLSSettings_SIMPLE.String(), "sni": in.Host}
	if tls.CACertificates != "" {
		out["caCertificates"] = tls.CACertificates
	}
	if tls.SubjectAltNames == policy.SANsHost && !in.NamesListed {
		out["subjectAltNames"] = []any{in.Host}
	}
	return out
}

func splitMarkers(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
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

// Tree returns the object as encoding/json reads it into a map.
func Tree(o any) (map[string]any, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("failed to encode: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("failed to decode: %w", err)
	}
	return tree, nil
}

// injected returns dr as it is after the injections.
func injected(dr *networkingv1.DestinationRule, injections []Injection, tls policy.TLS) (*networkingv1.DestinationRule, error) {
	tree, err := Tree(dr)
	if err != nil {
		return nil, err
	}
	edits, err := InjectEdits(tree, injections, tls)
	if err != nil {
		return nil, err
	}
	if _, err := Patch(tree, edits); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("failed to encode: %w", err)
	}
	out := &networkingv1.DestinationRule{}
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("failed to decode %s: %w", mesh.ObjectOf(dr), err)
	}
	return out, nil
}
