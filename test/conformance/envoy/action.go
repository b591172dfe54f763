package envoy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// act applies route, which took r, to x, or answers with a reply as the error.
func (p *Proxy) act(x *exchange, rc *routev3.RouteConfiguration, vh *routev3.VirtualHost, route *routev3.Route, r *Request) error {
	// A filter's own configuration is unknown.
	if err := known(route, "name", "match", "metadata", "decorator", "route", "redirect", "direct_response", "request_headers_to_add",
		"request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove"); err != nil {
		return err
	}
	var weighted *routev3.WeightedCluster_ClusterWeight
	action, forwards := route.GetAction().(*routev3.Route_Route)
	if forwards {
		var err error
		if x.cluster, weighted, err = p.cluster(action.Route); err != nil {
			return err
		}
	}
	var request []mutation
	request, x.response = mutations(rc, vh, route, weighted)
	switch a := route.GetAction().(type) {
	case *routev3.Route_Route:
		if err := mutate(x.header, request...); err != nil {
			return err
		}
		return rewrite(x, a.Route, weighted, route.GetMatch())
	case *routev3.Route_Redirect:
		return redirect(a.Redirect, route.GetMatch(), r)
	case *routev3.Route_DirectResponse:
		if err := errors.Join(known(a.DirectResponse, "status", "body"), known(a.DirectResponse.GetBody(), "inline_string")); err != nil {
			return err
		}
		return &reply{status: int(a.DirectResponse.GetStatus()), body: a.DirectResponse.GetBody().GetInlineString()}
	}
	return fmt.Errorf("route %q: unknown action %T", route.GetName(), route.GetAction())
}

// cluster returns the cluster of a, and which of its weighted clusters was drawn, if it has any.
func (p *Proxy) cluster(a *routev3.RouteAction) (string, *routev3.WeightedCluster_ClusterWeight, error) {
	switch s := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		return s.Cluster, nil, nil
	case *routev3.RouteAction_WeightedClusters:
		if err := known(s.WeightedClusters, "clusters"); err != nil {
			return "", nil, err
		}
		total := uint32(0)
		for _, c := range s.WeightedClusters.GetClusters() {
			total += c.GetWeight().GetValue()
		}
		if total == 0 || p.config.Draw == nil {
			return "", nil, errors.New("weighted clusters without weights or draw")
		}
		drawn := p.config.Draw(total)
		for _, c := range s.WeightedClusters.GetClusters() {
			if weight := c.GetWeight().GetValue(); drawn >= weight {
				drawn -= weight
				continue
			}
			name, err := c.GetName(), known(c, "name", "weight", "request_headers_to_add", "request_headers_to_remove",
				"response_headers_to_add", "response_headers_to_remove", "host_rewrite_literal")
			return name, c, err
		}
		return "", nil, fmt.Errorf("the draw is not below %d", total)
	}
	return "", nil, fmt.Errorf("unknown cluster specifier %T", a.GetClusterSpecifier())
}

// rewrite sets the authority and path that x asks for. A rewrite of the host on the route is
// carried out after that of the weighted cluster.
func rewrite(x *exchange, a *routev3.RouteAction, weighted *routev3.WeightedCluster_ClusterWeight, m *routev3.RouteMatch) error {
	// Time-outs and retries do not show: every upstream answers at once, and always the same.
	if err := known(a, "cluster", "weighted_clusters", "prefix_rewrite", "regex_rewrite", "host_rewrite_literal",
		"timeout", "max_grpc_timeout", "max_stream_duration", "retry_policy"); err != nil {
		return err
	}
	for _, host := range []string{weighted.GetHostRewriteLiteral(), a.GetHostRewriteLiteral()} {
		if host != "" {
			x.authority = host
		}
	}
	var err error
	switch {
	case a.GetPrefixRewrite() != "":
		x.path, err = replacePrefix(x.path, m, a.GetPrefixRewrite())
	case a.GetRegexRewrite() != nil:
		x.path, err = replaceRegex(x.path, a.GetRegexRewrite())
	}
	return err
}

// replacePrefix replaces what m matched at the beginning of path.
func replacePrefix(path string, m *routev3.RouteMatch, with string) (string, error) {
	var matched int
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		matched = len(s.Prefix)
	case *routev3.RouteMatch_Path:
		matched = len(s.Path)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		matched = len(s.PathSeparatedPrefix)
	default:
		return "", fmt.Errorf("unknown rewrite of %T", m.GetPathSpecifier())
	}
	return with + path[matched:], nil
}

// reference is \1 in a substitution.
var reference = regexp.MustCompile(`\\([0-9])`)

// replaceRegex replaces each match in path, not in the query.
func replaceRegex(path string, r *matcherv3.RegexMatchAndSubstitute) (string, error) {
	pattern, err := regexp.Compile(r.GetPattern().GetRegex())
	if err != nil {
		return "", err
	}
	with := strings.ReplaceAll(r.GetSubstitution(), "$", "$$")
	with = reference.ReplaceAllString(with, `$${$1}`)
	path, query, asked := strings.Cut(path, "?")
	path = pattern.ReplaceAllString(path, with)
	if asked {
		path += "?" + query
	}
	return path, nil
}

// redirect is the reply to r.
func redirect(a *routev3.RedirectAction, m *routev3.RouteMatch, r *Request) error {
	if err := known(a, "https_redirect", "scheme_redirect", "host_redirect", "port_redirect", "path_redirect", "prefix_rewrite", "response_code", "strip_query"); err != nil {
		return err
	}
	status, ok := map[routev3.RedirectAction_RedirectResponseCode]int{
		routev3.RedirectAction_MOVED_PERMANENTLY:  http.StatusMovedPermanently,
		routev3.RedirectAction_FOUND:              http.StatusFound,
		routev3.RedirectAction_SEE_OTHER:          http.StatusSeeOther,
		routev3.RedirectAction_TEMPORARY_REDIRECT: http.StatusTemporaryRedirect,
		routev3.RedirectAction_PERMANENT_REDIRECT: http.StatusPermanentRedirect,
	}[a.GetResponseCode()]
	if !ok {
		return fmt.Errorf("unknown response code %s", a.GetResponseCode())
	}
	scheme, host := r.Scheme, r.Authority
	if a.GetHttpsRedirect() {
		scheme = "https"
	} else if a.GetSchemeRedirect() != "" {
		scheme = a.GetSchemeRedirect()
	}
	name, port, err := net.SplitHostPort(host)
	// A port that was the old scheme's default goes, too.
	if err == nil && (a.GetPortRedirect() != 0 || scheme != r.Scheme && port == "80") {
		host = name
	}
	if a.GetHostRedirect() != "" {
		host = a.GetHostRedirect()
	}
	if a.GetPortRedirect() != 0 {
		host += fmt.Sprintf(":%d", a.GetPortRedirect())
	}
	path := r.Path
	err = nil
	switch {
	case a.GetPathRedirect() != "":
		_, query, asked := strings.Cut(path, "?")
		if path = a.GetPathRedirect(); asked && !strings.Contains(path, "?") {
			path += "?" + query
		}
	case a.GetPrefixRewrite() != "":
		path, err = replacePrefix(path, m, a.GetPrefixRewrite())
	}
	if err != nil {
		return err
	}
	if a.GetStripQuery() {
		path, _, _ = strings.Cut(path, "?")
	}
	return moved(status, scheme, host, path)
}

// moved is a redirect.
func moved(status int, scheme, host, path string) *reply {
	return &reply{status: status, header: http.Header{"Location": {scheme + "://" + host + path}}}
}
