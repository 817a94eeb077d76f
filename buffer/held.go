package buffer

import "math/bits"

// Held is about what of one source waits to be acknowledged.
type Held struct {
	Source  string
	Records uint64 // about: of a segment its share is known, not which of its records
	Bytes   int64  // of its share of the segments
}

// Held estimates what each source holds, in the order in which the sources
// came. It looks at one segment or block of memory at a time, so that Append
// waits for none of it.
func (b *Buffer) Held() []Held {
	var t holdings
	for off := uint64(0); ; {
		b.mu.Lock()
		next, ok := b.holds(&t, off)
		b.mu.Unlock()
		if !ok {
			return t.list
		}
		off = next
	}
}

// holdings collect what sources hold.
type holdings struct {
	list []Held
	of   map[string]int
}

func (t *holdings) add(name string, records uint64, bytes int64) {
	i, ok := t.of[name]
	if !ok {
		if t.of == nil {
			t.of = map[string]int{}
		}
		i = len(t.list)
		t.of[name] = i
		t.list = append(t.list, Held{Source: name})
	}
	t.list[i].Records += records
	t.list[i].Bytes += bytes
}

// holds adds what the first segment or block at or behind off has, and returns
// where to go on. mu is held.
func (b *Buffer) holds(t *holdings, off uint64) (next uint64, ok bool) {
	if s := b.segmentAt(off); s != nil {
		from, to := max(s.sum.first, off), s.sum.last+1
		share := float64(to-from-b.gone.inside(from, to)) / float64(to-from)
		for i := range s.sum.pairs {
			p := &s.sum.pairs[i]
			t.add(p.name, uint64(share*float64(p.rows)+0.5), int64(share*float64(s.share(p.rows))))
		}
		return to, true
	}
	for i := b.mem.find(off); i < len(b.mem.blocks); i++ {
		k := b.mem.blocks[i]
		if k.synced {
			continue
		}
		for j := range k.rows {
			if at := k.first + uint64(j); at >= off && !b.gone.contains(at) {
				t.add(b.sources[k.rows[j].src].name, 1, 0)
			}
		}
		return k.end(), true
	}
	return off, false
}

// inside returns how many offsets of [from,to) are in the set.
func (p *spans) inside(from, to uint64) (n uint64) {
	for i := p.run(from / pageSpan); i < len(p.full) && p.full[i].from*pageSpan < to; i++ {
		if a, b := max(from, p.full[i].from*pageSpan), min(to, p.full[i].to*pageSpan); a < b {
			n += b - a
		}
	}
	for i := p.find(from / pageSpan); i < len(p.mixed) && p.mixed[i].at*pageSpan < to; i++ {
		g := &p.mixed[i]
		first := g.at * pageSpan
		n += g.count(max(from, first)-first, min(to, first+pageSpan)-first)
	}
	return n
}

// count returns how many of the bits from..to-1 are set.
func (g *page) count(from, to uint64) (n uint64) {
	if from == 0 && to == pageSpan {
		return uint64(g.n)
	}
	for from < to {
		n += uint64(bits.OnesCount64(g.bits[from/64] & maskOf(from, to)))
		from = from&^63 + 64
	}
	return n
}

// LossRange is a run of records of one source that were lost.
type LossRange struct {
	Session     uint64
	Source      string
	First, Last uint64 // sequence numbers
	Time        int64  // of the last of them, nanoseconds since 1970
	Reason      Reason
}

// maxLossRanges is how many of the newest are kept to be looked at. None of
// them is needed for the promise.
const maxLossRanges = 100

// Losses returns the newest losses of this session, and those that were found
// when it began, the oldest first.
func (b *Buffer) Losses() []LossRange {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]LossRange(nil), b.lately...)
}

// noteLoss keeps a loss to be looked at, as one with the last of its source and
// reason if they touch. mu is held.
func (b *Buffer) noteLoss(n LossRange) {
	for i := len(b.lately) - 1; i >= 0; i-- {
		l := &b.lately[i]
		if l.Session != n.Session || l.Source != n.Source || l.Reason != n.Reason {
			continue
		}
		if n.First <= l.Last+1 && l.First <= n.Last+1 {
			l.First, l.Last, l.Time = min(l.First, n.First), max(l.Last, n.Last), n.Time
			return
		}
		break
	}
	if len(b.lately) == maxLossRanges {
		b.lately = append(b.lately[:0], b.lately[1:]...)
	}
	b.lately = append(b.lately, n)
}

// noteLosses keeps losses that stand in the stream, and counts them for their
// sources.
func (b *Buffer) noteLosses(list []loss) {
	for i := range list {
		if l := &list[i]; l.reason == Evicted || l.reason == Corrupt {
			b.noteLoss(LossRange{l.session, l.source, l.seq, l.seq + l.n - 1, l.t, l.reason})
			if s := b.byName[l.source]; s != nil {
				s.lost += l.n - l.known
			}
		}
	}
}
