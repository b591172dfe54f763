package webhook

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

func TestWarningsFitWhatTheAPIServerPassesOn(t *testing.T) {
	assert.Nil(t, bounded(nil))
	assert.Equal(t, []string{"egress-tls: a b", "egress-tls: c"}, bounded([]string{"a\n b", "c"}))

	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("%d %s", i, strings.Repeat("x", 90)))
	}
	got := bounded(many)
	total := 0
	for _, w := range got {
		total += len(w)
	}
	assert.LessOrEqual(t, total, maxWarnings)
	assert.Equal(t, fmt.Sprintf("egress-tls: and %d more", 500-(len(got)-1)), got[len(got)-1], "nothing is dropped in silence")

	long := bounded([]string{strings.Repeat("é", maxWarnings)})
	assert.LessOrEqual(t, len(long[0]), maxWarning)
	assert.True(t, strings.HasSuffix(long[0], " [...]"))
}

func TestRefusalIsBoundedAndCountsTheRest(t *testing.T) {
	vs := &networkingv1.VirtualService{}
	vs.Namespace, vs.Name = "ns", "vs"
	var fs []finding.Finding
	for i := range maxFindings + 7 {
		fs = append(fs, finding.Finding{
			Code: finding.UnreachableRoute, Severity: finding.Error, Path: fmt.Sprintf("spec.http[%d]", i),
			Object: finding.Object{APIVersion: "networking.istio.io/v1", Kind: "VirtualService", Namespace: "ns", Name: "vs"}, Message: "dead.",
		})
	}
	resp, ans := refuse(&request{object: vs}, answer{findings: fs})
	assert.False(t, resp.Allowed)
	assert.EqualValues(t, 422, resp.Result.Code)
	assert.Equal(t, verdictRefused, ans.verdict)
	lines := strings.Split(resp.Result.Message, "\n")
	assert.Equal(t, "VirtualService ns/vs is refused:", lines[0])
	assert.Equal(t, "- UnreachableRoute at spec.http[0]: dead.", lines[1])
	assert.Equal(t, "- and 7 more", lines[len(lines)-1])
	assert.Len(t, lines, 1+maxFindings+1)
}
