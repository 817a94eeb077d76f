package native

import (
	"fieldferry/gateway/clock"
)

// Clock knows what became of times that were taken by a clock that was not
// trusted; [clock.Clock] is one.
type Clock interface {
	// Correct returns the right time for t, or false while there is none.
	Correct(o clock.Origin, t int64) (int64, bool)
	// Suspect says whether t, of a record without an origin, looks doubtful.
	Suspect(t int64) bool
}

// What a record says of its time.
const (
	markCorrected = `,"clock":"corrected"`
	markUnsynced  = `,"clock":"unsynced"`
)

// right returns the time to send for t, and what the record says of it.
func (e *Encoder) right(o clock.Origin, t int64) (int64, string) {
	if e.Clock != nil {
		if t, ok := e.Clock.Correct(o, t); ok {
			return t, markCorrected
		}
	}
	return t, markUnsynced
}
