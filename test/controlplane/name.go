package controlplane

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

var names atomic.Int64

// Name returns a name for an object of the test, a namespace for example: it tells the test, and is
// another one every time.
func Name(t testing.TB) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(strings.TrimPrefix(t.Name(), "Test")))
	if len(name) > 40 {
		name = fmt.Sprintf("%s-%x", name[:30], sha256.Sum256([]byte(name)))[:39]
	}
	return fmt.Sprintf("%s-%d", name, names.Add(1))
}
