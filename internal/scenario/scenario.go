// Package scenario reads the folders of test/scenarios: what is in the mesh, what
// is applied, and what must come of it. One folder drives the tests of the pure
// decision, of the CLI, of the webhook before a real API server, and of Istio
// itself, so that they cannot drift apart. Only tests import it.
//
//	mesh.yaml     objects that are there before; optional
//	request.yaml  the objects that are applied, in order
//	policy.yaml   the policy; optional
//	want.yaml     what must come of it (Want)
//
// Everything that a scenario depends on is in its files: where age decides, the
// objects of mesh.yaml carry creationTimestamps. An object without one is not
// stored yet, and counts as the youngest.
package scenario

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// The files of a folder.
const (
	meshFile    = "mesh.yaml"
	requestFile = "request.yaml"
	policyFile  = "policy.yaml"
	wantFile    = "want.yaml"
)

// DefaultNamespace is that of objects that name none, as with kubectl.
const DefaultNamespace = "default"

// Scenario is one folder.
type Scenario struct {
	// Name is the folder's name, Dir its path.
	Name, Dir string
	// MeshFile, RequestFile and PolicyFile are paths, "" where there is no file.
	MeshFile, RequestFile, PolicyFile string

	Mesh    []Object
	Request []Object
	// Policy is the default one where there is no file.
	Policy *policy.Policy
	Want   Want
}

// Object is one object of a file.
type Object struct {
	// Raw is the object as it was written, as encoding/json decodes it, with its
	// namespace filled in.
	Raw map[string]any
	// Typed is the same: a ServiceEntry, VirtualService, DestinationRule, Gateway,
	// Service or Namespace.
	Typed metav1.Object
}

// Decided reports whether the object is of a kind that decisions are made about.
func (o Object) Decided() bool {
	switch o.Typed.(type) {
	case *networkingv1.ServiceEntry, *networkingv1.VirtualService, *networkingv1.DestinationRule:
		return true
	}
	return false
}

// SameName reports whether both have one kind, namespace and name.
func (o Object) SameName(other Object) bool {
	return o.Raw["kind"] == other.Raw["kind"] &&
		o.Typed.GetNamespace() == other.Typed.GetNamespace() && o.Typed.GetName() == other.Typed.GetName()
}

// Want is the content of want.yaml.
type Want struct {
	// Title says in a line what the scenario shows.
	Title string `json:"title"`
	// Refused: one of the objects is refused, for a finding of severity error.
	Refused bool `json:"refused"`
	// Findings are those of all objects of the request, each decided in the mesh
	// with the whole request, as decision.Union joins them.
	Findings []Finding `json:"findings,omitempty"`
	// Changes are what is added to the objects of the request, in words.
	Changes []string `json:"changes,omitempty"`
	// Stored are the objects of the request as they are stored. Like all below, it
	// is left out when the request is refused.
	Stored []map[string]any `json:"stored,omitempty"`
	// Rules are the DestinationRules that are created or injected into beside the
	// request, as they are then: apiVersion, kind, spec, and of the metadata name,
	// namespace, labels and annotations.
	Rules []map[string]any `json:"rules,omitempty"`
}

// Finding is a finding.Finding whose object is named without its version.
type Finding struct {
	Code      finding.Code     `json:"code"`
	Severity  finding.Severity `json:"severity"`
	Object    FindingObject    `json:"object"`
	Path      string           `json:"path"`
	CoveredBy []string         `json:"coveredBy,omitempty"`
	Message   string           `json:"message"`
	Remedy    string           `json:"remedy"`
}

// FindingObject names the object of a Finding.
type FindingObject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// All reads every folder below root, sorted by name. Anything that is no folder
// of a scenario is an error, so that no input is forgotten.
func All(root string) ([]*Scenario, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("failed to list scenarios: %w", err)
	}
	var out []*Scenario
	var errs []error
	for _, e := range entries {
		if !e.IsDir() {
			errs = append(errs, fmt.Errorf("%s: not the folder of a scenario", filepath.Join(root, e.Name())))
			continue
		}
		s, err := Load(filepath.Join(root, e.Name()))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, s)
	}
	return out, errors.Join(errs...)
}

// Load reads one folder. It is strict: an unknown file or field is an error.
func Load(dir string) (*Scenario, error) {
	s, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", filepath.Base(dir), err)
	}
	return s, nil
}

func load(dir string) (*Scenario, error) {
	s, err := loadInput(dir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, wantFile))
	if err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalStrict(data, &s.Want); err != nil {
		return nil, fmt.Errorf("%s: %w", wantFile, err)
	}
	if strings.TrimSpace(s.Want.Title) == "" {
		return nil, fmt.Errorf("%s: title: must say what the scenario shows", wantFile)
	}
	if s.Want.Refused && (len(s.Want.Stored) > 0 || len(s.Want.Rules) > 0 || len(s.Want.Changes) > 0) {
		return nil, fmt.Errorf("%s: a refused request changes and stores nothing", wantFile)
	}
	return s, nil
}

// loadInput reads all but want.yaml.
func loadInput(dir string) (*Scenario, error) {
	s := &Scenario{Name: filepath.Base(dir), Dir: dir, Policy: policy.Default()}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch e.Name() {
		case meshFile:
			s.MeshFile = path
			s.Mesh, err = readObjects(path)
		case requestFile:
			s.RequestFile = path
			s.Request, err = readObjects(path)
		case policyFile:
			s.PolicyFile = path
			s.Policy, err = readPolicy(path)
		case wantFile:
		default:
			err = errors.New("no file of a scenario")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	if !slices.ContainsFunc(s.Request, Object.Decided) {
		return nil, fmt.Errorf("%s: holds no object that is decided about", requestFile)
	}
	return s, nil
}

func readPolicy(path string) (*policy.Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return policy.Load(path, data)
}

func readObjects(path string) ([]Object, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Parse reads the objects of a YAML text of several documents.
func Parse(data []byte) ([]Object, error) {
	var out []Object
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		raw, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(out)+1, err)
		}
		if string(raw) == "null" {
			continue
		}
		o, err := decode(raw)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(out)+1, err)
		}
		out = append(out, o)
	}
}

func decode(raw []byte) (Object, error) {
	var o Object
	if err := json.Unmarshal(raw, &o.Raw); err != nil {
		return o, err
	}
	kind, _ := o.Raw["kind"].(string)
	meta, _ := o.Raw["metadata"].(map[string]any)
	if name, _ := meta["name"].(string); name == "" {
		return o, fmt.Errorf("%s without a name", kind)
	}
	if ns, _ := meta["namespace"].(string); ns == "" && kind != "Namespace" {
		meta["namespace"] = DefaultNamespace
	}
	err := o.retype()
	return o, err
}

func typeOf(kind string) (metav1.Object, error) {
	switch kind {
	case mesh.ServiceEntryKind:
		return &networkingv1.ServiceEntry{}, nil
	case mesh.VirtualServiceKind:
		return &networkingv1.VirtualService{}, nil
	case mesh.DestinationRuleKind:
		return &networkingv1.DestinationRule{}, nil
	case "Gateway":
		return &networkingv1.Gateway{}, nil
	case "Service":
		return &corev1.Service{}, nil
	case "Namespace":
		return &corev1.Namespace{}, nil
	}
	return nil, fmt.Errorf("kind %q has no place in a scenario", kind)
}

// retype decodes Raw into a fresh Typed.
func (o *Object) retype() error {
	kind, _ := o.Raw["kind"].(string)
	typed, err := typeOf(kind)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(o.Raw)
	if err != nil {
		return err
	}
	o.Typed = typed
	return json.Unmarshal(raw, typed)
}
