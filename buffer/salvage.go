package buffer

import (
	"bytes"
	"sort"

	"fieldferry/buffer/beneath"
)

// found is a chunk found in the raw bytes of a file.
type found struct {
	head  head
	bytes []byte
}

// scan looks for whole chunks in the raw bytes of a segment, in the order of
// offsets, without trusting its structure. The pages of a value lie behind
// each other, and a chunk carries its own length and checksums.
func scan(path string) []found {
	b := readRaw(path)
	magic := []byte{chunkMagic[0], chunkMagic[1], chunkMagic[2], chunkVersion}
	var list []found
	for at := 0; ; {
		i := bytes.Index(b[at:], magic)
		if i < 0 {
			break
		}
		at += i
		var h head
		if parseHead(b[at:], nil, &h) != nil {
			at++
			continue
		}
		list = append(list, found{h, b[at : at+h.size]})
		at += h.size
	}
	// Small chunks are copied with the page they share: the same chunk is
	// found several times. Of two that overlap the longer one is taken.
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].head.first != list[j].head.first {
			return list[i].head.first < list[j].head.first
		}
		return list[i].head.last > list[j].head.last
	})
	n := 0
	for i := range list {
		if n == 0 || list[i].head.first > list[n-1].head.last {
			list[n] = list[i]
			n++
		}
	}
	return list[:n]
}

// readRaw reads a file as far as it can be read; what cannot be is zero.
func readRaw(path string) []byte {
	f, err := beneath.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > 2*maxSegment {
		return nil
	}
	b := make([]byte, info.Size())
	const piece = 1 << 20
	for at := 0; at < len(b); at += piece {
		end := min(at+piece, len(b))
		if n, err := f.ReadAt(b[at:end], int64(at)); err != nil && n < end-at {
			for p := at + n&^(pageSize-1); p < end; p += pageSize {
				_, _ = f.ReadAt(b[p:min(p+pageSize, end)], int64(p))
			}
		}
	}
	return b
}

// within keeps the chunks that lie in first..last.
func within(list []found, first, last uint64) []found {
	n := 0
	for _, c := range list {
		if c.head.first >= first && c.head.last <= last {
			list[n] = c
			n++
		}
	}
	return list[:n]
}

// account puts losses in the place of what a damaged segment had besides its
// good chunks. What was acknowledged already is not counted, as far as that
// is known.
func (b *Buffer) account(s *segment, good []found) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from, to := b.bounds(s)
	expect := b.expected(s, from, to)
	done := map[runKey]uint64{} // per source: the sequence number that comes next
	for k, e := range expect {
		done[k] = e.first
	}
	at := from
	for i := 0; i <= len(good); i++ {
		end := to
		if i < len(good) {
			end = good[i].head.first
		}
		b.fillGap(at, max(at, end), good[i:], expect, done)
		if i == len(good) {
			break
		}
		for _, t := range good[i].head.tables {
			done[runKey{t.session, t.name}] = t.last + 1
		}
		at = good[i].head.last + 1
	}
}

// fillGap accounts for the offsets [from,to), in front of the chunks that are
// left.
func (b *Buffer) fillGap(from, to uint64, left []found, expect map[runKey]table, done map[runKey]uint64) {
	if from < to && !b.unknown(from, to) {
		return // all of it had been acknowledged or accounted for
	}
	var list []loss
	place := to
	for k, e := range expect {
		upto := e.last + 1
		if first, ok := firstOf(left, k); ok {
			upto = first
		}
		if upto <= done[k] {
			continue
		}
		l := loss{session: k.session, source: k.source, seq: done[k], n: upto - done[k], t: e.t, reason: Corrupt}
		done[k] = upto
		if place > from {
			place--
			l.offset = place
		} else {
			// There is no place at the hole: tell it at the end.
			b.mem.seal()
			l.offset = b.next
			b.next++
		}
		list = append(list, l)
	}
	if n := b.replace(from, to, list); n > 0 {
		b.log.Error("buffer: records are lost by damage", "records", n, "places", len(list))
	}
}

// firstOf returns the first sequence number of a source in chunks.
func firstOf(list []found, k runKey) (uint64, bool) {
	for _, c := range list {
		for _, t := range c.head.tables {
			if t.session == k.session && t.name == k.source {
				return t.first, true
			}
		}
	}
	return 0, false
}

// bounds returns the offsets a segment had, as far as it or its neighbours
// tell.
func (b *Buffer) bounds(s *segment) (from, to uint64) {
	if !s.sum.guess {
		return s.sum.first, s.sum.last + 1
	}
	to = b.next
	seen := false
	for _, x := range b.segs {
		switch {
		case x == s:
			seen = true
		case x.sum.rows == 0:
		case !seen:
			from = x.sum.last + 1
		default:
			return from, max(from, x.sum.first)
		}
	}
	return from, max(from, to)
}

// expected returns what a segment had of each source: what its summary says,
// or what follows from its own chunks and its neighbours.
func (b *Buffer) expected(s *segment, from, to uint64) map[runKey]table {
	m := map[runKey]table{}
	for _, p := range s.sum.pairs {
		m[runKey{p.session, p.name}] = p
	}
	if !s.sum.guess {
		return m
	}
	before, after := map[runKey]table{}, map[runKey]table{}
	seen := false
	for _, x := range b.segs {
		seen = seen || x == s
		for _, p := range x.sum.pairs {
			k := runKey{p.session, p.name}
			if _, have := after[k]; x != s && !seen {
				before[k] = p
			} else if x != s && !have {
				after[k] = p
			}
		}
	}
	span := to - from
	for k, a := range after {
		e, ok := m[k]
		if !ok {
			// Nothing of it is left here; no more than span records can be.
			e = a
			e.first = max(1, a.first-min(a.first, span))
		}
		e.last = a.first - 1
		m[k] = e
	}
	for k, p := range before {
		if e, ok := m[k]; ok {
			e.first = p.last + 1
			m[k] = e
		}
	}
	return m
}
