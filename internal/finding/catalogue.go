package finding

// A Rule is what a code stands for.
type Rule struct {
	Code Code
	// Title is a headline in a few words.
	Title string
	// Severity is the one of a finding under the default policy.
	Severity Severity
}

// Rules returns the catalogue in the order in which docs/findings.md has it; a test holds
// that it lists the same.
func Rules() []Rule {
	return []Rule{
		{CatchAllNotLast, "Route behind a catch-all", Error},
		{UnreachableRoute, "Route that no request reaches", Error},
		{IneffectiveMatch, "Match without effect", Warning},
		{ShadowedByVirtualService, "Route shadowed by another VirtualService", Warning},
		{TLSDisabled, "TLS switched off towards a TLS port", Error},
		{TLSMissing, "Plaintext towards a TLS port", Error},
		{HeadersMissing, "Request headers that the external server needs are missing", Error},
		{MutualToExternal, "Certificate of the mesh shown to an external host", Warning},
		{NoExactServiceEntry, "No ServiceEntry for the host where the proxies look", Warning},
		{HostHeaderMismatch, "Host header of another site", Warning},
		{DoubleTLS, "TLS inside TLS for some clients", Warning},
		{WaitsForRoute, "No TLS before the first HTTP route", Warning},
		{CredentialIgnored, "Credential that sidecars ignore", Error},
		{InvalidAnnotation, "Annotation that cannot be read", Error},
	}
}

// Title is that of the code's rule.
func (c Code) Title() string {
	for _, r := range Rules() {
		if r.Code == c {
			return r.Title
		}
	}
	return string(c)
}
