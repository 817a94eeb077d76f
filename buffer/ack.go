package buffer

// Return says that nothing in [from,to) that was read will be acknowledged
// before it was read again. A loss that was on its way may have arrived all the
// same, and keeps its ends.
func (b *Buffer) Return(from, to uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.putBack(from, to)
}

func (b *Buffer) putBack(from, to uint64) {
	b.handed.remove(from, to)
	for _, l := range b.losses[b.losses.at(from):b.losses.at(to)] {
		if l.told {
			b.handed.add(l.offset, l.offset+1)
		}
	}
}

// Told says that the loss r, which was read, is on its way.
func (b *Buffer) Told(r *Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.losses.within(r); l != nil {
		l.told = true
	}
}

// Delivered says that the loss r, which was read, has arrived, and not only what
// was read at its offset before.
func (b *Buffer) Delivered(r *Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.losses.within(r); l != nil {
		l.taken = 0
		b.ack(r.Offset, r.Offset+1)
	}
}

// Ack says that everything in [from,to) was delivered and need not be kept.
// What is acknowledged may be reported again after a crash.
func (b *Buffer) Ack(from, to uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attached { // or else nothing was given out
		b.ack(from, min(to, b.next))
	}
}

func (b *Buffer) ack(from, to uint64) {
	fresh := b.gone.add(from, to)
	if fresh == 0 {
		b.putBack(from, to)
		return
	}
	b.stats.Acked += fresh
	n, logged := len(b.losses), b.mem.logged
	for _, off := range b.losses.acked(from, to) {
		b.gone.remove(off, off+1)
	}
	b.putBack(from, to)
	b.mem.forget(from, to, &b.gone)
	if b.missing {
		b.kick() // there may be room now to tell what was missed
	}
	if len(b.segs) > 0 || len(b.losses) < n || logged > 0 {
		b.stateSoon()
	}
	for _, s := range b.segs {
		if b.finished(s, false) && !b.sweep {
			b.sweep = true
			b.kick()
		}
	}
}

// finished says whether all of a segment was acknowledged. A small one that
// is appended to is kept for what comes, unless this is the end.
func (b *Buffer) finished(s *segment, end bool) bool {
	if s == b.active && !end && s.data < b.segmentSize/4 {
		return false
	}
	if s.sum.rows == 0 {
		return s != b.active || end
	}
	return !b.unknown(s.sum.first, s.sum.last+1)
}
