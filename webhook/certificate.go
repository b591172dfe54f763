package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// certificateSource is where the serving certificate comes from.
type certificateSource struct {
	manager.Runnable
	get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// fromDirectory serves tls.crt and tls.key of dir, as a mounted Secret holds
// them, and takes over new ones while it serves.
func fromDirectory(dir string) (certificateSource, error) {
	w, err := certwatcher.New(filepath.Join(dir, corev1.TLSCertKey), filepath.Join(dir, corev1.TLSPrivateKeyKey))
	if err != nil {
		return certificateSource{}, fmt.Errorf("failed to load the serving certificate of %s: %w", dir, err)
	}
	return certificateSource{w, w.GetCertificate}, nil
}

// selfSigned serves a certificate signed by an authority that all replicas share
// in a Secret and renew in time. caBundles tells the API server about it.
func selfSigned(cfg Config) certificateSource {
	names, ips := cfg.servingNames()
	src := &cmtls.DynamicSource{
		DNSNames: names,
		Authority: &ipAuthority{&authority.DynamicAuthority{
			SecretNamespace: cfg.Namespace,
			SecretName:      cfg.CASecretName,
			RESTConfig:      cfg.RESTConfig,
			CommonName:      "egress-tls-webhook-ca",
		}, ips},
	}
	return certificateSource{src, src.GetCertificate}
}

// ipAuthority adds IP addresses, which a DynamicSource has no field for.
type ipAuthority struct {
	*authority.DynamicAuthority
	ips []net.IP
}

// Sign signs the template with the addresses.
func (a *ipAuthority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	template.IPAddresses = a.ips
	return a.DynamicAuthority.Sign(template)
}

// caBundles keeps the caBundle of the webhook configurations equal to the
// authority in the Secret.
type caBundles struct {
	client        client.Client
	secret        types.NamespacedName
	configuration string
}

func (c *caBundles) setup(mgr ctrl.Manager) error {
	same := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: c.secret}}
	})
	everywhere := false
	err := ctrl.NewControllerManagedBy(mgr).
		Named("cabundle").
		WithOptions(controller.Options{NeedLeaderElection: &everywhere}).
		Watches(&corev1.Secret{}, same).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, same).
		Watches(&admissionregistrationv1.ValidatingWebhookConfiguration{}, same).
		Complete(c)
	if err != nil {
		return fmt.Errorf("failed to set up the caBundle controller: %w", err)
	}
	return nil
}

// Reconcile writes the authority into both configurations, where they exist and
// hold another one. cert-manager's cainjector would be told to do the same by an
// annotation; this is for clusters without it.
func (c *caBundles) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	secret := &corev1.Secret{}
	if err := c.client.Get(ctx, c.secret, secret); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	ca := secret.Data["ca.crt"]
	if len(ca) == 0 {
		return reconcile.Result{}, nil
	}
	m, v := &admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}
	return reconcile.Result{}, errors.Join(
		c.write(ctx, ca, m, func() (bundles []*[]byte) {
			for i := range m.Webhooks {
				bundles = append(bundles, &m.Webhooks[i].ClientConfig.CABundle)
			}
			return bundles
		}),
		c.write(ctx, ca, v, func() (bundles []*[]byte) {
			for i := range v.Webhooks {
				bundles = append(bundles, &v.Webhooks[i].ClientConfig.CABundle)
			}
			return bundles
		}),
	)
}

// write puts ca into the bundles of the configuration that it reads into o.
func (c *caBundles) write(ctx context.Context, ca []byte, o client.Object, bundles func() []*[]byte) error {
	if err := c.client.Get(ctx, types.NamespacedName{Name: c.configuration}, o); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("failed to get %T %s: %w", o, c.configuration, err)
	}
	old, _ := o.DeepCopyObject().(client.Object)
	changed := false
	for _, b := range bundles() {
		if !bytes.Equal(*b, ca) {
			*b, changed = ca, true
		}
	}
	if !changed {
		return nil
	}
	// The lock keeps a webhook that somebody adds in between from being lost.
	lock := client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})
	if err := c.client.Patch(ctx, o, lock, client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("failed to write the caBundle of %T %s: %w", o, o.GetName(), err)
	}
	return nil
}
