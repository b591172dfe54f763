package validate

// TEMPORARY: stands in for Verdicts until the exact core exports it. Delete this file
// when it does; nothing else knows of it.

import (
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

var _ = func() bool { *propertyExact = false; return true }()

type State int

const (
	Unknown State = iota
	Live
	Dead
)

func (s State) String() string { return [...]string{"unknown", "live", "dead"}[s] }

type Verdict struct {
	Route, Entry int
	State        State
	CoveredBy    []string
	Witness      *Request
}

type Request struct {
	Method, Scheme, Authority, Path string
	Headers, Query                  map[string]string
	Port                            uint32
	Gateway                         string
	SourceLabels                    map[string]string
	SourceNamespace                 string
}

func Verdicts(vs *networkingv1.VirtualService, delegates Delegates) []Verdict {
	j := newJudgement(vs, delegates)
	if j == nil {
		return nil
	}
	var out []Verdict
	for i := range j.flat.routes {
		for _, u := range j.flat.routes[i].judged {
			n := len(out)
			if n == 0 || out[n-1].Route != i || out[n-1].Entry != u.entry {
				out = append(out, Verdict{Route: i, Entry: u.entry, State: Dead})
				n++
			}
			v := &out[n-1]
			if u.verdict.state == dead && v.State == Dead {
				for _, o := range u.verdict.by {
					v.CoveredBy = append(v.CoveredBy, o.path())
				}
				continue
			}
			if u.verdict.state == dead {
				continue
			}
			if v.State == Dead {
				v.State, v.CoveredBy = Unknown, nil
			}
			if w := stubWitness(j, u); w != nil {
				v.State, v.Witness = Live, w
			}
		}
	}
	return out
}

func stubWitness(j *judgement, u *unit) *Request {
	e := u.example(newMeter())
	if e == nil {
		return nil
	}
	for _, d := range u.conds {
		if d.name == "host" {
			return nil // the present code takes host and :authority for two
		}
	}
	if e.headers[":method"] == "" {
		return nil
	}
	for i := range u.route + 1 {
		for _, o := range j.flat.routes[i].cover {
			if o == u {
				break
			}
			if yes, known := o.takes(e, newMeter()); yes || !known {
				return nil
			}
		}
	}
	w := &Request{
		Method: e.headers[":method"], Scheme: e.headers[":scheme"], Authority: e.headers[":authority"], Path: e.path,
		Headers: e.headers, Query: e.query, SourceLabels: e.labels, SourceNamespace: e.namespace, Gateway: e.gateway,
	}
	_, _ = fmt.Sscan(e.port, &w.Port)
	for _, k := range []string{":method", ":scheme", ":authority"} {
		delete(e.headers, k)
	}
	if w.Gateway == otherGateways {
		w.Gateway = j.flat.gateways[0]
	}
	return w
}
