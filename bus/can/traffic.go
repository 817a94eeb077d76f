package can

import (
	"cmp"
	"sort"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MaxIDs is how many arbitration ids a [Bus] keeps account of. Frames of
// further ones are counted together and are not limited: a flood of ids must
// cost neither memory nor data.
const MaxIDs = 2048

// IDTraffic is what frames of one arbitration id contribute.
type IDTraffic struct {
	ID         uint32
	Extended   bool
	Remote     bool
	Other      bool    // all ids beyond MaxIDs together; the last of a list
	Frames     uint64  // received, since the start
	Suppressed uint64  // of these, kept back by a Limit
	Rate       float64 // frames per second, of the last full rateWindow
}

// The windows that rates are taken from. They end at whole seconds of the
// machine's clock.
const (
	loadWindow = 1 // s
	rateWindow = 5 // s
)

// window counts by pieces of time: the one that runs, and the one before.
type window struct {
	slot          int64
	running, last uint64
}

func (w *window) add(slot int64, n uint64) {
	switch slot {
	case w.slot, w.slot - 1: // a frame may be a little late
		w.running += n
	case w.slot + 1:
		w.slot, w.last, w.running = slot, w.running, n
	default:
		w.slot, w.last, w.running = slot, 0, n
	}
}

// full is the count of the piece before now's.
func (w *window) full(now int64) uint64 {
	switch now {
	case w.slot:
		return w.last
	case w.slot + 1:
		return w.running
	}
	return 0
}

// perID is the account of one arbitration id.
type perID struct {
	key        uint32
	frames     uint64
	suppressed uint64
	rate       window
	limit      *limited // nil: none
}

// traffic is the account of what is on the bus. The receive loop takes its
// lock once for each batch, readers for the time of a copy.
type traffic struct {
	cfg     *Config
	limited bool // there is a limit for some id

	mu            sync.Mutex
	byKey         map[uint32]*perID
	last          *perID // of the frame before: frames of one id come in rows
	other         perID
	pages         int    // of multiplexed messages that are limited
	ids           int    // data and remote frames of an id are one
	logTime       bool   // frames bear the times of a log: they count when they are read
	nominal, data window // bits at the two bit rates
	frames        window
	configured    rates
	link          rates // as the interface tells; goes first
	state         string
	errors        tecRec
}

// tecRec are TEC and REC of a controller (ISO 11898-1), if it tells.
type tecRec struct {
	known  bool
	tx, rx uint16
}

// rates are the bit rates of a bus, in bit/s; 0: not known.
type rates struct{ nominal, data uint32 }

func (t *traffic) init(c *Config) {
	t.byKey = map[uint32]*perID{}
	t.configured = rates{c.Bitrate, c.DataBitrate}
	t.cfg = c
	t.limited = c.Limit != Limit{} || len(c.Limits) > 0
}

// setLink notes what the interface tells.
func (t *traffic) setLink(r rates, state string, errors tecRec) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.link, t.state, t.errors = r, state, errors
}

// take counts the frames of a batch, and returns those that the limits let
// pass, at the beginning of batch.
func (t *traffic) take(batch []Frame) []Frame {
	at := batch[len(batch)-1].Time
	if t.logTime {
		at = time.Now().UnixNano()
	}
	second := at / 1e9 // one division for all: a batch is short
	slot := second / rateWindow
	var nominal, data uint64
	kept := 0
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range batch {
		f := &batch[i]
		n, d := FrameBits(f)
		nominal += uint64(n)
		data += uint64(d)
		id := t.of(f)
		id.frames++
		id.rate.add(slot, 1)
		if id.limit != nil && !id.limit.pass(f, &t.pages) {
			id.suppressed++
			continue
		}
		if kept != i {
			batch[kept] = *f
		}
		kept++
	}
	t.frames.add(second/loadWindow, uint64(len(batch)))
	t.nominal.add(second/loadWindow, nominal)
	t.data.add(second/loadWindow, data)
	return batch[:kept]
}

// of returns the account of a frame's id.
func (t *traffic) of(f *Frame) *perID {
	key := f.key()
	if t.last != nil && t.last.key == key {
		return t.last
	}
	id := t.byKey[key]
	if id == nil {
		if len(t.byKey) >= MaxIDs {
			return &t.other
		}
		id = &perID{key: key}
		if t.limited {
			if l := t.cfg.limitOf(key &^ unix.CAN_RTR_FLAG); l != (Limit{}) {
				id.limit = newLimited(l, t.cfg.Pages, f)
			}
		}
		t.byKey[key] = id
		if t.byKey[key^unix.CAN_RTR_FLAG] == nil {
			t.ids++
		}
	}
	t.last = id
	return id
}

// stats fills in what the account knows.
func (t *traffic) stats(s *Stats, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	second := now / 1e9 / loadWindow
	r := t.rates()
	s.Bitrate, s.DataBitrate, s.State = r.nominal, r.data, t.state
	s.CountersKnown, s.TxErrors, s.RxErrors = t.errors.known, t.errors.tx, t.errors.rx
	s.Rate, s.IDs = t.frames.full(second), t.ids
	s.Load = -1
	if r.nominal == 0 {
		return
	}
	if r.data == 0 {
		r.data = r.nominal
	}
	busy := float64(t.nominal.full(second))/float64(r.nominal) + float64(t.data.full(second))/float64(r.data)
	s.Load = 100 * busy / loadWindow
}

func (t *traffic) rates() rates {
	if t.link.nominal != 0 {
		return t.link
	}
	return t.configured
}

func (t *traffic) list(now int64) []IDTraffic {
	slot := now / 1e9 / rateWindow
	t.mu.Lock()
	list := make([]IDTraffic, 0, len(t.byKey)+1)
	for _, id := range t.byKey {
		list = append(list, id.traffic(slot))
	}
	other := t.other.traffic(slot)
	t.mu.Unlock()
	sort.SliceStable(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		return cmp.Or(compareBool(a.Extended, b.Extended), cmp.Compare(a.ID, b.ID), compareBool(a.Remote, b.Remote)) < 0
	})
	if other.Frames > 0 {
		other.Other = true
		list = append(list, other)
	}
	return list
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (id *perID) traffic(slot int64) IDTraffic {
	return IDTraffic{
		ID:         id.key & unix.CAN_EFF_MASK,
		Extended:   id.key&unix.CAN_EFF_FLAG != 0,
		Remote:     id.key&unix.CAN_RTR_FLAG != 0,
		Frames:     id.frames,
		Suppressed: id.suppressed,
		Rate:       float64(id.rate.full(slot)) / rateWindow,
	}
}

// The bits of a frame besides its data (ISO 11898-1), the three of the
// interframe space included. Stuffed are those in which a run of five equal
// bits is followed by a stuff bit; the others are the delimiters,
// acknowledgement, end of frame and interframe space.
const (
	frameTail     = 13
	classicHead   = 34 // SOF, id, RTR, IDE, r0, DLC, CRC
	extendedExtra = 20 // SRR, 18 bits of id, r1
	fdHead        = 17 // SOF, id, RRS, IDE, FDF, res, BRS
	fdExtended    = 19
	fdDataHead    = 5 // ESI, DLC
	// The CRC field of CAN FD with its stuff count and fixed stuff bits.
	fdCRC17 = 4 + 17 + 6
	fdCRC21 = 4 + 21 + 7
)

// stuffShare is how many bits are followed by a stuff bit, on average: one in
// sixteen. Random bits have one in about thirty; real ones, with their runs of
// zeros, more; the worst case is one in four.
const stuffShare = 16

// FrameBits returns how many bits a frame takes on the wire, at the nominal
// bit rate and, of CAN FD frames with the bit rate switched, at the data bit
// rate. The number of stuff bits is an estimate, right on average.
func FrameBits(f *Frame) (nominal, data uint32) {
	n := 8 * uint32(len(f.Payload()))
	if f.Flags&FD == 0 {
		stuffed := classicHead + n
		if f.Flags&Extended != 0 {
			stuffed += extendedExtra
		}
		return stuffed + stuffed/stuffShare + frameTail, 0
	}
	head := uint32(fdHead)
	if f.Flags&Extended != 0 {
		head += fdExtended
	}
	crc := uint32(fdCRC17)
	if f.Len > 16 {
		crc = fdCRC21
	}
	head += head/stuffShare + frameTail
	body := fdDataHead + n
	body += body/stuffShare + crc
	if f.Flags&BitRateSwitch != 0 {
		return head, body
	}
	return head + body, 0
}
