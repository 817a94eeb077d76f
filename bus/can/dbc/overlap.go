package dbc

import "fmt"

// maxPairs is how many pairs of signals of a file are compared: enough for
// 2,000 in one message, and a hostile file costs no more.
const maxPairs = 1 << 21

// overlaps names the signals that share bits with an earlier one that can be in
// the same frame. Both are read as they are: nobody knows which is wrong.
func (p *parser) overlaps(m *rawMessage) {
	for i := range m.signals {
		s := &m.signals[i]
		if s.bad || p.pairs > maxPairs {
			continue
		}
		if p.pairs += i; p.pairs > maxPairs {
			p.add(s.pos, Warning, "", "signal %s.%s: with so many signals, it is not looked whether this one and those behind it share bits", m.Symbol, s.Symbol)
			return
		}
		var first *rawSignal
		n := 0
		for j := range i {
			if t := &m.signals[j]; !t.bad && s.shares(&t.Signal) && m.meet(i, j) {
				if n++; n == 1 {
					first = t
				}
			}
		}
		if n == 0 {
			continue
		}
		others := ""
		if n > 1 {
			others = fmt.Sprintf(" and %d more", n-1)
		}
		p.add(s.pos, Error, "correct start and length, or the multiplexing", "signal %s.%s: bits %d|%d overlap those of %s, %d|%d%s: all are read as they are",
			m.Symbol, s.Symbol, s.Start, s.Length, first.Symbol, first.Start, first.Length, others)
	}
}

// shares reports whether two signals have a bit in common.
func (s *Signal) shares(t *Signal) bool {
	if s.BigEndian == t.BigEndian {
		return s.first() <= t.lastBit() && t.first() <= s.lastBit()
	}
	for i := s.first(); i <= s.lastBit(); i++ {
		if n := i ^ 7; n >= t.first() && n <= t.lastBit() { // as the other counts
			return true
		}
	}
	return false
}
