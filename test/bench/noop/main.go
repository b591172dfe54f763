// Command noop is a webhook that decodes the object of each request and allows it: what any
// webhook of controller-runtime costs. It serves /mutate and /validate with the limits, the
// TLS and the logger of ours, and prints its address, as JSON, when it listens.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func main() {
	certificate := flag.String("cert", "", "`file` with the certificate")
	key := flag.String("key", "", "`file` with its key")
	flag.Parse()
	if err := serve(*certificate, *key); err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

func serve(certificate, key string) error {
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, nil)))
	scheme := runtime.NewScheme()
	if err := networkingv1.AddToScheme(scheme); err != nil {
		return err
	}
	decoder := admission.NewDecoder(scheme)
	decode := func(_ context.Context, req admission.Request) admission.Response {
		if err := decoder.Decode(req, &networkingv1.VirtualService{}); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		return admission.Allowed("")
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/mutate", "/validate"} {
		h, err := admission.StandaloneWebhook(&admission.Webhook{Handler: admission.HandlerFunc(decode)}, admission.StandaloneOptions{
			Logger:      ctrl.Log.WithName("admission"),
			MetricsPath: path,
		})
		if err != nil {
			return err
		}
		mux.Handle(path, h)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"address": listener.Addr().String()}); err != nil {
		return err
	}
	// As controller-runtime's own server has them.
	server := &http.Server{Handler: mux, MaxHeaderBytes: 1 << 20, IdleTimeout: 90 * time.Second, ReadHeaderTimeout: 32 * time.Second}
	return server.Serve(tls.NewListener(listener, &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{pair},
	}))
}
