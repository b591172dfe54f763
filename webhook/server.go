package webhook

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// The paths that deploy/ points the webhook configurations to.
const (
	MutatePath   = "/mutate"
	ValidatePath = "/validate"
)

// The limits of requests.
const (
	// maxBody is controller-runtime's limit of one body: the API server sends objects of at
	// most 3 MB, twice on an update.
	maxBody = 7 << 20
	// maxBodies bounds the large bodies that are held at one time, in bytes. The others wait,
	// unread. Those of a usual size never wait: whoever reaches the port can announce large
	// ones and then be slow.
	maxBodies = 32 << 20
	largeBody = 256 << 10
	// maxValues is how many values an object may have. One of etcd's size that says anything
	// has fewer; three bytes of JSON become hundreds as a route.
	maxValues = 200_000
	// maxWeight bounds the large objects that are decided about at one time, in values. A host
	// weighs as much as hostWeight of them. maxUsual bounds, in values alone, those that weigh
	// less than largeObject, which as many as an API server has under way stay far below.
	maxWeight   = 1_000_000
	hostWeight  = 50
	largeObject = 20_000
	maxUsual    = 300_000
	// maxRequestTime bounds a request whose ?timeout= says nothing; the API server
	// waits 10 s by default, 30 s at most.
	maxRequestTime = 10 * time.Second
	// answerMargin is what is kept of the API server's timeout to answer with the
	// reason, in place of being cut off.
	answerMargin    = 500 * time.Millisecond
	shutdownTimeout = 25 * time.Second
)

// admissionHandler serves both phases.
func admissionHandler(a *Admitter, log logr.Logger) (http.Handler, error) {
	mux := http.NewServeMux()
	for path, handle := range map[string]admission.HandlerFunc{MutatePath: a.Mutate, ValidatePath: a.Validate} {
		h, err := admission.StandaloneWebhook(&admission.Webhook{Handler: handle, LogConstructor: requestLog(log)}, admission.StandaloneOptions{
			Logger:      log,
			MetricsPath: path,
		})
		if err != nil {
			return nil, fmt.Errorf("failed to build the handler of %s: %w", path, err)
		}
		mux.Handle("POST "+path, h)
	}
	return limited(inTurn(mux)), nil
}

// requestLog identifies a request in each of its log lines. What has none could not be read.
func requestLog(log logr.Logger) func(logr.Logger, *admission.Request) logr.Logger {
	unread := clientLog(log)
	return func(base logr.Logger, req *admission.Request) logr.Logger {
		if req == nil {
			return unread
		}
		return base.WithValues("requestID", req.UID, "user", req.UserInfo.Username)
	}
}

// limited bounds the time of each request. It leaves the body alone: net/http takes
// what is left of a large one for the next request if the handler saw another reader.
func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := maxRequestTime
		if d, err := time.ParseDuration(r.URL.Query().Get("timeout")); err == nil && d > 0 {
			limit = min(d, 30*time.Second)
		}
		limit = max(limit-answerMargin, limit/2)
		ctx, cancel := context.WithTimeoutCause(r.Context(), limit,
			fmt.Errorf("no answer within %s, which is what the API server's timeout leaves", limit))
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// inTurn lets large requests wait until those that are decided about leave room for them.
func inTurn(next http.Handler) http.Handler {
	room := semaphore.NewWeighted(maxBodies)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := r.ContentLength
		if size < 0 || size > maxBody {
			size = maxBody
		}
		if size < largeBody {
			next.ServeHTTP(w, r)
			return
		}
		if err := room.Acquire(r.Context(), size); err != nil {
			http.Error(w, fmt.Sprintf("too many large requests at one time: %v", context.Cause(r.Context())), http.StatusServiceUnavailable)
			return
		}
		defer room.Release(size)
		next.ServeHTTP(w, r)
	})
}

// leaving ends the connections of requests that come while the server drains: the API
// server keeps them open, and calls webhooks over HTTP/1.1, in which a request that meets
// the end of an idle connection is lost.
func leaving(draining func() bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// server wraps handler in a manager.Runnable on listener, with the timeouts that
// keep slow or stuck clients from piling up.
func server(name string, listener net.Listener, handler http.Handler, log logr.Logger) *manager.Server {
	timeout := shutdownTimeout
	return &manager.Server{
		Name:     name,
		Listener: listener,
		Server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       maxRequestTime,
			WriteTimeout:      40 * time.Second,
			// Longer than the API server's 90 s, so that it closes idle connections, not we.
			IdleTimeout:    2 * time.Minute,
			MaxHeaderBytes: 64 << 10,
			ErrorLog:       errorLog(log.WithName(name)),
		},
		ShutdownTimeout: &timeout,
	}
}

// tlsListener serves the certificate of source over HTTP/2 or 1.1.
func tlsListener(l net.Listener, source func(*tls.ClientHelloInfo) (*tls.Certificate, error), clientAuth tls.ClientAuthType) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: source,
		ClientAuth:     clientAuth,
	})
}
