package mesh

import (
	"cmp"
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// TLS is what an Effective rule says about TLS for one port and subset.
type TLS struct {
	// Settings are the clientTLSSettings that apply; nil: plaintext.
	Settings *networking.ClientTLSSettings
	// Upper is, for a portLevelSettings entry without tls, the tls that would
	// apply without the entry: the entry switches it off (istio #58297).
	Upper *networking.ClientTLSSettings
	// Level is where the answer comes from.
	Level Level
	// From is the object that gave the answer, nil when none has a word on it.
	From *networkingv1.DestinationRule
	// Subset and Entry are the indexes in From of the subset (for the subset
	// levels) and of the portLevelSettings entry (for the port levels).
	Subset, Entry int
}

// Level is a place in a DestinationRule that can hold tls.
type Level int

// From the least to the most specific.
const (
	// LevelNone: no trafficPolicy says anything.
	LevelNone Level = iota
	LevelDestination
	LevelPort
	LevelSubset
	LevelSubsetPort
	// LevelNoSubset: the route names a subset that the rule lacks. Istio builds
	// no cluster for it, so nothing is sent at all.
	LevelNoSubset
)

// Mode returns the TLS mode; DISABLE stands for no TLS too.
func (t TLS) Mode() networking.ClientTLSSettings_TLSmode { return t.Settings.GetMode() }

// Encrypts reports whether the connection is encrypted.
func (t TLS) Encrypts() bool { return t.Mode() != networking.ClientTLSSettings_DISABLE }

// Disabled reports whether the user said DISABLE, also on the level above an
// entry without tls. A tls without a mode is DISABLE too, since that is the
// enumeration's zero: Istio does not distinguish.
func (t TLS) Disabled() bool {
	s := t.Word()
	return s != nil && s.GetMode() == networking.ClientTLSSettings_DISABLE
}

// Word returns what the user said about TLS, also on the level above an entry
// without tls; nil: nothing.
func (t TLS) Word() *networking.ClientTLSSettings { return cmp.Or(t.Settings, t.Upper) }

// Path returns the field of From that decides: a tls, or what lacks one.
func (t TLS) Path() string {
	path := t.policyPath()
	if t.Level == LevelPort || t.Level == LevelSubsetPort {
		path = fmt.Sprintf("%s.portLevelSettings[%d]", path, t.Entry)
	}
	if t.Settings != nil {
		path += ".tls"
	}
	return path
}

// WordPath returns the field of From that holds Word.
func (t TLS) WordPath() string {
	switch {
	case t.Settings != nil || t.Upper == nil:
		return strings.TrimSuffix(t.Path(), ".tls") + ".tls"
	case t.Level == LevelSubsetPort && t.From.Spec.GetSubsets()[t.Subset].GetTrafficPolicy().GetTls() == nil:
		return "spec.trafficPolicy.tls"
	}
	return t.policyPath() + ".tls"
}

func (t TLS) policyPath() string {
	if t.Level == LevelSubset || t.Level == LevelSubsetPort {
		return fmt.Sprintf("spec.subsets[%d].trafficPolicy", t.Subset)
	}
	return "spec.trafficPolicy"
}

// CredentialIgnored reports whether a sidecar drops the settings and sends
// plaintext, or would those above an entry without tls: SIMPLE or MUTUAL with a
// credentialName, in a rule without a workloadSelector
// (buildUpstreamClusterTLSContext; istio #31738).
func (e *Effective) CredentialIgnored(client Client, t TLS) bool {
	s := t.Word()
	return !client.Gateway && e.Selector == nil && s.GetCredentialName() != "" && !strings.HasPrefix(s.GetCredentialName(), "configmap://") &&
		(s.GetMode() == networking.ClientTLSSettings_SIMPLE || s.GetMode() == networking.ClientTLSSettings_MUTUAL)
}

// TLS returns what the rule says about TLS on port for the named subset ("":
// none).
//
// A portLevelSettings entry replaces the destination level whole, also when it
// has no tls (GetPortLevelTrafficPolicy; istio #58297); a subset's trafficPolicy
// overrides it: its port entry whole, otherwise only where it has a tls itself
// (MergeSubsetTrafficPolicy).
func (e *Effective) TLS(port uint32, subsetName string) TLS {
	out := policyTLS(e.Policy(), port)
	out.From = e.PolicyFrom
	if subsetName == "" {
		return out
	}
	for _, s := range e.subsets {
		if s.GetName() != subsetName {
			continue
		}
		p := s.GetTrafficPolicy()
		own := policyTLS(p, port)
		if p == nil || (own.Level != LevelPort && own.Settings == nil) {
			return out
		}
		own.From, own.Subset = s.from, s.index
		if own.Level == LevelPort {
			own.Level = LevelSubsetPort
			if own.Settings == nil && own.Upper == nil {
				own.Upper = cmp.Or(out.Settings, out.Upper)
			}
		} else {
			own.Level = LevelSubset
		}
		return own
	}
	return TLS{Level: LevelNoSubset}
}

func policyTLS(p *networking.TrafficPolicy, port uint32) TLS {
	if p == nil {
		return TLS{}
	}
	for i, e := range p.GetPortLevelSettings() {
		if e.GetPort() != nil && e.GetPort().GetNumber() == port {
			t := TLS{Settings: e.GetTls(), Level: LevelPort, Entry: i}
			if t.Settings == nil {
				t.Upper = p.GetTls()
			}
			return t
		}
	}
	return TLS{Settings: p.GetTls(), Level: LevelDestination}
}
