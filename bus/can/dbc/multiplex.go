package dbc

import (
	"cmp"
	"slices"
)

// linkMultiplexers finds for each multiplexed signal of a message the signal
// it depends on. One whose multiplexer cannot be known is left out: its bits
// would be published when they mean something else.
func (p *parser) linkMultiplexers(m *rawMessage) {
	root, roots := -1, 0
	for i := range m.signals {
		s := &m.signals[i]
		s.parentIndex = -1
		if s.Multiplexes && !s.muxed && s.parent == "" && !s.bad {
			root = i
			roots++
		}
	}
	for i := range m.signals {
		s := &m.signals[i]
		switch {
		case s.bad:
		case s.parent != "":
			p.linkNamed(m, s)
		case s.muxed && roots == 1:
			s.parentIndex = root
		case s.muxed && roots == 0:
			s.bad = !p.leaveOut(m, s, "mark the multiplexer with M", "it is multiplexed, but the message has no multiplexer")
		case s.muxed:
			s.bad = !p.leaveOut(m, s, "add a SG_MUL_VAL_ statement", "the message has several multiplexers: which one it depends on is unknown")
		}
		if s.parentIndex >= 0 && s.parent == "" {
			s.When = []Range{{s.muxValue, s.muxValue}}
		}
	}
	p.checkMultiplexers(m)
	for i := range m.signals {
		s := &m.signals[i]
		if s.parentIndex >= 0 && !s.bad {
			s.When = joinRanges(s.When)
			m.signals[s.parentIndex].Multiplexes = true
		}
	}
}

// linkNamed links a signal to the multiplexer SG_MUL_VAL_ names.
func (p *parser) linkNamed(m *rawMessage, s *rawSignal) {
	i, ok := m.index[s.parent]
	if !ok {
		p.add(s.parentPos, Error, "", "signal %s.%s: its multiplexer %s does not exist: it is left out", m.Symbol, s.Symbol, s.parent)
		s.bad = true
		return
	}
	if !m.signals[i].Multiplexes {
		p.add(s.parentPos, Warning, "mark the multiplexer with M", "signal %s.%s: its multiplexer %s is not marked as one", m.Symbol, s.Symbol, s.parent)
	}
	s.parentIndex = i
}

// checkMultiplexers leaves out the signals whose chain of multiplexers is
// broken, runs in a circle, or is longer than a message may have multiplexers.
func (p *parser) checkMultiplexers(m *rawMessage) {
	parents := make(map[int]bool)
	for i := range m.signals {
		s := &m.signals[i]
		at, steps := i, 0
		for at >= 0 && !m.signals[at].bad && steps <= maxMultiplexers {
			at = m.signals[at].parentIndex
			steps++
		}
		switch {
		case s.bad || at < 0:
		case steps > maxMultiplexers:
			s.bad = !p.leaveOut(m, s, "", "its multiplexers depend on each other")
		default:
			s.bad = !p.leaveOut(m, s, "", "its multiplexer %s is left out", m.signals[at].Symbol)
		}
		if s.parentIndex < 0 || s.bad || parents[s.parentIndex] {
			continue
		}
		if len(parents) == maxMultiplexers {
			s.bad = !p.leaveOut(m, s, "", "the message has more than %d multiplexers", maxMultiplexers)
			continue
		}
		parents[s.parentIndex] = true
	}
}

// joinRanges sorts ranges and joins those that touch.
func joinRanges(ranges []Range) []Range {
	slices.SortStableFunc(ranges, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
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
