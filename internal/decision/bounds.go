package decision

import (
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// maxHosts is how many hosts a ServiceEntry may list, or the routes of a VirtualService
// lead to: more rules than that cannot be written within the API server's timeout.
const maxHosts = 2_000

// Bounded returns an error if o leads to more hosts than admission looks at. It refuses
// such an object, unless the stored one is no better.
func Bounded(o metav1.Object) error {
	hosts, what := 0, ""
	switch o := o.(type) {
	case *networkingv1.ServiceEntry:
		hosts, what = len(mesh.ServiceEntryHosts(o)), "lists"
	case *networkingv1.VirtualService:
		hosts, what = len(mesh.HTTPDestinationHosts(o)), "routes HTTP to"
	}
	if hosts > maxHosts {
		return fmt.Errorf("%s %d hosts, so it cannot be checked for plaintext; at most %d are looked at. Split it", what, hosts, maxHosts)
	}
	return nil
}
