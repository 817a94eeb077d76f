package buffer

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	summaryVersion = 1
	maxSpansStored = 64 // ranges of a set that are stored; forgetting one only re-sends
	maxPairs       = 1 << 16
)

// summary is what a segment says about itself as a whole. It is written in
// the transaction that appends chunks, in a page that is written anyway.
type summary struct {
	session     uint64 // of the last append
	first, last uint64 // offsets of the chunks
	rows        uint64
	losses      uint64 // rows that are losses
	born        int64  // time of day of the last append, nanoseconds since 1970; 0: not known
	next        uint64 // the offset that followed when it was written
	gone        []span // offsets that were no longer needed then
	pairs       []table
	guess       bool // made from what was found in a damaged file; not stored
}

// note adds a chunk to the summary.
func (s *summary) note(h *head) {
	if s.rows == 0 {
		s.first = h.first
	}
	s.session = h.session
	s.first, s.last = min(s.first, h.first), max(s.last, h.last)
	s.rows += h.rows
	for _, t := range h.tables {
		s.losses += t.losses
		p := s.pair(t.session, t.name)
		if p == nil {
			s.pairs = append(s.pairs, t)
			continue
		}
		p.first, p.last = min(p.first, t.first), max(p.last, t.last)
		p.rows += t.rows
		p.seqs += t.seqs
		p.losses += t.losses
		p.offset, p.t = t.offset, t.t
	}
}

func (s *summary) pair(session uint64, name string) *table {
	for i := len(s.pairs) - 1; i >= 0; i-- {
		if p := &s.pairs[i]; p.session == session && p.name == name {
			return p
		}
	}
	return nil
}

// clone returns a copy that shares nothing that note changes.
func (s *summary) clone() summary {
	c := *s
	c.pairs = append([]table(nil), s.pairs...)
	c.gone = append([]span(nil), s.gone...)
	return c
}

func (s *summary) encode(b []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, v := range []uint64{summaryVersion, s.session, s.first, s.last, s.rows, s.losses, s.next} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendVarint(b, s.born)
	b = appendSpans(b, s.gone, maxSpansStored)
	b = binary.AppendUvarint(b, uint64(len(s.pairs)))
	for _, t := range s.pairs {
		b = appendTable(b, t)
	}
	binary.LittleEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return b
}

func (s *summary) decode(b []byte) error {
	*s = summary{}
	if len(b) < 4 || crc32.Checksum(b[4:], castagnoli) != binary.LittleEndian.Uint32(b) {
		return fmt.Errorf("the summary of a segment has a wrong checksum: %w", errDamaged)
	}
	r := reader{b: b[4:]}
	if v := r.uvarint(); v > summaryVersion {
		return fmt.Errorf("the segment has format %d, and this version knows %d: %w", v, summaryVersion, ErrNewer)
	} else if v != summaryVersion {
		return fmt.Errorf("the summary of a segment has version %d: %w", v, errDamaged)
	}
	for _, p := range []*uint64{&s.session, &s.first, &s.last, &s.rows, &s.losses, &s.next} {
		*p = r.uvarint()
	}
	s.born = r.varint()
	s.gone = r.spans()
	for range r.upto(maxPairs) {
		if r.bad {
			break
		}
		s.pairs = append(s.pairs, r.table())
	}
	if r.bad || s.last < s.first || s.next <= s.last {
		return fmt.Errorf("the summary of a segment contradicts itself: %w", errDamaged)
	}
	return nil
}

func appendTable(b []byte, t table) []byte {
	b = binary.AppendUvarint(b, t.session)
	b = binary.AppendUvarint(b, uint64(len(t.name)))
	b = append(b, t.name...)
	for _, v := range []uint64{t.first, t.last, t.rows, t.seqs, t.losses, t.offset} {
		b = binary.AppendUvarint(b, v)
	}
	return binary.AppendVarint(b, t.t)
}

func (r *reader) table() table {
	t := table{session: r.uvarint(), name: string(r.bytes(r.upto(maxName)))}
	for _, p := range []*uint64{&t.first, &t.last, &t.rows, &t.seqs, &t.losses, &t.offset} {
		*p = r.uvarint()
	}
	t.t = r.varint()
	r.bad = r.bad || t.last < t.first
	return t
}

// appendSpans stores at most limit ranges, the first ones.
func appendSpans(b []byte, s []span, limit int) []byte {
	s = s[:min(len(s), limit)]
	b = binary.AppendUvarint(b, uint64(len(s)))
	at := uint64(0)
	for _, p := range s {
		b = binary.AppendUvarint(b, p.from-at)
		b = binary.AppendUvarint(b, p.to-p.from)
		at = p.to
	}
	return b
}

func (r *reader) spans() (s []span) {
	at := uint64(0)
	for range r.upto(maxSpansState) {
		from := at + r.uvarint()
		to := from + r.uvarint()
		if r.bad || from < at || to < from {
			r.bad = true
			return nil
		}
		s = append(s, span{from, to})
		at = to
	}
	return s
}
