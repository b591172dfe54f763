package webhook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/cert-manager/cert-manager/pkg/util/pki"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// authorityName is the common name of the server's own authorities.
	authorityName = "egress-tls-webhook-ca"
	// authorityOverlap is how long after an authority was made, or put back from a backup, the
	// API servers are told to trust the one before it too: replicas may still serve by that.
	authorityOverlap = 15 * time.Minute
)

// caBundles keeps the authority of the Secret in the caBundle of the webhook
// configurations, with the one before it while replicas may serve by that, and tells
// trusted what is there.
type caBundles struct {
	client        client.Client
	secret        types.NamespacedName
	configuration string
	trusted       *handover

	// current is the authority that the Secret held last, since when: it was made then, or,
	// as one from a backup, took the place of another.
	current *x509.Certificate
	since   time.Time
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

// Reconcile writes the authority into both configurations, where they exist and lack
// it. cert-manager's cainjector would be told to do the same by an annotation; this is
// for clusters without it.
func (c *caBundles) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	current, err := c.authority(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if current != nil {
		c.take(current, time.Now())
	}
	m, v := &admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}
	held, err := c.update(ctx, current, m, func() (bundles []*[]byte) {
		for i := range m.Webhooks {
			bundles = append(bundles, &m.Webhooks[i].ClientConfig.CABundle)
		}
		return bundles
	})
	more, moreErr := c.update(ctx, current, v, func() (bundles []*[]byte) {
		for i := range v.Webhooks {
			bundles = append(bundles, &v.Webhooks[i].ClientConfig.CABundle)
		}
		return bundles
	})
	c.trusted.see(append(held, more...), time.Now())
	notRace := func(err error) error {
		if err != nil && isRace(err) {
			return nil
		}
		return err
	}
	switch failed := errors.Join(notRace(err), notRace(moreErr)); {
	case failed != nil || current == nil:
		return reconcile.Result{}, failed
	case err != nil || moreErr != nil: // Another replica was first.
		return reconcile.Result{RequeueAfter: raceRetry}, nil //nolint:nilerr // as said
	}
	if rest := time.Until(c.since.Add(authorityOverlap)); rest > 0 {
		return reconcile.Result{RequeueAfter: rest}, nil
	}
	return reconcile.Result{}, nil
}

// authority returns the authority of the Secret, nil if there is none that is valid: a
// new one is on its way then.
func (c *caBundles) authority(ctx context.Context) (*x509.Certificate, error) {
	secret := &corev1.Secret{}
	if err := c.client.Get(ctx, c.secret, secret); err != nil {
		return nil, client.IgnoreNotFound(err) //nolint:wrapcheck // it names the Secret
	}
	ca, err := pki.DecodeX509CertificateBytes(secret.Data[caKey])
	if err != nil || time.Now().After(ca.NotAfter) {
		return nil, nil //nolint:nilerr,nilnil // as said
	}
	return ca, nil
}

// update brings the bundles of the configuration that it reads into o in line with the
// current authority, if there is one, and returns what each of them holds then.
func (c *caBundles) update(ctx context.Context, current *x509.Certificate, o client.Object, bundles func() []*[]byte) (held [][]byte, err error) {
	if err := c.client.Get(ctx, types.NamespacedName{Name: c.configuration}, o); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("failed to get %T %s: %w", o, c.configuration, err)
	}
	old, _ := o.DeepCopyObject().(client.Object)
	changed := false
	for _, b := range bundles() {
		held = append(held, *b)
		if current == nil {
			continue
		}
		if want := c.bundle(*b, time.Now()); !bytes.Equal(*b, want) {
			*b, changed = want, true
		}
	}
	if !changed {
		return held, nil
	}
	// The lock keeps a webhook that somebody adds in between from being lost.
	lock := client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})
	if err := c.client.Patch(ctx, o, lock, client.FieldOwner(FieldManager)); err != nil {
		return held, fmt.Errorf("failed to write the caBundle of %T %s: %w", o, o.GetName(), err)
	}
	held = nil
	for _, b := range bundles() {
		held = append(held, *b)
	}
	return held, nil
}

// take takes note of the authority that the Secret holds.
func (c *caBundles) take(current *x509.Certificate, now time.Time) {
	switch {
	case c.current == nil:
		c.since = current.NotBefore
	case !c.current.Equal(current):
		c.since = now
	}
	c.current = current
}

// bundle returns the current authority and, during the overlap, the server's own before
// it that the old bundle holds.
func (c *caBundles) bundle(old []byte, now time.Time) []byte {
	var out bytes.Buffer
	write := func(ca *x509.Certificate) {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}) // a Buffer takes all
	}
	write(c.current)
	if now.Before(c.since.Add(authorityOverlap)) {
		for _, ca := range parseBundle(old) {
			if ca.Subject.CommonName == authorityName && !ca.Equal(c.current) && now.Before(ca.NotAfter) {
				write(ca)
			}
		}
	}
	return out.Bytes()
}

// parseBundle returns the certificates of a caBundle; what is none is left out.
func parseBundle(data []byte) (cas []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return cas
		}
		if ca, err := x509.ParseCertificate(block.Bytes); err == nil {
			cas = append(cas, ca)
		}
	}
}
