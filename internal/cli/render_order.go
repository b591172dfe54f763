package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
	"github.com/egress-tls/egress-tls-webhook/validate"
)

// fixOrder brings the routes of each VirtualService in the order that works, and says
// so. One delegate's order does not change what it takes from its root, so all are
// judged in the world as it is.
func (in *input) fixOrder(notes io.Writer) error {
	world := in.world()
	for _, d := range in.files.Documents {
		vs, ok := d.Object.(*networkingv1.VirtualService)
		if !ok || in.mode(vs.Namespace) == policy.Off {
			continue
		}
		order, _ := validate.WorkingOrder(vs, world.VirtualService)
		if slices.IsSorted(order) {
			continue
		}
		fmt.Fprintf(notes, "egress-tls: note: %s: %s: put spec.http into the order that works: %s (as numbered in the file)\n",
			d.Place("spec.http"), d.Name(), orderText(order))
		if live := validate.Overtaking(vs, world.VirtualService, order); len(live) > 0 {
			fmt.Fprintf(notes, "egress-tls: note: %s: %s: for that order, routes of spec.http get in front of others that can match already, and may take requests of theirs: %s\n",
				d.Place("spec.http"), d.Name(), orderText(live))
		}
		if err := d.Reorder("spec.http", order); err != nil {
			return err
		}
	}
	in.inherit()
	return nil
}

// orderText lists numbers, and as a range where several follow each other.
func orderText(order []int) string {
	const most = 200
	var out []string
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && order[to] == order[to-1]+1 {
			to++
		}
		if to-from > 2 {
			out = append(out, fmt.Sprintf("%d-%d", order[from], order[to-1]))
		} else {
			for _, i := range order[from:to] {
				out = append(out, fmt.Sprint(i))
			}
		}
		from = to
	}
	return finding.Truncate(strings.Join(out, ", "), most)
}
