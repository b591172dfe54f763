package webhook

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// updateOf is an update of a ServiceEntry with so many endpoints.
func updateOf(endpoints int) admission.Request {
	raw := fmt.Appendf(nil, `{"spec": {"hosts": ["api.vendor.com"], "endpoints": [%s{"address": "192.0.2.1"}]}}`,
		strings.Repeat(`{"address": "192.0.2.1"}, `, endpoints-1))
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Kind:   metav1.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: mesh.ServiceEntryKind},
		Object: runtime.RawExtension{Raw: raw}, OldObject: runtime.RawExtension{Raw: raw},
	}}
}

// One object that takes all the room there is for large ones, and another that waits for it,
// keep no others from being decided about, nor the replica from being ready.
func TestLargeObjectsKeepNobodyWaiting(t *testing.T) {
	r := newRoom()
	leave, err := r.enter(t.Context(), updateOf(10_000))
	require.NoError(t, err)
	waits := make(chan error, 1)
	go func() {
		leave, err := r.enter(t.Context(), updateOf(10_000))
		if err == nil {
			leave()
		}
		waits <- err
	}()

	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for range 600 { // All that an API server has under way, while the writes of each are slow.
		_, err := r.enter(short, updateOf(50)) // None leaves.
		require.NoError(t, err)
	}
	_, err = r.enter(short, admission.Request{AdmissionRequest: *selfTestReview("uid").Request})
	require.NoError(t, err)

	_, err = r.enter(short, updateOf(10_000))
	require.EqualError(t, err, "too many objects at one time: context deadline exceeded")
	leave()
	assert.NoError(t, <-waits)
}
