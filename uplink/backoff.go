package uplink

import (
	"time"

	"fieldferry/uplink/mqtt"
)

// backoff is the pause between rounds.
//
// A broker that answers and fails is spared: the pause is doubled after each
// bad round, and taken between half and all of it at random, so that a
// thousand gateways do not return to a restarted broker in step.
//
// Where nobody answers nobody needs to be spared. There the next round begins
// about a second after the last, for ever, so that a link that comes back is
// noticed at once, whoever knows of it. A connection that is accepted and
// ended without a word is mostly a relay with no broker behind it, and treated
// the same; but it may be a broker that turns its clients away, so not for ever.
type backoff struct {
	step    time.Duration
	hangUps int // rounds in a row in which nobody said a word
}

// manyHangUps last about five minutes.
const manyHangUps = 300

func (b *backoff) next(end outcome, t *timing, random float64) time.Duration {
	if end.contact == mqtt.HungUp {
		b.hangUps++
	} else {
		b.hangUps = 0
	}
	if end.contact == mqtt.Unreached || end.contact == mqtt.HungUp && b.hangUps <= manyHangUps {
		return max(t.NextDial(random)-end.took, 0)
	}
	low, high := t.retryMin, t.retryMax
	if end.slow {
		low, high = t.refuseMin, t.refuseMax
	}
	switch {
	case end.left:
		b.step = 0
	case end.good && !end.slow:
		b.step = low
	default:
		b.step = min(max(2*b.step, low), high)
	}
	return b.step/2 + time.Duration(random*float64(b.step/2))
}
