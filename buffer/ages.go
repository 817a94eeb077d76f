package buffer

import (
	"sort"
	"time"
)

// maxMarks bounds what is remembered of ages: 8 KiB.
const maxMarks = 512

// ages says how old an offset is that has left the memory: when a few of them
// were appended, sorted. What lies between two marks is interpolated.
type ages struct {
	marks []mark
	every time.Duration // marks closer to the one before are left out
}

// mark says that the record at off was appended at a time since Open, which is
// below 0 for earlier sessions.
type mark struct {
	off uint64
	at  time.Duration
}

// note adds a mark behind all others. When there are too many, every other one
// goes: then a mark is at most a few thousandths of the whole from the next.
func (a *ages) note(off uint64, at time.Duration) {
	if n := len(a.marks); n > 0 && (off <= a.marks[n-1].off || at-a.marks[n-1].at < a.every) {
		return
	}
	if len(a.marks) == maxMarks {
		for i := range maxMarks / 2 {
			a.marks[i] = a.marks[2*i]
		}
		a.marks = a.marks[:maxMarks/2]
		a.every = (at - a.marks[0].at) / maxMarks
	}
	a.marks = append(a.marks, mark{off, at})
}

// before adds marks of earlier sessions in front of all others.
func (a *ages) before(older []mark) {
	all := ages{}
	for _, m := range append(older, a.marks...) {
		all.note(m.off, m.at)
	}
	*a = all
}

// of returns when the record at off was appended, the latest that can have been
// if it lies before all marks; false: nobody knows.
func (a *ages) of(off uint64) (time.Duration, bool) {
	if len(a.marks) == 0 {
		return 0, false
	}
	i := sort.Search(len(a.marks), func(i int) bool { return a.marks[i].off > off })
	if i == 0 {
		return a.marks[0].at, true
	}
	m := a.marks[i-1]
	if i == len(a.marks) {
		return m.at, true
	}
	n := a.marks[i]
	share := float64(off-m.off) / float64(n.off-m.off)
	return m.at + time.Duration(share*float64(n.at-m.at)), true
}

// forget drops the marks that say nothing of offsets from off on.
func (a *ages) forget(off uint64) {
	i := sort.Search(len(a.marks), func(i int) bool { return a.marks[i].off > off })
	if i > 1 {
		a.marks = append(a.marks[:0], a.marks[i-1:]...)
	}
	if len(a.marks) < maxMarks/8 {
		a.every = 0
	}
}

// appendedAt is when a row was appended.
func (b *Buffer) appendedAt(w *row) time.Duration {
	now := b.now()
	return now - time.Duration(uint32(now/time.Millisecond)-w.at)*time.Millisecond
}

// oldestAge is the age of the first record that is not acknowledged, -1 without
// one. It looks at no more than one record; mu is held.
func (b *Buffer) oldestAge() time.Duration {
	off := b.oldest()
	if off >= b.next {
		return -1
	}
	b.ages.forget(off)
	if i := b.mem.find(off); i < len(b.mem.blocks) && b.mem.blocks[i].first <= off {
		k := b.mem.blocks[i]
		return max(b.now()-b.appendedAt(&k.rows[off-k.first]), 0)
	}
	if at, ok := b.ages.of(off); ok {
		return max(b.now()-at, 0)
	}
	return b.now() // of an earlier session, and nobody knows when that was
}

// oldest is the first offset that holds something and is not acknowledged, or
// the next one.
func (b *Buffer) oldest() uint64 {
	off := b.gone.outside(0)
	if b.losses.has(off) {
		return off
	}
	first := b.untilLoss(off, b.next)
	if s := b.segmentAt(off); s != nil {
		first = min(first, max(s.sum.first, off))
	}
	if i := b.mem.find(off); i < len(b.mem.blocks) {
		first = min(first, max(b.mem.blocks[i].first, off))
	}
	return min(b.gone.outside(first), b.next)
}

// recall notes how old the records of earlier sessions are. Like [Buffer.reckon],
// of which it is a part, it waits for the time of day. mu is held.
func (b *Buffer) recall(now int64) {
	var older []mark
	ago := func(off uint64, t int64) {
		if t >= sane && t <= now && (len(older) == 0 || off > older[len(older)-1].off) {
			older = append(older, mark{off, b.now() - time.Duration(now-t)})
		}
	}
	ago(b.front.off, b.front.t)
	for _, s := range b.segs {
		if s.sum.session < b.session && s.sum.rows > 0 {
			ago(s.sum.last+1, s.sum.born)
		}
	}
	if len(older) > 0 {
		b.ages.before(older)
	}
}

// front is the oldest record that an earlier session has left, and its time.
type front struct {
	off uint64
	t   int64
}

// readFront reads the time of the oldest record from the disk. What cannot be
// read is left to those who need it. Nothing else runs yet.
func (b *Buffer) readFront() {
	off := b.oldest()
	if i := b.losses.at(off); b.losses.has(off) {
		b.front = front{off, b.losses[i].t}
		return
	}
	s := b.segmentAt(off)
	if s == nil || s.sum.first > off || s.sum.born < sane {
		return // without a time of day that was known then, the record's time may be any
	}
	if s.db == nil {
		db, err := openBolt(s.path, true, 0)
		if err != nil {
			return
		}
		s.db = db
		defer s.close()
	}
	var t Batch
	file, err := s.find(off, nil, &t.chunk.head, &t.names)
	if err != nil || file == nil || t.inflate() != nil {
		return
	}
	if i := t.chunk.find(off); i < len(t.chunk.off) && t.chunk.row[i].t <= s.sum.born {
		b.front = front{off, t.chunk.row[i].t}
	}
}
