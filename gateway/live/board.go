package live

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// window is over how many snapshots, one a second, rates are means.
const window = 10

// Board holds the newest snapshot. [Board.Publish] belongs to one goroutine;
// the rest may be called from any.
type Board struct {
	// History is the course of a few figures; nil: nobody looks, none is kept.
	History *History

	newest atomic.Pointer[Snapshot]
	past   [window]counters // a ring
	next   int
	filled int
	lost   uint64        // in all
	lostAt time.Duration // when that number grew last
	each   float64       // bytes a stored record takes, as last seen; 0: not known yet
}

// counters are what rates are made of.
type counters struct {
	at      time.Duration // by a clock nobody sets
	records map[string]uint64
	inUse   map[string]float64 // of Modbus lines
	acked   uint64
	cpu     float64
}

// Snapshot returns the newest snapshot, nil before the first.
func (b *Board) Snapshot() *Snapshot { return b.newest.Load() }

// Publish completes s by what follows from the snapshots before it (rates, ages,
// times to go, the sentence) and makes it the newest. s.Up is the clock of rates.
func (b *Board) Publish(s *Snapshot) {
	now := counters{at: s.Up, acked: s.Buffer.Acked, cpu: s.Process.CPUSeconds, records: make(map[string]uint64, len(s.Sources)), inUse: map[string]float64{}}
	for i := range s.Sources {
		now.records[s.Sources[i].Name] = s.Sources[i].Records
		if m := s.Sources[i].Modbus; m != nil {
			now.inUse[s.Sources[i].Name] = m.InUse
		}
	}
	first := &now
	if b.filled > 0 {
		first = &b.past[(b.next+window-b.filled)%window]
	}
	if s.Buffer.Lost > b.lost {
		b.lost, b.lostAt = s.Buffer.Lost, s.Up
	}
	s.whole = s.Up - b.lostAt
	b.rates(s, first, &now)
	b.lasts(s)
	s.estimate()
	s.State, s.Sentence = s.judge()
	b.past[b.next] = now
	b.next = (b.next + 1) % window
	b.filled = min(b.filled+1, window)
	if b.History != nil {
		b.History.note(s)
	}
	b.newest.Store(s)
}

// rates are means since first.
func (b *Board) rates(s *Snapshot, first, now *counters) {
	seconds := (now.at - first.at).Seconds()
	if seconds <= 0 {
		return
	}
	for i := range s.Sources {
		src := &s.Sources[i]
		if before, ok := first.records[src.Name]; ok && src.Records >= before {
			src.Rate = float64(src.Records-before) / seconds
		}
		if before, ok := first.inUse[src.Name]; ok && src.Modbus != nil {
			src.Modbus.Busy = min(max(src.Modbus.InUse-before, 0)/seconds, 1)
		}
	}
	if now.acked >= first.acked {
		s.Uplink.Rate = float64(now.acked-first.acked) / seconds
	}
	s.Process.CPU = 100 * (now.cpu - first.cpu) / seconds
}

// guessed is what a stored record takes before any was seen to: frames take less,
// readings of many registers more.
const guessed = 40

// lasts estimates how long the buffer would last without an uplink.
func (b *Board) lasts(s *Snapshot) {
	const enough = 5000 // records, below which the files' own size counts for too much
	if s.Buffer.Records > enough && s.Buffer.Disk > 0 {
		b.each = float64(s.Buffer.Disk) / float64(s.Buffer.Records)
	}
	out, in, stays := !s.Uplink.Takes(), 0.0, 0.0
	for i := range s.Sources {
		in += s.Sources[i].Rate
		if out || slices.Contains(s.Uplink.Held, s.Sources[i].Name) {
			stays += s.Sources[i].Rate
		}
	}
	s.Buffer.LastsFor, s.Buffer.FullIn = -1, -1
	room := max(float64(s.Buffer.Limit-s.Buffer.Disk), 0) / cmp.Or(b.each, guessed)
	if in > 0 {
		s.Buffer.LastsFor = room / in
	}
	if stays > 0 && !s.full() && s.Buffer.Fault == "" {
		s.Buffer.FullIn = room / stays // the files grow in steps, so that their growth says nothing
	}
}

// estimate says how long things take that have begun.
func (s *Snapshot) estimate() {
	if s.Buffer.Limit > 0 {
		s.Buffer.Percent = 100 * float64(s.Buffer.Disk) / float64(s.Buffer.Limit)
	}
	in := 0.0
	for i := range s.Sources {
		in += s.Sources[i].Rate
	}
	s.Uplink.DoneIn = -1
	if gain := s.Uplink.Rate - in; s.Uplink.Connected && s.Uplink.Backlog > 0 && gain > 0 {
		s.Uplink.DoneIn = float64(s.Uplink.Backlog) / gain
	}
}

// Look is what there is to look at: the board, the points of every source, and
// what happened lately. It is what a gateway hands to its doors.
type Look struct {
	Board
	Buses map[string]Bus  // CAN sources by name
	Lines map[string]Line // Modbus sources by name

	Follow []string // values whose course is kept, named as in Numbers; at most 200

	Notes       Ring[Note]       // alarms raised and cleared, and what happened
	Disconnects Ring[Disconnect] // connections to the broker that ended, and attempts that failed
	Says        Sayings          // what the gateway says of itself to the broker

	Held func() Stored // what the buffer has; nil: there is none
}

// Stored is what the buffer holds of each source, and what was lost lately.
func (l *Look) Stored() Stored {
	if l.Held == nil {
		return Stored{Sources: []Held{}, Losses: []Loss{}}
	}
	return l.Held()
}

// Bus returns what can be looked at of a CAN source.
func (l *Look) Bus(source string) (Bus, bool) { b, ok := l.Buses[source]; return b, ok }

// Line returns what can be looked at of a Modbus source.
func (l *Look) Line(source string) (Line, bool) { v, ok := l.Lines[source]; return v, ok }

// LastNotes returns the newest notes of alarms, oldest first, at most 200.
func (l *Look) LastNotes() []Note { return l.Notes.All() }

// LastDisconnects returns the newest ends of connections, oldest first, at most 20.
func (l *Look) LastDisconnects() []Disconnect { return l.Disconnects.All() }

// LastAnnounced returns what the gateway has last said of itself to the broker.
func (l *Look) LastAnnounced() Announced { return l.Says.All() }

// Course returns the last hour of a figure, or its last day, and when it began.
// It has no steps if there is no such figure.
func (l *Look) Course(name string, day bool) (c Course, from time.Time) {
	s := l.Snapshot()
	if l.History == nil || s == nil {
		return c, from
	}
	if c = l.History.Fine(name); day {
		c = l.History.Coarse(name)
	}
	return c, s.Taken.Add(c.From - s.Up)
}

// Figures lists the names Course knows.
func (l *Look) Figures() []string {
	if l.History == nil {
		return nil
	}
	return l.History.Names()
}

// Note is an alarm that was raised or cleared, or something that happened.
type Note struct {
	Time     time.Time      `json:"time"`
	ID       uint64         `json:"id,omitempty"`
	Code     string         `json:"code"`
	State    string         `json:"state"` // raised, cleared or event
	Severity string         `json:"severity,omitempty"`
	Source   string         `json:"source"`
	Subject  string         `json:"subject,omitempty"`
	Title    string         `json:"title"`
	Detail   map[string]any `json:"detail,omitempty"`
}

// Disconnect is a connection to the broker that ended, or an attempt that failed.
type Disconnect struct {
	_ [0]func() // nobody compares them: saves the code for it

	Time   time.Time `json:"time"`
	Server string    `json:"server"`
	Reason string    `json:"reason,omitempty"`
	Error  string    `json:"error"`
}

// Ring keeps the newest of many things. It may be used from any goroutine; make
// it with a size above 0.
type Ring[T any] struct {
	Size int

	mu   sync.Mutex
	list []T // oldest first
}

// Add adds one, and forgets the oldest if there are too many.
func (r *Ring[T]) Add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) >= r.Size {
		r.list = append(r.list[:0], r.list[1:]...)
	}
	r.list = append(r.list, v)
}

// All returns a copy, oldest first, never nil.
func (r *Ring[T]) All() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]T{}, r.list...)
}
