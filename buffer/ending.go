package buffer

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Ending is how an earlier session of this buffer has ended.
type Ending struct {
	Session uint64
	// Clean says that it was closed with everything on disk. After any other
	// end, numbers behind what is known may have been given out and lost.
	Clean bool
	// Stored has the last number of each source that was on disk; of a clean
	// session the last one given out. What was acknowledged before it had to
	// be stored is not on disk, so this is a lower bound.
	Stored map[string]uint64
}

// maxEndings is how many ends of sessions are kept for being reported.
const maxEndings = 16

// Endings returns how the sessions before this one have ended, the last one
// first: those of which the report may not have outlived the session that made
// it. There are none before the session has begun.
func (b *Buffer) Endings() []Ending {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.endings)
	slices.Reverse(list)
	return list
}

// endOf makes the ending of the last session from what the state and the files
// know of it. Nothing else runs yet.
func (b *Buffer) endOf(st *state) {
	b.endings = st.endings
	prev := b.session
	if prev == 0 {
		return
	}
	e := Ending{Session: prev, Stored: map[string]uint64{}}
	if st.session == prev {
		e.Clean = st.clean
		maps.Copy(e.Stored, st.stored)
	}
	for _, s := range b.segs {
		for _, t := range s.sum.pairs {
			if t.session == prev {
				e.Stored[t.name] = max(e.Stored[t.name], t.last)
			}
		}
	}
	for _, l := range b.losses {
		if l.session == prev {
			e.Stored[l.source] = max(e.Stored[l.source], l.seq+l.n-1)
		}
	}
	switch {
	case e.Clean && len(e.Stored) == 0: // it numbered nothing, so it reported nothing
		return
	case e.Clean:
		b.endings = nil // its own report is on disk, or acknowledged
	}
	b.endings = append(b.endings, e)
	b.endings = b.endings[max(0, len(b.endings)-maxEndings):]
}

// noteStored notes which numbers of this session the chunks in b.heads have
// put on disk. mu is held.
func (b *Buffer) noteStored() {
	for i := range b.heads {
		for _, t := range b.heads[i].tables {
			if s := b.byName[t.name]; s != nil && t.session == b.session {
				s.stored = max(s.stored, t.last)
			}
		}
	}
}

// describeEnd adds to a state what is known of the end of this session. clean
// says that everything else is stored. mu is held.
func (b *Buffer) describeEnd(st *state, clean bool) {
	st.drawn, st.clean, st.endings = true, clean, b.endings
	st.stored = map[string]uint64{}
	for _, s := range b.sources {
		n := s.stored
		if clean {
			n = s.next - 1
		}
		st.clean = st.clean && s.missed.n == 0
		if n > 0 {
			st.stored[s.name] = n
		}
	}
}

// appendEnds stores the part of the state that versions which counted their
// sessions neither write nor read.
func (s *state) appendEnds(b []byte) []byte {
	b = appendStored(append(b, flag(s.clean)), s.stored)
	b = binary.AppendUvarint(b, uint64(len(s.endings)))
	for _, e := range s.endings {
		b = binary.AppendUvarint(b, e.Session)
		b = appendStored(append(b, flag(e.Clean)), e.Stored)
	}
	return b
}

func (s *state) readEnds(r *reader) {
	s.drawn = true
	s.clean = r.uvarint() == 1
	s.stored = r.stored()
	for range r.upto(maxEndings) {
		e := Ending{Session: r.uvarint(), Clean: r.uvarint() == 1}
		e.Stored = r.stored()
		s.endings = append(s.endings, e)
	}
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func appendStored(b []byte, m map[string]uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
		b = binary.AppendUvarint(b, m[name])
	}
	return b
}

func (r *reader) stored() map[string]uint64 {
	m := map[string]uint64{}
	for range r.upto(maxPairs) {
		if r.bad {
			break
		}
		name := string(r.bytes(r.upto(maxName)))
		m[name] = r.uvarint()
	}
	return m
}
