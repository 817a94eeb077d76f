package buffer

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Compacted is what [Compact] did.
type Compacted struct {
	BytesBefore, BytesAfter       int64 // of all files
	SegmentsBefore, SegmentsAfter int
	Lost                          uint64 // records that were found damaged, now accounted for
	Removed                       []string
}

// Compact opens the buffer in dir, which repairs what is damaged, writes it
// anew without what is acknowledged, joins small segments, and closes it. With
// dropBad it also removes the files that were put aside as damaged. It takes a
// session, evicts nothing, and fails with [ErrLocked] while another process
// has the buffer. Power may fail at any time. A nil log discards messages.
func Compact(dir string, dropBad bool, p Progress, log *slog.Logger) (c Compacted, err error) {
	before, err := newSurvey(dir, nil, 1)
	if err != nil {
		return c, err
	}
	if before.report.InUse {
		return c, fmt.Errorf("%w: %s is held by process %d; stop it first", ErrLocked, dir, before.report.PID)
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return c, fmt.Errorf("%s is one file of a buffer; name the directory it is in", dir)
	}
	c.BytesBefore, c.SegmentsBefore = before.report.Bytes, len(before.segs)
	b, err := Open(Config{Dir: dir, MaxSize: noLimit, SegmentSize: defaultSegment, SyncInterval: maxBackoff}, log)
	if err != nil {
		return c, err
	}
	if !b.isAttached() {
		fault := b.Stats().Fault
		_ = b.Close()
		return c, fmt.Errorf("compacting the buffer: %s", fault)
	}
	err = b.compact(p)
	if dropBad && err == nil {
		err = b.removeBad(&c)
	}
	c.Lost = b.Stats().LostBy[Corrupt]
	if cerr := b.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return c, fmt.Errorf("compacting the buffer: %w", err)
	}
	after, err := newSurvey(dir, nil, 1)
	if err != nil {
		return c, err
	}
	c.BytesAfter, c.SegmentsAfter = after.report.Bytes, len(after.segs)
	return c, nil
}

func (b *Buffer) removeBad(c *Compacted) error {
	b.disk.Lock()
	defer b.disk.Unlock()
	entries, err := os.ReadDir(b.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), badSuffix) {
			continue
		}
		if err := os.Remove(b.path(e.Name())); err != nil {
			return err
		}
		c.Removed = append(c.Removed, e.Name())
	}
	b.bad = nil
	return syncDir(b.cfg.Dir)
}

// compact rewrites the chain, as many neighbours at a time as fill a segment.
func (b *Buffer) compact(p Progress) error {
	b.disk.Lock()
	defer b.disk.Unlock()
	if b.active != nil {
		b.roll()
	}
	// What is left out below has to be noted as gone first.
	if err := b.storeState(); err != nil {
		return err
	}
	b.mu.Lock()
	chain := append([]*segment(nil), b.segs...)
	total := b.diskBytes()
	b.mu.Unlock()
	var join []*segment
	size, done := int64(0), int64(0)
	flush := func() error {
		err := b.joinSegments(join)
		for _, s := range join {
			done += s.size
		}
		if p != nil {
			p(done, total)
		}
		join, size = nil, 0
		return err
	}
	for _, s := range chain {
		if len(join) > 0 && size+s.size > b.segmentSize {
			if err := flush(); err != nil {
				return err
			}
		}
		join = append(join, s)
		size += s.size
	}
	return flush()
}

// joinSegments writes what is left of neighbours into one file, which takes
// the name of the last one. If power fails between that and the removal of the
// others, the last one has what they have too, and they are cut on opening.
func (b *Buffer) joinSegments(list []*segment) error {
	list = slices.DeleteFunc(list, func(s *segment) bool { return s.sum.rows == 0 })
	if len(list) == 0 || len(list) == 1 && !b.thinned(list[0]) {
		return nil
	}
	last := list[len(list)-1]
	good, err := b.remainder(list)
	if damage(err) {
		b.log.Warn("buffer: segments with damage are left as they are", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	if len(good) > 0 {
		b.mu.Lock()
		// What was acknowledged at either end may not be noted yet.
		gone := [][]span{{{list[0].sum.first, good[0].head.first}}, {{good[len(good)-1].head.last + 1, last.sum.last + 1}}}
		for _, s := range list {
			gone = append(gone, s.sum.gone)
		}
		b.mu.Unlock()
		fresh, err := b.rewrite(last, good, around(good, gone...))
		if err != nil {
			return err
		}
		if err := b.exchange(last, fresh); err != nil {
			return err
		}
		list = list[:len(list)-1]
		b.mu.Lock()
		for _, s := range list {
			s.sum = summary{} // the last one has it
		}
		b.sweep = true // should removing them fail
		b.mu.Unlock()
	} else if err := b.storeState(); err != nil {
		return err
	}
	for _, s := range list {
		if err := b.unlink(s); err != nil {
			return err
		}
	}
	return nil
}

// thinned says whether a segment has something that is acknowledged.
func (b *Buffer) thinned(s *segment) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.sum.rows > 0 && b.gone.touches(s.sum.first, s.sum.last+1)
}

// remainder encodes the records of segments that are not acknowledged.
func (b *Buffer) remainder(list []*segment) (good []found, err error) {
	c := compaction{encoders: map[uint64]*encoder{}}
	defer c.close()
	for _, s := range list {
		b.mu.Lock()
		from, to := s.sum.first, s.sum.last+1
		gone := b.leftOut(from, to)
		rows := s.sum.rows
		b.mu.Unlock()
		if rows == 0 {
			continue
		}
		err := b.withSegment(s, func() error {
			return s.walk(func(h *head, chunk []byte) error {
				if h.first < from || h.last >= to {
					return nil
				}
				return c.add(h, chunk, &gone)
			})
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(s.path), err)
		}
		// It is renamed over or removed: no reader may keep the old file.
		if err := s.close(); err != nil {
			return nil, err
		}
	}
	return c.good, nil
}

// compaction collects chunks, without the records that are gone.
type compaction struct {
	good     []found
	encoders map[uint64]*encoder // by session
	index    map[string]uint32   // of sources
	batch    Batch
}

func (c *compaction) close() {
	for _, e := range c.encoders {
		_ = e.z.Close()
	}
}

func (c *compaction) add(h *head, chunk []byte, gone *spans) error {
	if gone.covers(h.first, h.last+1) {
		return nil
	}
	if !gone.touches(h.first, h.last+1) {
		keep := found{head: *h, bytes: append([]byte(nil), chunk...)}
		keep.head.tables = append([]table(nil), h.tables...)
		c.good = append(c.good, keep)
		return nil
	}
	e := c.encoders[h.session]
	if e == nil {
		var err error
		if e, err = newEncoder(h.session); err != nil {
			return err
		}
		c.encoders[h.session] = e
	}
	c.batch.chunk.head = *h
	if err := c.batch.inflate(); err != nil {
		return err
	}
	d := &c.batch.chunk
	for i := range d.row {
		if w := &d.row[i]; !gone.contains(d.off[i]) {
			e.add(d.off[i], w, d.head.tables[w.src].name, d.data[w.pos:w.pos+w.size])
		}
	}
	if e.rows == 0 {
		return nil
	}
	var f found
	f.bytes = e.finish(nil, &f.head)
	c.good = append(c.good, f)
	return nil
}
