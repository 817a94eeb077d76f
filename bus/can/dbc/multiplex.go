package dbc

import (
	"cmp"
	"sort"
)

// linkMultiplexers finds for each multiplexed signal of a message the signal
// it depends on. One whose multiplexer cannot be known is left out: its bits
// would be published when they mean something else.
func (p *parser) linkMultiplexers(m *rawMessage) {
	root, several := m.root()
	for i := range m.signals {
		s := &m.signals[i]
		s.parentIndex = -1
		switch {
		case s.bad:
		case s.parent != "":
			p.linkNamed(m, s)
		case s.muxed && !s.numbered:
			p.add(s.markPos, Error, markFix, "signal %s: multiplexing %q: it is left out", s.Symbol, s.mark())
			s.bad = true
		case s.muxed && root >= 0 && !several:
			s.parentIndex = root
			s.When = []Range{{s.muxValue, s.muxValue}}
		case s.muxed && several:
			s.bad = !p.leaveOut(m, s, "add a SG_MUL_VAL_ statement", "the message has several multiplexers: which one it depends on is unknown")
		case s.muxed:
			s.bad = !p.leaveOut(m, s, "mark the multiplexer with M", "it is multiplexed, but the message has no multiplexer")
		}
	}
	for p.checkMultiplexers(m) {
	}
	for i := range m.signals {
		s := &m.signals[i]
		if s.parentIndex >= 0 && !s.bad {
			s.When = joinRanges(s.When)
			m.signals[s.parentIndex].Multiplexes = true
		}
	}
}

// root returns the multiplexer that depends on no other, or -1, and whether
// there are several. One that was left out counts: signals may depend on it.
func (m *rawMessage) root() (root int, several bool) {
	root = -1
	name, found := "", false
	for i := range m.signals {
		s := &m.signals[i]
		if !s.Multiplexes || s.muxed || s.parent != "" {
			continue
		}
		several = several || found && s.Symbol != name
		name, found = s.Symbol, true
		if !s.bad {
			root = i
		}
	}
	return root, several
}

// mark is the multiplexing of a signal as its statement has it, without a number.
func (s *rawSignal) mark() string {
	if s.Multiplexes {
		return "mM"
	}
	return "m"
}

// linkNamed links a signal to the multiplexer SG_MUL_VAL_ names.
func (p *parser) linkNamed(m *rawMessage, s *rawSignal) {
	first, ok := m.index[s.parent]
	if !ok {
		p.add(s.parentPos, Error, "", "signal %s.%s: its multiplexer %s does not exist: it is left out", m.Symbol, s.Symbol, s.parent)
		s.bad = true
		return
	}
	at := first
	for i := first; i >= 0; i = m.signals[i].next {
		switch {
		case m.signals[i].duplicate:
		case m.signals[at].duplicate:
			at = i
		case i != at:
			p.add(s.parentPos, Error, "give each signal its own name", "signal %s.%s: there are several multiplexers %s: it is left out",
				m.Symbol, s.Symbol, s.parent)
			s.bad = true
			return
		}
	}
	if s.muxed && !s.numbered {
		p.add(s.markPos, Warning, markFix, "signal %s.%s: multiplexing %q has no number: SG_MUL_VAL_ says it", m.Symbol, s.Symbol, s.mark())
	}
	if !m.signals[at].Multiplexes {
		p.add(s.parentPos, Warning, "mark the multiplexer with M", "signal %s.%s: its multiplexer %s is not marked as one", m.Symbol, s.Symbol, s.parent)
	}
	s.parentIndex = at
}

// checkMultiplexers leaves out the signals whose chain of multiplexers is
// broken, runs in a circle, or is longer than a message may have multiplexers.
// It reports whether it left out any: others may depend on those.
func (p *parser) checkMultiplexers(m *rawMessage) (again bool) {
	parents := make(map[int]bool)
	for i := range m.signals {
		s := &m.signals[i]
		if s.bad {
			continue
		}
		at, steps := i, 0
		for at >= 0 && !m.signals[at].bad && steps <= maxMultiplexers {
			at = m.signals[at].parentIndex
			steps++
		}
		switch {
		case at < 0:
		case steps > maxMultiplexers:
			s.bad = !p.leaveOut(m, s, "", "its multiplexers depend on each other")
		default:
			s.bad = !p.leaveOut(m, s, "", "its multiplexer %s is left out", m.signals[at].Symbol)
		}
		again = again || s.bad
		if s.parentIndex < 0 || s.bad || parents[s.parentIndex] {
			continue
		}
		if len(parents) == maxMultiplexers {
			s.bad = !p.leaveOut(m, s, "", "the message has more than %d multiplexers", maxMultiplexers)
			again = true
			continue
		}
		parents[s.parentIndex] = true
	}
	return again
}

// joinRanges sorts ranges and joins those that touch.
func joinRanges(ranges []Range) []Range {
	sort.SliceStable(ranges, func(i, j int) bool {
		a, b := &ranges[i], &ranges[j]
		return cmp.Compare(a.First, b.First) < 0
	})
	n := 0
	for _, r := range ranges {
		if n > 0 && (ranges[n-1].Last == ^uint64(0) || r.First <= ranges[n-1].Last+1) {
			ranges[n-1].Last = max(ranges[n-1].Last, r.Last)
			continue
		}
		ranges[n] = r
		n++
	}
	return ranges[:n:n]
}

// inRanges reports whether v is in one of the sorted ranges.
func inRanges(ranges []Range, v uint64) bool {
	for len(ranges) > 8 {
		half := len(ranges) / 2
		if ranges[half].First > v {
			ranges = ranges[:half]
		} else {
			ranges = ranges[half:]
		}
	}
	for _, r := range ranges {
		if v-r.First <= r.Last-r.First {
			return true
		}
	}
	return false
}
