// Package clock says whether the machine's clock can be trusted, and brings
// times right that were taken while it could not.
//
// # Nouns
//
// The clock is the time of day, CLOCK_REALTIME. It is trusted when the kernel
// says that it is synchronised (adjtimex(2)) and it does not show a time before
// the program was built. Boot time is CLOCK_BOOTTIME: nobody sets it, and it
// counts while the machine is suspended. The zero of the clock is what it
// takes for the moment of boot: the time of day less the boot time. Slewing
// turns both alike, so that zero changes only when the clock is set.
//
// # Promise
//
// A time taken by an untrusted clock is kept together with its [Origin]. It is
// corrected by the first zero that was trusted afterwards in the same boot, so
// that one process never gives two times to one record, and the corrected times
// of a boot have the order and the distances of its boot time. Another process
// of the same boot may know another zero: the two differ by as much as the clock
// was set in between. Nothing is kept on disk.
package clock

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Sample is one look at the clocks of a machine.
type Sample struct {
	_ [0]func() // nobody compares them: saves the code for it

	Wall   int64 // the time of day, ns since 1970
	Boot   int64 // the time since boot at the same moment, ns
	Steady int64 // as of [Machine].Now, at the same moment
	Synced bool  // the kernel takes the clock for synchronised
	Err    error // why that is not known
}

// Machine is the clocks of a machine. All methods may be called from any
// goroutine.
type Machine interface {
	// BootID tells this boot from any other.
	BootID() uint64
	// Now is the time of day and the time by a clock that is never set, both in
	// ns. It is on the path of every batch and must not allocate.
	Now() (wall, steady int64)
	// Look reads all clocks at one moment.
	Look() Sample
	// Wait returns when the clock was set, most has passed, or ctx ended.
	Wait(ctx context.Context, most time.Duration)
}

// Reason says why the clock is not trusted.
type Reason string

// The reasons.
const (
	Unsynchronised Reason = "not_synchronised"  // the kernel says so
	TooEarly       Reason = "before_build_date" // it shows a time before the program was built
	Unreadable     Reason = "not_readable"      // the kernel does not say
)

// Config says when a clock is trusted.
type Config struct {
	_ [0]func() // nobody compares them: saves the code for it

	// Trusted is set where the clock is right although the kernel does not
	// know: a virtual machine whose host sets it, a GPS receiver.
	Trusted bool
	// Earliest is the time before which no clock is right, such as the date of
	// the build; before that of this package it counts for nothing.
	Earliest time.Time
	// Machine is the machine; nil: the one this runs on.
	Machine Machine
}

// earliest is when this package was written.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// step is the least change of zero that counts as the clock being set. Less
// cannot be told from the time it takes to read two clocks.
const step = int64(time.Millisecond)

// onTheWay bounds how long it takes from a look at the clock until everybody
// goes by it.
const onTheWay = int64(time.Second)

// maxStates bounds what is remembered. What is older is taken for the oldest.
const maxStates = 64

// state is a time during which neither zero nor trust has changed.
type state struct {
	_ [0]func() // nobody compares them: saves the code for it

	number uint64 // counts states
	begin  int64  // boot time
	zero   int64
	why    Reason // not trusted; empty: trusted
	err    error  // with Unreadable
}

// view is what is known; it is never changed, only replaced.
type view struct {
	boot   uint64
	gap    int64   // wall less steady
	states []state // the last is the present one
	begin  int64   // of the last, by its own time of day
}

func (v *view) last() *state { return &v.states[len(v.states)-1] }

// Clock watches one machine's clock. All methods may be called from any
// goroutine.
type Clock struct {
	cfg      Config
	machine  Machine
	earliest int64
	view     atomic.Pointer[view]
	mu       sync.Mutex // looking
}

// New looks at the clock. It tells of changes only while [Clock.Watch] runs,
// but notices them also without.
func New(cfg Config) *Clock {
	c := &Clock{cfg: cfg, machine: cfg.Machine, earliest: earliest.UnixNano()}
	if c.machine == nil {
		c.machine = newMachine()
	}
	if cfg.Earliest.After(earliest) {
		c.earliest = cfg.Earliest.UnixNano()
	}
	c.look()
	return c
}

// judge says why the clock is not to be trusted.
func (c *Clock) judge(s *Sample) Reason {
	switch {
	case s.Wall < c.earliest:
		return TooEarly
	case c.cfg.Trusted || s.Synced:
		return ""
	case s.Err != nil:
		return Unreadable
	}
	return Unsynchronised
}

// look brings what is known up to date.
func (c *Clock) look() *view {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.machine.Look()
	now := state{begin: s.Boot, zero: s.Wall - s.Boot, why: c.judge(&s), err: s.Err}
	next := &view{gap: s.Wall - s.Steady}
	old := c.view.Load()
	if old == nil {
		next.boot, next.states, next.begin = c.machine.BootID(), []state{now}, s.Wall
		c.view.Store(next)
		return next
	}
	last := old.last()
	set, turned := far(now.zero, last.zero), (now.why == "") != (last.why == "")
	if !set {
		now.zero = last.zero // the difference is that of two readings
	}
	next.boot, next.states, next.begin = old.boot, old.states, old.begin
	if set || turned {
		now.number = last.number + 1
		kept := old.states[max(0, len(old.states)+1-maxStates):]
		next.states, next.begin = append(append([]state(nil), kept...), now), now.begin+now.zero
	} else if !far(next.gap, old.gap) { // which a suspended machine changes
		return old
	}
	c.view.Store(next)
	return next
}

func far(a, b int64) bool { return a-b > step || b-a > step }

// Reading is how the clock stands at one moment. It serves for the times
// taken shortly before.
type Reading struct {
	view *view
	wall int64
}

// Read reads the clock and notices at once when it was set. It costs about as
// much as time.Now.
func (c *Clock) Read() Reading {
	wall, steady := c.machine.Now()
	v := c.view.Load()
	if far(wall-steady, v.gap) {
		v = c.look()
		wall, _ = c.machine.Now()
	}
	return Reading{v, wall}
}

// Why says why the clock is not trusted; empty: it is.
func (r Reading) Why() Reason { return r.view.last().why }

// Origin is what a time of an untrusted clock was counted from.
type Origin struct {
	Boot uint64 // the boot, as of [Machine].BootID
	Zero int64  // of the clock, ns since 1970
}

// Doubt says whether time t, in ns since 1970, was taken by a clock that was
// not trusted, and if so, from which origin it counts. Whoever took t may have
// done so just before the clock was set.
func (r Reading) Doubt(t int64) (Origin, bool) {
	s := r.during(t, r.view.last())
	return Origin{r.view.boot, s.zero}, s.why != ""
}

// during returns the state that time of day t was taken in: the present one if
// it can be, else the newest that can, else other.
func (r Reading) during(t int64, other *state) *state {
	v := r.view
	if t >= v.begin && t <= r.wall+step {
		return v.last()
	}
	for i := len(v.states) - 2; i >= 0; i-- {
		s := &v.states[i]
		if boot := t - s.zero; boot >= s.begin && boot <= v.states[i+1].begin+onTheWay {
			return s
		}
	}
	return other
}

// Wall is the time of day in ns since 1970, 0 while it is not trusted.
func (c *Clock) Wall() int64 {
	if r := c.Read(); r.Why() == "" {
		return r.wall
	}
	return 0
}

// Correct returns what t, taken by an untrusted clock that counted from o, is
// by the clock once it was trusted. It returns false if that has not come, or
// if it was another boot.
func (c *Clock) Correct(o Origin, t int64) (int64, bool) {
	v := c.view.Load()
	if o.Boot != v.boot {
		return t, false
	}
	boot := t - o.Zero
	for i := range v.states {
		if s := &v.states[i]; s.why == "" && s.begin+onTheWay > boot {
			return boot + s.zero, true
		}
	}
	return t, false
}

// Suspect says whether t looks like a time of a clock that was not trusted. It
// serves for what is kept without an origin.
func (c *Clock) Suspect(t int64) bool {
	return t < c.earliest || c.Read().during(t, &state{}).why != ""
}

// Boot is the time since the machine was switched on, and which boot it is. It
// is never set, and counts while the machine is suspended.
func (c *Clock) Boot() (id uint64, since time.Duration) {
	r := c.Read()
	return r.view.boot, time.Duration(r.wall - r.view.last().zero)
}

// Now is the time of day, and whether the clock is trusted.
func (c *Clock) Now() (now time.Time, trusted bool) {
	r := c.Read()
	return time.Unix(0, r.wall), r.Why() == ""
}
