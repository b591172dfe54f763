package finding

// Title is the catalogue in a few words each: the headline of a finding, and the name of
// its rule in a report. A test holds that docs/findings.md lists the same.
func (c Code) Title() string {
	switch c {
	case CatchAllNotLast:
		return "Route behind a catch-all"
	case UnreachableRoute:
		return "Route that no request reaches"
	case IneffectiveMatch:
		return "Match without effect"
	case ShadowedByVirtualService:
		return "Route shadowed by another VirtualService"
	case TLSDisabled:
		return "TLS switched off towards a TLS port"
	case TLSMissing:
		return "Plaintext towards a TLS port"
	case HeadersMissing:
		return "Request headers that the external server needs are missing"
	case MutualToExternal:
		return "Certificate of the mesh shown to an external host"
	case NoExactServiceEntry:
		return "No ServiceEntry for the host where the proxies look"
	case HostHeaderMismatch:
		return "Host header of another site"
	case DoubleTLS:
		return "TLS inside TLS for some clients"
	case WaitsForRoute:
		return "No TLS before the first HTTP route"
	case CredentialIgnored:
		return "Credential that sidecars ignore"
	case InvalidAnnotation:
		return "Annotation that cannot be read"
	}
	return string(c)
}
