// Package quota lets so many records of a kind pass in a second and counts the
// others, so that a flood of them does not drive data out.
package quota

import (
	"sync"
	"time"
)

// PerSecond is how many pass.
const PerSecond = 20

// Quota counts. The zero value is ready, and may be used from any goroutine.
type Quota struct {
	_ [0]func() // nobody compares them: saves the code for it

	mu     sync.Mutex
	since  time.Time
	passed int
	left   uint64
}

// Admit reports whether one more passes now, and if so how many did not since
// the last one that did.
func (q *Quota) Admit() (left uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); now.Sub(q.since) >= time.Second {
		q.since, q.passed = now, 0
	}
	if q.passed++; q.passed > PerSecond {
		q.left++
		return 0, false
	}
	left, q.left = q.left, 0
	return left, true
}
