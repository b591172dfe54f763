package envoy

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// read decodes JSON into m.
func read[M proto.Message](t testing.TB, json string, m M) M {
	t.Helper()
	require.NoError(t, protojson.Unmarshal([]byte(json), m), json)
	return m
}

func TestVirtualHost(t *testing.T) {
	t.Parallel()
	const hosts = `"virtual_hosts": [
		{"name": "any", "domains": ["*"]},
		{"name": "prefix", "domains": ["www.*"]},
		{"name": "long prefix", "domains": ["www.example.*"]},
		{"name": "suffix", "domains": ["*.com"]},
		{"name": "long suffix", "domains": ["*.example.com"]},
		{"name": "exact", "domains": ["www.example.com", "www.example.com:8080"]}
	]`
	tests := []struct {
		authority  string
		ignorePort bool
		want       string
	}{
		{"www.example.com", false, "exact"},
		{"WWW.Example.com", false, "exact"},
		{"www.example.com:8080", false, "exact"},
		{"www.example.com:80", false, "long prefix"},
		{"www.example.com:80", true, "exact"},
		{"api.example.com", false, "long suffix"},
		{"www.cnn.com", false, "suffix"},
		{".example.com", false, "suffix"},
		{"www.example.org", false, "long prefix"},
		{"www.cnn.org", false, "prefix"},
		{"www.", false, "any"},
		{"cnn.org", false, "any"},
	}
	for _, test := range tests {
		rc := read(t, `{`+hosts+`}`, &routev3.RouteConfiguration{IgnorePortInHostMatching: false})
		rc.IgnorePortInHostMatching = test.ignorePort
		assert.Equal(t, test.want, VirtualHost(rc, test.authority).GetName(), test.authority)
	}
	assert.Nil(t, VirtualHost(read(t, `{"virtual_hosts": [{"domains": ["a.com"]}]}`, &routev3.RouteConfiguration{}), "b.com"))
}

func TestMatches(t *testing.T) {
	t.Parallel()
	get := func(path string, header ...string) *Request {
		r := &Request{Method: "GET", Scheme: "http", Authority: "example.com", Path: path, Headers: map[string]string{}}
		for i := 0; i < len(header); i += 2 {
			r.Headers[header[i]] = header[i+1]
		}
		return r
	}
	tests := []struct {
		name, match string
		request     *Request
		want        bool
	}{
		{"prefix", `"prefix": "/api"`, get("/api/v1"), true},
		{"prefix of bytes, not of segments", `"prefix": "/api"`, get("/apiv2"), true},
		{"prefix of another case", `"prefix": "/api"`, get("/API"), false},
		{"prefix without case", `"prefix": "/api", "case_sensitive": false`, get("/API/v1"), true},
		{"prefix that the query would make", `"prefix": "/api?x"`, get("/api?x=1"), false},
		{"path", `"path": "/api"`, get("/api?x=1"), true},
		{"path with more", `"path": "/api"`, get("/api/"), false},
		{"path without case", `"path": "/api", "case_sensitive": false`, get("/Api"), true},
		{"prefix of segments", `"path_separated_prefix": "/api"`, get("/api/v1"), true},
		{"prefix of segments, itself", `"path_separated_prefix": "/api"`, get("/api"), true},
		{"prefix of segments, of bytes only", `"path_separated_prefix": "/api"`, get("/apiv2"), false},
		{"regex of the whole path", `"safe_regex": {"regex": "/api/v[0-9]+"}`, get("/api/v12?x=1"), true},
		{"regex of a part at the end", `"safe_regex": {"regex": "/v[0-9]+"}`, get("/api/v1"), false},
		{"regex of a part at the beginning", `"safe_regex": {"regex": "/api"}`, get("/api/v1"), false},
		{"regex of alternatives, each the whole", `"safe_regex": {"regex": "/a|/b"}`, get("/a/b"), false},

		{"header", `"prefix": "/", "headers": [{"name": "X", "string_match": {"exact": "1"}}]`, get("/", "x", "1"), true},
		{"header of another value", `"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": "1"}}]`, get("/", "x", "2"), false},
		{"all headers", `"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": "1"}}, {"name": "y", "present_match": true}]`, get("/", "x", "1"), false},
		{"header by regex, the whole", `"prefix": "/", "headers": [{"name": "x", "string_match": {"safe_regex": {"regex": "a"}}}]`, get("/", "x", "ab"), false},
		{"header by prefix", `"prefix": "/", "headers": [{"name": "x", "string_match": {"prefix": "a"}}]`, get("/", "x", "ab"), true},
		{"header by suffix", `"prefix": "/", "headers": [{"name": "x", "string_match": {"suffix": "B", "ignore_case": true}}]`, get("/", "x", "ab"), true},
		{"inverted", `"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": "1"}, "invert_match": true}]`, get("/", "x", "2"), true},
		{"inverted, missing", `"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": "1"}, "invert_match": true}]`, get("/"), false},
		{"inverted, missing is empty", `"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": "1"}, "invert_match": true, "treat_missing_header_as_empty": true}]`, get("/"), true},
		{"not present", `"prefix": "/", "headers": [{"name": "x", "present_match": true, "invert_match": true}]`, get("/"), true},
		{"method", `"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]`, get("/"), false},
		{"authority", `"prefix": "/", "headers": [{"name": ":authority", "string_match": {"exact": "example.com"}}]`, get("/"), true},
		{"scheme", `"prefix": "/", "headers": [{"name": ":scheme", "string_match": {"exact": "http"}}]`, get("/"), true},

		{"query", `"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "a"}}]`, get("/?p=1&q=a"), true},
		{"query, its first value", `"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "a"}}]`, get("/?q=b&q=a"), false},
		{"query, not decoded", `"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "a b"}}]`, get("/?q=a%20b"), false},
		{"query, missing", `"prefix": "/", "query_parameters": [{"name": "q", "present_match": true}]`, get("/"), false},
	}
	for _, test := range tests {
		got, err := Matches(read(t, `{`+test.match+`}`, &routev3.RouteMatch{}), test.request)
		require.NoError(t, err, test.name)
		assert.Equal(t, test.want, got, test.name)
	}
}

// The first route that matches is taken, not the most specific one; what is unknown is an error.
func TestRoute(t *testing.T) {
	t.Parallel()
	vh := read(t, `{"routes": [
		{"name": "api", "match": {"prefix": "/api"}},
		{"name": "health", "match": {"path": "/api/health"}},
		{"name": "unknown", "match": {"path_match_policy": {"name": "x"}}}
	]}`, &routev3.VirtualHost{})
	got, err := Route(vh, &Request{Path: "/api/health"})
	require.NoError(t, err)
	assert.Equal(t, "api", got.GetName())
	_, err = Route(vh, &Request{Path: "/other"})
	require.ErrorContains(t, err, "unknown path specifier")
}
