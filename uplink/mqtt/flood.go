package mqtt

import (
	"fmt"
	"time"
)

// A broker owes a publisher its answers, and little else. What it sends beside
// them is read and thrown away, and that takes time of the processor: at the
// rate of a line all of it, for ever. So it has an allowance in bytes.
const (
	floodBurst  = 5 << 20  // bytes that may come at once, or before each answer to a message
	floodRate   = 64 << 10 // bytes a second
	floodWanted = 1 << 20  // the same where something was subscribed to
	floodPacket = 256      // what a packet of no use costs beside its bytes
	floodFrame  = 4 << 10  // a ping or pong of WebSocket, which is answered
)

// allowance is what may still come. It belongs to the goroutine that reads.
type allowance struct {
	now  func() time.Time
	left int
	at   time.Time
	rate float64 // bytes a second
}

func newAllowance(now func() time.Time) *allowance {
	return &allowance{now: now, left: floodBurst, at: now(), rate: floodRate}
}

// spend takes account of bytes that came, or of work that they make.
func (a *allowance) spend(n int) error {
	if a == nil {
		return nil
	}
	if n > a.left {
		now := a.now()
		more := min(now.Sub(a.at).Seconds()*a.rate, floodBurst)
		a.at, a.left = now, max(a.left, min(a.left+int(more), floodBurst))
	}
	if a.left -= min(n, floodBurst+1); a.left < 0 {
		a.left = 0
		return NewError(ReasonFlood, fmt.Errorf("more than %d KiB a second beside the answers to messages", int(a.rate)>>10))
	}
	return nil
}

// earn is called for an answer to a message: there are no more of them than
// messages, so that what comes before each is bounded.
func (a *allowance) earn() {
	if a != nil {
		a.left = max(a.left, floodBurst)
	}
}

// grant is called for bytes that come because they were sent from here.
func (a *allowance) grant(n int) {
	if a != nil {
		a.left += n
	}
}
