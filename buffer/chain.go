package buffer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fieldferry/buffer/beneath"
)

// chunkOverhead bounds what a transaction writes besides the chunks: copies
// of the pages on the way to them, the free list, the summary.
const chunkOverhead = 16 * pageSize

// newSegmentSize is what an empty segment takes.
const newSegmentSize = 4 * pageSize

// roomForChunks sees to it that there is an active segment and that it may
// grow by the chunks in b.heads.
func (b *Buffer) roomForChunks() error {
	need := int64(chunkOverhead + b.step)
	for i := range b.heads {
		need += int64(b.heads[i].size+2*pageSize) &^ (pageSize - 1)
	}
	if s := b.active; s != nil {
		need += int64(len(s.sum.pairs)) * 64
		if s.data >= b.segmentSize || b.cfg.MaxAge > 0 && b.now()-s.opened > b.cfg.MaxAge/8 {
			b.roll()
		}
	}
	need += newSegmentSize // also if the active one is the one to be evicted
	if err := b.makeRoom(need); err != nil {
		return err
	}
	if b.active != nil {
		return nil
	}
	return b.begin()
}

// begin adds a new segment to the chain.
func (b *Buffer) begin() error {
	if err := b.hook("create"); err != nil {
		return err
	}
	b.mu.Lock()
	id := uint64(1)
	if n := len(b.segs); n > 0 {
		id = b.segs[n-1].id + 1
	}
	b.mu.Unlock()
	s, err := createSegment(b.cfg.Dir, max(id, b.nextID), b.mapped(), b.step)
	if err != nil {
		return err
	}
	b.nextID = s.id + 1
	size, err := fileSize(s.path)
	if err != nil {
		return err
	}
	s.opened = b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	s.size, s.saved = size, s.opened
	b.stateSoon() // so that it knows what the last one had
	b.segs = append(b.segs, s)
	b.active = s
	return nil
}

// mapped is how much address space an active segment gets, so that its map
// need not move: it outgrows SegmentSize by one group of chunks at most.
func (b *Buffer) mapped() int { return int(b.segmentSize*2 + 4<<20) }

// roll ends the active segment: it is cut to what it uses and closed.
func (b *Buffer) roll() {
	s := b.active
	b.mu.Lock()
	b.active = nil
	b.mu.Unlock()
	used, err := s.used()
	if cerr := s.close(); err == nil {
		err = cerr
	}
	if err == nil && used > 0 {
		err = truncate(s.path, used)
	}
	if err != nil {
		// It stays as long as it is; reading will check it.
		b.log.Error("buffer: ending a segment failed", "file", s.path, "error", err)
	}
	b.measure(s)
}

// measure asks how much a file takes.
func (b *Buffer) measure(s *segment) {
	if size, err := fileSize(s.path); err == nil {
		b.mu.Lock()
		s.size = size
		b.mu.Unlock()
	}
}

func truncate(path string, size int64) error {
	f, err := beneath.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > size {
		err = errors.Join(f.Truncate(size), f.Sync())
	}
	return errors.Join(err, f.Close())
}

// abandon gives the active segment up after a failed commit: its handle is
// not trusted any more, and whether the commit is on disk is not known. What
// was stored before stays readable; what comes goes into a new segment.
func (b *Buffer) abandon() {
	s := b.active
	b.mu.Lock()
	b.active = nil
	empty := s.sum.rows == 0
	b.mu.Unlock()
	s.hmu.Lock()
	s.checked = false
	err := s.closeLocked()
	s.hmu.Unlock()
	if err != nil {
		b.log.Error("buffer: closing a segment failed", "file", s.path, "error", err)
	}
	if empty {
		if err := b.unlink(s); err != nil {
			b.log.Error("buffer: removing an empty segment failed", "file", s.path, "error", err)
		}
		return
	}
	b.measure(s)
}

// diskBytes is what all files take.
func (b *Buffer) diskBytes() int64 {
	n := b.stateBytes + pageSize + b.badBytes + b.journalBytes
	for _, s := range b.segs {
		n += s.size
	}
	return n
}

// makeRoom sees to it that need more bytes fit under the size limit.
func (b *Buffer) makeRoom(need int64) error {
	for {
		b.mu.Lock()
		fits := b.diskBytes()+need+b.reserve() <= b.limit
		var oldest *segment
		if len(b.segs) > 0 {
			oldest = b.segs[0]
		}
		drop := b.cfg.Overflow == DropOldest || oldest != nil && b.finished(oldest, true)
		b.mu.Unlock()
		switch {
		case fits:
			return nil
		case len(b.bad) > 0:
			b.dropBad()
		case oldest == nil || !drop:
			return errFull
		default:
			if err := b.drive(); err != nil {
				return err
			}
		}
	}
}

// dropBad removes the oldest file that was put aside.
func (b *Buffer) dropBad() {
	f := b.bad[0]
	b.bad = b.bad[1:]
	if err := os.Remove(f.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.log.Error("buffer: removing a damaged file failed", "file", f.path, "error", err)
		return
	}
	b.log.Warn("buffer: a damaged file was removed to make room", "file", f.path)
	b.mu.Lock()
	b.badBytes -= f.size
	b.mu.Unlock()
}

// evict removes a segment and accounts for what it held. The account is on
// disk before the file is gone.
func (b *Buffer) evict(s *segment) error {
	if s == b.active {
		b.roll()
	}
	b.mu.Lock()
	some := s.sum.rows > 0
	b.leaving, b.left = span{s.sum.first, s.sum.last + 1}, make(chan struct{})
	b.mu.Unlock()
	n, err := uint64(0), error(nil)
	for done := !some; !done && err == nil; {
		n, done, err = b.replaceSegment(s)
	}
	b.mu.Lock()
	b.leaving = span{}
	close(b.left)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if some {
		if n > 0 {
			b.log.Warn("buffer: the oldest segment was evicted", "file", s.path, "records", n)
		}
		if err := b.storeState(); err != nil {
			return err
		}
	}
	return b.unlink(s)
}

// replaceSegment puts losses in the place of a segment, and returns false when
// something was acknowledged while it was read. Nothing more of it is handed
// out meanwhile, so that every record is either delivered or told as lost.
func (b *Buffer) replaceSegment(s *segment) (n uint64, done bool, err error) {
	b.mu.Lock()
	from, to := s.sum.first, s.sum.last+1
	before := b.gone.inside(from, to)
	b.mu.Unlock()
	lost, err := b.holdings(s)
	if err != nil {
		return 0, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.accounted && b.gone.inside(from, to) != before {
		return 0, false, nil
	}
	b.accounted = false
	return b.replace(from, to, lost), true, nil
}

// holdings lists what a segment holds that is not acknowledged.
func (b *Buffer) holdings(s *segment) ([]loss, error) {
	b.mu.Lock()
	gone := b.leftOut(s.sum.first, s.sum.last+1)
	if gone.covers(s.sum.first, s.sum.last+1) {
		b.mu.Unlock()
		return nil, nil
	}
	if lost, ok := s.sum.whole(); ok && gone.total == 0 && !b.handed.touches(s.sum.first, s.sum.last+1) {
		b.mu.Unlock()
		return lost, nil
	}
	last := s.sum.last
	handed := b.handed.part(s.sum.first, last+1)
	b.mu.Unlock()

	var t Batch
	found := runs{handed: &handed}
	err := b.withSegment(s, func() error {
		return s.walk(func(h *head, _ []byte) error {
			if h.last > last || gone.covers(h.first, h.last+1) {
				return nil
			}
			t.chunk.head = *h
			if err := t.inflate(); err != nil {
				return err
			}
			found.addChunk(&t.chunk, &gone, Evicted)
			return nil
		})
	})
	if err == nil {
		return found.list, nil
	}
	if !damage(err) {
		return nil, fmt.Errorf("reading a segment to evict it: %w", err)
	}
	// It cannot be read as a whole any more: what is left of it is evicted,
	// the rest is accounted for as damage.
	b.log.Error("buffer: a segment is damaged", "file", s.path, "error", err)
	good := within(scan(s.path), s.sum.first, s.sum.last)
	b.account(s, good)
	b.accounted = true
	found = runs{handed: &handed}
	for i := range good {
		t.chunk.head = good[i].head
		if t.inflate() == nil {
			found.addChunk(&t.chunk, &gone, Evicted)
		}
	}
	return found.list, nil
}

// leftOut is what of [from,to) need not be looked for in a segment: what is
// gone, and the places of losses, which stand for records that were there.
func (b *Buffer) leftOut(from, to uint64) spans {
	p := b.gone.part(from, to)
	for _, l := range b.losses[b.losses.at(from):b.losses.at(to)] {
		p.add(l.offset, l.offset+1)
	}
	return p
}

// whole describes the segment from its summary, when that is exact.
func (s *summary) whole() (list []loss, ok bool) {
	for _, p := range s.pairs {
		if p.losses > 0 || p.seqs != p.last-p.first+1 {
			return nil, false
		}
		list = append(list, loss{offset: p.offset, session: p.session, source: p.name,
			seq: p.first, n: p.seqs, t: p.t, reason: Evicted})
	}
	return list, true
}

// unlink takes a segment out of the chain and removes its file.
func (b *Buffer) unlink(s *segment) error {
	if err := b.syncNames(); err != nil {
		return err
	}
	b.mu.Lock()
	for i := range b.segs {
		if b.segs[i] == s {
			b.segs = append(b.segs[:i:i], b.segs[i+1:]...)
			break
		}
	}
	if b.active == s {
		b.active = nil
	}
	b.mu.Unlock()
	s.hmu.Lock()
	s.dead = true
	err := s.closeLocked()
	s.hmu.Unlock()
	if err != nil {
		b.log.Error("buffer: closing a segment failed", "file", s.path, "error", err)
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		// It is out of the chain but still takes room: keep counting it.
		size, _ := fileSize(s.path)
		b.addBad(s.path, size)
		return fmt.Errorf("removing a segment: %w", err)
	}
	return syncDir(b.cfg.Dir)
}

func (b *Buffer) addBad(path string, size int64) {
	b.bad = append(b.bad, badFile{path, size})
	b.mu.Lock()
	b.badBytes += size
	b.mu.Unlock()
}

// sweepSegments removes the segments that were acknowledged wholly.
func (b *Buffer) sweepSegments(end bool) error {
	var done []*segment
	noted := true
	b.mu.Lock()
	b.sweep = false
	for _, s := range b.segs {
		if b.finished(s, end) {
			done = append(done, s)
			noted = noted && s.sum.rows == 0
		}
	}
	b.mu.Unlock()
	// A segment that is missing without a note of it was lost, not
	// acknowledged: the note of all of them comes first.
	if !noted {
		if err := b.storeState(); err != nil {
			return err
		}
	}
	for _, s := range done {
		if err := b.unlink(s); err != nil {
			return err
		}
	}
	return nil
}

// expire evicts the segments whose newest record is older than MaxAge. Ages
// are counted on the monotonic clock, so that setting the clock evicts nothing;
// what passed between two sessions only a trusted time of day knows.
func (b *Buffer) expire() error {
	if b.cfg.MaxAge <= 0 {
		return nil
	}
	b.reckon()
	for {
		b.mu.Lock()
		var s *segment
		if len(b.segs) > 0 && b.segs[0].saved+b.cfg.MaxAge <= b.now() {
			s = b.segs[0]
		}
		b.mu.Unlock()
		if s == nil {
			return nil
		}
		if err := b.evict(s); err != nil {
			return err
		}
	}
}

// storeState writes the state file.
func (b *Buffer) storeState() error { return b.storeStateAs(false) }

// storeStateAs also says whether the session has ended, with everything on
// disk.
func (b *Buffer) storeStateAs(clean bool) error {
	b.mu.Lock()
	st := state{session: b.session, next: b.next, losses: append([]loss(nil), b.losses...), newest: b.newest()}
	st.gone = b.gone.within(0, b.next, nil, maxSpansState)
	b.describeEnd(&st, clean)
	b.stateDue = b.now() + stateProof
	b.mu.Unlock()
	if b.state == nil {
		return errAway
	}
	err := b.hook("state")
	if err == nil {
		err = b.syncNames()
	}
	if err == nil {
		err = b.state.write(&st)
	}
	b.steps.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stateBytes = b.state.size()
	if err != nil {
		b.stateSoon()
	}
	return err
}

// stateSoon has the state stored within stateDelay.
func (b *Buffer) stateSoon() {
	if due := b.now() + stateDelay; b.stateDue == 0 || due < b.stateDue {
		b.stateDue = due
		b.kick()
	}
}

// Stats returns the counters and gauges of the buffer. It never waits for the
// disk.
func (b *Buffer) Stats() Stats {
	b.reckon()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.OldestAge = b.oldestAge()
	s.Session = b.session
	s.Pending = b.next - b.gone.total
	if !b.attached {
		s.Pending-- // offset 0 is never used
	}
	for _, k := range b.mem.blocks {
		if !k.synced && !k.logged {
			s.Unsynced += uint64(len(k.rows)) - b.gone.inside(k.first, k.end())
		}
	}
	if b.attached {
		s.DiskBytes = b.diskBytes()
	}
	s.MemoryBytes = b.mem.bytes
	s.Segments, s.Limit = len(b.segs), b.canHold(s.DiskBytes)
	s.Size = b.limit
	s.Fault = b.fault
	if s.Fault == "" && b.full {
		s.Fault, s.Full = errFull.Error(), true
	}
	if d := b.now() - b.busyFrom; b.busyFrom > 0 && d > stallAfter {
		s.Full = false
		s.Fault = fmt.Sprintf("the disk has not answered for %s", d.Truncate(time.Second))
	}
	return s
}

func (b *Buffer) path(name string) string { return filepath.Join(b.cfg.Dir, name) }
