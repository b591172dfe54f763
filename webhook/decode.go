package webhook

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsjson "sigs.k8s.io/json"
)

// unmarshal reads an object into an empty one, as the API server does: "Spec" is not "spec".
//
// Istio's own UnmarshalJSON parses the JSON of a spec again on each level. So the spec is read
// by protojson, which parses it once and refuses much more. What it refuses, and what it might
// read otherwise than Istio does, is read by Istio, which also words the error.
func unmarshal(raw []byte, o client.Object) error {
	var quick any
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		quick = &struct {
			*networkingv1.ServiceEntry
			Spec spec `json:"spec"` // hides that of the object
		}{o, spec{into: &o.Spec}}
	case *networkingv1.VirtualService:
		quick = &struct {
			*networkingv1.VirtualService
			Spec spec `json:"spec"`
		}{o, spec{into: &o.Spec}}
	case *networkingv1.DestinationRule:
		quick = &struct {
			*networkingv1.DestinationRule
			Spec spec `json:"spec"`
		}{o, spec{into: &o.Spec}}
	}
	if sigsjson.UnmarshalCaseSensitivePreserveInts(raw, quick) == nil {
		return nil
	}
	reflect.ValueOf(o).Elem().SetZero()
	return sigsjson.UnmarshalCaseSensitivePreserveInts(raw, o)
}

// spec is a spec that protojson reads.
type spec struct {
	into proto.Message
	read bool
}

var errSpec = errors.New("only Istio reads this spec")

func (s *spec) UnmarshalJSON(raw []byte) error {
	if s.read || !plain(raw) { // A second spec adds to the first.
		return errSpec
	}
	s.read = true
	return protojson.Unmarshal(raw, s.into)
}

// plain reports whether protojson reads the values of a spec, if it reads them, as Istio does.
// Istio refuses 1.0, 1e2 and -0 as integers, quoted or not, durations of more than 292 years or
// without a digit, \u in numbers and names of values, and more forms of base64. So such a text
// is not plain wherever it stands.
func plain(raw []byte) bool {
	start := 0
	for i, c := range raw { // The last is a bracket, or protojson refuses it.
		switch c {
		case '"', '[', ']', '{', '}', ':', ',', ' ', '\t', '\r', '\n':
			if start < i && !plainToken(raw[start:i]) {
				return false
			}
			start = i + 1
		}
	}
	return !bytes.Contains(raw, []byte(`\u`)) && !bytes.Contains(raw, []byte(`"bytes"`))
}

// plainToken tells it of what stands alone, in quotes or not.
func plainToken(token []byte) bool {
	if first := token[0]; first < '+' || first > '9' {
		return true
	}
	if token[len(token)-1] == 's' {
		_, err := time.ParseDuration(string(token))
		return err == nil
	}
	if !bytes.ContainsAny(token, "-.eE") {
		return true
	}
	_, err := strconv.ParseFloat(string(token), 64)
	return err != nil
}
