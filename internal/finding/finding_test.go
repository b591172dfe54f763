package finding_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

func TestText(t *testing.T) {
	f := finding.Finding{Code: finding.DoubleTLS, Path: "spec.ports[0]", Message: "It hurts.", Remedy: "Stop."}
	assert.Equal(t, "DoubleTLS at spec.ports[0]: It hurts. Stop.", f.Text())
	f.Path, f.Remedy = "", ""
	assert.Equal(t, "DoubleTLS: It hurts.", f.Text())
	f.Message = strings.Repeat("ü", finding.MaxText)
	assert.LessOrEqual(t, len(f.Text()), finding.MaxText)
	assert.True(t, strings.HasSuffix(f.Text(), " [...]"))
}

func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 0, ""},
		{"short", 5, "short"},
		{"longer text", 10, "long [...]"},
		{"longer text", 6, " [...]"},
		{"longer text", 5, "longe"},
		{"longer text", 0, ""},
		{"longer text", -1, ""},
		{"ääääääää", 10, "ää [...]"},
		{"ääääääää", 11, "ää [...]"},
		{"例例例例", 9, "例 [...]"},
		{"例例例例", 8, " [...]"},
		{"例例例例", 4, "例"},
	} {
		assert.Equal(t, c.want, finding.Truncate(c.in, c.n), "%q to %d", c.in, c.n)
	}
	rapid.Check(t, func(t *rapid.T) {
		in, n := rapid.String().Draw(t, "in"), rapid.IntRange(0, 40).Draw(t, "n")
		out := finding.Truncate(in, n)
		assert.LessOrEqual(t, len(out), n)
		assert.True(t, utf8.ValidString(out))
	})
}

func TestObjectString(t *testing.T) {
	assert.Equal(t, "VirtualService shop/a", finding.Object{APIVersion: "networking.istio.io/v1", Kind: "VirtualService", Namespace: "shop", Name: "a"}.String())
}

func TestSort(t *testing.T) {
	f := func(severity finding.Severity, namespace, kind, name, path string, code finding.Code, message string) finding.Finding {
		return finding.Finding{Severity: severity, Object: finding.Object{Namespace: namespace, Kind: kind, Name: name}, Path: path, Code: code, Message: message}
	}
	want := []finding.Finding{
		f(finding.Error, "a", "K", "n", "spec.http[2]", "C", "m"),
		f(finding.Error, "a", "K", "n", "spec.http[2].match[1]", "C", "m"),
		f(finding.Error, "a", "K", "n", "spec.http[10]", "B", "m"),
		f(finding.Error, "a", "K", "n", "spec.http[10]", "C", "a"),
		f(finding.Error, "a", "K", "n", "spec.http[10]", "C", "m"),
		f(finding.Error, "a", "K", "o", "spec.http[1]", "C", "m"),
		f(finding.Error, "a", "L", "a", "spec.http[1]", "C", "m"),
		f(finding.Error, "b", "A", "a", "spec.http[1]", "C", "m"),
		f(finding.Warning, "a", "K", "n", "", "C", "m"),
		f(finding.Warning, "a", "K", "n", "spec.http[1]", "C", "m"),
	}
	rapid.Check(t, func(t *rapid.T) {
		got := rapid.Permutation(want).Draw(t, "order")
		finding.Sort(got)
		assert.Equal(t, want, got)
	})
}

func TestHasErrors(t *testing.T) {
	assert.False(t, finding.HasErrors(nil))
	assert.False(t, finding.HasErrors([]finding.Finding{{Severity: finding.Warning}}))
	assert.True(t, finding.HasErrors([]finding.Finding{{Severity: finding.Warning}, {Severity: finding.Error}}))
}

func TestRatchet(t *testing.T) {
	e := func(code finding.Code, path, subject string) finding.Finding {
		return finding.Finding{Code: code, Severity: finding.Error, Path: path, Subject: subject}
	}
	w := func(f finding.Finding) finding.Finding {
		f.Severity = finding.Warning
		return f
	}
	dead := e(finding.UnreachableRoute, "spec.http[1]", "prefix /api")
	moved := e(finding.UnreachableRoute, "spec.http[7]", "prefix /api")
	for _, c := range []struct {
		name           string
		old, now, want []finding.Finding
	}{
		{"all new", nil, []finding.Finding{dead}, []finding.Finding{dead}},
		{"had already", []finding.Finding{dead}, []finding.Finding{dead}, []finding.Finding{w(dead)}},
		{"had already, at another place", []finding.Finding{dead}, []finding.Finding{moved}, []finding.Finding{w(moved)}},
		{"a second copy is new", []finding.Finding{dead}, []finding.Finding{dead, moved}, []finding.Finding{w(dead), moved}},
		{"two had already", []finding.Finding{dead, moved}, []finding.Finding{dead, moved}, []finding.Finding{w(dead), w(moved)}},
		{"another code is new", []finding.Finding{dead}, []finding.Finding{e(finding.CatchAllNotLast, "spec.http[1]", "prefix /api")}, []finding.Finding{e(finding.CatchAllNotLast, "spec.http[1]", "prefix /api")}},
		{"another subject is new", []finding.Finding{dead}, []finding.Finding{e(finding.UnreachableRoute, "spec.http[1]", "prefix /b")}, []finding.Finding{e(finding.UnreachableRoute, "spec.http[1]", "prefix /b")}},
		{"without a subject the path serves", []finding.Finding{e("C", "p", "")}, []finding.Finding{e("C", "p", ""), e("C", "q", "")}, []finding.Finding{w(e("C", "p", "")), e("C", "q", "")}},
		{"a warning before does not excuse an error now", []finding.Finding{w(dead)}, []finding.Finding{dead}, []finding.Finding{dead}},
		{"warnings stay", []finding.Finding{dead}, []finding.Finding{w(dead)}, []finding.Finding{w(dead)}},
		{"healed", []finding.Finding{dead}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := append([]finding.Finding(nil), c.now...)
			assert.Equal(t, c.want, finding.Ratchet(c.old, c.now))
			assert.Equal(t, now, c.now, "the argument is not changed")
		})
	}
}

func TestPrintable(t *testing.T) {
	assert.Equal(t, "bücher.example \U0001f512 \"x\"", finding.Printable("bücher.example \U0001f512 \"x\""))
	assert.Equal(t, `a\nb\x1b[2Jc\u202ed\u2028e\tf`, finding.Printable("a\nb\x1b[2Jc\u202ed\u2028e\tf"))
	f := finding.Finding{Code: finding.DoubleTLS, Message: "to \x1b]0;x\a.\nError: none"}
	assert.Equal(t, `DoubleTLS: to \x1b]0;x\a.\nError: none`, f.Text())
}
