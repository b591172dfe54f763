package cli

import (
	"fmt"
	"testing"

	"github.com/egress-tls/egress-tls-webhook/internal/explain"
	"github.com/egress-tls/egress-tls-webhook/internal/manifest"
	"github.com/egress-tls/egress-tls-webhook/internal/policy"
)

// The cost of a host must not depend on how many others there are. (Where all routes lead
// to one host, it is that of all ways of all clients: so long is the answer.)
func BenchmarkExplain(b *testing.B) {
	for _, name := range []string{"dead-routes", "one-virtual-host", "own-hosts", "wildcards"} {
		for _, n := range []int{1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				files, err := manifest.Load([]string{writeRepository(b, repositories[name], n)}, manifest.Options{})
				if err != nil {
					b.Fatal(err)
				}
				in := &input{policy: policy.Default(), files: files, background: &manifest.Set{}, labels: map[string]string{}}
				hosts := 0
				for b.Loop() {
					e := explain.New(explain.Input{Objects: in.objects(), Policy: in.policy, Mode: in.mode})
					hosts = len(e.Hosts())
					for _, host := range e.Hosts() {
						if _, err := e.Explain(explain.Query{Host: host}); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(hosts), "µs/host")
			})
		}
	}
}
