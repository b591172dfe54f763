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
