package policy

// field is what Load, Schema and Table know about a field of the file. It takes a
// map, one of some words, or text, one or a list.
type field struct {
	name string
	// meaning is for the documentation, in Markdown.
	meaning  string
	required bool

	fields []field // of a map
	words  []word  // one of these
	text   *text   // text of this form
	list   bool    // a list of such texts
}

type word struct{ text, meaning string }

func words[T ~string](texts ...T) []word {
	out := make([]word, len(texts))
	for i, t := range texts {
		out[i].text = string(t)
	}
	return out
}

// text is a form that a text can have.
type text struct {
	// one and many name it in the documentation.
	one, many string
	// pattern is what it matches, in what Go and JSON schema have in common.
	pattern string
	// wrong says of a text that does not match what would follow, and what to write.
	wrong string
}

var (
	namespaceText = &text{
		one: "a namespace", many: "namespaces",
		pattern: `^` + label + `$`,
		wrong:   `is no name of a namespace, so none would match; a name is made of lowercase letters, digits and inner "-", at most 63`,
	}
	hostText = &text{
		one: "a host", many: "hosts, exact or `*.example.com`",
		// Istio takes capitals too.
		pattern: `^(\*\.)?` + anyLabel + `(\.` + anyLabel + `)*$`,
		wrong:   `is no host, so no target would match; write it as in the ServiceEntry, such as api.example.com, or *.example.com for all hosts below`,
	}
	usernameText = &text{
		one: "a username", many: "names, as in `kubectl auth whoami`",
		pattern: `^\S(.*\S)?$`,
		wrong:   `is no username, so no request would match; write it as kubectl auth whoami prints it`,
	}
	authoritiesText = &text{
		one: "`system` or an absolute path", many: "",
		pattern: `^(system|/.+)?$`,
		// Istio hands any text but "system" to the proxy as a file's name (SdsCertificateConfig).
		wrong: `is neither system nor an absolute path; proxies would find no authorities there, and trust no server. Write system, or the path of a PEM file in the proxies' containers`,
	}
)

const (
	label    = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	anyLabel = `[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?`
)

// fields are all fields of the file.
func fields() []field {
	return []field{
		{name: "apiVersion", required: true, words: words(APIVersion), meaning: "required"},
		{name: "kind", required: true, words: words(Kind), meaning: "required"},
		{
			name: "mode", words: words(modes()...),
			meaning: "for namespaces without the label `egress-tls.dev/mode`; see [modes](admission.md#modes)",
		},
		{name: "exemptions", fields: []field{
			{
				name: "namespaces", text: namespaceText, list: true,
				meaning: "objects in them are never looked at, whatever the label. A list replaces the default",
			},
			{
				name: "usernames", text: usernameText, list: true,
				meaning: "their requests are never looked at; what they store is [brought in line](convergence.md#modes) all the same",
			},
			{name: "hosts", text: hostText, list: true, meaning: "are never targets"},
		}},
		{
			name: "rootNamespace", text: namespaceText,
			meaning: "Istio's `meshConfig.rootNamespace`: the last place where Istio looks for DestinationRules",
		},
		{
			name: "gatewayNamespaces", text: namespaceText, list: true,
			meaning: "namespaces in which gateway pods run, beside those that the gateways' Services tell. Every Gateway counts as executed there",
		},
		{name: "originate", words: []word{
			{string(WhenRouted), "an HTTPS or TLS port gets its rule with the first HTTP route to it"},
			{string(Always), "with the ServiceEntry. Clients that speak TLS themselves then get TLS inside TLS"},
		}},
		{name: "destinationRules", words: []word{
			{string(CreateRules), "a missing rule is created, and TLS injected into one that lacks it"},
			{string(RequireRules), "nothing is written; an object that needs a rule is refused with `TLSMissing` until the rule is there"},
			{string(IgnoreRules), "a missing rule is neither written nor mentioned. A rule that switches TLS off is still an error"},
		}},
		{name: "headers", words: []word{
			{string(InjectHeaders), "missing headers are added"},
			{string(RequireHeaders), "nothing is added; a route that lacks headers is refused with `HeadersMissing`"},
			{string(IgnoreHeaders), "headers are not looked at"},
		}},
		{name: "tls", fields: []field{
			{
				name: "caCertificates", text: authoritiesText,
				meaning: "goes into each `tls` that is written as `SIMPLE`. The path is one in the proxies' containers. `system`: the proxy's own " +
					"root certificates, which Istio takes without it too; `istioctl analyze` then says nothing (`IST0129`)",
			},
			{name: "subjectAltNames", words: []word{
				{string(SANsHost), "the target's host is written, and the server's certificate must be for it; where the ServiceEntry lists " +
					"`subjectAltNames`, Istio takes those and none are written"},
				{string(SANsNone), "no names are written. With an `sni` Istio then accepts any certificate of a known authority, also one for another name"},
			}},
		}},
		{name: "routeOrder", words: []word{
			{string(DenyOrder), "a dead route is an error"},
			{string(WarnOrder), "a warning"},
			{string(IgnoreOrder), "not looked at"},
		}},
	}
}
