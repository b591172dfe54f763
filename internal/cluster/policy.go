package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Names that the manifests of the webhook give.
const (
	webhookName = "egress-tls-webhook"
	policyName  = webhookName + "-policy"
	policyFile  = "policy.yaml"
	volumeName  = "policy"
)

// ErrNotInstalled says that there is no webhook whose policy could be read.
var ErrNotInstalled = errors.New("no webhook is installed")

// UnreadError says that a webhook is installed whose policy is not there, or not for this
// user.
type UnreadError struct{ error }

// Policy returns the policy file of the webhook that is installed, and where it stands.
// That is the ConfigMap that the Deployment mounts, or, where that does not tell,
// egress-tls-webhook-policy; kustomize appends a hash to that name.
func (c *Cluster) Policy(ctx context.Context) (file []byte, place string, err error) {
	file, place, err = c.policy(ctx)
	if absent(err) {
		err = &UnreadError{err}
	}
	return file, place, err
}

func absent(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) }

func (c *Cluster) policy(ctx context.Context) (file []byte, place string, err error) {
	var webhook admissionregistrationv1.ValidatingWebhookConfiguration
	err = c.object(ctx, "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/"+webhookName, &webhook)
	if apierrors.IsNotFound(err) {
		return nil, "", ErrNotInstalled
	}
	if err != nil {
		return nil, "", err
	}
	namespace := ""
	for _, w := range webhook.Webhooks {
		if s := w.ClientConfig.Service; s != nil {
			namespace = cmp.Or(namespace, s.Namespace)
		}
	}
	if namespace == "" {
		return nil, "", &UnreadError{fmt.Errorf("ValidatingWebhookConfiguration %s names no Service", webhookName)}
	}
	name, err := c.policyConfigMap(ctx, namespace)
	if err != nil {
		return nil, "", err
	}
	var configMap corev1.ConfigMap
	if err := c.object(ctx, "/api/v1/namespaces/"+namespace+"/configmaps/"+name, &configMap); err != nil {
		return nil, "", err
	}
	place = fmt.Sprintf("ConfigMap %s/%s", namespace, name)
	text, ok := configMap.Data[policyFile]
	if !ok {
		return nil, "", &UnreadError{fmt.Errorf("%s has no %s", place, policyFile)}
	}
	return []byte(text), place, nil
}

func (c *Cluster) policyConfigMap(ctx context.Context, namespace string) (name string, err error) {
	var deployment appsv1.Deployment
	if err := c.object(ctx, "/apis/apps/v1/namespaces/"+namespace+"/deployments/"+webhookName, &deployment); err != nil && !absent(err) {
		return "", err
	}
	for _, v := range deployment.Spec.Template.Spec.Volumes {
		if v.Name == volumeName && v.ConfigMap != nil {
			return v.ConfigMap.Name, nil
		}
	}
	return policyName, nil
}

func (c *Cluster) object(ctx context.Context, path string, into any) error {
	raw, err := c.get(ctx, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the API server's answer for %s cannot be read: %w", path, err)
	}
	return nil
}
