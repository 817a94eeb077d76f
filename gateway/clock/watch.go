package clock

import (
	"context"
	"time"
)

// How often the kernel is asked whether the clock is synchronised. That it was
// set is told at once, and setting it ends the synchronisation; what is asked for
// is the beginning, which people wait for, and the slow end, hours after the
// last word of a time server.
const (
	untrustedInterval = time.Second
	trustedInterval   = 15 * time.Second
)

// Change is one change of the clock. The first one told says how it stands.
type Change struct {
	Stepped  bool          // it was set
	From, To time.Time     // the time of day before and after
	By       time.Duration // To less From
	Why      Reason        // it is not trusted from now on; empty: it is
	Err      error         // with Unreadable
	Turned   bool          // trust has changed
}

// Watch tells of every change since New until ctx ends. Calls of tell come
// from one goroutine, in order.
func (c *Clock) Watch(ctx context.Context, tell func(Change)) {
	v := c.look()
	told := v.states[0]
	tell(Change{Why: told.why, Err: told.err, Turned: true})
	for ctx.Err() == nil {
		for i := range v.states {
			if s := v.states[i]; s.number > told.number {
				tell(changed(&told, &s))
				told = s
			}
		}
		interval := trustedInterval
		if told.why != "" {
			interval = untrustedInterval
		}
		c.machine.Wait(ctx, interval)
		v = c.look()
	}
}

func changed(from, to *state) Change {
	ch := Change{Why: to.why, Err: to.err, Turned: (from.why == "") != (to.why == "")}
	if far(from.zero, to.zero) {
		ch.Stepped = true
		ch.From, ch.To = time.Unix(0, to.begin+from.zero), time.Unix(0, to.begin+to.zero)
		ch.By = time.Duration(to.zero - from.zero)
	}
	return ch
}
