// Package version describes the build.
package version

import (
	"cmp"
	"runtime/debug"
)

// Resolve returns the version and commit of the running binary: what the linker
// was told, else what the Go toolchain recorded, else "unknown".
func Resolve(version, commit string) (string, string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = cmp.Or(commit, s.Value)
		}
	}
	return cmp.Or(version, info.Main.Version, "unknown"), cmp.Or(commit, "unknown")
}
