package population

import (
	"context"
	"fmt"
	"sync"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// appliers is how many objects are under way at a time: enough to keep the API server busy.
const appliers = 32

// Apply creates the objects. managedFields tell that kubectl apply did it.
func Apply(ctx context.Context, config *rest.Config, objects []client.Object) error {
	c, err := newClient(config)
	if err != nil {
		return err
	}
	var namespaces, others []client.Object
	for _, o := range objects {
		if _, ok := o.(*corev1.Namespace); ok {
			namespaces = append(namespaces, o)
		} else {
			others = append(others, o)
		}
	}
	for _, batch := range [][]client.Object{namespaces, others} {
		if err := create(ctx, c, batch); err != nil {
			return err
		}
	}
	return nil
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{networkingv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("failed to build the scheme: %w", err)
		}
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.UserAgent = "kubectl/v1.36.3"
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("failed to make a client: %w", err)
	}
	return c, nil
}

// create stops at the first error.
func create(ctx context.Context, c client.Client, objects []client.Object) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan client.Object)
	var wg sync.WaitGroup
	for range appliers {
		wg.Go(func() {
			for o := range next {
				// The API server's answer is not the caller's object.
				if err := c.Create(ctx, o.DeepCopyObject().(client.Object), client.FieldOwner("kubectl-client-side-apply")); err != nil { //nolint:forcetypeassert // a copy of one
					cancel(fmt.Errorf("failed to create %T %s: %w", o, client.ObjectKeyFromObject(o), err))
				}
			}
		})
	}
	for _, o := range objects {
		select {
		case next <- o:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
