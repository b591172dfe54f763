package mutate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// InjectedAnnotation on a DestinationRule records what was injected, so that it can be
// taken back: a sorted comma list of "port/443=<sum>" (a whole portLevelSettings
// entry), "port/443/tls=<sum>" (only its tls) and the same behind "subset/NAME/". The
// sum is that of the value: one that was changed since is the user's own. The word
// "trafficPolicy" says that the rule had none.
const InjectedAnnotation = "egress-tls.dev/injected"

// UnusedAnnotation on a DestinationRule says since when something of ours in it, or all
// of it, is needed by nothing, and what it will come to: "<RFC 3339 time> <sum>" (see
// Surplus.Sum). Whoever needs it again takes the annotation away.
const UnusedAnnotation = "egress-tls.dev/unused-since"

// marks are what was injected: the sum of the value by place.
type marks map[string]string

// policyPlace is the place of a trafficPolicy that was not there before.
const policyPlace = "trafficPolicy"

// place is the Injection's word in InjectedAnnotation, without the sum.
func (i Injection) place() string {
	s := "port/" + strconv.FormatUint(uint64(i.Port), 10)
	if i.Entry >= 0 {
		s += tlsOnly
	}
	if i.Subset != "" {
		s = "subset/" + i.Subset + "/" + s
	}
	return s
}

const tlsOnly = "/tls"

func (m marks) places() []string { return slices.Sorted(maps.Keys(m)) }

func (m marks) equal(o marks) bool { return maps.Equal(m, o) }

func (m marks) String() string {
	var words []string
	for _, at := range m.places() {
		if sum := m[at]; sum != "" {
			at += "=" + sum
		}
		words = append(words, at)
	}
	return strings.Join(words, ",")
}

func parseMarks(text string) marks {
	out := marks{}
	for word := range strings.SplitSeq(text, ",") {
		if at, sum, ok := strings.Cut(word, "="); ok || at == policyPlace {
			out[at] = sum
		}
	}
	return out
}

// held returns the marks of the raw rule whose values stand there as they were
// injected. All others are the user's by now.
func held(tree map[string]any) marks {
	out := parseMarks(annotation(tree, InjectedAnnotation))
	whole := false
	for at, sum := range out {
		if at == policyPlace {
			continue
		}
		if _, _, ok := find(tree, at, sum); !ok {
			delete(out, at)
		} else if strings.HasPrefix(at, "port/") && !strings.HasSuffix(at, tlsOnly) {
			whole = true
		}
	}
	if !whole {
		delete(out, policyPlace)
	}
	return out
}

// find returns the path to the portLevelSettings that hold what was injected at a
// place with this sum, and the index of the entry.
func find(tree map[string]any, at, want string) (list []string, index int, ok bool) {
	path, port, ok := locate(tree, at)
	if !ok {
		return nil, 0, false
	}
	for i, entry := range entriesAt(tree, path) {
		value := entry
		if strings.HasSuffix(at, tlsOnly) {
			m, _ := entry.(map[string]any)
			value = m["tls"]
		}
		if portOf(entry) == port && value != nil && sum(at, value) == want {
			return path, i, true
		}
	}
	return nil, 0, false
}

// locate returns the path to the portLevelSettings of a place, and its port.
func locate(tree map[string]any, at string) (path []string, port float64, ok bool) {
	path = []string{"spec", "trafficPolicy", "portLevelSettings"}
	if rest, sub := strings.CutPrefix(at, "subset/"); sub {
		i := strings.LastIndex(rest, "/port/")
		if i < 0 {
			return nil, 0, false
		}
		spec, _ := tree["spec"].(map[string]any)
		subsets, _ := spec["subsets"].([]any)
		k := slices.IndexFunc(subsets, func(s any) bool {
			m, _ := s.(map[string]any)
			return m["name"] == rest[:i]
		})
		if k < 0 {
			return nil, 0, false
		}
		path = []string{"spec", "subsets", strconv.Itoa(k), "trafficPolicy", "portLevelSettings"}
		at = rest[i+1:]
	}
	number, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(at, "port/"), tlsOnly), 10, 32)
	return path, float64(number), err == nil
}

func entriesAt(tree map[string]any, path []string) []any {
	level, err := mapAt(tree, path[:len(path)-1])
	if err != nil {
		return nil
	}
	list, _ := level["portLevelSettings"].([]any)
	return list
}

func portOf(entry any) float64 {
	m, _ := entry.(map[string]any)
	port, _ := m["port"].(map[string]any)
	number, _ := port["number"].(float64)
	return number
}

// removals returns the edits that take all of it out of the raw rule. A list that is
// empty then goes too, and so does a trafficPolicy that was not there before.
func (m marks) removals(tree map[string]any) []Edit {
	var edits []Edit
	whole := map[string][]int{} // by list
	lists := map[string][]string{}
	for _, at := range m.places() {
		list, i, ok := find(tree, at, m[at])
		switch {
		case !ok:
		case strings.HasSuffix(at, tlsOnly):
			edits = append(edits, Edit{Path: append(list, strconv.Itoa(i), "tls"), Remove: true})
		default:
			key := strings.Join(list, "/")
			whole[key], lists[key] = append(whole[key], i), list
		}
	}
	for _, key := range slices.Sorted(maps.Keys(whole)) {
		list, gone := lists[key], whole[key]
		if len(gone) == len(entriesAt(tree, list)) {
			level, _ := mapAt(tree, list[:len(list)-1])
			if _, created := m[policyPlace]; created && len(list) == len(wholeEntry)-1 && len(level) == 1 {
				list = list[:len(list)-1]
			}
			edits = append(edits, Edit{Path: list, Remove: true})
			continue
		}
		slices.Sort(gone)
		for _, i := range slices.Backward(gone) {
			edits = append(edits, Edit{Path: append(slices.Clone(list), strconv.Itoa(i)), Remove: true})
		}
	}
	return edits
}

// again returns the edit that puts what was injected at a place of tree into bare,
// which is tree without it. It has no place where the user has an entry of their own
// for the port by now, nor in a rule that is for another host by now.
func again(tree, bare map[string]any, at, want string) (Edit, bool) {
	list, i, ok := find(tree, at, want)
	if !ok {
		return Edit{}, false
	}
	value, _ := entriesAt(tree, list)[i].(map[string]any)
	port := portOf(value)
	if tls, _ := value["tls"].(map[string]any); tls["sni"] != nil && tls["sni"] != ruleHost(tree) {
		// A copy has the name that the user gave to the tls above it.
		level, _ := mapAt(bare, list[:len(list)-1])
		in := Injection{Port: uint32(port)}
		if strings.HasPrefix(at, "subset/") {
			in.Subset = at
		}
		if !equalJSON(tls, upperTLS(bare, level, in, policy.TLS{})) {
			return Edit{}, false
		}
	}
	own := slices.IndexFunc(entriesAt(bare, list), func(e any) bool { return portOf(e) == port })
	if !strings.HasSuffix(at, tlsOnly) {
		return Edit{Path: append(slices.Clone(list), "-"), Value: value}, own < 0
	}
	return Edit{Path: append(slices.Clone(list), strconv.Itoa(own), "tls"), Value: value["tls"]}, own >= 0
}

// ruleHost is mesh.RuleHost of a raw rule.
func ruleHost(tree map[string]any) string {
	spec, _ := tree["spec"].(map[string]any)
	meta, _ := tree["metadata"].(map[string]any)
	host, _ := spec["host"].(string)
	namespace, _ := meta["namespace"].(string)
	return mesh.ResolveHost(host, namespace)
}

// sum identifies a value at a place, as Istio's types read it: what they do not know,
// and the way in which it is written, does not count.
func sum(at string, value any) string {
	var typed any = &networking.TrafficPolicy_PortTrafficPolicy{}
	if strings.HasSuffix(at, tlsOnly) {
		typed = &networking.ClientTLSSettings{}
	}
	raw, err := json.Marshal(value)
	if err == nil && json.Unmarshal(raw, typed) == nil {
		value = typed
	}
	return sumOf(value)
}

// sumOf is a short sum of a value's JSON.
func sumOf(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	var plain any
	if json.Unmarshal(raw, &plain) == nil {
		raw, _ = json.Marshal(plain) // keys in order
	}
	s := sha256.Sum256(raw)
	return hex.EncodeToString(s[:4])
}

// Bare returns dr without what was injected into it; its annotation then names all of
// that and nothing else. Decisions are made about bare rules: what we wrote is no word
// of the user's.
func Bare(dr *networkingv1.DestinationRule) (*networkingv1.DestinationRule, error) {
	if dr.Annotations[InjectedAnnotation] == "" {
		return dr, nil
	}
	tree, err := Tree(dr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", mesh.ObjectOf(dr), err)
	}
	have := held(tree)
	if _, err := Patch(tree, have.removals(tree)); err != nil {
		return nil, fmt.Errorf("%s: %w", mesh.ObjectOf(dr), err)
	}
	out := &networkingv1.DestinationRule{}
	if err := retype(tree, out); err != nil {
		return nil, fmt.Errorf("%s: %w", mesh.ObjectOf(dr), err)
	}
	out.Annotations[InjectedAnnotation] = have.String()
	return out, nil
}

// Injected returns the places that were injected into the raw rule and still are as
// they were, sorted.
func Injected(tree map[string]any) []string { return held(tree).places() }
