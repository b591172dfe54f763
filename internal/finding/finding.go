// Package finding holds the one kind of result that every decision of this
// project ends in: a code, a severity, the object and field it is about, and a
// text that says what would happen and what to do. Admission, the CLI and the
// tests print the same findings; only their frames differ.
package finding

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Code names a finding for machines. Codes are stable: they are never renamed
// or reused.
type Code string

// The catalogue. A test holds that each code is documented and exercised by a
// scenario.
const (
	// CatchAllNotLast: a route is dead because an earlier match takes every
	// request; Istio drops everything after such a match in silence.
	CatchAllNotLast Code = "CatchAllNotLast"
	// UnreachableRoute: a route is dead because of one or more earlier matches,
	// or because it contradicts itself.
	UnreachableRoute Code = "UnreachableRoute"
	// IneffectiveMatch: some, not all, matches of a route are dead.
	IneffectiveMatch Code = "IneffectiveMatch"
	// ShadowedByVirtualService: a route is dead because of another VirtualService
	// of the same host.
	ShadowedByVirtualService Code = "ShadowedByVirtualService"
	// TLSDisabled: the effective DestinationRule turns TLS off for a target.
	TLSDisabled Code = "TLSDisabled"
	// TLSMissing: a target has no TLS, and the policy or the mode of the
	// namespace that would hold the rule forbids to add it.
	TLSMissing Code = "TLSMissing"
	// HeadersMissing: a route to a target lacks a header, and the policy says
	// that the user brings it.
	HeadersMissing Code = "HeadersMissing"
	// MutualToExternal: ISTIO_MUTUAL presents a mesh certificate that an
	// external host does not know.
	MutualToExternal Code = "MutualToExternal"
	// NoExactServiceEntry: only a wildcard or an invisible ServiceEntry fits.
	NoExactServiceEntry Code = "NoExactServiceEntry"
	// HostHeaderMismatch: the user's Host is not the target's.
	HostHeaderMismatch Code = "HostHeaderMismatch"
	// DoubleTLS: other clients of the port speak TLS already.
	DoubleTLS Code = "DoubleTLS"
	// WaitsForRoute: a ServiceEntry port speaks TLS and gets its DestinationRule
	// with the first HTTP route to it.
	WaitsForRoute Code = "WaitsForRoute"
	// CredentialIgnored: Istio drops a sidecar's credentialName without a
	// workloadSelector, and sends plaintext (istio #31738).
	CredentialIgnored Code = "CredentialIgnored"
	// InvalidAnnotation: egress-tls.dev/originate cannot be read.
	InvalidAnnotation Code = "InvalidAnnotation"
)

// Severity tells what a finding does to the answer.
type Severity string

// An Error refuses the object in mode enforce; a Warning never does.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Object names the object that a finding is about.
type Object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
}

// String returns "Kind namespace/name".
func (o Object) String() string {
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Finding is one result.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Object   Object   `json:"object"`
	// Path is the field, such as spec.http[1] or spec.http[0].match[2].
	Path string `json:"path"`
	// CoveredBy are the paths of the matches that take a dead route's requests.
	CoveredBy []string `json:"coveredBy,omitempty"`
	// Message says what is wrong and its consequence; Remedy what to do.
	Message string `json:"message"`
	Remedy  string `json:"remedy"`

	// What follows says parts of the Message and the Remedy once more, for machines and for
	// those who lay them out otherwise. Each is there only where it applies.

	// Summary is the Message without Example and Notes.
	Summary string `json:"summary,omitempty"`
	// Example is one request that goes wrong.
	Example *Example `json:"example,omitempty"`
	// Notes are hints on how it may have come about.
	Notes []string `json:"notes,omitempty"`
	// Order is the order of spec.http in which every route is live, as indexes of the
	// present one. It is shared among findings.
	Order []int `json:"order,omitempty"`
	// Related are places of other objects that have a part in it.
	Related []Place `json:"related,omitempty"`

	// Subject identifies what the finding is about independently of its place
	// in the object, so that the ratchet recognises it after routes have moved.
	// Empty: Path serves.
	Subject string `json:"-"`
	// Host is the external host that it is about, if it is about one.
	Host string `json:"-"`
}

// Example is a request and where it goes.
type Example struct {
	// Request is method, path, and in brackets what else is of account.
	Request string `json:"request"`
	// GoesTo is the destination that gets it, by the match at path By.
	GoesTo string `json:"goesTo"`
	By     string `json:"by"`
	// InsteadOf is the destination that is meant; empty where it is the same.
	InsteadOf string `json:"insteadOf,omitempty"`
}

// Place is a field of an object, and what it has to do with a finding about another.
type Place struct {
	Object Object `json:"object"`
	Path   string `json:"path"`
	Text   string `json:"text"`
}

// MaxText bounds what one finding may print, in bytes.
const MaxText = 2048

// Text renders the finding on one line: code, field, message, remedy. It is at
// most MaxText bytes long.
func (f Finding) Text() string {
	var b strings.Builder
	b.WriteString(string(f.Code))
	if f.Path != "" {
		b.WriteString(" at ")
		b.WriteString(f.Path)
	}
	b.WriteString(": ")
	b.WriteString(f.Message)
	if f.Remedy != "" {
		b.WriteString(" ")
		b.WriteString(f.Remedy)
	}
	return Truncate(Printable(b.String()), MaxText)
}

// Printable writes what a terminal would not print, but obey, as Go does in quotes: control
// characters, line breaks among them, and those that turn the direction of text. What
// objects hold is shown to others than who wrote it.
func Printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// Truncate cuts s to at most n bytes at a rune boundary and says so.
func Truncate(s string, n int) string {
	const mark = " [...]"
	if len(s) <= n {
		return s
	}
	cut, tail := n-len(mark), mark
	if cut < 0 {
		cut, tail = max(n, 0), ""
	}
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + tail
}

// Sort orders findings: errors first, then by object, field, code and text, so
// that two runs print the same bytes. Fields compare in natural order:
// spec.http[2] before spec.http[10].
func Sort(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.Severity, b.Severity), // "error" < "warning"
			cmp.Compare(a.Object.Namespace, b.Object.Namespace),
			cmp.Compare(a.Object.Kind, b.Object.Kind),
			cmp.Compare(a.Object.Name, b.Object.Name),
			comparePaths(a.Path, b.Path),
			cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Message, b.Message),
		)
	})
}

// comparePaths compares byte by byte, but runs of digits by their value.
func comparePaths(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			if c := cmp.Or(cmp.Compare(na, nb), strings.Compare(a[:na], b[:nb])); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// HasErrors reports whether any finding refuses.
func HasErrors(fs []Finding) bool {
	return slices.ContainsFunc(fs, func(f Finding) bool { return f.Severity == Error })
}

// Ratchet lowers the errors of now that old had already to warnings: an update
// is refused only for what it makes worse. Findings are the same when code and
// Subject (or Path) are; equal ones are counted, so a second dead copy of a
// route is new.
func Ratchet(old, now []Finding) []Finding {
	type key struct {
		code    Code
		subject string
	}
	keyOf := func(f Finding) key {
		return key{f.Code, cmp.Or(f.Subject, f.Path)}
	}
	had := map[key]int{}
	for _, f := range old {
		if f.Severity == Error {
			had[keyOf(f)]++
		}
	}
	out := slices.Clone(now)
	for i := range out {
		if k := keyOf(out[i]); out[i].Severity == Error && had[k] > 0 {
			had[k]--
			out[i].Severity = Warning
		}
	}
	return out
}
