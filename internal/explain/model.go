package explain

import (
	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// Host is what is known about one host. Its JSON is stable: fields are added, and never
// renamed. Lists are in a fixed order, and empty, not null.
type Host struct {
	Host string `json:"host"`
	// Port and From are what was asked for; absent: every port, every namespace.
	Port uint32 `json:"port,omitempty"`
	From string `json:"from,omitempty"`
	// State is the worst of Answers, none without one.
	State State `json:"state"`
	// Answers say in one sentence each who reaches the host and how, the worst first.
	Answers []Answer `json:"answers"`
	// ServiceEntries list the host, or a wildcard that covers it.
	ServiceEntries []ServiceEntry `json:"serviceEntries"`
	// Clients are the groups of proxies that reach it or might; gateways first.
	Clients []Client `json:"clients"`
	Hazards []Hazard `json:"hazards"`
	// Covers are the known hosts that a wildcard covers, Similar those with a name like
	// that of a host that is not known.
	Covers  []string `json:"covers,omitempty"`
	Similar []string `json:"similar,omitempty"`
}

// State is what becomes of requests on their way out of the proxy.
type State string

// From the worst to the best.
const (
	// Plaintext: HTTP leaves the mesh in clear.
	Plaintext State = "plaintext"
	// DoubleTLS: the proxy encrypts what the application has encrypted already.
	DoubleTLS State = "doubleTLS"
	// Dead: the routes take no request.
	Dead State = "dead"
	// Unreachable: the proxy has nowhere to send them to.
	Unreachable State = "unreachable"
	// AsSent: the proxy passes on what the application sends, whatever it is.
	AsSent State = "asSent"
	// ApplicationTLS: the proxy passes on TLS that the application speaks itself.
	ApplicationTLS State = "applicationTLS"
	// TLS: the proxy encrypts them.
	TLS State = "tls"
	// None: there is nothing to say it of.
	None State = "none"
)

// Answer is one sentence.
type Answer struct {
	State State  `json:"state"`
	Text  string `json:"text"`
}

// Ref names an object.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// ServiceEntry is one that lists the host, or a wildcard that covers it.
type ServiceEntry struct {
	Ref
	// Host is as it lists it.
	Host       string `json:"host"`
	Location   string `json:"location"`
	Resolution string `json:"resolution"`
	Ports      []Port `json:"ports"`
	// VisibleIn are the namespaces that it is exported to; "*" stands for all.
	VisibleIn []string `json:"visibleIn"`
}

// Port is one of a ServiceEntry.
type Port struct {
	Number     uint32 `json:"number"`
	Name       string `json:"name"`
	Protocol   string `json:"protocol"`
	TargetPort uint32 `json:"targetPort,omitempty"`
}

// ClientKind tells gateways from sidecars.
type ClientKind string

// The kinds.
const (
	Gateway ClientKind = "gateway"
	Sidecar ClientKind = "sidecar"
)

// Client is a group of proxies that are alike for the host.
type Client struct {
	Kind ClientKind `json:"kind"`
	// Namespace is where they run; "" stands for all namespaces that have nothing of
	// their own for the host.
	Namespace string `json:"namespace"`
	// Labels are those of a gateway's pods.
	Labels map[string]string `json:"labels,omitempty"`
	// BesideGateway says that they are sidecars in a namespace where a gateway runs that
	// reaches the host: often there are none.
	BesideGateway bool `json:"besideGateway,omitempty"`
	// Guessed says that nothing tells where a gateway runs, and Namespace is a guess.
	Guessed bool `json:"guessed,omitempty"`
	// Sees are the ServiceEntries that they see behind the host, by that which counts
	// first; the others of Host.ServiceEntries are in Passed, with the reason.
	Sees   []Ref         `json:"sees"`
	Passed []PassedEntry `json:"passedServiceEntries"`
	// MorePassed are others that are not exported to the client, beyond maxPassed.
	MorePassed int `json:"morePassedServiceEntries,omitempty"`
	// Wildcard is the host that Sees list, if that is a wildcard.
	Wildcard string `json:"wildcard,omitempty"`
	// Rules are the DestinationRules in force: those for some workloads first. All others
	// that fit the host are in PassedRules, with the reason.
	Rules       []Rule       `json:"destinationRules"`
	PassedRules []PassedRule `json:"passedDestinationRules"`
	// MorePassedRules are others in namespaces that Istio does not look into, beyond
	// maxPassed.
	MorePassedRules int          `json:"morePassedDestinationRules,omitempty"`
	Ports           []ClientPort `json:"ports"`
}

// maxPassed is how many are named to a client of those that have nothing to do with it:
// where each of many namespaces has objects of its own for a host, the rest is noise, and as
// long as their number squared.
const maxPassed = 10

// PassedEntry is a ServiceEntry that a client does not see, or that does not count.
type PassedEntry struct {
	Ref
	Host   string           `json:"host"`
	Reason mesh.EntryReason `json:"reason"`
	Text   string           `json:"text"`
}

// ClientPort is one port of what a client sees.
type ClientPort struct {
	Port
	// ExpectsTLS says that the server speaks TLS there.
	ExpectsTLS bool `json:"expectsTLS"`
	// CallsTakenBy is the VirtualService that takes all HTTP calls of the host at this
	// port, and sends them where its routes say.
	CallsTakenBy *Ref         `json:"callsTakenBy,omitempty"`
	Connections  []Connection `json:"connections"`
}

// Connection is how the proxies connect to a port, or to a subset of its endpoints.
type Connection struct {
	State  State  `json:"state"`
	Subset string `json:"subset,omitempty"`
	// Workloads are the labels of the pods that this is true for, and Others says that
	// it is for those that no such connection is for; neither: all.
	Workloads map[string]string `json:"workloads,omitempty"`
	Others    bool              `json:"others,omitempty"`
	// Rule is the DestinationRule that decides about TLS, and where.
	Rule *Field `json:"destinationRule,omitempty"`
	// TLS is what the proxy adds; absent: nothing.
	TLS *TLSContext `json:"tls,omitempty"`
	// Why says in words why there is TLS, or none.
	Why string `json:"why"`
	// Adds is what the webhook would add.
	Adds []Addition `json:"adds"`
	Ways []Way      `json:"ways"`
}

// Addition is something that the webhook would add.
type Addition struct {
	Text string `json:"text"`
	// Withheld says why it does not after all: the policy, or a namespace's mode.
	Withheld string `json:"withheld,omitempty"`
}

// Rule is a DestinationRule in force.
type Rule struct {
	Ref
	// Host is as it lists it: exact or a wildcard.
	Host string `json:"host"`
	// Workloads are the labels of the pods that it is for; absent: all, or all others.
	Workloads map[string]string `json:"workloads,omitempty"`
	// Managed says that it is the webhook's, Injected that the webhook put tls there.
	Managed  bool `json:"managed,omitempty"`
	Injected bool `json:"injected,omitempty"`
	// Merged are rules that Istio merges into it, Ignored are those of them whose
	// trafficPolicy does not count, since that of an older one does.
	Merged  []Ref `json:"merged,omitempty"`
	Ignored []Ref `json:"ignored,omitempty"`
}

// Field is a field of a DestinationRule.
type Field struct {
	Ref
	Path string `json:"path,omitempty"`
}

// PassedRule is a DestinationRule that fits the host and is not in force.
type PassedRule struct {
	Ref
	Host   string          `json:"host"`
	Reason mesh.RuleReason `json:"reason"`
	By     *Ref            `json:"by,omitempty"`
	Text   string          `json:"text"`
}

// TLSContext is the TLS that a proxy opens.
type TLSContext struct {
	Mode string `json:"mode"`
	// SNI is the name that the proxy asks for; absent with AutoSNI: it is the Host of
	// each request, see Way. Absent without: it asks for none.
	SNI     string `json:"sni,omitempty"`
	AutoSNI bool   `json:"autoSNI,omitempty"`
	// CA is whom the server's certificate must be of: "system", a path in the proxy's
	// container, a secret, "mesh", or "" if the certificate is not verified at all.
	CA string `json:"ca"`
	// SubjectAltNames are the names of which the server's certificate must have one;
	// AutoName: the Host of each request as well, which with AutoSNI is the SNI. Without both every name is accepted.
	SubjectAltNames []string `json:"subjectAltNames"`
	AutoName        bool     `json:"autoName,omitempty"`
	// ClientCertificate is the proxy's own: a path, a secret, or "mesh".
	ClientCertificate string `json:"clientCertificate,omitempty"`
}

// WayKind is how traffic comes to a connection.
type WayKind string

// The kinds of ways.
const (
	// HTTPRoute: a route of spec.http of a VirtualService.
	HTTPRoute WayKind = "httpRoute"
	// TLSRoute: a route of spec.tls, whose clients speak TLS themselves.
	TLSRoute WayKind = "tlsRoute"
	// TCPRoute: a route of spec.tcp.
	TCPRoute WayKind = "tcpRoute"
	// Mirror: copies of the requests of a route of spec.http.
	Mirror WayKind = "mirror"
	// Direct: applications call the host, and no route is in between.
	Direct WayKind = "direct"
)

// Way is how traffic comes to a connection.
type Way struct {
	Kind  WayKind `json:"kind"`
	State State   `json:"state"`
	// Speaks is what comes to the proxy: HTTP, TLS or TCP.
	Speaks string `json:"speaks"`
	// VirtualService, Path and what follows are those of a route.
	VirtualService *Ref     `json:"virtualService,omitempty"`
	Path           string   `json:"path,omitempty"`
	Match          string   `json:"match,omitempty"`
	Gateways       []string `json:"gateways,omitempty"`
	// Roots are the VirtualServices that delegate to it.
	Roots  []Ref `json:"roots,omitempty"`
	Weight int32 `json:"weight,omitempty"`
	// Host and ForwardedProto are the headers that the route sets; absent: they arrive
	// as the client sent them. ProtoRemoved: the route takes X-Forwarded-Proto away.
	Host           string `json:"hostHeader,omitempty"`
	ForwardedProto string `json:"xForwardedProto,omitempty"`
	ProtoRemoved   bool   `json:"xForwardedProtoRemoved,omitempty"`
	// SNI is the name that the proxy asks for on this way, where TLSContext leaves it to
	// the requests; absent: to the Host that the client sent.
	SNI string `json:"sni,omitempty"`
	// Dead says why no request takes this way; absent: some may.
	Dead string `json:"dead,omitempty"`
	// Adds is what the webhook would add to the route.
	Adds []Addition `json:"adds,omitempty"`
}

// Hazard is something to know about the host: a finding of the decisions, or what only
// shows when all of it is seen together.
type Hazard struct {
	Code     string           `json:"code"`
	Severity finding.Severity `json:"severity"`
	// Object and Path are what it is about, absent for the host as a whole.
	Object  *finding.Object `json:"object,omitempty"`
	Path    string          `json:"path,omitempty"`
	Message string          `json:"message"`
	Remedy  string          `json:"remedy"`
}
