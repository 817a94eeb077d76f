package uplink

import (
	"sort"
	"sync"
	"time"
)

// AckBounds are the upper bounds of the buckets of [AckTimes].
var AckBounds = [...]time.Duration{
	5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second,
}

// AckTimes is how long messages of the queue took from being handed to the
// connection to their PUBACK, what had to wait for the network included.
type AckTimes struct {
	Count    uint64
	Sum      time.Duration
	Buckets  [len(AckBounds)]uint64 // at most as long as each of AckBounds, those of the bounds below included
	P50, P95 time.Duration          // of the last 100; below 0: there are none
}

// ackTimes collects them. add belongs to the goroutine of Run, get may be called
// from any.
type ackTimes struct {
	mu   sync.Mutex
	sum  AckTimes
	last [100]time.Duration // a ring
}

func (a *ackTimes) add(d time.Duration) {
	d = max(d, 0)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last[a.sum.Count%uint64(len(a.last))] = d
	a.sum.Count++
	a.sum.Sum += d
	for i := len(AckBounds) - 1; i >= 0 && d <= AckBounds[i]; i-- {
		a.sum.Buckets[i]++
	}
}

func (a *ackTimes) get() AckTimes {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.sum
	out.P50, out.P95 = -1, -1
	if n := int(min(out.Count, uint64(len(a.last)))); n > 0 {
		last := a.last
		sort.Slice(last[:n], func(i, j int) bool { return last[i] < last[j] })
		out.P50, out.P95 = last[n/2], last[n*95/100]
	}
	return out
}
