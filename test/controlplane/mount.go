package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// VolumePeriod is the time between two looks at what the volumes are made from. A kubelet takes up
// to a minute and a half.
const VolumePeriod = 2 * time.Second

// serviceAccountDir is where a container finds who it is.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// mount makes the Pod's volumes what they should be now.
func (p *Pod) mount(ctx context.Context) error {
	for _, v := range p.spec.Spec.Volumes {
		dir := p.volumeDir(v.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		var sources []corev1.VolumeProjection
		switch {
		case v.EmptyDir != nil:
			continue
		case v.Secret != nil:
			sources = []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: v.Secret.SecretName}, Items: v.Secret.Items, Optional: v.Secret.Optional,
			}}}
		case v.ConfigMap != nil:
			sources = []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: v.ConfigMap.LocalObjectReference, Items: v.ConfigMap.Items, Optional: v.ConfigMap.Optional,
			}}}
		case v.Projected != nil:
			sources = v.Projected.Sources
		default:
			return fmt.Errorf("volume %s: the node knows emptyDir, secret, configMap and projected only", v.Name)
		}
		files := map[string][]byte{}
		for _, source := range sources {
			if err := p.source(ctx, source, files); err != nil {
				return fmt.Errorf("volume %s: %w", v.Name, err)
			}
		}
		if err := Project(dir, files); err != nil {
			return err
		}
	}
	return nil
}

// source adds the files of one source of a volume.
func (p *Pod) source(ctx context.Context, source corev1.VolumeProjection, files map[string][]byte) error {
	core := p.node.client.CoreV1()
	switch {
	case source.Secret != nil:
		secret, err := core.Secrets(p.spec.Namespace).Get(ctx, source.Secret.Name, metav1.GetOptions{})
		return project(secret.Data, source.Secret.Items, source.Secret.Optional, err, files)
	case source.ConfigMap != nil:
		config, err := core.ConfigMaps(p.spec.Namespace).Get(ctx, source.ConfigMap.Name, metav1.GetOptions{})
		data := map[string][]byte{}
		for key, value := range config.Data {
			data[key] = []byte(value)
		}
		return project(data, source.ConfigMap.Items, source.ConfigMap.Optional, err, files)
	case source.DownwardAPI != nil:
		for _, item := range source.DownwardAPI.Items {
			value, err := p.field(item.FieldRef.FieldPath)
			if err != nil {
				return err
			}
			files[item.Path] = []byte(value)
		}
		return nil
	case source.ServiceAccountToken != nil:
		if p.token == "" { // It outlives every test.
			token, err := core.ServiceAccounts(p.spec.Namespace).CreateToken(ctx, p.spec.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
				Spec: authenticationv1.TokenRequestSpec{
					ExpirationSeconds: source.ServiceAccountToken.ExpirationSeconds,
					BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name(), UID: p.spec.UID},
				},
			}, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			p.token = token.Status.Token
		}
		files[source.ServiceAccountToken.Path] = []byte(p.token)
		return nil
	}
	return fmt.Errorf("the node does not know the source %s", source.String())
}

// project adds the keys of a Secret or ConfigMap that a volume asks for: all, or its items.
func project(data map[string][]byte, items []corev1.KeyToPath, optional *bool, err error, files map[string][]byte) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	if err != nil {
		return err
	}
	if items == nil {
		for key := range data {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			return fmt.Errorf("there is no key %s", item.Key)
		}
		files[item.Path] = value
	}
	return nil
}

// kubeconfig writes what makes a client of the files in dir, as the client in a Pod does by itself.
func (p *Pod) kubeconfig(dir string) (path string, err error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["cluster"] = &clientcmdapi.Cluster{Server: p.node.cp.Config.Host, CertificateAuthority: filepath.Join(dir, "ca.crt")}
	config.AuthInfos["pod"] = &clientcmdapi.AuthInfo{TokenFile: filepath.Join(dir, "token")}
	config.Contexts["pod"] = &clientcmdapi.Context{Cluster: "cluster", AuthInfo: "pod", Namespace: p.spec.Namespace}
	config.CurrentContext = "pod"
	path = filepath.Join(p.dir, "kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}
