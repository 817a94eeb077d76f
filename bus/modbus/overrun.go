package modbus

import (
	"time"

	"fieldferry/bus"
)

// A line that leaves out more than a tenth of its polls over a minute is
// overloaded, and no longer is when it leaves out less than half of that: a
// probe of a silent unit, or one timeout, is no overload.
const (
	overrunWindow = time.Minute
	overrunShare  = 10
)

// pace is how well a line keeps its intervals.
type pace struct {
	_ [0]func() // nobody compares them: saves the code for it

	since         time.Time // zero: begins with the next poll
	polls, missed uint64
	overloaded    bool
}

// restart begins another window: what was left out while a device did not
// answer says nothing of the load.
func (p *pace) restart() { p.since, p.polls, p.missed = time.Time{}, 0, 0 }

// keepPace notes a poll, and how many were left out before it.
func (l *Line) keepPace(missed uint64, now time.Time) {
	p := &l.pace
	if p.since.IsZero() {
		p.since = now
	}
	p.polls++
	p.missed += missed
	if now.Sub(p.since) < overrunWindow {
		return
	}
	detail := map[string]any{"polls": p.polls, "left_out": p.missed}
	switch all := p.polls + p.missed; {
	case p.missed*overrunShare > all && p.overloaded: // as it is now
		l.event(bus.PollOverrun, "", bus.Raised, detail)
	case p.missed*overrunShare > all:
		p.overloaded = true
		l.log.Warn("the line cannot keep its intervals; fieldferry check shows its load", "polls", p.polls, "left_out", p.missed)
		l.event(bus.PollOverrun, "", bus.Raised, detail)
	case p.overloaded && p.missed*2*overrunShare < all:
		p.overloaded = false
		l.log.Info("the line keeps its intervals again")
		l.event(bus.PollOverrun, "", bus.Cleared, detail)
	}
	p.since, p.polls, p.missed = now, 0, 0
}
