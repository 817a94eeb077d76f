package can

import (
	"sync/atomic"
	"time"

	"fieldferry/bus"
)

// batchLen is how many frames one recvmmsg takes and one batch holds.
const batchLen = 64

// Where the times of frames come from, as [Stats].Timestamps says it.
var stampNames = [...]string{"", "hardware", "kernel", "receive", "log"}

const (
	stampNone = iota // the next three in the order of Timestamps' preference
	stampHardware
	stampKernel
	stampReceive
	stampLog
)

// counters back [Stats]. They are of types that are aligned on 32-bit ARM.
type counters struct {
	_ [0]func() // nobody compares them: saves the code for it

	frames, lost, errorFrames, malformed atomic.Uint64
	suppressed, restarts                 atomic.Uint64
	classes                              [len(errorClasses)]atomic.Uint64
	otherClass                           atomic.Uint64
	stamps                               atomic.Uint32
	up, ended                            atomic.Bool
}

func (c *counters) stats() Stats {
	s := Stats{
		Frames:      c.frames.Load(),
		Suppressed:  c.suppressed.Load(),
		Restarts:    c.restarts.Load(),
		Lost:        c.lost.Load(),
		ErrorFrames: c.errorFrames.Load(),
		Errors:      map[string]uint64{},
		Malformed:   c.malformed.Load(),
		Timestamps:  stampNames[c.stamps.Load()],
		Up:          c.up.Load(),
		Ended:       c.ended.Load(),
	}
	for i := range errorClasses {
		if n := c.classes[i].Load(); n > 0 {
			s.Errors[errorClasses[i].name] = n
		}
	}
	if n := c.otherClass.Load(); n > 0 {
		s.Errors[otherClass] = n
	}
	return s
}

// delivery hands what a source yields to the handler, in the order of the
// wire: frames in batches, losses and events between them where they happened.
type delivery struct {
	_ [0]func() // as in counters

	b      *Bus
	h      Handler
	errors ErrorHandler // nil: the handler does not want them
	gaps   GapHandler   // nil: the handler does not want to know
	looks  Onlooker     // nil: the handler wants only what passes the limits
	failed Frame        // the error frame at hand
	n      int
	batch  []Frame // batchLen of them; as an array it would have code that compares
}

func newDelivery(b *Bus, h Handler) *delivery {
	d := &delivery{b: b, h: h, batch: make([]Frame, batchLen)}
	d.errors, _ = h.(ErrorHandler)
	d.gaps, _ = h.(GapHandler)
	d.looks, _ = h.(Onlooker)
	return d
}

// slot returns the place of the next frame. It counts only after keep.
func (d *delivery) slot() *Frame {
	if d.n == batchLen {
		d.flush()
	}
	return &d.batch[d.n]
}

// keep takes the frame in the slot. own says that it did not come from the
// wire: another program of this machine sent it.
func (d *delivery) keep(own bool) {
	f := &d.batch[d.n]
	if f.Flags&ErrorFrame != 0 {
		d.failed = *f // an event flushes the batch the slot is in
		d.errorFrame(&d.failed)
		return
	}
	if c := &d.b.cond; c.busOff.raised && !own && f.Time-c.busOffAt >= int64(recovered) {
		g := *f
		d.condition(bus.BusOff, false, cause{at: g.Time, by: "frame"})
		d.batch[d.n] = g
	}
	d.n++
}

// flush hands over what has gathered.
func (d *delivery) flush() {
	if d.n == 0 {
		return
	}
	batch := d.batch[:d.n]
	d.n = 0
	if d.looks != nil {
		d.looks.Look(batch)
	}
	passed := d.b.traffic.take(batch)
	if n := len(batch) - len(passed); n > 0 {
		d.b.count.suppressed.Add(uint64(n))
		if len(passed) == 0 {
			return
		}
	}
	d.b.count.frames.Add(uint64(len(passed)))
	d.h.Frames(passed)
}

// lost notes frames that the kernel dropped after those gathered so far.
func (d *delivery) lost(n uint64) {
	d.flush()
	d.b.count.lost.Add(n)
	d.h.Lost(n)
}

// gap notes that frames may be missing after those gathered so far.
func (d *delivery) gap() {
	d.flush()
	if d.gaps != nil {
		d.gaps.Gap()
	}
}

// link follows the interface. reason says what happened to it.
func (d *delivery) link(up bool, reason string) {
	d.b.count.up.Store(up)
	c := &d.b.cond.linkDown
	if c.raised != up { // as known already
		return
	}
	why := cause{at: time.Now().UnixNano(), reason: reason}
	if up {
		d.report(c, bus.LinkDown, false, why)
		// The controller was started anew, and says nothing about it.
		d.recovered(cause{at: why.at, by: "link up"})
		return
	}
	d.gap()
	d.report(c, bus.LinkDown, true, why)
}
