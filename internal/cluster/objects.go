package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
)

const istioGroup = "networking.istio.io"

// resource is a kind of objects as the API server names it.
type resource struct {
	group, plural, kind string
}

func (r resource) String() string {
	if r.group == "" {
		return r.plural
	}
	return r.plural + "." + r.group
}

// resources are what is read.
func resources() []resource {
	return []resource{
		{"", "namespaces", "Namespace"},
		{"", "services", "Service"},
		{istioGroup, "serviceentries", "ServiceEntry"},
		{istioGroup, "virtualservices", "VirtualService"},
		{istioGroup, "destinationrules", "DestinationRule"},
		{istioGroup, "gateways", "Gateway"},
	}
}

// Object is one object as the API server holds it.
type Object struct {
	APIVersion, Kind string
	Raw              []byte
}

// Progress is told after each page how many objects of a resource were read, and how
// many are left as far as the API server knows.
type Progress func(resource string, read int, left int64)

// Objects reads all objects of the kinds that decisions read, of all namespaces. Each list is
// of one moment, but not all of the same.
func (c *Cluster) Objects(ctx context.Context, progress Progress) ([]Object, error) {
	istio, err := c.istioVersion(ctx)
	if err != nil {
		return nil, err
	}
	var out []Object
	var errs []error
	var forbidden []string
	for _, r := range resources() {
		path, version := "/api/v1/"+r.plural, "v1"
		if r.group != "" {
			version = r.group + "/" + istio
			path = "/apis/" + version + "/" + r.plural
		}
		items, err := c.list(ctx, path, nil, func(read int, left int64) { progress(r.plural, read, left) })
		switch {
		case apierrors.IsForbidden(err):
			forbidden = append(forbidden, r.String())
		case apierrors.IsNotFound(err):
			errs = append(errs, fmt.Errorf("the cluster does not serve %s in version %s: install the CRDs of Istio 1.24 or later", r, istio))
		case err != nil:
			// Whatever it is, it is likely to happen again.
			return nil, fmt.Errorf("failed to list %s: %w", r, err)
		}
		for _, item := range items {
			out = append(out, Object{version, r.kind, item.Raw})
		}
	}
	if len(forbidden) > 0 {
		errs = append(errs, forbiddenError(forbidden))
	}
	return out, errors.Join(errs...)
}

// forbiddenError says which rights lack, and how to get all that are needed.
func forbiddenError(lacking []string) error {
	var all []string
	for _, r := range resources() {
		all = append(all, r.String())
	}
	return fmt.Errorf(`this user may not list %s in all namespaces; these rights are enough:
  kubectl create clusterrole egress-tls-scan --verb=list --resource=%s
  kubectl create clusterrolebinding egress-tls-scan --clusterrole=egress-tls-scan --user=USER`,
		strings.Join(lacking, ", "), strings.Join(all, ","))
}

// istioVersion returns the newest version in which Istio's kinds are served. All have the
// same fields.
func (c *Cluster) istioVersion(ctx context.Context) (string, error) {
	raw, err := c.get(ctx, "/apis/"+istioGroup, nil)
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("failed to ask the cluster for the versions of %s: %w", istioGroup, err)
	}
	var group metav1.APIGroup
	if err == nil {
		if err := json.Unmarshal(raw, &group); err != nil {
			return "", fmt.Errorf("failed to read the versions of %s: %w", istioGroup, err)
		}
	}
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		if slices.ContainsFunc(group.Versions, func(v metav1.GroupVersionForDiscovery) bool { return v.Version == version }) {
			return version, nil
		}
	}
	return "", fmt.Errorf("the cluster does not serve %s: is Istio installed there, with its CRDs?", istioGroup)
}

// list reads a list in chunks. Where that takes so long that the API server has forgotten
// the moment of the first one, it is read at once.
func (c *Cluster) list(ctx context.Context, path string, selector url.Values, progress func(read int, left int64)) ([]runtime.RawExtension, error) {
	var items []runtime.RawExtension
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		params := url.Values{"limit": {strconv.FormatInt(options.Limit, 10)}}
		maps.Copy(params, selector)
		if options.Continue == "" {
			items = nil
		} else {
			params.Set("continue", options.Continue)
		}
		raw, err := c.get(ctx, path, params)
		if err != nil {
			return nil, err
		}
		page := &metav1.List{}
		if err := json.Unmarshal(raw, page); err != nil {
			return nil, fmt.Errorf("the API server's answer cannot be read: %w", err)
		}
		for _, item := range page.Items { // Here, so that no more of it than a page is held.
			if item.Raw, err = withoutManagedFields(item.Raw); err != nil {
				return nil, fmt.Errorf("the API server's answer cannot be read: %w", err)
			}
			items = append(items, item)
		}
		var left int64
		if page.RemainingItemCount != nil {
			left = *page.RemainingItemCount
		}
		progress(len(items), left)
		// The pager wants no more than where to go on.
		page.Items = nil
		return page, nil
	})
	pages.PageSize = c.chunkSize
	_, _, err := pages.List(ctx, metav1.ListOptions{})
	return items, err
}

// withoutManagedFields drops what may be the larger half of a stored object and says
// nothing about it.
func withoutManagedFields(raw []byte) ([]byte, error) {
	var object, meta map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(object["metadata"], &meta); err != nil {
		return nil, err
	}
	if _, has := meta["managedFields"]; !has {
		return raw, nil
	}
	delete(meta, "managedFields")
	var err error
	if object["metadata"], err = json.Marshal(meta); err != nil {
		return nil, err
	}
	return json.Marshal(object)
}
