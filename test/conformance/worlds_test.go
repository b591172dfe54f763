package conformance

import "flag"

var (
	worlds = flag.Int("worlds", 0, "random worlds for each differential test; 0: a small number with fixed seeds")
	seed   = flag.Int64("seed", 1, "seed of the first world")
)
