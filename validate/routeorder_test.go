package validate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// virtualService reads the spec of shop/web.
func virtualService(t testing.TB, spec string) *networkingv1.VirtualService {
	t.Helper()
	vs := &networkingv1.VirtualService{}
	require.NoError(t, yaml.UnmarshalStrict([]byte("spec:\n"+indent(spec)), vs))
	vs.Namespace, vs.Name = "shop", "web"
	if len(vs.Spec.Hosts) == 0 && !strings.Contains(spec, "# delegate") {
		vs.Spec.Hosts = []string{"example.com"}
	}
	return vs
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") + "\n"
}

// pair builds A then B from one match entry each, in flow style; "-" is no match.
func pair(t testing.TB, gateways, a, b string) *networkingv1.VirtualService {
	t.Helper()
	spec := "gateways: " + gateways + "\nhttp:\n"
	for i, m := range []string{a, b} {
		spec += fmt.Sprintf("- route: [{destination: {host: %c}}]\n", 'a'+i)
		if m != "-" {
			spec += "  match: [" + m + "]\n"
		}
	}
	return virtualService(t, spec)
}

// codes lists "Code severity path <- coveredBy".
func codes(fs []finding.Finding) []string {
	var out []string
	for _, f := range fs {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s <- %s", f.Code, f.Severity, f.Path, strings.Join(f.CoveredBy, " "))))
	}
	return out
}

const (
	catchAll    = "CatchAllNotLast error spec.http[1] <- spec.http[0].match[0]"
	catchAllAny = "CatchAllNotLast error spec.http[1] <- spec.http[0]"
	unreachable = "UnreachableRoute error spec.http[1] <- spec.http[0].match[0]"
	never       = "UnreachableRoute error spec.http[1] <-"
)

func TestRouteOrderOfPairs(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b     string
		gateways string
		want     string // "" is live
	}{
		// What Istio's own check misses (istio-facts.md).
		"missed: prefix then exact":             {a: `{uri: {prefix: /api}}`, b: `{uri: {exact: /api/health}}`, want: unreachable},
		"missed: / then regex":                  {a: `{uri: {prefix: /}}`, b: `{uri: {regex: "/api/v[0-9]+"}}`, want: catchAll},
		"missed: / then method":                 {a: `{uri: {prefix: /}}`, b: `{uri: {prefix: /admin}, method: {exact: POST}}`, want: catchAll},
		"missed: / then / with header":          {a: `{uri: {prefix: /}}`, b: `{uri: {prefix: /}, headers: {x: {exact: "1"}}}`, want: catchAll},
		"missed: / then /api with header":       {a: `{uri: {prefix: /}}`, b: `{uri: {prefix: /api}, headers: {x: {exact: "1"}}}`, want: catchAll},
		"missed: then with queryParams":         {a: `{uri: {prefix: /api}}`, b: `{uri: {prefix: /api/v1}, queryParams: {q: {exact: "1"}}}`, want: unreachable},
		"missed: then with withoutHeaders":      {a: `{uri: {prefix: /api}}`, b: `{uri: {prefix: /api/v1}, withoutHeaders: {x: {exact: "1"}}}`, want: unreachable},
		"missed: then with a port":              {a: `{uri: {prefix: /api}}`, b: `{uri: {prefix: /api/v1}, port: 8080}`, want: unreachable},
		"missed: ignoreUriCase then exact case": {a: `{uri: {prefix: /API}, ignoreUriCase: true}`, b: `{uri: {prefix: /api/v1}}`, want: unreachable},
		"missed: header prefix a then ab":       {a: `{uri: {prefix: /api}, headers: {x: {prefix: a}}}`, b: `{uri: {prefix: /api/v1}, headers: {x: {prefix: ab}}}`, want: unreachable},
		"missed: regex .* then /api":            {a: `{uri: {regex: ".*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"missed: only a name then /api":         {a: `{name: all}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"missed: prefix '' then /api":           {a: `{uri: {prefix: ""}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"wolf: A method":                        {a: `{uri: {prefix: /api}, method: {exact: GET}}`, b: `{uri: {prefix: /api/v1}}`},
		"wolf: A authority":                     {a: `{uri: {prefix: /api}, authority: {exact: a.com}}`, b: `{uri: {prefix: /api/v1}}`},
		"wolf: header exact v10, then v1":       {a: `{uri: {prefix: /api}, headers: {x: {exact: v10}}}`, b: `{uri: {prefix: /api/v1}, headers: {x: {exact: v1}}}`},
		"wolf: header exact, then regex":        {a: `{uri: {prefix: /api}, headers: {x: {exact: v1}}}`, b: `{uri: {prefix: /api/v1}, headers: {x: {regex: "v[12]"}}}`},
		"wolf: header prefix ab, then a":        {a: `{uri: {prefix: /api}, headers: {x: {prefix: ab}}}`, b: `{uri: {prefix: /api/v1}, headers: {x: {prefix: a}}}`},
		"wolf: B ignoreUriCase":                 {a: `{uri: {prefix: /api}}`, b: `{uri: {prefix: /api/v1}, ignoreUriCase: true}`},
		"wolf: gateway g, then mesh":            {gateways: "[g, mesh]", a: `{uri: {prefix: /api}, gateways: [g]}`, b: `{uri: {prefix: /api/v1}, gateways: [mesh]}`},
		"wolf: A sourceLabels":                  {a: `{uri: {prefix: /api}, sourceLabels: {app: x}}`, b: `{uri: {prefix: /api/v1}}`},
		"wolf: A sourceNamespace":               {a: `{uri: {prefix: /api}, sourceNamespace: x}`, b: `{uri: {prefix: /api/v1}}`},
		"wolf: A scheme":                        {a: `{uri: {prefix: /api}, scheme: {exact: https}}`, b: `{uri: {prefix: /api/v1}}`},

		// Catch-alls in all their spellings.
		"catch-all: no match":                   {a: `-`, b: `{uri: {prefix: /api}}`, want: catchAllAny},
		"catch-all: null entry":                 {a: `null`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: empty entry":                {a: `{}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: only a statPrefix":          {a: `{statPrefix: all}`, b: `{uri: {exact: /api}}`, want: catchAll},
		"catch-all: empty uri":                  {a: `{uri: {}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: / ignoreUriCase":            {a: `{uri: {prefix: /}, ignoreUriCase: true}`, b: `{uri: {prefix: /api}, ignoreUriCase: true}`, want: catchAll},
		"catch-all: regex /.*":                  {a: `{uri: {regex: "/.*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex ^/.*$":                {a: `{uri: {regex: "^/.*$"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex ^.*":                  {a: `{uri: {regex: "^.*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex .*$":                  {a: `{uri: {regex: ".*$"}}`, b: `{uri: {exact: /}}`, want: catchAll},
		"catch-all: regex (.*)":                 {a: `{uri: {regex: "(.*)"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex .+":                   {a: `{uri: {regex: ".+"}}`, b: `{uri: {exact: /}}`, want: catchAll},
		"catch-all: regex [/].*":                {a: `{uri: {regex: "[/].*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex /?.*":                 {a: `{uri: {regex: "/?.*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex (/.*)?":               {a: `{uri: {regex: "(/.*)?"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex (?:^/.*$)":            {a: `{uri: {regex: "(?:^/.*$)"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex /|/.+":                {a: `{uri: {regex: "/|/.+"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex [^?]*":                {a: `{uri: {regex: "[^?]*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex (.|\\n)*":             {a: `{uri: {regex: "(.|\\n)*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: regex [\\s\\S]*":            {a: `{uri: {regex: "[\\s\\S]*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: any method":                 {a: `{method: {regex: ".*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: method {}":                  {a: `{method: {}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"catch-all: :authority present":         {a: `{headers: {":authority": {regex: "*"}}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"no catch-all: regex /.+ then /":        {a: `{uri: {regex: "/.+"}}`, b: `{uri: {exact: /}}`},
		"no catch-all: regex /.+ then prefix /": {a: `{uri: {regex: "/.+"}}`, b: `{uri: {prefix: /}}`},
		"no catch-all: regex /":                 {a: `{uri: {regex: "/"}}`, b: `{uri: {prefix: /}}`},
		"no catch-all: regex .*a":               {a: `{uri: {regex: ".*a"}}`, b: `{uri: {prefix: /}}`},
		"no catch-all: regex .*\\b":             {a: `{uri: {regex: ".*\\b"}}`, b: `{uri: {prefix: /}}`},
		"no catch-all: regex /$.*":              {a: `{uri: {regex: "/$.*"}}`, b: `{uri: {prefix: /}}`},
		"no catch-all: regex .":                 {a: `{uri: {regex: "."}}`, b: `{uri: {prefix: /}}`},
		"no catch-all: regex [^/]*":             {a: `{uri: {regex: "/[^/]*"}}`, b: `{uri: {prefix: /}}`},
		"no catch-all: a regex that Go refuses": {a: `{uri: {regex: "*"}}`, b: `{uri: {prefix: /}}`},
		"no catch-all: header present":          {a: `{headers: {x: {regex: ".*"}}}`, b: `{uri: {prefix: /api}}`},
		"/.+ takes a longer prefix":             {a: `{uri: {regex: "/.+"}}`, b: `{uri: {prefix: /api}}`, want: unreachable},

		// Paths.
		"duplicate":                          {a: `{uri: {exact: /a}}`, b: `{uri: {exact: /a}}`, want: unreachable},
		"raw string prefix":                  {a: `{uri: {prefix: /api}}`, b: `{uri: {prefix: /apiv2}}`, want: unreachable},
		"exact does not cover prefix":        {a: `{uri: {exact: /api}}`, b: `{uri: {prefix: /api}}`},
		"longer prefix first":                {a: `{uri: {prefix: /api/v1}}`, b: `{uri: {prefix: /api}}`},
		"exact behind a regex":               {a: `{uri: {regex: "/api/v[0-9]+"}}`, b: `{uri: {exact: /api/v12}}`, want: unreachable},
		"exact behind a regex that it lacks": {a: `{uri: {regex: "/api/v[0-9]"}}`, b: `{uri: {exact: /api/v12}}`},
		"regex is a full match":              {a: `{uri: {regex: "/api"}}`, b: `{uri: {exact: /api/x}}`},
		"literal regex behind exact":         {a: `{uri: {exact: /a.b}}`, b: `{uri: {regex: "/a\\.b"}}`, want: unreachable},
		"regex with a dot behind exact":      {a: `{uri: {exact: /a.b}}`, b: `{uri: {regex: "/a.b"}}`},
		"prefix behind prefix regex":         {a: `{uri: {regex: "/api(/.*)?"}}`, b: `{uri: {prefix: /api/}}`, want: unreachable},
		"prefix not within prefix regex":     {a: `{uri: {regex: "/api(/.*)?"}}`, b: `{uri: {prefix: /api}}`},
		"regex behind its prefix":            {a: `{uri: {prefix: /api/}}`, b: `{uri: {regex: "/api/(v1|v2)/[a-z]*"}}`, want: unreachable},
		"regex not within prefix":            {a: `{uri: {prefix: /api/}}`, b: `{uri: {regex: "/ap[ix]/.*"}}`},
		"same regex":                         {a: `{uri: {regex: "/[a-z]+/x"}}`, b: `{uri: {regex: "/[a-z]+/x"}}`, want: unreachable},
		"alternatives behind alternatives":   {a: `{uri: {regex: "/(a|b|c)"}}`, b: `{uri: {regex: "/(c|a)"}}`, want: unreachable},
		"fold covers fold":                   {a: `{uri: {prefix: /Api}, ignoreUriCase: true}`, b: `{uri: {exact: /aPI/x}, ignoreUriCase: true}`, want: unreachable},
		"no letters, fold behind exact case": {a: `{uri: {prefix: /1}}`, b: `{uri: {prefix: /1/A}, ignoreUriCase: true}`, want: unreachable},
		"regex ignores ignoreUriCase":        {a: `{uri: {regex: "/api"}, ignoreUriCase: true}`, b: `{uri: {exact: /API}}`},
		"regex flag i":                       {a: `{uri: {regex: "(?i)/api/.*"}}`, b: `{uri: {prefix: /API/}}`, want: unreachable},

		// Conditions.
		"fewer conditions first":      {a: `{headers: {x: {exact: "1"}}}`, b: `{uri: {prefix: /a}, headers: {X: {exact: "1"}, y: {exact: "2"}}}`, want: unreachable},
		"present covers exact":        {a: `{headers: {x: {regex: "*"}}}`, b: `{headers: {x: {exact: "1"}}}`, want: unreachable},
		"regex .* is present":         {a: `{headers: {x: {regex: ".*"}}}`, b: `{headers: {x: {}}}`, want: unreachable},
		"header regex covers exact":   {a: `{headers: {x: {regex: "v[0-9]"}}}`, b: `{headers: {x: {exact: v1}}}`, want: unreachable},
		"method as a header":          {a: `{method: {exact: GET}}`, b: `{headers: {":method": {exact: GET}}}`, want: unreachable},
		"method alternatives":         {a: `{method: {regex: GET|POST}}`, b: `{method: {exact: POST}}`, want: unreachable},
		"without x covers x absent":   {a: `{withoutHeaders: {x: {exact: "1"}}}`, b: `{withoutHeaders: {x: {}}}`, want: unreachable},
		"without '' needs a value":    {a: `{withoutHeaders: {x: {exact: ""}}}`, b: `{withoutHeaders: {x: {}}}`},
		"without 1 covers exact 2":    {a: `{withoutHeaders: {x: {exact: "1"}}}`, b: `{headers: {x: {exact: "2"}}}`, want: unreachable},
		"without a covers without ab": {a: `{withoutHeaders: {x: {prefix: ab}}}`, b: `{withoutHeaders: {x: {prefix: a}}}`, want: unreachable},
		"and not the reverse":         {a: `{withoutHeaders: {x: {prefix: a}}}`, b: `{withoutHeaders: {x: {prefix: ab}}}`},
		"present covers without ''":   {a: `{headers: {x: {}}}`, b: `{withoutHeaders: {x: {exact: ""}}}`, want: unreachable},
		"query present covers exact":  {a: `{queryParams: {q: {}}}`, b: `{queryParams: {q: {exact: "1"}}}`, want: unreachable},
		"query names keep their case": {a: `{queryParams: {q: {}}}`, b: `{queryParams: {Q: {exact: "1"}}}`},
		"same claim":                  {gateways: "[g]", a: `{headers: {"@request.auth.claims.a": {exact: x}}}`, b: `{uri: {prefix: /a}, headers: {"@request.auth.claims.a": {exact: x}}}`, want: unreachable},
		"claim prefix is opaque":      {gateways: "[g]", a: `{headers: {"@request.auth.claims.a": {prefix: x}}}`, b: `{headers: {"@request.auth.claims.a": {exact: xy}}}`},
		"port 0 is any port":          {a: `{port: 0}`, b: `{port: 80}`, want: catchAll},
		"port does not cover any":     {a: `{port: 80}`, b: `{uri: {prefix: /a}}`},
		"port covers its own":         {a: `{port: 80}`, b: `{uri: {prefix: /a}, port: 80}`, want: catchAll},
		"another port":                {a: `{port: 80}`, b: `{uri: {prefix: /a}, port: 81}`},
		"fewer labels cover more":     {a: `{sourceLabels: {a: x}}`, b: `{sourceLabels: {a: x, b: "y"}}`, want: catchAll},
		"more labels do not":          {a: `{sourceLabels: {a: x, b: "y"}}`, b: `{sourceLabels: {a: x}}`},
		"labels beside gateways are ignored": {
			gateways: "[g, mesh]", a: `{gateways: [g], sourceLabels: {a: x}}`, b: `{gateways: [g]}`, want: catchAll,
		},
		"but a waypoint leaves them out": {gateways: "[mesh]", a: `{gateways: [mesh], sourceLabels: {a: x}}`, b: `{uri: {prefix: /a}}`},
		"a claim in two spellings":       {gateways: "[g]", a: `{headers: {"@request.auth.claims.a.b": {exact: x}}}`, b: `{uri: {prefix: /a}, headers: {"@request.auth.claims[a][b]": {exact: x}}}`, want: unreachable},
		"a claim of no name is a header": {gateways: "[g]", a: `{headers: {"@request.auth.claims": {prefix: x}}}`, b: `{headers: {"@request.auth.claims": {exact: xy}}}`, want: unreachable},
		"a parameter that nobody sends":  {a: `{queryParams: {"a=b": {}}}`, b: `{queryParams: {"a=b": {exact: x}}}`},
		"labels without gateways count":  {gateways: "[g]", a: `{sourceLabels: {a: x}}`, b: `{gateways: [g]}`},
		"gateway does not cover both":    {gateways: "[g, mesh]", a: `{gateways: [g]}`, b: `{uri: {prefix: /a}}`},
		"gateway covers the only one":    {gateways: "[g]", a: `{gateways: [shop/g]}`, b: `{uri: {prefix: /a}}`, want: catchAll},
		"gateway by its old name":        {gateways: "[g.shop.svc.cluster.local]", a: `{gateways: [./g]}`, b: `{uri: {prefix: /a}}`, want: catchAll},
		"any covers a gateway":           {gateways: "[g, mesh]", a: `{uri: {prefix: /}}`, b: `{gateways: [mesh]}`, want: catchAll},

		// Regexes.
		"regex within a regex":                {a: `{uri: {regex: "/api/v[0-9]+/.*"}}`, b: `{uri: {regex: "/api/v[12]/(users|teams)"}}`, want: unreachable},
		"and not the wider behind it":         {a: `{uri: {regex: "/api/v[12]/(users|teams)"}}`, b: `{uri: {regex: "/api/v[0-9]+/.*"}}`},
		"one regex written differently":       {a: `{uri: {regex: "/(a|b)*c"}}`, b: `{uri: {regex: "/[ab]*c"}}`, want: unreachable},
		"regex that takes all paths":          {a: `{uri: {regex: "(/[^/]*)*"}}`, b: `{uri: {prefix: /api}}`, want: catchAll},
		"prefix behind a regex":               {a: `{uri: {regex: "/[a-z]+.*"}}`, b: `{uri: {prefix: /api}}`, want: unreachable},
		"regex behind a longer prefix":        {a: `{uri: {prefix: /api/v1}}`, b: `{uri: {regex: "/api/v1(beta)?/x+"}}`, want: unreachable},
		"case is in the regex":                {a: `{uri: {regex: "(?i)/api.*"}}`, b: `{uri: {prefix: /API}, ignoreUriCase: true}`, want: unreachable},
		"k has three spellings":               {a: `{uri: {prefix: /k}, ignoreUriCase: true}`, b: `{uri: {regex: "(?i)/k"}}`},
		"word boundary":                       {a: `{uri: {regex: "/a\\b.*"}}`, b: `{uri: {regex: "/a(/.*)?"}}`, want: unreachable},
		"bounded repeats":                     {a: `{uri: {regex: "/a{0,9}"}}`, b: `{uri: {regex: "/a{2,7}"}}`, want: unreachable},
		"repeats beyond the bound":            {a: `{uri: {regex: "/a{0,9}"}}`, b: `{uri: {regex: "/a{2,10}"}}`},
		"header regex within header regex":    {a: `{headers: {x: {regex: "v[0-9]+"}}}`, b: `{headers: {x: {regex: "v1[0-9]"}}}`, want: unreachable},
		"authority and the old host header":   {a: `{authority: {prefix: a}}`, b: `{headers: {Host: {exact: a.com}}}`, want: unreachable},
		"query value is never a line break":   {a: `{queryParams: {q: {regex: ".*"}}}`, b: `{queryParams: {q: {}}}`, want: unreachable},
		"a state explosion is left undecided": {a: `{uri: {regex: "/(a|b)*a(a|b){40}"}}`, b: `{uri: {regex: "/(a|b)*a(a|b){41}"}}`},

		// Contradictions.
		"no boundary before /":       {a: `{uri: {regex: "\\b.*"}}`, b: `{uri: {prefix: /}}`, want: "UnreachableRoute error spec.http[0] <-"},
		"gateway that is not listed": {gateways: "[mesh]", a: `{uri: {prefix: /api}, gateways: [g]}`, b: `{uri: {prefix: /api/v1}, gateways: [mesh]}`, want: "UnreachableRoute error spec.http[0] <-"},
		"no path without /":          {a: `{uri: {exact: /x}}`, b: `{uri: {prefix: api}}`, want: never},
		"no path with a query":       {a: `{uri: {exact: /x}}`, b: `{uri: {exact: "/a?b=c"}}`, want: never},
		"no path fits the regex":     {a: `{uri: {exact: /x}}`, b: `{uri: {regex: "api/.*"}}`, want: never},
		"without anything":           {a: `{uri: {exact: /x}}`, b: `{withoutHeaders: {x: {regex: ".*"}}}`, want: never},
		"present and absent":         {a: `{uri: {exact: /x}}`, b: `{headers: {x: {exact: "1"}}, withoutHeaders: {X: {}}}`, want: never},
		"1 and not 1":                {a: `{uri: {exact: /x}}`, b: `{headers: {x: {exact: "1"}}, withoutHeaders: {x: {prefix: "1"}}}`, want: never},
		"method and header":          {a: `{uri: {exact: /x}}`, b: `{method: {exact: GET}, headers: {":method": {regex: P.*}}}`, want: never},
		"contradictions cover none":  {a: `{withoutHeaders: {x: {regex: ".*"}}, uri: {prefix: /}}`, b: `{uri: {prefix: /a}}`, want: "UnreachableRoute error spec.http[0] <-"},
		"absent and not '' fits no":  {a: `{uri: {exact: /x}}`, b: `{withoutHeaders: {x: {exact: ""}, X: {}}}`, want: never},
	} {
		t.Run(name, func(t *testing.T) {
			gateways := tc.gateways
			if gateways == "" {
				gateways = "[]"
			}
			vs := pair(t, gateways, tc.a, tc.b)
			fs := RouteOrder(vs, nil)
			if tc.want == "" {
				assert.Empty(t, codes(fs))
				return
			}
			assert.Equal(t, []string{tc.want}, codes(fs))
			assert.Equal(t, fs, RouteOrder(vs, nil), "two runs say the same")
		})
	}
}

func TestRouteOrderOfSeveral(t *testing.T) {
	for name, tc := range map[string]struct {
		spec string
		want []string
	}{
		"a value, all others, and then anything": {`
http:
- match: [{headers: {x: {exact: "1"}}}]
- match: [{withoutHeaders: {x: {exact: "1"}}}]
- match: [{uri: {prefix: /a}}]
- {}
`, []string{
			"UnreachableRoute error spec.http[2] <- spec.http[0].match[0] spec.http[1].match[0]",
			"UnreachableRoute error spec.http[3] <- spec.http[0].match[0] spec.http[1].match[0]",
		}},
		"two regexes cover a prefix": {`
http:
- match: [{uri: {regex: "/a[a-m].*"}}]
- match: [{uri: {exact: /b}}]
- match: [{uri: {regex: "/a[^a-m].*"}}]
- match: [{uri: {exact: /a}}]
- match: [{uri: {prefix: /a}}]
`, []string{"UnreachableRoute error spec.http[4] <- spec.http[0].match[0] spec.http[2].match[0] spec.http[3].match[0]"}},
		"methods one by one": {`
http:
- match: [{method: {exact: GET}}, {method: {exact: POST}}]
- match: [{method: {regex: "GET|POST|PUT"}, uri: {prefix: /a}}]
- match: [{method: {regex: "POST|GET"}}]
`, []string{"UnreachableRoute error spec.http[2] <- spec.http[0].match[0] spec.http[0].match[1]"}},
		"a header, a parameter and neither": {`
http:
- match: [{headers: {x: {}}}, {queryParams: {q: {}}}]
- match: [{withoutHeaders: {x: {}}, uri: {prefix: /a}}]
- match: [{uri: {prefix: /a}, port: 80}]
`, []string{"UnreachableRoute error spec.http[2] <- spec.http[0].match[0] spec.http[1].match[0]"}},
		"a prefix, its slash and the rest": {`
http:
- match: [{uri: {exact: /a}}]
- match: [{uri: {prefix: /a/}}]
- match: [{uri: {regex: "/a(/.*)?"}}]
`, []string{"UnreachableRoute error spec.http[2] <- spec.http[0].match[0] spec.http[1].match[0]"}},
		"each gateway covered by another route": {`
gateways: [g, mesh]
http:
- match: [{gateways: [g]}]
- match: [{gateways: [mesh]}]
- match: [{uri: {prefix: /a}}]
`, []string{"CatchAllNotLast error spec.http[2] <- spec.http[0].match[0] spec.http[1].match[0]"}},
		"some entries dead": {`
http:
- match: [{uri: {prefix: /a}}]
- match: [{uri: {prefix: /a/b}}, {uri: {prefix: /c}}]
`, []string{"IneffectiveMatch warning spec.http[1].match[0] <- spec.http[0].match[0]"}},
		"a sibling covers": {`
http:
- match: [{uri: {prefix: /a}}, {uri: {prefix: /a/b}}]
`, []string{"IneffectiveMatch warning spec.http[0].match[1] <- spec.http[0].match[0]"}},
		"a dead sibling covers": {`
http:
- match: [{uri: {prefix: /a}}]
- match: [{uri: {prefix: /a/b}}, {uri: {prefix: /a/b/c}}]
`, []string{"UnreachableRoute error spec.http[1] <- spec.http[0].match[0]"}},
		"a catch-all before counts more than a nearer cover": {`
http:
- match: [{uri: {prefix: /a}}]
- match: [{uri: {prefix: /}}]
- match: [{uri: {prefix: /a/b}}]
`, []string{"CatchAllNotLast error spec.http[2] <- spec.http[1].match[0]"}},
		"a catch-all entry in a list cuts its own siblings": {`
http:
- match: [{uri: {prefix: /}}, {uri: {prefix: /a}}]
- match: [{uri: {prefix: /b}}]
`, []string{
			"CatchAllNotLast error spec.http[1] <- spec.http[0].match[0]",
			"IneffectiveMatch warning spec.http[0].match[1] <- spec.http[0].match[0]",
		}},
		"contradiction in a list": {`
http:
- match: [{uri: {prefix: a}}, {uri: {prefix: /a}}]
`, []string{"IneffectiveMatch warning spec.http[0].match[0] <-"}},
		"several routes cover the entries": {`
http:
- match: [{uri: {prefix: /a}}]
- match: [{uri: {prefix: /b}}]
- match: [{uri: {prefix: /a/1}}, {uri: {prefix: /b/1}}]
`, []string{"UnreachableRoute error spec.http[2] <- spec.http[0].match[0] spec.http[1].match[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, codes(RouteOrder(virtualService(t, tc.spec), nil)))
		})
	}
}

// The seed ingress-gateway-path-routing, as its author wrote it: without hosts.
const seed = `
gateways: [example-gateway]
http:
- match: [{uri: {prefix: /}}]
  route: [{destination: {host: welcome, port: {number: 8080}}}]
- match: [{uri: {prefix: /.well-known/openid-configuration}}]
  route: [{destination: {host: samplebucket1234.s3.ap-southeast-2.amazonaws.com, port: {number: 443}}}]
- match: [{uri: {prefix: /oauth/discovery/keys}}]
  route: [{destination: {host: samplebucket1234.s3.ap-southeast-2.amazonaws.com, port: {number: 443}}}]
`

func TestRouteOrderSeed(t *testing.T) {
	for name, hosts := range map[string][]string{"without hosts": nil, "with hosts": {"example.com"}} {
		t.Run(name, func(t *testing.T) {
			vs := virtualService(t, seed)
			vs.Spec.Hosts, vs.APIVersion, vs.Kind = hosts, "networking.istio.io/v1alpha3", "VirtualService"
			object := finding.Object{APIVersion: "networking.istio.io/v1alpha3", Kind: "VirtualService", Namespace: "shop", Name: "web"}
			remedy := `Put spec.http[1], spec.http[2] before spec.http[0]. The order that works: ` +
				`spec.http[1] (uri prefix "/.well-known/openid-configuration"), spec.http[2] (uri prefix "/oauth/discovery/keys"), spec.http[0] (uri prefix "/").`
			of := func(i int, path string) finding.Finding {
				const bucket = "samplebucket1234.s3.ap-southeast-2.amazonaws.com:443"
				summary := `Istio silently drops every route after a catch-all: spec.http[0].match[0] (uri prefix "/") takes every request, ` +
					fmt.Sprintf(`so spec.http[%d] (uri prefix %q, to %s) can never match.`, i, path, bucket)
				return finding.Finding{
					Code: finding.CatchAllNotLast, Severity: finding.Error, Object: object,
					Path: fmt.Sprintf("spec.http[%d]", i), CoveredBy: []string{"spec.http[0].match[0]"},
					Message: summary + ` For example, GET ` + path + ` goes to welcome:8080 instead of ` + bucket + `.`,
					Remedy:  remedy,
					Summary: summary,
					Example: &finding.Example{Request: "GET " + path, GoesTo: "welcome:8080", By: "spec.http[0].match[0]", InsteadOf: bucket},
					Order:   []int{1, 2, 0},
					Subject: fmt.Sprintf("uri prefix %q\n-> \"samplebucket1234.s3.ap-southeast-2.amazonaws.com\"\n", path),
				}
			}
			assert.Equal(t, []finding.Finding{of(1, "/.well-known/openid-configuration"), of(2, "/oauth/discovery/keys")}, RouteOrder(vs, nil))
			order, ok := WorkingOrder(vs, nil)
			assert.True(t, ok)
			assert.Equal(t, []int{1, 2, 0}, order)

			vs.Spec.Http = []*networking.HTTPRoute{vs.Spec.Http[1], vs.Spec.Http[2], vs.Spec.Http[0]}
			assert.Empty(t, RouteOrder(vs, nil))
		})
	}
}

func TestRouteOrderText(t *testing.T) {
	for name, tc := range map[string]struct{ spec, want string }{
		"not Istio's own kind of catch-all": {`
http:
- match: [{uri: {regex: "/.*"}}]
  route: [{destination: {host: a}}]
- name: health
  match: [{uri: {exact: /health}, headers: {x: {exact: "1"}}, method: {exact: POST}}]
  redirect: {uri: /}
`, `CatchAllNotLast at spec.http[1]: A route behind a catch-all gets no request, and Istio does not say so: spec.http[0].match[0] (uri regex "/.*") takes every request, so spec.http[1] "health" (uri exact "/health", method exact "POST", headers "x" exact "1", to a redirect) can never match. For example, POST /health (header x: 1) goes to a instead of a redirect. Put spec.http[1] before spec.http[0]. The order that works: spec.http[1] (uri exact "/health", method exact "POST", headers "x" exact "1"), spec.http[0] (uri regex "/.*").`},
		"scoped catch-all": {`
gateways: [g, mesh]
http:
- match: [{port: 8080, gateways: [g]}]
  route: [{destination: {host: a}}]
- match: [{port: 8080, gateways: [g], queryParams: {q: {prefix: v}}}]
  route: [{destination: {host: b, subset: v1}}, {destination: {host: c}}]
`, `CatchAllNotLast at spec.http[1]: Istio silently drops every route after a catch-all: spec.http[0].match[0] (port 8080, gateway "g") takes every request on port 8080, so spec.http[1] (queryParams "q" prefix "v", port 8080, gateway "g", to b subset v1 and 1 more) can never match. For example, GET /?q=v (port 8080, gateway shop/g) goes to a instead of b subset v1 and 1 more. Put spec.http[1] before spec.http[0]. The order that works: spec.http[1] (queryParams "q" prefix "v", port 8080, gateway "g"), spec.http[0] (port 8080, gateway "g").`},
		"duplicate": {`
http:
- match: [{uri: {prefix: /a}}]
  route: [{destination: {host: a}}]
- match: [{uri: {regex: "/a.*"}}]
  route: [{destination: {host: b}}]
`, `UnreachableRoute at spec.http[1]: spec.http[1] (uri regex "/a.*", to b) can never match: spec.http[0].match[0] (uri prefix "/a") takes all its requests first. For example, GET /a goes to a instead of b. spec.http[1] matches the same requests as spec.http[0]: no order makes both live. Delete one of them.`},
		"same destination": {`
http:
- match: [{uri: {prefix: /a}}]
  route: [{destination: {host: a}}]
- match: [{uri: {prefix: /a/b}}]
  route: [{destination: {host: a}}]
`, `UnreachableRoute at spec.http[1]: spec.http[1] (uri prefix "/a/b", to a) can never match: spec.http[0].match[0] (uri prefix "/a") takes all its requests first. For example, GET /a/b goes to a by spec.http[0].match[0]. Put spec.http[1] before spec.http[0]. The order that works: spec.http[1] (uri prefix "/a/b"), spec.http[0] (uri prefix "/a").`},
		"stray dash": {`
http:
- match: [{uri: {prefix: /api}}, {headers: {beta: {exact: "1"}}}]
  route: [{destination: {host: beta}}]
- match: [{uri: {prefix: /api/v1}}]
  route: [{destination: {host: v1}}]
`, `UnreachableRoute at spec.http[1]: spec.http[1] (uri prefix "/api/v1", to v1) can never match: spec.http[0].match[0] (uri prefix "/api") takes all its requests first. For example, GET /api/v1 goes to beta instead of v1. The entries of a match list are alternatives: if spec.http[0].match[0] and spec.http[0].match[1] are meant to hold together, make them one entry, without the second dash. Put spec.http[1] before spec.http[0]. The order that works: spec.http[1] (uri prefix "/api/v1"), spec.http[0] (uri prefix "/api" or headers "beta" exact "1").`},
		"contradiction": {`
http:
- match: [{uri: {prefix: api}}]
`, `UnreachableRoute at spec.http[0]: spec.http[0] (uri prefix "api", to no destination) can never match: no path fits uri prefix "api": a path begins with "/", and Istio matches it whole and without the query. Correct or delete spec.http[0].`},
		"excluded by withoutHeaders": {`
http:
- match: [{withoutHeaders: {x: {regex: ".*"}}}]
  directResponse: {status: 403}
`, `UnreachableRoute at spec.http[0]: spec.http[0] (withoutHeaders "x" regex ".*", to a direct response 403) can never match: withoutHeaders "x" regex ".*" excludes every request, since Istio takes a missing header for an empty one. Correct or delete spec.http[0].`},
		"excluding each other": {`
http:
- match: [{method: {exact: GET}, headers: {":method": {exact: PUT}}}]
`, `UnreachableRoute at spec.http[0]: spec.http[0] (method exact "GET", headers ":method" exact "PUT", to no destination) can never match: headers ":method" exact "PUT" and method exact "GET" exclude each other. Correct or delete spec.http[0].`},
		"a match of a live route": {`
http:
- match: [{uri: {prefix: /a}}]
  route: [{destination: {host: a}}]
- match: [{uri: {prefix: /b}}, {uri: {prefix: /a/b}}]
  route: [{destination: {host: b}}]
`, `IneffectiveMatch at spec.http[1].match[1]: spec.http[1].match[1] (uri prefix "/a/b") can never match: spec.http[0].match[0] (uri prefix "/a") takes all its requests first. For example, GET /a/b goes to a instead of b. Delete spec.http[1].match[1], or move it to a route before spec.http[0].`},
	} {
		t.Run(name, func(t *testing.T) {
			fs := RouteOrder(virtualService(t, tc.spec), nil)
			require.Len(t, fs, 1)
			assert.Equal(t, tc.want, fs[0].Text())
		})
	}
}

func TestWorkingOrder(t *testing.T) {
	for name, tc := range map[string]struct {
		http string
		want []int
		dead bool // some stay so
	}{
		"nothing dead":         {`[{match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /}}]}]`, []int{0, 1}, false},
		"nested, all reversed": {`[{match: [{uri: {prefix: /}}]}, {match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /a/b}}]}]`, []int{2, 1, 0}, false},
		"stable":               {`[{match: [{uri: {prefix: /x}}]}, {match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /y}}]}, {match: [{uri: {prefix: /a/c}}]}, {match: [{uri: {prefix: /a/b}}]}]`, []int{0, 3, 4, 1, 2}, false},
		"two groups":           {`[{match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /a/b}}]}, {match: [{uri: {prefix: /c}}]}, {match: [{uri: {prefix: /c/d}}]}]`, []int{1, 0, 3, 2}, false},
		"one entry is enough":  {`[{match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /b}}]}, {match: [{uri: {prefix: /a/1}}, {uri: {prefix: /b/1}}]}]`, []int{0, 2, 1}, false},
		"duplicate":            {`[{match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /a}}]}]`, []int{0, 1}, true},
		"duplicate behind":     {`[{}, {match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /a}}]}]`, []int{1, 0, 2}, true},
		"contradiction":        {`[{match: [{uri: {prefix: a}}]}]`, []int{0}, true},
		"two catch-alls":       {`[{}, {match: [{uri: {regex: ".*"}}]}]`, []int{0, 1}, true},
		// Before the second, the third would take what the first leaves of it.
		"live ones stay live": {`[{match: [{method: {exact: GET}}]}, {match: [{method: {regex: "GET|POST"}}]}, {match: [{method: {exact: POST}}]}, {match: [{method: {exact: GET}, uri: {prefix: /a}}]}]`, []int{3, 0, 1, 2}, true},
		// The third is dead in any order, so the second need not get in front of the first for it.
		"none gives way to what stays dead": {`[{match: [{method: {exact: GET}}]}, {match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /a/b}, method: {exact: PUT}}]}]`, []int{0, 3, 1, 2}, true},
		"no routes":                         {`[]`, []int{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			order, ok := WorkingOrder(virtualService(t, "http: "+tc.http), nil)
			assert.Equal(t, tc.dead, !ok)
			assert.Equal(t, tc.want, order)
		})
	}
}

// The last two are dead. For the last to be live it must stand before the second, and the
// second, to stay live, before the first.
func TestOvertaking(t *testing.T) {
	vs := virtualService(t, `
gateways: [g, mesh]
http: [{match: [{uri: {prefix: /}, gateways: [g]}]}, {match: [{uri: {prefix: /b}}]}, {match: [{uri: {prefix: /c}, gateways: [g]}]}, {match: [{uri: {prefix: /b}, gateways: [mesh]}]}]
`)
	order, ok := WorkingOrder(vs, nil)
	assert.True(t, ok)
	assert.Equal(t, []int{3, 1, 2, 0}, order)
	assert.Equal(t, []int{1}, Overtaking(vs, nil, order))
	assert.Empty(t, Overtaking(vs, nil, []int{2, 3, 0, 1}))
	assert.Empty(t, Overtaking(nil, nil, order))
}

func TestWorkingOrderWithANilRoute(t *testing.T) {
	vs := virtualService(t, `http: [{}, {match: [{uri: {prefix: /a}}]}]`)
	vs.Spec.Http = append([]*networking.HTTPRoute{nil}, vs.Spec.Http...)
	order, ok := WorkingOrder(vs, nil)
	assert.True(t, ok)
	assert.Equal(t, []int{0, 2, 1}, order)
}

func TestRouteOrderOfTheRestWithoutDuplicates(t *testing.T) {
	fs := RouteOrder(virtualService(t, `http: [{}, {match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: /a}}]}, {match: [{uri: {prefix: b}}]}]`), nil)
	require.Len(t, fs, 3)
	assert.Equal(t, `Put spec.http[1] before spec.http[0]. The order that works for all but the 2 routes that no order saves: spec.http[1] (uri prefix "/a"), spec.http[0] (no match).`, fs[0].Remedy)
	assert.Equal(t, `spec.http[2] matches the same requests as spec.http[1]: no order makes both live. Delete one of them.`, fs[1].Remedy)
	assert.Equal(t, `Correct or delete spec.http[3].`, fs[2].Remedy)
}

func TestRouteOrderDelegates(t *testing.T) {
	known := map[string]*networkingv1.VirtualService{}
	add := func(name, spec string) {
		d := virtualService(t, "# delegate\n"+spec)
		d.Name = name
		known["shop/"+name] = d
	}
	add("all", `http: [{route: [{destination: {host: d}}]}]`)
	add("api", `http: [{match: [{uri: {prefix: /x/api}}], route: [{destination: {host: d}}]}]`)
	add("regex", `http: [{match: [{uri: {regex: "/.*"}}], route: [{destination: {host: d}}]}]`)
	add("header", `http: [{match: [{headers: {h: {exact: "1"}}}], route: [{destination: {host: d}}]}]`)
	add("hidden", "exportTo: [other]\nhttp: [{route: [{destination: {host: d}}]}]")
	add("here", "exportTo: [.]\nhttp: [{route: [{destination: {host: d}}]}]")
	add("hosted", "hosts: [a.com]\nhttp: [{route: [{destination: {host: d}}]}]")
	add("nested", `http: [{delegate: {name: all}}]`)
	delegates := func(namespace, name string) *networkingv1.VirtualService { return known[namespace+"/"+name] }

	for name, tc := range map[string]struct {
		http string
		want []string
	}{
		"covers all of the root's match": {
			`[{match: [{uri: {prefix: /x}}], delegate: {name: all}}, {match: [{uri: {prefix: /x/y}}]}]`,
			[]string{"UnreachableRoute error spec.http[1] <- spec.http[0].match[0]"},
		},
		"catch-all": {
			`[{delegate: {name: all, namespace: shop}}, {match: [{uri: {prefix: /x/y}}]}]`,
			[]string{"CatchAllNotLast error spec.http[1] <- spec.http[0]"},
		},
		"covers only its routes": {`[{match: [{uri: {prefix: /x}}], delegate: {name: api}}, {match: [{uri: {prefix: /x/y}}]}]`, nil},
		"covers its routes": {
			`[{match: [{uri: {prefix: /x}}], delegate: {name: api}}, {match: [{uri: {prefix: /x/api/v1}}]}]`,
			[]string{"UnreachableRoute error spec.http[1] <- spec.http[0].match[0]"},
		},
		"a regex under a prefix is dropped": {`[{match: [{uri: {prefix: /x}}], delegate: {name: regex}}, {match: [{uri: {prefix: /x/y}}]}]`, nil},
		"a regex without a root match is not": {
			`[{delegate: {name: regex}}, {match: [{uri: {prefix: /x/y}}]}]`,
			[]string{"CatchAllNotLast error spec.http[1] <- spec.http[0]"},
		},
		"conditions join": {
			`[{match: [{uri: {prefix: /x}}], delegate: {name: header}}, {match: [{uri: {prefix: /x/y}}]}, {match: [{uri: {prefix: /x/y}, headers: {h: {exact: "1"}}}]}]`,
			[]string{"UnreachableRoute error spec.http[2] <- spec.http[0].match[0]"},
		},
		"ignoreUriCase differs":  {`[{match: [{uri: {prefix: /x}, ignoreUriCase: true}], delegate: {name: api}}, {match: [{uri: {prefix: /x/api}}]}]`, nil},
		"unknown covers nothing": {`[{delegate: {name: nobody}}, {match: [{uri: {prefix: /x}}]}]`, nil},
		"not exported":           {`[{delegate: {name: hidden}}, {match: [{uri: {prefix: /x}}]}]`, nil},
		"exported to its own": {
			`[{delegate: {name: here}}, {match: [{uri: {prefix: /x}}]}]`,
			[]string{"CatchAllNotLast error spec.http[1] <- spec.http[0]"},
		},
		"has hosts":                    {`[{delegate: {name: hosted}}, {match: [{uri: {prefix: /x}}]}]`, nil},
		"one level only":               {`[{delegate: {name: nested}}, {match: [{uri: {prefix: /x}}]}]`, nil},
		"null":                         {`[{delegate: {}}, {match: [{uri: {prefix: /x}}]}]`, nil},
		"the delegating route is dead": {`[{match: [{uri: {prefix: /x}}]}, {match: [{uri: {prefix: /x/y}}], delegate: {name: nobody}}]`, []string{"UnreachableRoute error spec.http[1] <- spec.http[0].match[0]"}},
		"its own match is not covered": {`[{match: [{uri: {prefix: /x/api}}]}, {match: [{uri: {prefix: /x}}], delegate: {name: api}}]`, nil},
		"a delegate may widen withoutHeaders": {
			`[{match: [{withoutHeaders: {h: {prefix: a}}}]}, {match: [{withoutHeaders: {h: {prefix: a}}}], delegate: {name: all}}]`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			vs := virtualService(t, "http: "+tc.http)
			assert.Equal(t, tc.want, codes(RouteOrder(vs, delegates)))
			RouteOrder(vs, nil)
		})
	}
}

// A delegate by itself: under a root "/api", Istio leaves its route "/" out for a
// conflict, and the route "/api" behind it is live.
func TestRouteOrderOfADelegate(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b string
		want []string
	}{
		"no match":             {`-`, `{uri: {prefix: /a}}`, []string{catchAllAny}},
		"same":                 {`{uri: {prefix: /a}}`, `{uri: {prefix: /a}}`, []string{unreachable}},
		"same and more":        {`{uri: {prefix: /a}}`, `{uri: {prefix: /a}, headers: {h: {exact: "1"}}}`, []string{unreachable}},
		"a root may drop /":    {`{uri: {prefix: /}}`, `{uri: {prefix: /a}}`, []string{"CatchAllNotLast warning spec.http[1] <- spec.http[0].match[0]"}},
		"a root may drop both": {`{uri: {prefix: /b}}`, `{uri: {prefix: /a}}`, nil},
		"contradiction":        {`{uri: {prefix: /b}}`, `{uri: {prefix: a}}`, []string{never}},
		"gateways": {
			`{gateways: [g]}`, `{gateways: [g], headers: {h: {exact: "1"}}}`, []string{catchAll},
		},
		"a root's labels count without gateways only": {
			`-`, `{gateways: [g]}`, []string{"CatchAllNotLast warning spec.http[1] <- spec.http[0]"},
		},
		"one gateway of who knows which": {`{gateways: [g]}`, `{headers: {h: {exact: "1"}}}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			vs := pair(t, "[]", tc.a, tc.b)
			vs.Spec.Hosts = nil
			assert.Equal(t, tc.want, codes(RouteOrder(vs, nil)))
		})
	}
	vs := pair(t, "[]", `{uri: {prefix: /}}`, `{uri: {prefix: /a}}`)
	vs.Spec.Hosts = nil
	assert.Contains(t, RouteOrder(vs, nil)[0].Message, "This is a delegate: there are root matches under which Istio leaves spec.http[0] out for a conflict, or widens spec.http[1], and then it is live.")
}

func TestRouteOrderSurvivesNil(t *testing.T) {
	assert.Empty(t, RouteOrder(nil, nil))
	assert.Empty(t, RouteOrder(&networkingv1.VirtualService{}, nil))
	_, ok := WorkingOrder(nil, nil)
	assert.False(t, ok)
	vs := &networkingv1.VirtualService{}
	vs.Spec.Hosts = []string{"a"}
	vs.Spec.Gateways = []string{"", ".", "/", "a.b", "mesh"}
	vs.Spec.Http = []*networking.HTTPRoute{
		nil,
		{},
		{Match: []*networking.HTTPMatchRequest{nil, {Headers: map[string]*networking.StringMatch{"": nil, "@request.auth.claims.x": nil}}}},
		{Route: []*networking.HTTPRouteDestination{nil}, Match: []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: (*networking.StringMatch_Exact)(nil)}}}},
		{Route: []*networking.HTTPRouteDestination{{}}, Delegate: &networking.Delegate{}},
		{Match: []*networking.HTTPMatchRequest{nil}, Delegate: &networking.Delegate{}},
		{Match: []*networking.HTTPMatchRequest{{Gateways: []string{"", "x"}}}},
	}
	d := &networkingv1.VirtualService{}
	d.Spec.Http = []*networking.HTTPRoute{nil, {Match: []*networking.HTTPMatchRequest{nil, {}}}}
	for _, delegates := range []Delegates{nil, func(string, string) *networkingv1.VirtualService { return nil }, func(string, string) *networkingv1.VirtualService { return d }} {
		assert.NotPanics(t, func() {
			for _, f := range RouteOrder(vs, delegates) {
				assert.NotEmpty(t, f.Text())
			}
			WorkingOrder(vs, delegates)
			updated(vs, vs, delegates)
		})
	}
}

func many(n int, route func(i int) *networking.HTTPRoute) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{}
	vs.Namespace, vs.Name = "shop", "web"
	vs.Spec.Hosts = []string{"example.com"}
	for i := range n {
		vs.Spec.Http = append(vs.Spec.Http, route(i))
	}
	return vs
}

func prefixRoute(prefix string) *networking.HTTPRoute {
	return &networking.HTTPRoute{
		Match: []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: prefix}}}},
		Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "a"}}},
	}
}

// Large objects, kind ones and hostile ones: answered in time, and in bounds.
func TestRouteOrderIsBounded(t *testing.T) {
	match := func(m *networking.HTTPMatchRequest) *networking.HTTPRoute {
		return &networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{m}}
	}
	exact := func(s string) *networking.StringMatch {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: s}}
	}
	regex := func(s string) *networking.StringMatch {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: s}}
	}
	const n = 10_000
	for name, tc := range map[string]struct {
		vs   *networkingv1.VirtualService
		want int
	}{
		"disjoint": {many(n, func(i int) *networking.HTTPRoute { return prefixRoute(fmt.Sprintf("/%05d/", i)) }), 0},
		"behind a catch-all": {many(n, func(i int) *networking.HTTPRoute {
			if i == 0 {
				return prefixRoute("/")
			}
			return prefixRoute(fmt.Sprintf("/%05d/", i))
		}), maxDetailed + 1},
		"all the same": {many(n, func(int) *networking.HTTPRoute { return prefixRoute("/") }), maxDetailed + 1},
		"one prefix, different headers": {many(n, func(i int) *networking.HTTPRoute {
			return match(&networking.HTTPMatchRequest{Headers: map[string]*networking.StringMatch{"x": exact(fmt.Sprint(i))}})
		}), 0},
		"nested, widest first": {many(2000, func(i int) *networking.HTTPRoute { return prefixRoute("/" + strings.Repeat("a", i+1)) }), maxDetailed + 1},
		"nested, widest last":  {many(2000, func(i int) *networking.HTTPRoute { return prefixRoute("/" + strings.Repeat("a", 2000-i)) }), 0},
		"regexes": {many(500, func(i int) *networking.HTTPRoute {
			return match(&networking.HTTPMatchRequest{Uri: regex(fmt.Sprintf("/(a|b|ab)*%d(x+x+)+y", i))})
		}), 0},
		"regexes, then exacts": {many(2000, func(i int) *networking.HTTPRoute {
			if i < 500 {
				return match(&networking.HTTPMatchRequest{Uri: regex(fmt.Sprintf("/(.{1,100}){1,9}(x+x+)+%d", i))})
			}
			return match(&networking.HTTPMatchRequest{Uri: exact("/" + strings.Repeat("x", i))})
		}), 0},
		"alternations": {many(500, func(i int) *networking.HTTPRoute {
			return match(&networking.HTTPMatchRequest{Uri: regex(fmt.Sprintf("/%d([a-p][a-p][a-p]|[0-9]|(?i)kelvin)(a|b|c|d)(e|f|g)", i))})
		}), 0},
		"one route, many entries": {many(1, func(int) *networking.HTTPRoute {
			r := &networking.HTTPRoute{}
			for i := range n {
				r.Match = append(r.Match, &networking.HTTPMatchRequest{Uri: exact(fmt.Sprintf("/%d", i%5000))})
			}
			return r
		}), maxDetailed + 1},
		"many gateways": {many(1000, func(i int) *networking.HTTPRoute {
			return match(&networking.HTTPMatchRequest{Uri: exact(fmt.Sprintf("/%d", i%999)), Gateways: []string{fmt.Sprint(i % 999), "mesh"}})
		}), 1},
		"long values": {many(3, func(int) *networking.HTTPRoute {
			r := prefixRoute("/" + strings.Repeat("é\"", 500_000))
			r.Name = strings.Repeat("n", 500_000)
			r.Route[0].Destination.Host = strings.Repeat("h", 500_000)
			r.Match[0].Headers = map[string]*networking.StringMatch{strings.Repeat("x", 100_000): exact(strings.Repeat("y", 100_000))}
			return r
		}), 2},
	} {
		t.Run(name, func(t *testing.T) {
			fs := RouteOrder(tc.vs, nil)
			assert.Len(t, fs, tc.want)
			for _, f := range fs {
				assert.LessOrEqual(t, len(f.Message), 1024)
				assert.LessOrEqual(t, len(f.Remedy), 1024)
				assert.LessOrEqual(t, len(f.Text()), finding.MaxText)
			}
		})
	}
	vs := many(n, func(i int) *networking.HTTPRoute {
		if i == 0 {
			return prefixRoute("/")
		}
		return prefixRoute(fmt.Sprintf("/%05d/", i))
	})
	m := newJudgement(vs, nil).w
	assert.Positive(t, m.left, "far from the end of its budget")
	fs := RouteOrder(vs, nil)
	assert.Equal(t, "Put spec.http[1] to spec.http[9999] before spec.http[0]. The order that works: spec.http[1] to spec.http[9999], spec.http[0].", fs[0].Remedy)
	assert.Equal(t, "And 9979 more dead routes: spec.http[21] to spec.http[9999].", fs[maxDetailed].Message)
	order, ok := WorkingOrder(vs, nil)
	assert.True(t, ok)
	assert.Len(t, order, n)
}

func updated(old, vs *networkingv1.VirtualService, delegates Delegates) []finding.Finding {
	fs, _ := RouteOrderUpdate(func() *networkingv1.VirtualService { return old }, vs, delegates)
	return fs
}

func TestRouteOrderUpdate(t *testing.T) {
	vs := func(prefixes ...string) *networkingv1.VirtualService {
		return many(len(prefixes), func(i int) *networking.HTTPRoute { return prefixRoute(prefixes[i]) })
	}
	severities := func(fs []finding.Finding) (out []string) {
		for _, f := range fs {
			out = append(out, string(f.Severity)+" "+f.Path)
		}
		return out
	}
	assert.Equal(t, []string{"error spec.http[1]"}, severities(updated(nil, vs("/", "/a"), nil)))
	assert.Equal(t, []string{"warning spec.http[1]"}, severities(updated(vs("/", "/a"), vs("/", "/a"), nil)))
	assert.Equal(t, []string{"error spec.http[2]", "warning spec.http[1]"}, severities(updated(vs("/", "/a"), vs("/", "/a", "/b"), nil)))
	assert.Equal(t, []string{"error spec.http[2]", "warning spec.http[1]"}, severities(updated(vs("/", "/a"), vs("/", "/a", "/a"), nil)))

	// Beyond the bound, too: the object had 30 dead routes and has one less, or one
	// more at its end.
	names := []string{"/"}
	for i := range 30 {
		names = append(names, fmt.Sprintf("/%02d", i))
	}
	for _, f := range updated(vs(names...), vs(names[:30]...), nil) {
		assert.Equal(t, finding.Warning, f.Severity)
	}
	fs := updated(vs(names...), vs(append(names, "/new")...), nil)
	assert.Equal(t, "error spec.http[31]", severities(fs)[0])
	assert.Equal(t, finding.Warning, fs[1].Severity)
}

func TestUndecided(t *testing.T) {
	vs := pair(t, "[]", `{uri: {regex: "/(a|b)*a(a|b){40}"}}`, `{uri: {regex: "/(a|b)*a(a|b){41}"}}`)
	fs, undecided := RouteOrderUpdate(nil, vs, nil)
	assert.Empty(t, fs)
	assert.Equal(t, []string{"spec.http[1].match[0]"}, undecided)
	v := Verdicts(vs, nil)
	assert.Equal(t, []State{Live, Unknown}, []State{v[0].State, v[1].State})

	vs = pair(t, "[]", `{uri: {prefix: /api}}`, `{uri: {prefix: /api/v1}}`)
	vs.Annotations = map[string]string{"internal.istio.io/route-semantics": "gateway"}
	fs, undecided = RouteOrderUpdate(nil, vs, nil)
	assert.Empty(t, fs, "a prefix of whole segments")
	assert.Equal(t, []string{"spec.http"}, undecided)

	fs, undecided = RouteOrderUpdate(nil, many(maxUnits+1, func(int) *networking.HTTPRoute { return prefixRoute("/") }), nil)
	assert.Empty(t, fs)
	assert.Equal(t, []string{"spec.http"}, undecided)
}
