package policyreport

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

func dead(name string, severity finding.Severity) finding.Finding {
	return finding.Finding{
		Code: finding.UnreachableRoute, Severity: severity, Path: "spec.http[1]", Message: "it is dead",
		Object: finding.Object{APIVersion: "networking.istio.io/v1", Kind: "VirtualService", Namespace: "shop", Name: name},
	}
}

func TestWhatIsTooLargeIsCut(t *testing.T) {
	r := New("shop")
	long := dead("a", finding.Error)
	long.Message = strings.Repeat("x", 2*finding.MaxText)
	for range 600 {
		r.Found(long, "1")
	}
	require.NoError(t, r.Bound())
	raw, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Less(t, len(raw), 1_500_000)
	assert.Equal(t, Summary{Fail: 600, Skip: 1}, r.Summary)
	last := r.Results[len(r.Results)-1]
	assert.Equal(t, "skip", last.Result)
	assert.Equal(t, "156 more results do not fit into one object; `egress-tls scan -n shop` prints them all.", last.Message)
	assert.Equal(t, 600-156+1, len(r.Results)) //nolint:testifylint // Len prints them all.
}

func TestResultsKeepTheirTime(t *testing.T) {
	first, then := metav1.Timestamp{Seconds: 1}, metav1.Timestamp{Seconds: 2}
	r := New("shop")
	r.Found(dead("a", finding.Error), "1")
	stored, same := r.Replaces(nil, first)
	assert.False(t, same)
	stored.ResourceVersion = "7"

	again, same := r.Replaces(stored, then)
	assert.True(t, same)
	assert.Equal(t, stored, again)

	r.Found(dead("b", finding.Warning), "2")
	more, same := r.Replaces(stored, then)
	assert.False(t, same)
	assert.Equal(t, "7", more.ResourceVersion, "the API server compares it")
	assert.Equal(t, []int64{1, 2}, []int64{more.Results[0].Timestamp.Seconds, more.Results[1].Timestamp.Seconds})
	assert.Equal(t, Summary{Fail: 1, Warn: 1}, more.Summary)

	// An object of the same name is another one.
	r = New("shop")
	r.Found(dead("a", finding.Error), "3")
	other, _ := r.Replaces(stored, then)
	assert.EqualValues(t, 2, other.Results[0].Timestamp.Seconds)

	empty, same := New("shop").Replaces(stored, then)
	assert.False(t, same)
	_, same = New("shop").Replaces(empty, then)
	assert.True(t, same)
}

func TestNamesCannotObeyATerminal(t *testing.T) {
	r := New("shop")
	f := dead("a", finding.Warning)
	f.Message, f.Remedy, f.CoveredBy = "a\x1b[2Jb", "c\nd", []string{"spec.http[0]", "\u202e"}
	f.Host = "api.example.com"
	r.Found(f, "")
	assert.Equal(t, `a\x1b[2Jb`, r.Results[0].Message)
	assert.Equal(t, map[string]string{"remedy": `c\nd`, "coveredBy": `spec.http[0], \u202e`, "host": "api.example.com"}, r.Results[0].Properties)
}
