package conformance

import (
	"os"
	"testing"

	"github.com/egress-tls/egress-tls-webhook/test/conformance/istiod"
)

func TestMain(m *testing.M) {
	istiod.Quiet()
	os.Exit(m.Run())
}
