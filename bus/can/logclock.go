package can

import "time"

// The silences of a log. Longer ones than longSilence are all the same to who
// asks; times that cross by less than a crossing are those of frames that
// were received at once.
const (
	longSilence = int64(time.Minute)
	crossing    = int64(10 * time.Millisecond)
)

// LogClock makes a time line of the times of a log, which never goes back: by
// it silences are measured. If the times go back, as those between frames do
// (candump -td), they say nothing, and the clock stands still from there on.
// The zero value is ready to use.
type LogClock struct {
	now, last               int64
	started, moved, useless bool
}

// Next returns where a frame stands that the log has with this time. It is
// never 0.
func (c *LogClock) Next(at int64) int64 {
	if !c.started {
		c.now++
		c.started, c.last = true, at
		return c.now
	}
	gap := at - c.last
	switch {
	case c.useless:
	case gap > 0:
		c.moved = true
		c.now += min(gap, longSilence)
		c.last = at
	case gap < -crossing:
		c.useless = true
	}
	return c.now
}

// Useful reports whether silences could be measured so far: the times did not
// go back and are not all the same.
func (c *LogClock) Useful() bool { return c.moved && !c.useless }

// Restart is to be called where a log begins, or begins again: what was before
// is long past.
func (c *LogClock) Restart() { *c = LogClock{now: c.now + longSilence} }
