package manifest

import (
	"maps"
	"slices"

	"github.com/egress-tls/egress-tls-webhook/internal/finding"
)

// maxValue bounds what a message quotes of a value, in bytes.
const maxValue = 120

func short(s string) string { return finding.Truncate(s, maxValue) }

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
