//go:build !windows

package cli

import "io"

// understandsColor is true of the terminals of all systems but Windows.
func understandsColor(io.Writer) bool { return true }
