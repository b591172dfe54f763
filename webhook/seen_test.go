package webhook

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/mutate"
)

// lateReader knows each object in a resource version, "" for none, until a time.
type lateReader struct {
	indexed
	before, after string
	change        time.Time
}

func (r lateReader) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	version := r.before
	if !time.Now().Before(r.change) {
		version = r.after
	}
	if version == "" {
		return apierrors.NewNotFound(schema.GroupResource{}, key.String())
	}
	o.SetResourceVersion(version)
	return nil
}

func TestAnswerWaitsUntilTheInformersKnowTheRule(t *testing.T) {
	const late = 300 * time.Millisecond
	decidedOn := func(version string) []mutate.RuleChange {
		return []mutate.RuleChange{{Rule: &networkingv1.DestinationRule{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "rule", ResourceVersion: version},
		}}}
	}
	for _, test := range []struct {
		name                   string
		decided, before, after string
		live                   string
		findings               []finding.Finding
		want                   time.Duration
	}{
		{"created", "", "", "7", "7", nil, late},
		{"changed", "5", "5", "7", "7", nil, late},
		{"known", "5", "7", "7", "7", nil, 0},
		{"never known", "", "", "", "7", nil, seenTimeout},
		{"not needed after all", "", "", "", "", nil, 0},
		{"not written", "", "", "", "", []finding.Finding{{Code: finding.TLSMissing, Subject: "shop/rule"}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				a := &Admitter{view: &view{
					cached: lateReader{before: test.before, after: test.after, change: begun.Add(late)},
					live:   lateReader{after: test.live},
				}}
				a.awaitSeen(t.Context(), decidedOn(test.decided), test.findings)
				assert.Equal(t, test.want, time.Since(begun))
			})
		})
	}
}
