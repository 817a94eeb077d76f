package gateway

import (
	"bytes"
	"os"
	"runtime"
	"strconv"

	"fieldferry/gateway/live"

	"golang.org/x/sys/unix"
)

// process is what the daemon itself takes. What the kernel does not say stays 0.
func process() live.Process {
	p := live.Process{Goroutines: runtime.NumGoroutine()}
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &use) == nil {
		p.CPUSeconds = seconds(use.Utime) + seconds(use.Stime)
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil { // proc(5): size resident ...
		if f := bytes.Fields(b); len(f) > 1 {
			pages, _ := strconv.ParseInt(string(f[1]), 10, 64)
			p.Memory = pages * int64(os.Getpagesize())
		}
	}
	return p
}

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
