package dbc

import "bytes"

// session is a transfer that is followed. Packets count from 1.
type session struct {
	active              bool
	source, destination uint8
	priority            uint8
	pgn                 uint32
	size                int
	packets, missing    int

	next      int       // the lowest number the next packet may have
	asked     int       // the highest number it may have: what the latest CTS asked for, or all if none was seen
	requested bool      // a CTS was seen
	begun     bool      // a packet came
	seen      [4]uint64 // a bit for each packet, to be received again once it is asked for again
	held      [4]uint64 // a bit for each packet that data has
	last      int64     // time of the last frame
	silence   int64     // how much may follow it
	used      uint64
	data      []byte
}

// expired also holds if the clock was set back: nobody knows how long the
// silence was.
func (s *session) expired(now int64) bool {
	gap := now - s.last
	return gap > s.silence || gap < -clockTolerance
}

// take takes a packet and reports whether it can be of this transfer.
func (s *session) take(n int, data []byte, now int64) bool {
	switch {
	case n < s.next, n > s.asked: // no CTS asks for it
		return false
	case !s.requested && n > s.next: // nobody can be going to ask for the one that is missing
		return false
	}
	place := s.data[(n-1)*packetSize : n*packetSize]
	bit, i := mark(n)
	if s.held[i]&bit != 0 && !bytes.Equal(place, data) { // a packet sent again is what it was
		return false
	}
	copy(place, data)
	s.held[i] |= bit
	if s.seen[i]&bit == 0 {
		s.seen[i] |= bit
		s.missing--
	}
	s.next, s.begun = n+1, true
	s.last, s.silence = now, silencePacket
	if n == s.asked {
		s.silence = silenceAnswer
	}
	return true
}

// ask takes a CTS and reports whether it can be of this transfer: count packets
// from number first on are to follow, or a pause if count is 0. The receiver has
// what lies before: what this listener has not seen of that, it never will.
func (s *session) ask(pgn uint32, count, first int, now int64) bool {
	if pgn != s.pgn || s.destination == GlobalAddress {
		return false
	}
	if count == 0 {
		s.last, s.silence = now, silenceHold
		return true
	}
	if first == 0 || first > s.packets || !s.holds(first-1) {
		return false
	}
	s.requested = true
	s.next, s.asked = first, min(first+count-1, s.packets)
	for n := s.next; n <= s.asked; n++ {
		if bit, i := mark(n); s.seen[i]&bit != 0 {
			s.seen[i] &^= bit
			s.missing++
		}
	}
	s.last, s.silence = now, silenceRequest
	return true
}

// holds reports whether packets 1 to n came.
func (s *session) holds(n int) bool {
	for i := 1; i <= n; i++ {
		if bit, word := mark(i); s.held[word]&bit == 0 {
			return false
		}
	}
	return true
}

func mark(n int) (bit uint64, i int) { return 1 << ((n - 1) % 64), (n - 1) / 64 }
