package install

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/test/controlplane"
)

// load applies a VirtualService again and again, changed each time, in a namespace of its own.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	// Once it is done:
	applied int
	failed  []string
}

// startLoad begins to apply in a namespace of the mode, once an apply has passed there.
func startLoad(t *testing.T, mode string) *load {
	t.Helper()
	namespace := controlplane.Name(t)
	require.NoError(t, admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"egress-tls.dev/mode": mode},
	}}))
	eventually(t, func() bool { return apply(t.Context(), namespace, 0) == nil }, "an apply passes")
	l := &load{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l.cancel = cancel
	t.Cleanup(l.end)
	l.done.Go(func() {
		for ; ctx.Err() == nil; l.applied++ {
			begun := time.Now()
			if err := apply(context.WithoutCancel(ctx), namespace, l.applied); err != nil {
				l.failed = append(l.failed, fmt.Sprintf("%s: %s", begun.Format(time.TimeOnly), err))
			}
			time.Sleep(100 * time.Millisecond) // The machine has other work.
		}
	})
	return l
}

func apply(ctx context.Context, namespace string, turn int) error {
	return admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(object(fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: load, namespace: %s, labels: {turn: "%d"}}
spec:
  hosts: [load.example.com]
  http:
  - route:
    - destination: {host: load}
`, namespace, turn))), client.FieldOwner("load"))
}

func (l *load) end() {
	l.cancel()
	l.done.Wait()
}

// stop ends the load, of which nothing may have failed.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.end()
	t.Logf("%d applies", l.applied)
	assert.Empty(t, l.failed)
}

// object reads a manifest.
func object(manifest string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
		panic(fmt.Errorf("%w in:\n%s", err, manifest))
	}
	return o
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(tick) {
		require.True(t, time.Now().Before(deadline), "not within %s: %s", patience, what)
	}
}
