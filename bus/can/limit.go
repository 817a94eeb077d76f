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
//
// Of a message of several pages ([Config].Pages) all of this holds for each page
// by itself: pages that come in turns always differ, and one of n in step with
// every nth frame would be the only one that passes.
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

// Multiplexing tells which messages have pages: contents that differ by the value
// of a multiplexer.
type Multiplexing interface {
	// Pages returns what tells the pages of frames like f apart, of its id and
	// flags, or nil: it has only one. It is asked once of each id.
	Pages(f *Frame) Pages
}

// Pages tells the pages of one message apart.
type Pages interface {
	// Page numbers the page of data. It should not allocate, nor keep data.
	Page(data []byte) uint64
}

// maxPages is how many pages of a message are kept account of, and maxBusPages of
// all messages that are limited: about 500 kB. Frames of further ones pass, as
// those of further ids do.
const (
	maxPages    = 256
	maxBusPages = 4096
)

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
	suppressed uint32
	pages      Pages    // nil: there is one page
	passed     []passed // of each page
	at         int      // the page of the frame before
}

// passed is what passed last of a page.
type passed struct {
	page  uint64
	begun bool   // a frame has passed
	seen  uint32 // since the last that passed
	last  Frame  // that passed
}

// newLimited begins the account of an id whose first frame is f.
func newLimited(l Limit, m Multiplexing, f *Frame) *limited {
	s := &limited{limit: l}
	if m != nil {
		s.pages = m.Pages(f)
	}
	if s.pages == nil {
		s.passed = make([]passed, 1)
	}
	return s
}

// page finds the account of a frame's page, or nil: there are too many. all are
// those of the bus.
func (s *limited) page(f *Frame, all *int) *passed {
	if s.pages == nil {
		return &s.passed[0]
	}
	page := s.pages.Page(f.Payload())
	for range s.passed { // they come in turns
		if s.at++; s.at >= len(s.passed) {
			s.at = 0
		}
		if s.passed[s.at].page == page {
			return &s.passed[s.at]
		}
	}
	if len(s.passed) == maxPages || *all == maxBusPages {
		return nil
	}
	*all++
	s.at = len(s.passed)
	s.passed = append(s.passed, passed{page: page})
	return &s.passed[s.at]
}

// pass reports whether f passes, and counts if it does not.
func (s *limited) pass(f *Frame, all *int) bool {
	p := s.page(f, all)
	if p != nil {
		if p.seen < 1<<32-1 {
			p.seen++
		}
		if p.begun && !p.due(&s.limit, f) {
			if s.suppressed < 1<<32-1 {
				s.suppressed++
			}
			return false
		}
	}
	f.Suppressed, s.suppressed = s.suppressed, 0
	if p != nil {
		p.begun, p.seen, p.last = true, 0, *f
	}
	return true
}

func (p *passed) due(l *Limit, f *Frame) bool {
	since := time.Duration(f.Time - p.last.Time)
	if since < 0 { // the clock was set back: nothing is known about the interval
		return true
	}
	switch {
	case l.MaxInterval > 0 && since >= l.MaxInterval:
		return true
	case l.MinInterval > 0 && since < l.MinInterval:
		return false
	case l.EveryNth > 1 && p.seen < l.EveryNth:
		return false
	}
	return !l.OnChange || p.changed(l.Change, f)
}

// changed compares with the frame that passed last, not with the one before:
// a value that creeps would never pass.
func (p *passed) changed(by Change, f *Frame) bool {
	switch {
	case p.last.Flags != f.Flags:
		return true
	case p.last.Len == f.Len && p.last.Data == f.Data:
		return false
	case by == nil || f.Flags&Remote != 0: // a remote frame has no data, only a length
		return true
	}
	return by.Changed(&p.last, f)
}
