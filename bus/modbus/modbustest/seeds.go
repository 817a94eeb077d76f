package modbustest

import (
	"iter"
	"strconv"
)

// ChaosSeeds are the seeds of a simulation's runs: FIELDFERRY_CHAOS of them, or
// few, beginning with FIELDFERRY_CHAOS_FROM, as getenv says.
func ChaosSeeds(few uint64, getenv func(string) string) iter.Seq[uint64] {
	n, from := few, uint64(0)
	for name, v := range map[string]*uint64{"FIELDFERRY_CHAOS": &n, "FIELDFERRY_CHAOS_FROM": &from} {
		if given, err := strconv.ParseUint(getenv(name), 10, 32); err == nil {
			*v = given
		}
	}
	return func(yield func(uint64) bool) {
		for seed := from; seed < from+n && yield(seed); seed++ {
		}
	}
}
