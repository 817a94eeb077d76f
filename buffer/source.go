package buffer

import "time"

// MaxRecord is how many bytes one record may have.
const MaxRecord = 64 << 10

// Source numbers and appends the records of one source. Its methods may be
// called from any goroutine and never wait for the disk or the network.
type Source struct {
	b      *Buffer
	name   string
	index  uint32
	next   uint64 // sequence number
	stored uint64 // sequence number up to which all is on disk, or was acknowledged before
	lost   uint64
	missed missed
}

// missed are records that found no room and are not yet in the stream as a
// loss record.
type missed struct {
	_ [0]func() // nobody compares them: saves the code for it

	t      int64
	seq, n uint64
	reason Reason
}

// Source returns the source with this name; the same name gives the same
// source. A name is at most 255 bytes; what is longer is cut.
func (b *Buffer) Source(name string) *Source {
	if len(name) > maxName {
		name = name[:maxName]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byName[name]; s != nil {
		return s
	}
	s := &Source{b: b, name: name, index: uint32(len(b.sources)), next: 1}
	b.sources = append(b.sources, s)
	b.byName[name] = s
	return s
}

// Name returns the name of the source.
func (s *Source) Name() string { return s.name }

// Last returns the last sequence number given out in this session, 0 when
// there is none yet.
func (s *Source) Last() uint64 {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return s.next - 1
}

// Lost returns how many records of the source were lost in this session, for
// every reason of the buffer's; those of earlier sessions that it had to evict
// now are among them.
func (s *Source) Lost() uint64 {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return s.lost
}

// Append accepts one record with time t, in nanoseconds since 1970, and
// returns its sequence number. The data is copied. When there is no room the
// record is lost and accounted for: a loss record with reason [Memory] follows
// in the stream as soon as there is. The same happens to a record longer than
// [MaxRecord] and after [Buffer.Close].
func (s *Source) Append(t int64, data []byte) (seq uint64) {
	b := s.b
	b.mu.Lock()
	seq = s.next
	s.next++
	b.stats.Appended++
	if !s.settle() || !s.put(t, seq, data) {
		s.missed.add(t, seq, 1, Memory)
		s.lost++
		b.count(1, Memory)
		b.noteLoss(LossRange{b.session, s.name, seq, seq, t, Memory})
		b.missing = !s.settle() || b.missing
	}
	b.mu.Unlock()
	return seq
}

// Lose says that n records of the source are lost that the buffer never saw.
// They take n sequence numbers, and a loss record takes their place in the
// stream. Losses with the same reason that follow each other may be told as
// one.
func (s *Source) Lose(t int64, n uint64, reason Reason) {
	if n == 0 || n > maxLost {
		return
	}
	b := s.b
	b.mu.Lock()
	seq := s.next
	s.next += n
	s.lost += n
	b.count(n, reason)
	b.noteLoss(LossRange{b.session, s.name, seq, seq + n - 1, t, reason})
	if !s.settle() || !s.putLoss(t, seq, n, reason) {
		s.missed.add(t, seq, n, reason)
		b.missing = true
	}
	b.mu.Unlock()
}

// count counts lost records.
func (b *Buffer) count(n uint64, reason Reason) {
	b.stats.Lost += n
	b.stats.LostBy[reason&3] += n
}

// add counts n more records. Without memory there is no room to tell two
// reasons apart: then the memory was the reason.
func (m *missed) add(t int64, seq, n uint64, reason Reason) {
	if m.n == 0 {
		*m = missed{t: t, seq: seq, reason: reason}
	}
	m.n += n
	if m.reason != reason {
		m.reason = Memory
	}
}

// settle puts the loss record of what was missed into the stream. It returns
// false when there is still no room.
func (s *Source) settle() bool {
	m := &s.missed
	if m.n == 0 {
		return true
	}
	// Only when an ordinary record would find room too: otherwise the block
	// kept for losses would fill with losses of one record each.
	if s.b.mem.room(s.b.next, 1, false) == nil || !s.putLoss(m.t, m.seq, m.n, m.reason) {
		return false
	}
	m.n = 0
	return true
}

func (s *Source) put(t int64, seq uint64, data []byte) bool {
	b := s.b
	if len(data) > MaxRecord || b.closed {
		return false
	}
	k := b.mem.room(b.next, len(data), false)
	if k == nil {
		return false
	}
	pos := len(k.arena)
	k.arena = append(k.arena, data...)
	k.rows = append(k.rows, row{t: t, seq: seq, pos: uint32(pos), size: uint32(len(data)), src: s.index, at: b.tick()})
	b.appended()
	return true
}

func (s *Source) putLoss(t int64, seq, n uint64, reason Reason) bool {
	b := s.b
	if b.closed {
		return false
	}
	if k := b.mem.tail; k != nil && len(k.rows) > 0 {
		w := &k.rows[len(k.rows)-1]
		if w.src == s.index && w.lost > 0 && w.reason == reason && w.next() == seq &&
			!b.handed.contains(b.next-1) && !b.gone.contains(b.next-1) {
			w.lost += n
			return true
		}
	}
	k := b.mem.room(b.next, 0, true)
	if k == nil {
		return false
	}
	k.rows = append(k.rows, row{t: t, seq: seq, lost: n, reason: reason, pos: uint32(len(k.arena)), src: s.index, at: b.tick()})
	b.appended()
	return true
}

// tick is the age clock of rows: milliseconds since Open, wrapping around.
func (b *Buffer) tick() uint32 { return uint32(time.Since(b.base) / time.Millisecond) }

// appended follows every new row.
func (b *Buffer) appended() {
	b.next++
	if b.cfg.SyncInterval > 0 && b.attached && b.wake != nil {
		close(b.wake)
		b.wake = nil
	}
	if !b.armed || !b.hurry && b.mem.unsynced > b.mem.limit/2 {
		b.armed = true
		b.hurry = b.mem.unsynced > b.mem.limit/2
		b.kick()
	}
}

// kick wakes the committer.
func (b *Buffer) kick() {
	select {
	case b.kicked <- struct{}{}:
	default:
	}
}
