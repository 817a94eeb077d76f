package buffer

import (
	"sort"
	"unsafe"
)

// loss is a loss record that stands at the place of records that are no
// longer there. Losses told by the sources themselves are rows in the stream.
type loss struct {
	_ [0]func() // nobody compares them: saves the code for it

	offset  uint64
	session uint64
	source  string
	seq, n  uint64
	known   uint64 // of n, how many were a loss before; of this process only
	t       int64
	reason  Reason
	// taken is how many numbers, the last ones, were handed out in its place
	// before, as a record or as a loss of fewer. That may still be acknowledged:
	// then the acknowledgement is of those, and not of the loss. It is of this
	// process only.
	taken uint64
	// less says that those were acknowledged and taken out: whatever is
	// acknowledged here before the loss was handed out is that once more.
	less bool
	// told says that it was on its way, and may have arrived: it keeps its ends.
	// It is of this process only.
	told bool
}

// losses are sorted by offset.
type losses []loss

func (l losses) at(off uint64) int {
	return sort.Search(len(l), func(i int) bool { return l[i].offset >= off })
}

func (l losses) has(off uint64) bool {
	i := l.at(off)
	return i < len(l) && l[i].offset == off
}

// within returns the loss at the offset of r, a loss, if r tells all of it.
func (l losses) within(r *Record) *loss {
	i := l.at(r.Offset)
	if i == len(l) || l[i].offset != r.Offset || l[i].session != r.Session || l[i].source != r.Source ||
		l[i].seq < r.Seq || l[i].seq+l[i].n > r.Seq+r.Lost {
		return nil
	}
	return &l[i]
}

// insert puts n in its place.
func (l *losses) insert(n loss) {
	i := l.at(n.offset)
	*l = append(*l, loss{})
	copy((*l)[i+1:], (*l)[i:])
	(*l)[i] = n
}

// before returns the index of the last loss of the source that n continues,
// or -1.
func (l losses) before(n loss) int {
	for i := l.at(n.offset) - 1; i >= 0; i-- {
		if l[i].session == n.session && l[i].source == n.source {
			if l[i].seq+l[i].n == n.seq {
				return i
			}
			return -1
		}
	}
	return -1
}

// acked takes the losses in [from,to) away that were handed out as losses. One
// in whose place something else was handed out loses only that, its last
// numbers: the others were not in the message that was acknowledged. But for
// that, one that was told keeps its ends.
func (l *losses) acked(from, to uint64) (kept []uint64) {
	i, j := l.at(from), l.at(to)
	rest := (*l)[i:i]
	for _, n := range (*l)[i:j] {
		if n.taken > 0 && (n.n > n.taken || n.less) {
			if !n.less && !n.told {
				n.n -= n.taken
			}
			n.less = true
			rest = append(rest, n)
			kept = append(kept, n.offset)
		}
	}
	*l = append((*l)[:i+len(rest)], (*l)[j:]...)
	return kept
}

// runs collects records of any order of sources into losses. A loss ends
// where what was handed out ends: what is delivered of it is acknowledged with
// its own loss, and whoever reads on is not told of it.
type runs struct {
	handed *spans
	apart  bool // of what was handed out each has a loss of its own: a row does not know [loss.taken]
	list   []loss
	last   map[runKey]int // index into list
}

type runKey struct {
	session uint64
	source  string
}

// add notes that a record is lost. A row that was a loss keeps its reason.
func (r *runs) add(off, session uint64, source string, w *row, reason Reason) {
	if w.lost > 0 {
		reason = w.reason
	}
	key := runKey{session, source}
	n, taken := max(w.lost, 1), uint64(0)
	if r.handed.contains(off) {
		taken = n
	}
	if i, ok := r.last[key]; ok {
		if l := &r.list[i]; l.seq+l.n == w.seq && l.reason == reason &&
			(l.taken > 0) == (taken > 0) && !(r.apart && taken > 0) {
			l.n, l.known = l.n+n, l.known+w.lost
			l.offset, l.t, l.taken = off, w.t, taken
			return
		}
	}
	if r.last == nil {
		r.last = map[runKey]int{}
	}
	r.last[key] = len(r.list)
	r.list = append(r.list, loss{offset: off, session: session, source: source, seq: w.seq, n: n, known: w.lost, t: w.t, reason: reason, taken: taken})
}

func (r *runs) addChunk(d *rows, gone *spans, reason Reason) {
	for i := range d.row {
		if !gone.contains(d.off[i]) {
			r.add(d.off[i], d.head.session, d.head.tables[d.row[i].src].name, &d.row[i], reason)
		}
	}
}

// replace puts losses in the place of the records in [from,to) and returns
// how many records that were not known to be lost are. Losses that stood
// there stay. It is called with mu held.
func (b *Buffer) replace(from, to uint64, list []loss) (n uint64) {
	b.gone.add(from, to)
	for _, l := range b.losses[b.losses.at(from):b.losses.at(to)] {
		b.gone.remove(l.offset, l.offset+1)
	}
	b.noteLosses(list)
	for _, l := range list {
		if l.reason == Evicted || l.reason == Corrupt {
			n += l.n - l.known
			b.count(l.n-l.known, l.reason)
		}
		b.addLoss(l)
	}
	b.mem.forget(from, to, &b.gone)
	b.stateSoon()
	return n
}

// addLoss puts a loss into the stream, as one with the loss it continues. A
// loss that was handed out is left alone, and so is a place that was: an
// acknowledgement under way must not take with it what was never delivered.
func (b *Buffer) addLoss(l loss) {
	if i := b.losses.before(l); i >= 0 && b.losses[i].reason == l.reason &&
		!b.handed.contains(l.offset) && !b.handed.contains(b.losses[i].offset) {
		b.join(i, &l)
	}
	b.gone.remove(l.offset, l.offset+1)
	b.losses.insert(l)
}

// join makes l begin where loss i, which it continues, begins.
func (b *Buffer) join(i int, l *loss) {
	p := b.losses[i]
	l.seq, l.n = p.seq, p.n+l.n
	b.losses = append(b.losses[:i], b.losses[i+1:]...)
	b.gone.add(p.offset, p.offset+1)
}

// crowded says that there are so many losses, for the memory or for the state
// file, that those of what is evicted next have to stay in its segment. mu is
// held.
func (b *Buffer) crowded() bool {
	n := int64(len(b.losses))
	return n*int64(unsafe.Sizeof(loss{})) > b.cfg.MaxMemory/4 || n*lossBytes > b.limit/256
}

// newest lists what the newest segment and the journal have. mu is held.
func (b *Buffer) newest() []table {
	var sum summary
	for i := len(b.segs) - 1; i >= 0; i-- {
		if b.segs[i].sum.rows > 0 {
			sum.pairs = append(sum.pairs, b.segs[i].sum.pairs...)
			break
		}
	}
	for _, k := range b.mem.blocks {
		if !k.logged {
			continue
		}
		for i := range k.rows {
			w := &k.rows[i]
			name := b.sources[w.src].name
			p := sum.pair(b.session, name)
			if p == nil {
				sum.pairs = append(sum.pairs, table{session: b.session, name: name, first: w.seq})
				p = &sum.pairs[len(sum.pairs)-1]
			}
			// Rows that a segment has as well can still be in memory.
			p.first = min(p.first, w.seq)
			if last := w.next() - 1; last >= p.last {
				p.last, p.offset, p.t = last, k.first+uint64(i), w.t
			}
		}
	}
	return sum.pairs
}

// vanishedEnd returns what the state knows of the newest segment and the journal
// and neither has any more, nor anything else tells of. What of it was
// acknowledged before its last record is not known.
func (b *Buffer) vanishedEnd(st *state) (list []loss) {
	for _, t := range st.newest {
		first := t.first
		for _, s := range b.segs {
			if p := s.sum.pair(t.session, t.name); p != nil {
				first = max(first, p.last+1)
			}
		}
		if first <= t.last && b.unknown(t.offset, t.offset+1) {
			list = append(list, loss{session: t.session, source: t.name, seq: first, n: t.last - first + 1, t: t.t, reason: Corrupt})
		}
	}
	return list
}

// tellMissing tells at the end what is missing.
func (b *Buffer) tellMissing(list []loss) {
	for _, l := range list {
		l.offset = b.next
		b.next++
		n := b.replace(l.offset, b.next, []loss{l})
		b.log.Error("buffer: the newest records are lost by damage", "session", l.session, "source", l.source, "records", n)
	}
}
