package cluster

import (
	"cmp"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/policyreport"
)

// What becomes of reports between their list and a write; all else is tested with a real API
// server.
func TestReportsThatChangeMeanwhile(t *testing.T) {
	const (
		group   = "/apis/openreports.io/v1alpha1"
		all     = "GET " + group + "/reports"
		list    = "GET " + group + "/namespaces/shop/reports"
		create  = "POST " + group + "/namespaces/shop/reports"
		update  = "PUT " + group + "/namespaces/shop/reports/egress-tls"
		remove  = "DELETE " + group + "/namespaces/shop/reports/egress-tls"
		old     = `{"items":[{"metadata":{"name":"egress-tls","namespace":"shop"},"summary":{"fail":1}}]}`
		current = `{"items":[{"metadata":{"name":"egress-tls","namespace":"shop"},"scope":{"apiVersion":"v1","kind":"Namespace","name":"shop"}}]}`
	)
	exists, changed, gone := status(409, "AlreadyExists", "it is there"), status(409, "Conflict", "it has changed"), status(404, "NotFound", "it is gone")
	type answers map[string][]string // by request, "" for yes
	for name, tc := range map[string]struct {
		answers answers
		none    bool // nothing is to be reported
		want    Written
		err     string
	}{
		"another scan creates it":       {answers: answers{all: {empty}, create: {exists}, list: {old}, update: {""}}, want: Written{Updated: 1}},
		"another scan creates the same": {answers: answers{all: {empty}, create: {exists}, list: {current}}, want: Written{Unchanged: 1}},
		"another scan updates it":       {answers: answers{all: {old}, update: {changed, ""}, list: {old}}, want: Written{Updated: 1}},
		"another scan deletes it too":   {none: true, answers: answers{all: {old}, remove: {gone}}},
		"another scan finds something":  {none: true, answers: answers{all: {old}, remove: {changed}}},
		"somebody deletes it":           {answers: answers{all: {old}, update: {gone}, list: {empty}, create: {""}}, want: Written{Created: 1}},
		"its namespace goes":            {answers: answers{all: {old}, update: {gone}, list: {empty}, create: {gone}}},
		"it is another's": {
			answers: answers{all: {empty}, create: {exists, exists}, list: {empty}},
			err:     "Report shop/egress-tls is not touched: it lacks the label app.kubernetes.io/managed-by=egress-tls, so it is none of ours",
		},
		"it does not rest": {
			answers: answers{all: {old}, update: {changed, changed}, list: {old}},
			err:     "failed to write Report shop/egress-tls: it has changed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := connectTo(t, func(r *http.Request) (int, string) {
				switch r.URL.Path {
				case group:
					return http.StatusOK, `{"resources":[{"name":"reports"}]}`
				case "/apis/wgpolicyk8s.io/v1alpha2":
					return http.StatusNotFound, gone
				}
				request := r.Method + " " + r.URL.Path
				if !assert.NotEmpty(t, tc.answers[request], request) {
					return http.StatusInternalServerError, ""
				}
				answer := tc.answers[request][0]
				tc.answers[request] = tc.answers[request][1:]
				switch answer {
				case exists, changed:
					return http.StatusConflict, answer
				case gone:
					return http.StatusNotFound, answer
				}
				return http.StatusOK, cmp.Or(answer, "{}")
			})
			var reports []*policyreport.Report
			if !tc.none {
				reports = append(reports, policyreport.New("shop"))
			}
			got, err := c.WriteReports(t.Context(), reports, "", metav1.Timestamp{})
			if tc.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tc.err)
			}
			tc.want.Kind = "Report"
			assert.Equal(t, tc.want, got)
			for request, left := range tc.answers {
				assert.Empty(t, left, request)
			}
		})
	}
}
