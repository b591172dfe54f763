package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // As in kubectl, for kubeconfigs that name it.
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Access says which cluster to read, as the flags of kubectl with these names do.
type Access struct {
	Kubeconfig, Context, RequestTimeout string
	// ChunkSize is how many objects are asked for at once; 0: all.
	ChunkSize int64
	UserAgent string
}

// Cluster is an API server.
type Cluster struct {
	// Name is what a reader knows it by: the context of the kubeconfig, or the server's address.
	Name string
	// Namespace is where kubectl puts objects that name none.
	Namespace string

	client    rest.Interface
	chunkSize int64
}

// Connect finds the cluster as kubectl does: in Kubeconfig, else in the files of
// $KUBECONFIG, else in ~/.kube/config, else the one that it runs in. It sends nothing yet.
func Connect(a Access) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: a.Context, Timeout: a.RequestTimeout}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no cluster: no kubeconfig was found in $KUBECONFIG or ~/.kube/config, and this is no Pod; name one with --kubeconfig FILE")
	}
	if err != nil {
		return nil, fmt.Errorf("failed to find the cluster: %w", err)
	}
	// For a Pod's own access the override counts for nothing.
	if config.Timeout, err = clientcmd.ParseTimeout(cmp.Or(a.RequestTimeout, "0")); err != nil {
		return nil, fmt.Errorf("failed to find the cluster: %w", err)
	}
	// The API server's priority and fairness limits better.
	config.QPS, config.Burst = -1, -1
	config.UserAgent = a.UserAgent
	// That a version is deprecated is nothing that the reader of stored objects chose.
	config.WarningHandlerWithContext = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("failed to connect to the cluster: %w", err)
	}
	name := a.Context
	if kubeconfig, err := loader.RawConfig(); name == "" && err == nil {
		name = kubeconfig.CurrentContext
	}
	if name == "" {
		name = config.Host
		if at, err := url.Parse(name); err == nil {
			at.User = nil // It may hold a password.
			name = at.String()
		}
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("failed to find the cluster: %w", err)
	}
	return &Cluster{name, namespace, client, a.ChunkSize}, nil
}

// get reads what is at a path of the API server.
func (c *Cluster) get(ctx context.Context, path string, params url.Values) ([]byte, error) {
	request := c.client.Get().AbsPath(path).SetHeader("Accept", runtime.ContentTypeJSON)
	for name := range params {
		request = request.Param(name, params.Get(name))
	}
	result := request.Do(ctx)
	// Error tells what the API server said, unlike Raw.
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}
