package probe

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// What is promised may come after another warning, as in a namespace whose label is no mode.
func TestJudgeLooksAtAllWarnings(t *testing.T) {
	for _, one := range trials(policy.Default(), policy.Warn) {
		other := "namespace default has the label egress-tls.dev/mode=\"strict\", which is no mode; warn applies"
		assert.NoError(t, judge(policy.Warn, one, nil, []string{other, "it " + one.sign}), one.what)
		assert.Error(t, judge(policy.Warn, one, nil, []string{other}), one.what)
	}
}
