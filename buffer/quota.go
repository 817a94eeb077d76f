package buffer

import (
	"errors"
	"fmt"
	"os"
	"sort"
)

// When the size limit is reached the oldest segment goes. That alone would let
// a chatty source drive out a quiet one, whose few records lie in the same
// segments. A source that holds no more than its quota is therefore protected:
// its records stay, in a copy of the segment that has nothing else.
//
// The copy also has the losses that stand for the others, so that one rename
// does all. Its records take the last offsets of the segment, so that what is
// gone of it is one range. What somebody has in his hands keeps its offset.

// quota is how many bytes on disk a source holds at least before others may
// drive it out; 0: none.
func (b *Buffer) quota(sources int) int64 {
	switch {
	case b.cfg.Quota < 0 || b.cfg.Overflow != DropOldest:
		return 0
	case b.cfg.Quota > 0:
		return min(b.cfg.Quota, b.limit/2)
	}
	return b.limit / 2 / int64(max(sources, 1))
}

// reserve is the room that is kept for such a copy, and for what the journal
// has and no segment.
func (b *Buffer) reserve() int64 {
	room := b.journalBytes + int64(b.step) + chunkOverhead/2
	switch {
	case b.cfg.Overflow != DropOldest:
		return room
	case b.cfg.Quota < 0:
		return max(room, newSegmentSize+chunkOverhead) // of losses alone
	}
	return max(room, b.segmentSize/2)
}

// protected says which sources may not be driven out. What a source holds is
// estimated from its share of the records in each segment. mu is held.
func (b *Buffer) protected() map[string]bool {
	held := map[string]int64{}
	for _, s := range b.segs {
		for i := range s.sum.pairs {
			p := &s.sum.pairs[i]
			held[p.name] += s.share(p.rows)
		}
	}
	quota := b.quota(len(held))
	safe := map[string]bool{}
	if len(held) > 1 { // one source alone can only drive out itself
		for name, n := range held {
			safe[name] = n <= quota
		}
	}
	return safe
}

// share is about what so many of its records take of a segment, besides what
// a segment without any takes.
func (s *segment) share(rows uint64) int64 {
	return int64(float64(max(s.data-newSegmentSize, 0)) * float64(rows) / float64(max(s.sum.rows, 1)))
}

// choose picks the segment to take room from: the oldest one that has records
// of sources that may be driven out. keeps says whether it has others too,
// few enough for a copy, or losses that must stay in it. s is nil when nothing
// but losses could go. mu is held.
func (b *Buffer) choose(safe map[string]bool) (s *segment, keeps bool) {
	for _, s := range b.segs {
		kept, others := uint64(0), uint64(0)
		for i := range s.sum.pairs {
			if p := &s.sum.pairs[i]; safe[p.name] {
				kept += p.rows
			} else {
				others += p.rows - p.losses
			}
		}
		if others == 0 && s.sum.rows > 0 || s == b.active && kept > 0 {
			continue
		}
		size := s.share(kept) + newSegmentSize + 2*pageSize
		if kept == 0 || size <= b.reserve() {
			return s, kept > 0 || b.crowded()
		}
	}
	if b.crowded() {
		return nil, false
	}
	return b.segs[0], false
}

// drive takes room from the segments, sparing protected sources.
func (b *Buffer) drive() error {
	b.mu.Lock()
	safe := b.protected()
	s, keeps := b.choose(safe)
	b.mu.Unlock()
	if s == nil {
		return errFull
	}
	if keeps {
		if s == b.active {
			b.roll()
		}
		err := b.thin(s, safe)
		if err == nil {
			return b.joinThin(s)
		}
		if b.renamed {
			return err // it is done, and only has to last
		}
		b.log.Error("buffer: keeping the quiet sources of a segment failed; all of it is evicted", "file", s.path, "error", err)
	}
	return b.evict(s)
}

// thinning is a segment that is being thinned.
type thinning struct {
	gone   spans
	handed spans
	safe   map[string]bool
	kept   []found  // with the offsets they get
	free   []uint64 // offsets of the rows that nobody has in his hands
	used   spans    // offsets that have a record or a loss
	lost   runs
	n      uint64 // records that are lost by this
}

// thin puts a copy in the place of a segment that has only the records of
// protected sources, and losses in the place of the others.
func (b *Buffer) thin(s *segment, safe map[string]bool) error {
	b.mu.Lock()
	from, to := s.sum.first, s.sum.last+1
	b.leaving, b.left = span{from, to}, make(chan struct{})
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.leaving = span{}
		close(b.left)
		b.mu.Unlock()
	}()
	for {
		b.mu.Lock()
		before := b.gone.inside(from, to)
		t := thinning{gone: b.leftOut(from, to), safe: safe}
		t.handed = b.handed.part(from, to)
		b.mu.Unlock()
		fresh, err := b.copyOf(s, &t)
		if err != nil {
			return err
		}
		b.mu.Lock()
		if b.gone.inside(from, to) != before {
			b.mu.Unlock() // something was acknowledged meanwhile
			os.Remove(fresh.path)
			continue
		}
		b.mu.Unlock()
		if err := b.exchange(s, fresh); err != nil {
			return err
		}
		b.settleThinning(&t, from, to)
		b.log.Warn("buffer: the oldest segment was evicted but for its quiet sources", "file", s.path, "records", t.n)
		return b.syncNames()
	}
}

// unused lists the offsets of a segment that have nothing any more.
func (t *thinning) unused(from, to uint64) (list []span) {
	at := from
	for _, k := range append(t.used.all(), span{to, to}) {
		if at < k.from {
			list = append(list, span{at, k.from})
		}
		at = k.to
	}
	return list
}

// settleThinning notes what is lost and where the rest is.
func (b *Buffer) settleThinning(t *thinning, from, to uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range t.unused(from, to) {
		b.gone.add(g.from, g.to)
	}
	for _, l := range b.losses[b.losses.at(from):b.losses.at(to)] {
		b.gone.remove(l.offset, l.offset+1)
	}
	b.count(t.n, Evicted)
	b.noteLosses(t.lost.list)
	b.mem.dropRange(from, to)
	b.stateSoon()
}

// exchange puts fresh in the place of s. What follows from it may be stored
// only after syncNames.
func (b *Buffer) exchange(s, fresh *segment) error {
	s.hmu.Lock()
	defer s.hmu.Unlock()
	if err := s.closeLocked(); err != nil {
		b.log.Error("buffer: closing a segment failed", "file", s.path, "error", err)
	}
	if err := os.Rename(fresh.path, s.path); err != nil {
		os.Remove(fresh.path)
		return err
	}
	b.renamed = true
	b.mu.Lock()
	s.sum, s.size, s.data, s.checked = fresh.sum, fresh.size, fresh.data, true
	b.rewrites++
	b.mu.Unlock()
	return nil
}

// syncNames makes an exchange last. When that fails it is tried again before
// anything is stored or removed that would not fit what was there before.
func (b *Buffer) syncNames() error {
	if b.renamed {
		if err := syncDir(b.cfg.Dir); err != nil {
			return fmt.Errorf("syncing the directory of the buffer: %w", err)
		}
		b.renamed = false
	}
	return nil
}

// copyOf writes the protected records of s to a new file and finds places for
// them and for the losses.
func (b *Buffer) copyOf(s *segment, t *thinning) (*segment, error) {
	b.mu.Lock()
	first, last := s.sum.first, s.sum.last
	b.mu.Unlock()
	t.lost.handed, t.lost.apart = &t.handed, true
	kept := uint64(0) // rows that move
	each := func(fn func(d *rows, i int) error) error {
		var batch Batch
		return b.withSegment(s, func() error {
			return s.walk(func(h *head, _ []byte) error {
				if h.first < first || h.last > last || t.gone.covers(h.first, h.last+1) {
					return nil
				}
				batch.chunk.head = *h
				if err := batch.inflate(); err != nil {
					return err
				}
				for i := range batch.chunk.row {
					if !t.gone.contains(batch.chunk.off[i]) {
						if err := fn(&batch.chunk, i); err != nil {
							return err
						}
					}
				}
				return nil
			})
		})
	}
	err := each(func(d *rows, i int) error {
		off, name := d.off[i], d.head.tables[d.row[i].src].name
		if t.handed.contains(off) {
			if t.safe[name] {
				t.used.add(off, off+1)
			}
		} else {
			t.free = append(t.free, off)
			if t.safe[name] {
				kept++
			}
		}
		if !t.safe[name] {
			t.lost.add(off, d.head.session, name, &d.row[i], Evicted)
			if d.row[i].lost == 0 {
				t.n++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	places := t.place(int(kept))
	left := t.lost.list
	c := compaction{encoders: map[uint64]*encoder{}}
	defer c.close()
	w := mover{compaction: &c, limit: int(b.segmentSize / 4)}
	err = each(func(d *rows, i int) error {
		off, name := d.off[i], d.head.tables[d.row[i].src].name
		if !t.safe[name] {
			return nil
		}
		if !t.handed.contains(off) {
			off, places = places[0], places[1:]
		}
		var err error
		if left, err = w.losses(left, off); err != nil {
			return err
		}
		r := d.row[i]
		return w.add(off, d.head.session, name, &r, d.data[r.pos:r.pos+r.size])
	})
	if err == nil {
		_, err = w.losses(left, ^uint64(0))
	}
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return nil, err
	}
	t.kept = c.good
	if len(t.kept) == 0 {
		return nil, errors.New("nothing of it is left")
	}
	return b.rewrite(s, t.kept, around(t.kept, s.sum.gone, t.unused(first, last+1)))
}

// around lists, of offsets that have nothing any more, those in front of and
// behind chunks. A hole between them needs no note; one between two segments
// without a note would look like records that have vanished.
func around(chunks []found, lists ...[]span) []span {
	var p spans
	for _, l := range lists {
		for _, g := range l {
			p.add(g.from, g.to)
		}
	}
	p.remove(chunks[0].head.first, chunks[len(chunks)-1].head.last+1)
	list := p.all()
	return list[max(0, len(list)-maxSpansStored):] // the nearest ones matter
}

// place gives the records that move the last free offsets, and the losses of
// what nobody has in his hands those in front of them. It returns the former.
func (t *thinning) place(kept int) []uint64 {
	at := len(t.free) - kept
	places := t.free[at:]
	for _, off := range places {
		t.used.add(off, off+1)
	}
	list := t.lost.list
	for i := len(list) - 1; i >= 0; i-- {
		if !t.handed.contains(list[i].offset) {
			at--
			list[i].offset = t.free[at]
		}
	}
	for i := range list {
		t.used.add(list[i].offset, list[i].offset+1)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].offset < list[j].offset })
	return places
}

// mover encodes records under new offsets.
type mover struct {
	*compaction
	limit   int
	current *encoder
}

func (m *mover) add(off, session uint64, name string, w *row, data []byte) error {
	if e := m.current; e != nil && (e.session != session || e.full(len(data), m.limit)) {
		if err := m.finish(); err != nil {
			return err
		}
	}
	e := m.encoders[session]
	if e == nil {
		var err error
		if e, err = newEncoder(session); err != nil {
			return err
		}
		m.encoders[session] = e
	}
	m.current = e
	// The indices of sources differ from chunk to chunk.
	if m.index == nil {
		m.index = map[string]uint32{}
	}
	src, ok := m.index[name]
	if !ok {
		src = uint32(len(m.index))
		m.index[name] = src
	}
	w.src = src
	e.add(off, w, name, data)
	return nil
}

// losses adds those that lie in front of off and returns the rest.
func (m *mover) losses(list []loss, off uint64) ([]loss, error) {
	for len(list) > 0 && list[0].offset < off {
		l := &list[0]
		if err := m.add(l.offset, l.session, l.source, &row{t: l.t, seq: l.seq, lost: l.n, reason: l.reason}, nil); err != nil {
			return nil, err
		}
		list = list[1:]
	}
	return list, nil
}

func (m *mover) finish() error {
	if m.current == nil || m.current.rows == 0 {
		return nil
	}
	var f found
	f.bytes = m.current.finish(nil, &f.head)
	m.good = append(m.good, f)
	return nil
}

// joinThin makes one of a thinned segment and the one before it when they are
// small, so that files of a few records each do not take the room.
func (b *Buffer) joinThin(s *segment) error {
	b.mu.Lock()
	var pair []*segment
	for i := 1; i < len(b.segs); i++ {
		if p := b.segs[i-1]; b.segs[i] == s && p.sum.rows > 0 && p.size+s.size-newSegmentSize <= b.reserve() {
			pair = []*segment{p, s}
		}
	}
	b.mu.Unlock()
	if pair == nil {
		return nil
	}
	return b.joinSegments(pair)
}
