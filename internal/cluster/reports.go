package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/egress-tls/egress-tls-webhook/internal/policyreport"
)

// reportKind is a kind of reports.
type reportKind struct {
	resource
	version string
}

// reportKinds are the kinds that can be written, the first that is served is.
func reportKinds() []reportKind {
	return []reportKind{
		{resource{"openreports.io", "reports", "Report"}, "v1alpha1"},
		{resource{"wgpolicyk8s.io", "policyreports", "PolicyReport"}, "v1alpha2"},
	}
}

// Written says what became of reports.
type Written struct {
	Kind                                 string
	Created, Updated, Unchanged, Deleted int
}

// WriteReports makes reports the only ones of ours: in one namespace, or with "" in all.
// What has not changed is not written. A report that cannot be written keeps no other from
// being so.
func (c *Cluster) WriteReports(ctx context.Context, reports []*policyreport.Report, namespace string, now metav1.Timestamp) (Written, error) {
	var out Written
	var served []reportKind
	for _, k := range reportKinds() {
		ok, err := c.serves(ctx, k)
		if err != nil {
			return out, err
		}
		if ok {
			served = append(served, k)
		}
	}
	if len(served) == 0 {
		return out, errors.New("reports cannot be written: the cluster serves neither reports.openreports.io v1alpha1 nor policyreports.wgpolicyk8s.io v1alpha2; install the CRDs of OpenReports, or those that Kyverno brings")
	}
	out.Kind = served[0].kind
	var errs []error
	for i, k := range served {
		ours, err := c.ourReports(ctx, k, namespace)
		if err != nil {
			errs = append(errs, err)
			break
		}
		if i == 0 {
			for _, r := range reports {
				errs = append(errs, c.writeReport(ctx, k, ours[r.Namespace], r, now, &out))
				delete(ours, r.Namespace)
			}
		}
		for _, stale := range slices.Sorted(maps.Keys(ours)) {
			errs = append(errs, c.deleteReport(ctx, k, ours[stale], &out))
		}
	}
	return out, errors.Join(errs...)
}

func (c *Cluster) serves(ctx context.Context, k reportKind) (bool, error) {
	var list metav1.APIResourceList
	err := c.object(ctx, "/apis/"+k.group+"/"+k.version, &list)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("failed to ask the cluster for %s: %w", k, err)
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == k.plural }), nil
}

// path is where the reports of a namespace are, or with "" all.
func (k reportKind) path(namespace string) string {
	prefix := "/apis/" + k.group + "/" + k.version + "/"
	if namespace != "" {
		prefix += "namespaces/" + namespace + "/"
	}
	return prefix + k.plural
}

// ourReports returns the reports with our label, by namespace.
func (c *Cluster) ourReports(ctx context.Context, k reportKind, namespace string) (map[string]*policyreport.Report, error) {
	selector := url.Values{"labelSelector": {policyreport.ManagedByLabel + "=" + policyreport.Name}}
	items, err := c.list(ctx, k.path(namespace), selector, func(int, int64) {})
	if err != nil {
		return nil, fmt.Errorf("failed to list %s: %w", k, err)
	}
	out := map[string]*policyreport.Report{}
	for _, item := range items {
		r := &policyreport.Report{}
		if err := json.Unmarshal(item.Raw, r); err != nil {
			return nil, fmt.Errorf("failed to read one of %s: %w", k, err)
		}
		if r.Name == policyreport.Name {
			out[r.Namespace] = r
		}
	}
	return out, nil
}

// writeReport makes want the report of its namespace in the place of old, which may be nil.
// What another scan, or whoever deletes it, has made of that meanwhile is read again, once.
func (c *Cluster) writeReport(ctx context.Context, k reportKind, old, want *policyreport.Report, now metav1.Timestamp, done *Written) error {
	err := c.putReport(ctx, k, old, want, now, done)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || old != nil && apierrors.IsNotFound(err) {
		ours, listErr := c.ourReports(ctx, k, want.Namespace)
		if listErr != nil {
			return listErr
		}
		old = ours[want.Namespace]
		err = c.putReport(ctx, k, old, want, now, done)
	}
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return nil // The namespace goes, and its report with it.
	case old == nil && apierrors.IsAlreadyExists(err):
		return fmt.Errorf("%s %s/%s is not touched: it lacks the label %s=%s, so it is none of ours", k.kind, want.Namespace, want.Name, policyreport.ManagedByLabel, policyreport.Name)
	case err != nil:
		return fmt.Errorf("failed to write %s %s/%s: %w", k.kind, want.Namespace, want.Name, err)
	}
	return nil
}

func (c *Cluster) putReport(ctx context.Context, k reportKind, old, want *policyreport.Report, now metav1.Timestamp, done *Written) error {
	made, same := want.Replaces(old, now)
	if same {
		done.Unchanged++
		return nil
	}
	made.TypeMeta = metav1.TypeMeta{APIVersion: k.group + "/" + k.version, Kind: k.kind}
	body, err := json.Marshal(made)
	if err != nil {
		return err
	}
	counter, request := &done.Updated, c.client.Put().AbsPath(k.path(made.Namespace), made.Name)
	if old == nil {
		counter, request = &done.Created, c.client.Post().AbsPath(k.path(made.Namespace))
	}
	if err := request.SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error(); err != nil {
		return err
	}
	*counter++
	return nil
}

func (c *Cluster) deleteReport(ctx context.Context, k reportKind, stale *policyreport.Report, done *Written) error {
	body, err := json.Marshal(metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &stale.UID, ResourceVersion: &stale.ResourceVersion}})
	if err != nil {
		return fmt.Errorf("failed to encode the deletion of %s %s/%s: %w", k.kind, stale.Namespace, stale.Name, err)
	}
	err = c.client.Delete().AbsPath(k.path(stale.Namespace), stale.Name).SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil // Another scan has deleted it, or found something meanwhile.
	case err != nil:
		return fmt.Errorf("failed to delete %s %s/%s: %w", k.kind, stale.Namespace, stale.Name, err)
	}
	done.Deleted++
	return nil
}

// String says it in a line.
func (w Written) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		verb string
	}{{w.Created, "created"}, {w.Updated, "updated"}, {w.Unchanged, "unchanged"}, {w.Deleted, "deleted"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.verb))
		}
	}
	if len(parts) == 0 {
		return w.Kind + ": none"
	}
	return w.Kind + ": " + strings.Join(parts, ", ")
}
