package live

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

const (
	// MaxIDs is how many arbitration ids of a bus have a row. Frames of further
	// ids are counted together: a bus that is flooded with ids costs no memory.
	MaxIDs = 2048
	// periodWindow is over how long the periods of an id are taken, twice: the
	// window that runs, and the one before it.
	periodWindow = 10
)

// Frames are the last frames of one CAN bus, by arbitration id, its newest
// frames in order, and the last of its long J1939 messages. [Frames.Note] and
// [Frames.Join] belong to the goroutine of the bus, the rest may be called from any.
type Frames struct {
	// DB says which signals a frame carries, so that each keeps the last that had
	// it; nil: only the last frame of an id is known.
	DB *dbc.Database
	// LogTime says that frames bear the times of a log that is replayed.
	LogTime bool

	mu      sync.Mutex
	index   idIndex
	rows    []row
	joined  []joined
	others  uint64 // frames of ids without a row
	noted   uint64 // all frames
	newest  int64  // the time of the last of them
	seconds int
	roll    roll
	kept    int // bytes of all pages
}

// row is one arbitration id.
type row struct {
	frame can.Frame
	count uint64
	diff  [2]uint64 // bytes that changed, a bit each: in this second, in the last
	delta int64     // between the last two, in nanoseconds
	now   periods
	past  periods

	message *dbc.Message // nil: nothing describes it
	paged   bool         // its frames carry different signals, and not by their lengths alone
	pages   []page       // empty: all frames had the same signals until now
	at      int          // the page of the last frame
}

// periods are the times between neighbours, in nanoseconds.
type periods struct {
	n        uint32
	min, max int64
	sum      int64
}

// Note takes a batch of frames. It keeps none of it and does not allocate once
// every id, and every page of a multiplexed message, has been seen.
func (f *Frames) Note(batch []can.Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noted += uint64(len(batch))
	if len(batch) > 0 {
		f.newest = batch[len(batch)-1].Time
	}
	for i := range batch {
		frame := &batch[i]
		f.roll.add(frame)
		n := f.index.find(frame.ID, frame.Flags&can.Extended != 0)
		if n == 0 {
			f.admit(frame)
			continue
		}
		r := &f.rows[n-1]
		if r.message != nil && (r.paged || len(r.pages) > 0 || r.frame.Len != frame.Len || (r.frame.Flags^frame.Flags)&can.Remote != 0) {
			f.keep(r, r.frame.Payload(), frame.Time, frame.Payload())
		}
		r.note(frame)
	}
}

// admit gives an id its row, if there is one left.
func (f *Frames) admit(frame *can.Frame) {
	if len(f.rows) == MaxIDs {
		f.others++
		return
	}
	f.rows = append(f.rows, row{frame: *frame, count: 1})
	f.index.put(frame.ID, frame.Flags&can.Extended != 0, len(f.rows))
	if f.DB != nil {
		f.rows[len(f.rows)-1].describe(f.DB.Find(frame.ID, frame.Flags&^can.Remote))
	}
}

// describe notes what describes the frames of a row; nil: nothing does.
func (r *row) describe(m *dbc.Message) {
	r.message, r.paged = m, m != nil && m.Multiplexed()
}

func (r *row) note(f *can.Frame) {
	r.count++
	r.delta = f.Time - r.frame.Time
	if r.delta >= 0 {
		r.now.note(r.delta)
	}
	if changed := changes(&r.frame, f); changed != 0 {
		r.diff[0] |= changed
	}
	r.frame = *f
}

// changes are the bytes in which two frames differ, a bit each.
func changes(a, b *can.Frame) uint64 {
	x := binary.LittleEndian.Uint64(a.Data[:8]) ^ binary.LittleEndian.Uint64(b.Data[:8])
	var changed uint64
	for x != 0 {
		n := bits.TrailingZeros64(x) / 8
		changed |= 1 << n
		x &^= 0xFF << (8 * n)
	}
	for i := 8; i < int(min(max(a.Len, b.Len), can.MaxDataLen)); i++ {
		if a.Data[i] != b.Data[i] {
			changed |= 1 << i
		}
	}
	if a.Len != b.Len { // what one of them does not have has changed as well
		low, high := min(a.Len, b.Len), min(max(a.Len, b.Len), can.MaxDataLen)
		changed |= (1<<high - 1) &^ (1<<low - 1)
	}
	return changed
}

func (p *periods) note(d int64) {
	if p.n == 0 || d < p.min {
		p.min = d
	}
	p.max = max(p.max, d)
	p.sum += d
	p.n++
}

// Tick is to be called once a second: what changed in the second before the last is
// forgotten, and every ten seconds the periods of the window before.
func (f *Frames) Tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seconds++
	turn := f.seconds%periodWindow == 0
	for i := range f.rows {
		f.rows[i].tick(turn)
	}
	for i := range f.joined {
		f.joined[i].tick(turn)
	}
}

func (r *row) tick(turn bool) {
	r.diff[1], r.diff[0] = r.diff[0], 0
	if turn {
		r.past, r.now = r.now, periods{}
	}
}

// from is the time of frames from since on: in a log that is replayed as long before
// the newest frame.
func (f *Frames) from(since time.Time) int64 {
	at := since.UnixNano()
	if f.LogTime {
		f.mu.Lock()
		defer f.mu.Unlock()
		at += f.newest - time.Now().UnixNano()
	}
	return at
}

// Row is the last frame of one arbitration id, or the last long message.
type Row struct {
	Frame   can.Frame
	Data    []byte // of a message that came in packets; nil: the frame has them
	Count   uint64
	Changed uint64        // bytes that changed within the last two seconds, a bit each
	Delta   time.Duration // between the last two; 0: not known
	Min     time.Duration
	Mean    time.Duration // between neighbours, of the last ten to twenty seconds; 0: not known
	Max     time.Duration

	pages []page // the data it came with, by the signals they carry, the newest first
}

func (r *row) copy() Row {
	out := Row{Frame: r.frame, Count: r.count, Changed: r.diff[0] | r.diff[1], Delta: time.Duration(max(r.delta, 0))}
	p := r.now
	if r.past.n > 0 {
		if p.n == 0 {
			p = r.past
		} else {
			p = periods{p.n + r.past.n, min(p.min, r.past.min), max(p.max, r.past.max), p.sum + r.past.sum}
		}
	}
	if p.n > 0 {
		out.Min, out.Max, out.Mean = time.Duration(p.min), time.Duration(p.max), time.Duration(p.sum/int64(p.n))
	}
	return out
}

func (r *Row) payload() []byte {
	if r.Data != nil {
		return r.Data
	}
	return r.Frame.Payload()
}

// idIndex finds the row of an arbitration id: an array for the standard ids, a
// hash table with open addressing for the extended ones. Nothing is ever removed.
type idIndex struct {
	_ [0]func() // nobody compares them: saves the code for it

	standard [can.MaxID + 1]uint16
	extended [2 * MaxIDs]struct {
		id  uint32
		row uint16
	}
}

// slot is where an extended id is, or would be put.
func (x *idIndex) slot(id uint32) int {
	i := int(id * 2654435761 >> 20 & (2*MaxIDs - 1)) // Knuth's multiplicative hash
	for x.extended[i].row != 0 && x.extended[i].id != id {
		i = (i + 1) & (2*MaxIDs - 1)
	}
	return i
}

func (x *idIndex) find(id uint32, extended bool) int {
	if extended {
		return int(x.extended[x.slot(id)].row)
	}
	return int(x.standard[id&can.MaxID])
}

func (x *idIndex) put(id uint32, extended bool, row int) {
	if extended {
		s := &x.extended[x.slot(id)]
		s.id, s.row = id, uint16(row)
		return
	}
	x.standard[id&can.MaxID] = uint16(row)
}
