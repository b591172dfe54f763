package webhook

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsjson "sigs.k8s.io/json"

	"github.com/egress-tls/egress-tls-webhook/internal/routegen"
	"github.com/egress-tls/egress-tls-webhook/internal/scenario"
)

// kinds makes an empty object of each kind, and tells its spec.
var kinds = []func() (client.Object, proto.Message){
	func() (client.Object, proto.Message) {
		o := &networkingv1.ServiceEntry{}
		return o, &o.Spec
	},
	func() (client.Object, proto.Message) {
		o := &networkingv1.VirtualService{}
		return o, &o.Spec
	},
	func() (client.Object, proto.Message) {
		o := &networkingv1.DestinationRule{}
		return o, &o.Spec
	},
}

// sameAsIstio reads raw by unmarshal and by Istio alone, and reports how many were read.
func sameAsIstio(t *testing.T, raw []byte, fresh func() (client.Object, proto.Message)) int {
	t.Helper()
	want, wantSpec := fresh()
	wantErr := sigsjson.UnmarshalCaseSensitivePreserveInts(raw, want)
	got, gotSpec := fresh()
	err := unmarshal(raw, got)
	if wantErr != nil {
		if err == nil || wantErr.Error() != err.Error() {
			t.Fatalf("%q\nwant error %v\ngot error  %v", raw, wantErr, err)
		}
		return 0
	}
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	if !proto.Equal(wantSpec, gotSpec) {
		t.Fatalf("%q\nwant %v\ngot  %v", raw, wantSpec, gotSpec)
	}
	if a, b := bare(reflect.ValueOf(want)), bare(reflect.ValueOf(got)); !reflect.DeepEqual(a, b) {
		t.Fatalf("%q\nwant %v\ngot  %v", raw, a, b)
	}
	wantJSON, wantErr := json.Marshal(want)
	gotJSON, err := json.Marshal(got)
	if fmt.Sprint(wantErr) != fmt.Sprint(err) || string(wantJSON) != string(gotJSON) {
		t.Fatalf("%q\nwant %s %v\ngot  %s %v", raw, wantJSON, wantErr, gotJSON, err)
	}
	return 1
}

// bare is a value without what a message keeps for itself: nothing and an empty list differ.
func bare(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return []any{v.Type().String(), bare(v.Elem())}
	case reflect.Struct:
		out := []any{v.Type().String()}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out = append(out, bare(v.Field(i)))
			}
		}
		return out
	case reflect.Slice:
		out := []any{v.IsNil()}
		for i := range v.Len() {
			out = append(out, bare(v.Index(i)))
		}
		return out
	case reflect.Map:
		out := map[string]any{"nil": v.IsNil()}
		for _, k := range v.MapKeys() {
			out["of "+k.String()] = bare(v.MapIndex(k))
		}
		return out
	}
	return fmt.Sprint(v.Interface())
}

// oddNumbers are numbers, and what looks like one. Each also comes in quotes.
var oddNumbers = []string{
	"0", "-0", "1", "443", "1.0", "-0.0", "0e0", "100.00", "1e2", "1E2", "1e+2", "1e-0", "100e-2", "1.5", "0.1", "-1", "2147483647",
	"2147483648", "-2147483649", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551616",
	"1e21", "1e400", "1e-400", "3.5e38",
}

// oddStrings are texts within quotes.
var oddStrings = []string{
	"", " ", "null", "true", " 1", "1 ", `\u0031`, `1\u002e0`, `\n1`, `1\t`, "1e", "1e+", "1,", "1}", "+1", "01", ".5", "1.", "0x1", "1_0",
	"NaN", "Infinity", "-Infinity", `\u004eaN`, "Inf", "nan", "10.0.0.1", "503", "SIMPLE", "simple", `\u0053IMPLE`, "HTTP_PROXY", `SIMPLE\/`,
	"1s", "1.s", ".5s", ".s", "-.s", "+.s", "-1.5s", "+1s", "-0s", "1m", "0.5h", "1ms", "1m1s", "01s", "00s", "0s", "1.50s", "0.000000001s",
	"0.0000000001s", "9223372036.854775807s", "9223372036.854775808s", "-9223372036.854775808s", "-9223372036.854775809s", "9223372037s",
	"315576000000s", "315576000001s", `1\u0073`, `1s\u0000`, "1S", "1 s", " 1s", "1s ", "1e2s", "s", "-s", "++1s", "1.5.5s", "\u00b5s", "1\u00b5s",
	`a\/b`, `a\"b`, `a\\`, `<&>`, `\u003c`, `\u0000`, `\ud800`, `\ud83d\ude00`, "\U0001f600", "\xff", "\u2028", "1.0\xff", "*", "a.b",
}

func oddValues() []string {
	out := []string{"null", "true", "false", "{}", "[]", "[null]", "[[]]", "[{}]", `{"":""}`, `{"a":null}`, `{"x":{"y":[1.0]}}`, `[1,2]`, " 1 ", "\n[\t]\r"}
	for _, n := range oddNumbers {
		out = append(out, n, `"`+n+`"`)
	}
	for _, s := range oddStrings {
		out = append(out, `"`+s+`"`)
	}
	return out
}

// Every field of every message of a spec, and each kind of field with every odd value.
func TestUnmarshalReadsEachFieldAsIstioDoes(t *testing.T) {
	values := oddValues()
	seen, tested := map[protoreflect.FullName]bool{}, map[string]bool{}
	tried, read := 0, 0
	for _, fresh := range kinds {
		check := func(text string) {
			tried++
			read += sameAsIstio(t, []byte(text), fresh)
		}
		_, spec := fresh()
		eachField(spec.ProtoReflect().Descriptor(), `{"metadata":{"name":"a"},"spec":`, "}", seen, func(fd protoreflect.FieldDescriptor, before, after string) {
			names := []string{string(fd.Name()), fd.JSONName(), strings.ToUpper(fd.JSONName()), "[" + string(fd.FullName()) + "]"}
			if like := alike(fd); !tested[like] {
				tested[like] = true
				for _, v := range values {
					check(fmt.Sprintf(`%s{%q:%s}%s`, before, names[0], v, after))
					if fd.IsList() || fd.IsMap() || fd.Message() != nil {
						check(fmt.Sprintf(`%s{%q:[%s,%s]}%s`, before, names[0], v, v, after))
						check(fmt.Sprintf(`%s{%q:[%s]}%s`, before, names[0], v, after))
						check(fmt.Sprintf(`%s{%q:{"k":%s}}%s`, before, names[0], v, after))
					}
				}
			}
			for _, v := range []string{"null", "1", `"443"`, `"1s"`, `"a"`, "{}", "[]", "true"} {
				for _, name := range names[1:] {
					check(fmt.Sprintf(`%s{%q:%s}%s`, before, name, v, after))
				}
				check(fmt.Sprintf(`%s{%q:%s,%q:null}%s`, before, names[0], v, names[1], after))
				check(fmt.Sprintf(`%s{"unknown":[1.0],%q:%s}%s`, before, names[0], v, after))
				if of := fd.ContainingOneof(); of != nil {
					for i := range of.Fields().Len() {
						check(fmt.Sprintf(`%s{%q:%s,%q:%s}%s`, before, names[1], v, of.Fields().Get(i).JSONName(), v, after))
					}
				}
			}
			if enum := fd.Enum(); enum != nil {
				for i := range enum.Values().Len() {
					v := enum.Values().Get(i)
					for _, form := range []string{`"` + string(v.Name()) + `"`, fmt.Sprint(v.Number()), fmt.Sprintf("%d.0", v.Number()), fmt.Sprintf(`"%d"`, v.Number())} {
						check(fmt.Sprintf(`%s{%q:%s}%s`, before, names[1], form, after))
						check(fmt.Sprintf(`%s{%q:[%s]}%s`, before, names[1], form, after))
					}
				}
			}
		})
	}
	assert.Less(t, 1000, read)
	assert.Less(t, read, tried)
}

// alike is the same for fields whose values are read the same way.
func alike(fd protoreflect.FieldDescriptor) string {
	of := ""
	if fd.Message() != nil {
		of = string(fd.Message().FullName())
	}
	if fd.Enum() != nil {
		of = string(fd.Enum().FullName())
	}
	return fmt.Sprint(fd.Kind(), fd.Cardinality(), of)
}

// eachField visits all fields of a message, and of all that it holds, each with the text around
// the message that has it.
func eachField(md protoreflect.MessageDescriptor, before, after string, seen map[protoreflect.FullName]bool, visit func(protoreflect.FieldDescriptor, string, string)) {
	if seen[md.FullName()] {
		return
	}
	seen[md.FullName()] = true
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		visit(fd, before, after)
		inner := fd.Message()
		b, a := before+`{"`+fd.JSONName()+`":`, "}"+after
		switch {
		case fd.IsMap():
			inner = fd.MapValue().Message()
			b, a = b+`{"k":`, "}"+a
		case fd.IsList():
			b, a = b+"[", "]"+a
		}
		if inner != nil && !strings.HasPrefix(string(inner.FullName()), "google.protobuf.") {
			eachField(inner, b, a, seen, visit)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	all, err := scenario.All(filepath.Join("..", "test", "scenarios"))
	require.NoError(f, err)
	for _, s := range all {
		for _, o := range slices.Concat(s.Mesh, s.Request) {
			raw, err := json.Marshal(o.Raw)
			require.NoError(f, err)
			f.Add(raw)
		}
	}
	for i := range 50 {
		raw, err := json.Marshal(routegen.Random(int64(i)).VirtualService(1+i%5, i%2 == 0))
		require.NoError(f, err)
		f.Add(raw)
	}
	for _, text := range []string{
		`{"spec":{"host":"a"},"spec":{"subsets":[]}}`, `{"spec":null,"spec":{"hosts":["a"]}}`, `{"spec":{"hosts":["a"]},"spec":null}`,
		`{"spec":{"hosts":["a"]},"Spec":1}`, `{"spec":[]}`, `{"metadata":null,"status":null}`, `{"kind":1}`, `null`, `[]`, ``, `{"spec":{}} x`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, fresh := range kinds {
			sameAsIstio(t, raw, fresh)
		}
	})
}
