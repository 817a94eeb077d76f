package buffer

import (
	"context"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Batch receives records from [Buffer.Read]. It keeps its memory, and the
// piece of the disk it read last, for the next call; each reader should have
// one of its own. It must not be used by two goroutines at a time. The zero
// value is ready.
type Batch struct {
	Records []Record // in the order of offsets

	arena []byte
	owner *Buffer
	z     *zstd.Decoder
	names interner
	file  []byte // chunk as stored
	raw   []byte
	chunk rows
	have  bool // chunk is valid, unless the buffer's rewrites have moved on

	rewrites uint64
}

func (t *Batch) reset(b *Buffer) {
	clear(t.Records)
	t.Records, t.arena = t.Records[:0], t.arena[:0]
	if t.owner != b {
		t.owner, t.have = b, false
	}
}

// add copies one record into the batch.
func (t *Batch) add(offset, session uint64, source string, w *row, data []byte) {
	r := Record{Offset: offset, Session: session, Source: source, Seq: w.seq, Time: w.t}
	if w.lost > 0 {
		r.Lost, r.Reason = w.lost, w.reason
	} else {
		n := len(t.arena)
		t.arena = append(t.arena, data[w.pos:w.pos+w.size]...)
		r.Data = t.arena[n:len(t.arena):len(t.arena)]
	}
	t.Records = append(t.Records, r)
}

// First returns the offset of the first record that is not acknowledged, or,
// when there is none, the offset the next record will have. It is 0 while the
// buffer has no disk.
func (b *Buffer) First() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.attached {
		return 0
	}
	return min(b.gone.outside(0), b.next)
}

// End returns the end of what can be read: everything from an offset below it
// is there, or gone. It is false while the buffer has no disk.
func (b *Buffer) End() (uint64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.visible(), b.attached
}

// Read copies into batch the records from offset from on that are not
// acknowledged: at most maxRecords, and no more after their data has reached
// maxBytes. next is the offset to go on from: [Buffer.Ack] of [from,next)
// acknowledges exactly what was read. A batch without records says that there
// is nothing from this offset on, and next is behind all that is gone; see
// [Buffer.Wait]. With a SyncInterval of 0
// only records that are on disk are returned.
//
// An error is one of the disk's and concerns what lies there; what is only in
// memory is read without it. Damage is not an error: it is accounted for by a
// loss record.
func (b *Buffer) Read(from uint64, batch *Batch, maxRecords, maxBytes int) (next uint64, err error) {
	batch.reset(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	pos := from
	for len(batch.Records) < maxRecords && len(batch.arena) < maxBytes {
		if b.closed {
			return from, ErrClosed
		}
		off := b.gone.outside(pos)
		if end := b.visible(); off >= end {
			pos = max(pos, end) // what was before it is gone
			break
		}
		if b.leaving.from <= off && off < b.leaving.to {
			if len(batch.Records) > 0 {
				break
			}
			left := b.left
			b.mu.Unlock()
			<-left
			b.mu.Lock()
			continue
		}
		n := len(batch.Records)
		p, err := b.readAt(off, batch, maxRecords, maxBytes)
		if err != nil {
			if len(batch.Records) > 0 {
				break // told when it is asked for again
			}
			return from, err
		}
		if len(batch.Records) > n {
			b.handed.add(off, p)
		}
		pos = p
	}
	return pos, nil
}

// visible is the end of what may be read.
func (b *Buffer) visible() uint64 {
	if !b.attached {
		return 0
	}
	if b.cfg.SyncInterval == 0 {
		return b.syncedTo
	}
	return b.next
}

// readAt reads on from off, which is not gone, and returns how far it came.
// It gives mu up while it reads the disk.
func (b *Buffer) readAt(off uint64, t *Batch, maxRecords, maxBytes int) (uint64, error) {
	if i := b.losses.at(off); i < len(b.losses) && b.losses[i].offset == off {
		l := &b.losses[i]
		if !b.handed.contains(off) { // or else it may still be acknowledged as a record
			l.taken, l.less = 0, false // from now on an acknowledgement is one of the loss
		}
		t.add(off, l.session, l.source, &row{t: l.t, seq: l.seq, lost: l.n, reason: l.reason}, nil)
		return off + 1, nil
	}
	if i := b.mem.find(off); i < len(b.mem.blocks) && b.mem.blocks[i].first <= off {
		return b.readBlock(b.mem.blocks[i], off, t, maxRecords, maxBytes), nil
	}
	t.have = t.have && t.rewrites == b.rewrites
	if t.have && t.chunk.head.first <= off && off <= t.chunk.head.last {
		return b.readChunk(off, t, maxRecords, maxBytes), nil
	}
	s := b.segmentAt(off)
	if s == nil || s.sum.first > off {
		return b.skipHole(off, s), nil
	}
	last := s.sum.last
	t.rewrites = b.rewrites
	b.mu.Unlock()
	found, err := b.loadChunk(s, off, t)
	b.mu.Lock()
	switch {
	case errors.Is(err, errGone):
		return off, nil
	case err == nil && t.rewrites != b.rewrites:
		t.have = false // what was found may lie elsewhere now
	case err != nil:
		return off, err
	case found && t.chunk.head.first > off:
		b.gone.add(off, b.untilLoss(off, min(t.chunk.head.first, last+1)))
	case !found && b.segmentAt(off) == s && !s.dead:
		b.gone.add(off, b.untilLoss(off, last+1))
	}
	return off, nil
}

// untilLoss returns where the first loss in [off,end) is, or end. What was
// joined of two segments has the losses between them in its holes.
func (b *Buffer) untilLoss(off, end uint64) uint64 {
	if i := b.losses.at(off); i < len(b.losses) {
		return min(end, b.losses[i].offset)
	}
	return end
}

// segmentAt returns the first segment that ends at or behind off.
func (b *Buffer) segmentAt(off uint64) *segment {
	for _, s := range b.segs {
		if s.sum.rows > 0 && s.sum.last >= off {
			return s
		}
	}
	return nil
}

// skipHole passes offsets that nothing is known of. They were acknowledged
// before they were stored, and the note of it was not stored either.
func (b *Buffer) skipHole(off uint64, s *segment) uint64 {
	end := b.visible()
	if s != nil {
		end = min(end, s.sum.first)
	}
	if i := b.mem.find(off); i < len(b.mem.blocks) {
		end = min(end, max(b.mem.blocks[i].first, off))
	}
	end = b.untilLoss(off, end)
	b.gone.add(off, end)
	return end
}

func (b *Buffer) readBlock(k *block, off uint64, t *Batch, maxRecords, maxBytes int) uint64 {
	end := min(k.end(), b.visible())
	for off < end && len(t.Records) < maxRecords && len(t.arena) < maxBytes {
		if n := b.gone.outside(off); n > off {
			off = n
			continue
		}
		if b.losses.has(off) {
			break
		}
		w := &k.rows[off-k.first]
		t.add(off, b.session, b.sources[w.src].name, w, k.arena)
		off++
	}
	return off
}

func (b *Buffer) readChunk(off uint64, t *Batch, maxRecords, maxBytes int) uint64 {
	d := &t.chunk
	i := d.find(off)
	if d.off[i] > off {
		b.gone.add(off, b.untilLoss(off, d.off[i]))
	}
	untouched := !b.gone.touches(off, d.head.last+1) && b.losses.at(off) == b.losses.at(d.head.last+1)
	for ; i < len(d.off) && len(t.Records) < maxRecords && len(t.arena) < maxBytes; i++ {
		if !untouched {
			if b.gone.contains(d.off[i]) {
				continue
			}
			if l := b.untilLoss(off, d.off[i]+1); l <= d.off[i] {
				return l
			}
		}
		w := &d.row[i]
		t.add(d.off[i], d.head.session, d.head.tables[w.src].name, w, d.data)
		off = d.off[i] + 1
	}
	if i == len(d.off) {
		return b.untilLoss(off, d.head.last+1)
	}
	return off
}

// find returns the index of the first row at or behind off.
func (d *rows) find(off uint64) int {
	lo, hi := 0, len(d.off)
	for lo < hi {
		if m := (lo + hi) / 2; d.off[m] < off {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// loadChunk reads the chunk that has the first record at or behind off. A
// damaged segment is repaired; then nothing is found, and the caller looks
// again.
func (b *Buffer) loadChunk(s *segment, off uint64, t *Batch) (found bool, err error) {
	t.have = false
	err = b.withSegment(s, func() error {
		buf, err := s.find(off, t.file, &t.chunk.head, &t.names)
		if err != nil || buf == nil {
			return err
		}
		t.file = buf
		if err := t.inflate(); err != nil {
			return err
		}
		found = true
		return nil
	})
	switch {
	case damage(err):
		return false, b.repair(s, err)
	case errors.Is(err, errGone), errors.Is(err, ErrClosed):
		return false, err
	case err != nil:
		return false, fmt.Errorf("reading the buffer: %w", err)
	}
	t.have = found
	return found, nil
}

func (t *Batch) inflate() (err error) {
	if t.z == nil {
		if t.z, err = newDecoder(); err != nil {
			return err
		}
	}
	raw, err := t.chunk.head.inflate(t.z, t.raw)
	if err != nil {
		return err
	}
	if t.chunk.head.zstd {
		t.raw = raw
	}
	return t.chunk.decode(t.chunk.head, raw)
}

// errGone says that a segment was removed while somebody wanted to read it.
var errGone = errors.New("the segment is gone")

// withSegment runs fn while s is open. Besides the active segment one more is
// kept open; before its first use it is read through.
func (b *Buffer) withSegment(s *segment, fn func() error) error {
	b.rmu.Lock()
	defer b.rmu.Unlock()
	if b.ended {
		return ErrClosed
	}
	if b.away {
		return b.readAway(s, fn)
	}
	for {
		s.hmu.RLock()
		if s.db != nil {
			defer s.hmu.RUnlock()
			return fn()
		}
		s.hmu.RUnlock()
		// Again and again: the committer may end the segment meanwhile.
		if err := b.openForReading(s); err != nil {
			return err
		}
	}
}

func (b *Buffer) openForReading(s *segment) error {
	if b.reading != nil && b.reading != s {
		if err := b.reading.close(); err != nil {
			b.log.Error("buffer: closing a segment failed", "file", b.reading.path, "error", err)
		}
		b.reading = nil
	}
	s.hmu.Lock()
	defer s.hmu.Unlock()
	if s.dead {
		return errGone
	}
	if s.db != nil {
		return nil
	}
	db, err := openBolt(s.path, true, 0)
	if err != nil {
		return err
	}
	s.db = db
	b.reading = s
	if s.checked {
		return nil
	}
	b.mu.Lock()
	sum := s.sum
	b.mu.Unlock()
	if err = checkPages(s.path, false); err == nil {
		err = s.verify(&sum)
	}
	if err != nil {
		_ = s.closeLocked()
		return err
	}
	s.checked = true
	return nil
}

// verify reads the whole segment and compares it with its summary. What lies
// behind the summary comes from a commit whose outcome was unknown and which
// was repeated elsewhere.
func (s *segment) verify(sum *summary) error {
	rows := uint64(0)
	first := true
	last := uint64(0)
	err := s.walk(func(h *head, _ []byte) error {
		if !first && h.first <= last {
			return fmt.Errorf("chunks overlap at offset %d: %w", h.first, errDamaged)
		}
		first, last = false, h.last
		if h.last <= sum.last {
			rows += h.rows
		}
		return nil
	})
	if err == nil && rows != sum.rows {
		err = fmt.Errorf("%d records where %d were stored: %w", rows, sum.rows, errDamaged)
	}
	return err
}

// Wait returns when [Buffer.Read] from this offset would return records, or
// an error. Its error is the context's, or [ErrClosed].
func (b *Buffer) Wait(ctx context.Context, from uint64) error {
	for {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return ErrClosed
		}
		if b.gone.outside(from) < b.visible() {
			b.mu.Unlock()
			return nil
		}
		if b.wake == nil {
			b.wake = make(chan struct{})
		}
		wake := b.wake
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}
