package webhook

import (
	stdlog "log"

	"github.com/go-logr/logr"
)

// errorLog sends what net/http logs, mostly broken handshakes, to log at debug
// level: anybody who reaches the port can make them.
func errorLog(log logr.Logger) *stdlog.Logger {
	return stdlog.New(logWriter{log}, "", 0)
}

type logWriter struct{ log logr.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.V(1).Info("connection error", "error", string(p))
	return len(p), nil
}

// clientLog logs errors that clients make at debug level: anybody who reaches the port can send
// what is no AdmissionReview, or hang up.
func clientLog(log logr.Logger) logr.Logger {
	if log.GetSink() == nil { // It is discarded.
		return log
	}
	return log.WithSink(clientSink{log.GetSink()})
}

type clientSink struct{ logr.LogSink }

// Error implements logr.LogSink.
func (s clientSink) Error(err error, msg string, keysAndValues ...any) {
	if s.Enabled(1) {
		s.Info(1, msg, append([]any{"error", err.Error()}, keysAndValues...)...)
	}
}
