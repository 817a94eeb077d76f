package web

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
)

// pressed reports whether the process has nearly taken the memory that it may
// (GOMEMLIMIT): then who looks has to wait, and acquisition does not.
func pressed() bool {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return false
	}
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()-s[1].Value.Uint64()) > limit-limit/20
}
