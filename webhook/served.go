package webhook

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// checkServed fails unless the API server serves the version of each kind that the
// informers ask for. Where Istio's CRDs lack it, the API server calls the webhook
// for no request, and somebody has to say so.
func checkServed(mapper meta.RESTMapper, scheme *runtime.Scheme) error {
	var missing []string
	for _, o := range cachedKinds() {
		gvk, err := apiutil.GVKForObject(o, scheme)
		if err != nil {
			return fmt.Errorf("failed to name the kind of %T: %w", o, err)
		}
		_, err = mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		switch {
		case meta.IsNoMatchError(err):
			missing = append(missing, gvk.GroupVersion().String()+" "+gvk.Kind)
		case err != nil:
			return fmt.Errorf("failed to ask the API server for %s: %w", gvk, err)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the API server does not serve %s: install the CRDs of Istio 1.24 or later", strings.Join(missing, ", "))
	}
	return nil
}
