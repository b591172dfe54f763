package webhook

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// room bounds the objects that are decided about at one time. Those of a usual size have
// room of their own: a few large ones, which may take as long as the API server waits, would
// else keep everybody waiting, and the readiness self-test too.
type room struct{ usual, large *semaphore.Weighted }

func newRoom() room {
	return room{usual: semaphore.NewWeighted(maxUsual), large: semaphore.NewWeighted(maxWeight)}
}

// enter waits until there is room for the request, whose objects weigh what they cost to
// decide about, in values, about. leave gives it back.
func (r room) enter(ctx context.Context, req admission.Request) (leave func(), err error) {
	var size, weight int64
	for _, raw := range [][]byte{req.Object.Raw, req.OldObject.Raw} {
		n := values(raw)
		hosts := n
		if req.Kind.Kind != mesh.ServiceEntryKind {
			hosts = bytes.Count(raw, []byte(`"host"`))
		}
		size += int64(n)
		weight += int64(n + hosts*hostWeight)
	}
	in := r.usual
	if weight >= largeObject {
		in, size = r.large, min(weight, maxWeight)
	}
	if err := in.Acquire(ctx, size); err != nil {
		return nil, statusError{http.StatusServiceUnavailable, fmt.Sprintf("too many objects at one time: %v", context.Cause(ctx))}
	}
	return func() { in.Release(size) }, nil
}

// values returns about how many values a JSON text has, without decoding it: those that
// follow a comma or open an object or list, and what looks like it in strings.
func values(raw []byte) int {
	return bytes.Count(raw, []byte(",")) + bytes.Count(raw, []byte("{")) + bytes.Count(raw, []byte("["))
}
