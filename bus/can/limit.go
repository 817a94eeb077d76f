package can

import (
	"errors"
	"fmt"
	"time"
)

// Limit keeps frames back, for links that cost. It looks at the frames of one
// arbitration id by themselves; standard, extended and remote frames of the same
// number are different. What it keeps back is counted in the next frame of the
// id that passes ([Frame].Suppressed). The zero Limit keeps nothing back.
//
// The first frame passes. After that one passes when every condition that is
// set agrees, or when MaxInterval has gone by. A frame is never repeated: with
// a bus that is silent nothing passes, whatever MaxInterval says.
type Limit struct {
	OnChange    bool          // pass when data, length or flags differ from those that passed last
	Change      Change        // says which differences of data and length count; nil: all
	MinInterval time.Duration // pass when this long has gone by since the last that passed
	MaxInterval time.Duration // pass the first frame after this long, changed or not
	EveryNth    uint32        // pass the nth after the last that passed; 0 and 1: all
}

// Change says whether data that differ say anything new, such as a signal that
// has moved further than its deadband. It is asked by one goroutine at a time.
type Change interface {
	// Changed compares the frame that passed last with one of the same id and
	// flags. It must not keep or change them, and should not allocate.
	Changed(last, now *Frame) bool
}

// MessageLimit is the limit of some ids: those that match under a mask, each by
// itself. ID and Mask carry the kernel's flag bit CAN_EFF_FLAG (1<<31); remote
// frames are of the id whose data they ask for.
type MessageLimit struct {
	ID, Mask uint32
	Only     IDs // of the ids that match, those it has; nil: all
	Limit    Limit
}

// IDs is a set of ids, such as those of one message.
type IDs interface {
	// Has reports whether an id, which carries CAN_EFF_FLAG, is one of the set.
	// It is asked once of each id.
	Has(id uint32) bool
}

// limitOf finds the limit of an id.
func (c *Config) limitOf(key uint32) Limit {
	for _, l := range c.Limits {
		if key&l.Mask == l.ID&l.Mask && (l.Only == nil || l.Only.Has(key)) {
			return l.Limit
		}
	}
	return c.Limit
}

// MaxLimitInterval is the longest interval of a [Limit].
const MaxLimitInterval = 7 * 24 * time.Hour

// check says what is wrong with a limit.
func (l Limit) check() error {
	switch {
	case l.MinInterval < 0 || l.MinInterval > MaxLimitInterval:
		return fmt.Errorf("can: limit: min_interval %v: use 0 to %v", l.MinInterval, MaxLimitInterval)
	case l.MaxInterval < 0 || l.MaxInterval > MaxLimitInterval:
		return fmt.Errorf("can: limit: max_interval %v: use 0 to %v", l.MaxInterval, MaxLimitInterval)
	case l.Change != nil && !l.OnChange:
		return errors.New("can: limit: what counts as a change is of no use without OnChange")
	case l.MaxInterval > 0 && l.MaxInterval < l.MinInterval:
		return fmt.Errorf("can: limit: max_interval %v is less than min_interval %v", l.MaxInterval, l.MinInterval)
	}
	return nil
}

// limited is the state of a limit for one id.
type limited struct {
	limit      Limit
	begun      bool   // a frame has passed
	seen       uint32 // since the last that passed
	suppressed uint32
	last       Frame // that passed
}

// pass reports whether f passes, and counts if it does not.
func (s *limited) pass(f *Frame) bool {
	if s.seen < 1<<32-1 {
		s.seen++
	}
	if s.begun && !s.due(f) {
		if s.suppressed < 1<<32-1 {
			s.suppressed++
		}
		return false
	}
	f.Suppressed = s.suppressed
	s.begun, s.seen, s.suppressed = true, 0, 0
	s.last = *f
	return true
}

func (s *limited) due(f *Frame) bool {
	l := &s.limit
	since := time.Duration(f.Time - s.last.Time)
	if since < 0 { // the clock was set back: nothing is known about the interval
		return true
	}
	switch {
	case l.MaxInterval > 0 && since >= l.MaxInterval:
		return true
	case l.MinInterval > 0 && since < l.MinInterval:
		return false
	case l.EveryNth > 1 && s.seen < l.EveryNth:
		return false
	}
	return !l.OnChange || s.changed(f)
}

// changed compares with the frame that passed last, not with the one before:
// a value that creeps would never pass.
func (s *limited) changed(f *Frame) bool {
	switch {
	case s.last.Flags != f.Flags:
		return true
	case s.last.Len == f.Len && s.last.Data == f.Data:
		return false
	case s.limit.Change == nil || f.Flags&Remote != 0: // a remote frame has no data, only a length
		return true
	}
	return s.limit.Change.Changed(&s.last, f)
}
