package envoy

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// known fails if m sets another field than these: what nobody reads might change what Envoy does.
func known(m proto.Message, fields ...string) error {
	var unknown []string
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(fields, string(f.Name())) {
			unknown = append(unknown, string(f.Name()))
		}
		return true
	})
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("%s: unknown %s", m.ProtoReflect().Descriptor().Name(), strings.Join(unknown, ", "))
	}
	return nil
}

// decode reads a into m, and fails as known does.
func decode(a *anypb.Any, m proto.Message, fields ...string) error {
	if err := a.UnmarshalTo(m); err != nil {
		return err
	}
	return known(m, fields...)
}
