package envoy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// mutation are the operations of one level on the headers of a request or response.
type mutation struct {
	remove []string
	add    []*corev3.HeaderValueOption
}

// mutator has header operations: a route configuration, virtual host, route or weighted cluster.
type mutator interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

// mutations returns the operations of all levels in the order in which Envoy carries them out:
// from the most specific level to the least, or the other way round where the most specific wins;
// those of a weighted cluster, nil where there is none, come first in any case.
func mutations(rc *routev3.RouteConfiguration, vh *routev3.VirtualHost, route *routev3.Route, cluster *routev3.WeightedCluster_ClusterWeight) (request, response []mutation) {
	levels := []mutator{route, vh, rc}
	if rc.GetMostSpecificHeaderMutationsWins() {
		slices.Reverse(levels)
	}
	for _, m := range append([]mutator{cluster}, levels...) {
		request = append(request, mutation{m.GetRequestHeadersToRemove(), m.GetRequestHeadersToAdd()})
		response = append(response, mutation{m.GetResponseHeadersToRemove(), m.GetResponseHeadersToAdd()})
	}
	return request, response
}

// mutate carries out the operations on h in order.
func mutate(h http.Header, in ...mutation) error {
	for _, m := range in {
		if err := m.apply(h); err != nil {
			return err
		}
	}
	return nil
}

// apply removes first, then overwrites, then adds.
func (m mutation) apply(h http.Header) error {
	for _, name := range m.remove {
		h.Del(name)
	}
	var set, add []*corev3.HeaderValue
	for _, o := range m.add {
		header := o.GetHeader()
		if err := known(o, "header", "append_action", "keep_empty_value"); err != nil {
			return err
		}
		if err := known(header, "key", "value"); err != nil {
			return err
		}
		key := header.GetKey()
		if strings.HasPrefix(key, ":") || strings.EqualFold(key, "host") {
			return fmt.Errorf("header %q: Envoy allows no operation on it", key)
		}
		if strings.Contains(header.GetValue(), "%") {
			return fmt.Errorf("header %q: unknown format %q", key, header.GetValue())
		}
		if header.GetValue() == "" && !o.GetKeepEmptyValue() {
			continue
		}
		_, present := h[http.CanonicalHeaderKey(key)]
		switch o.GetAppendAction() {
		case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			add = append(add, header)
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			if !present {
				add = append(add, header)
			}
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			set = append(set, header)
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			if present {
				set = append(set, header)
			}
		default:
			return fmt.Errorf("header %q: unknown append action %s", key, o.GetAppendAction())
		}
	}
	for _, header := range set {
		h.Set(header.GetKey(), header.GetValue())
	}
	for _, header := range add {
		h.Add(header.GetKey(), header.GetValue())
	}
	return nil
}
