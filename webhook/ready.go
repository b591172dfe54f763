package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/egress-tls/egress-tls-webhook/internal/mesh"
)

// readiness answers /readyz: ready means that a request sent to the serving port
// now is answered from the whole mesh. A webhook that says so earlier makes
// applies fail (cert-manager #2908).
type readiness struct {
	synced   func() bool
	draining atomic.Bool
	// address is that of the serving port, serverName a name in its certificate.
	address, serverName string
	certificate         certificateSource
	// gauge holds the last answer.
	gauge prometheus.Gauge
	// client is what the self-test presents as its own certificate, or nil.
	client *tls.Certificate
	// uid marks its request, and is known to nobody else: what has it is neither logged nor
	// counted.
	uid types.UID
	// first is told that the server is ready.
	first func()
}

// ServeHTTP answers 200, or 503 with the reason.
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if err := r.check(req.Context()); err != nil {
		r.gauge.Set(0)
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	r.gauge.Set(1)
	r.first()
	_, _ = io.WriteString(w, "ok")
}

func (r *readiness) check(ctx context.Context) error {
	switch {
	case r.draining.Load():
		return errors.New("shutting down")
	case !r.synced():
		return errors.New("the informers have not seen the whole mesh yet")
	}
	return r.selfTest(ctx)
}

// selfTest sends an admission request through the serving port, as the API server
// would: over TLS, with the certificate in use. The object asks for nothing, so
// the answer must be yes, with the request's UID.
func (r *readiness) selfTest(ctx context.Context) error {
	leaf, err := r.certificate.get(nil)
	if err != nil {
		return fmt.Errorf("no serving certificate: %w", err)
	}
	if err := r.certificate.trusted(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	body, err := json.Marshal(selfTestReview(r.uid))
	if err != nil {
		return fmt.Errorf("failed to encode the self-test: %w", err)
	}
	httpReq, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+r.address+MutatePath, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("failed to build the self-test: %w", err)
	}
	httpReq.Header.Set("Content-Type", "application/json")
	httpReq.Header.Set("User-Agent", selfTestAgent)
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: r.serverName,
		// Our own port: what matters is that exactly our certificate answers.
		InsecureSkipVerify: true, //nolint:gosec // verified below
		VerifyConnection: func(cs tls.ConnectionState) error {
			if !bytes.Equal(cs.PeerCertificates[0].Raw, leaf.Certificate[0]) {
				return errors.New("the serving port answers with another certificate")
			}
			if time.Now().After(cs.PeerCertificates[0].NotAfter) {
				return fmt.Errorf("the serving certificate expired at %s", cs.PeerCertificates[0].NotAfter.UTC().Format(time.RFC3339))
			}
			return nil
		},
	}
	if r.client != nil {
		config.Certificates = []tls.Certificate{*r.client}
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}
	resp, err := (&http.Client{Transport: transport}).Do(httpReq)
	if err != nil {
		return fmt.Errorf("the self-test failed: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(resp.Body).Decode(&review); err != nil {
		return fmt.Errorf("the self-test got no AdmissionReview: %w", err)
	}
	if review.Response == nil || review.Response.UID != r.uid || !review.Response.Allowed {
		return errors.New("the self-test got another answer than yes")
	}
	return nil
}

// selfTestAgent keeps the self-test out of traces.
const selfTestAgent = "egress-tls-webhook/self-test"

func selfTestReview(uid types.UID) *admissionv1.AdmissionReview {
	dryRun := true
	kind := metav1.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: mesh.VirtualServiceKind}
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       uid,
			Kind:      kind,
			Resource:  metav1.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: "virtualservices"},
			Operation: admissionv1.Create,
			Namespace: "default",
			Name:      "self-test",
			DryRun:    &dryRun,
			Object: runtime.RawExtension{Raw: []byte(
				`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"self-test","namespace":"default"},"spec":{"hosts":["self-test"]}}`)},
		},
	}
}
