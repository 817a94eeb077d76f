package dbc

import (
	"cmp"
	"slices"
	"sort"
)

// Signals of one name are homonyms. The format does not know them, yet files
// have them: one for each page of a multiplexer, each with its own layout. What
// refers to a signal by name is true of all of them; whether two can meet in
// one frame, which would name a member of an object twice, is known only when
// everything has been applied.

// maxHomonyms is how many signals of one name a message may have.
const maxHomonyms = 512

// indexSignals makes the signals of a message known by name.
func (p *parser) indexSignals(m *rawMessage) {
	m.index = make(map[string]int, len(m.signals))
	var last map[string]int // of the names that several have
	for i := range m.signals {
		s := &m.signals[i]
		j, known := m.index[s.Symbol]
		if !known {
			m.index[s.Symbol] = i
			continue
		}
		if last == nil {
			last = make(map[string]int)
		}
		if k, more := last[s.Symbol]; more {
			m.signals[k].next = i
		} else {
			m.signals[j].next = i
		}
		last[s.Symbol] = i
		first := &m.signals[j]
		if !s.bad && !first.bad && first.muxed && s.muxed && first.muxValue != s.muxValue {
			p.add(s.pos, Warning, "give each signal its own name", "signal %s.%s: there are several, under different multiplexer values", m.Symbol, s.Symbol)
		}
	}
}

// dropDuplicates leaves out signals whose statements say the same of their name
// and page as an earlier one's: nothing can tell them apart. It comes before
// all else because a second multiplexer of the same name is none.
func (p *parser) dropDuplicates(m *rawMessage) {
	for i := range m.signals {
		first := &m.signals[i]
		if first.next < 0 || m.index[first.Symbol] != i {
			continue
		}
		type mark struct {
			muxed, numbered bool
			value           uint64
		}
		seen := make(map[mark]bool)
		for j := i; j >= 0; j = m.signals[j].next {
			s := &m.signals[j]
			switch k := (mark{s.muxed, s.numbered, s.muxValue}); {
			case s.bad:
			case seen[k]:
				p.dropDuplicate(m, s)
			case len(seen) == maxHomonyms:
				s.bad = !p.leaveOut(m, s, "give each signal its own name", "the message has more than %d signals of this name", maxHomonyms)
				s.duplicate = true
			default:
				seen[k] = true
			}
		}
	}
}

func (p *parser) dropDuplicate(m *rawMessage, s *rawSignal) {
	s.bad = !p.leaveOut(m, s, "give each signal its own name", "the message has another signal of this name")
	s.duplicate = true
}

// assignPages applies SG_MUL_VAL_, which says of a name on which pages it is.
func (p *parser) assignPages(m *rawMessage) {
	if len(m.pages) == 0 {
		return
	}
	for i := range m.signals {
		refs := m.pages[i]
		readable := false
		for _, r := range refs {
			readable = readable || !r.refused
		}
		for _, r := range refs {
			switch {
			case !readable:
				p.pagesUnknown(m, i, "its SG_MUL_VAL_ statement cannot be read")
			case !r.refused:
				p.assign(m, i, r)
			}
		}
	}
}

// pagesUnknown leaves out all signals of a name: each of them would be
// published on pages that are another's.
func (p *parser) pagesUnknown(m *rawMessage, first int, why string) {
	for i := first; i >= 0; i = m.signals[i].next {
		if s := &m.signals[i]; !s.bad {
			s.bad = !p.leaveOut(m, s, "correct the statement", "%s: on which pages it is is unknown", why)
		}
	}
}

// assign applies one SG_MUL_VAL_. Of several signals of its name it is about
// those whose own page is in its ranges: if that is one, all ranges are its own,
// else each has the range that holds its page and no other's.
func (p *parser) assign(m *rawMessage, first int, r *reference) {
	if m.signals[first].next < 0 {
		p.depend(m, &m.signals[first], r, r.ranges)
		return
	}
	var claims []int // signals whose page is in the ranges
	known := true    // all pages can be read
	ranges := joinRanges(slices.Clone(r.ranges))
	for i := first; i >= 0; i = m.signals[i].next {
		s := &m.signals[i]
		if s.duplicate {
			known = false // which of the pages are its own is nowhere
			continue
		}
		known = known && (s.numbered || !s.unread && !s.muxed)
		if s.numbered && inRanges(ranges, s.muxValue) {
			claims = append(claims, i)
		}
	}
	switch {
	case len(claims) == 0:
		p.pagesUnknown(m, first, "SG_MUL_VAL_ does not say which of the signals of this name it is about")
		return
	case len(claims) == 1 && known:
		p.depend(m, &m.signals[claims[0]], r, r.ranges)
		return
	}
	sort.SliceStable(claims, func(i, j int) bool {
		a, b := claims[i], claims[j]
		return cmp.Compare(m.signals[a].muxValue, m.signals[b].muxValue) < 0
	})
	for _, rg := range r.ranges {
		p.share(m, claims, r, rg, known)
	}
}

// share gives one range of SG_MUL_VAL_ to the signal whose page it holds, or to
// each of several its own page. claims are sorted by page.
func (p *parser) share(m *rawMessage, claims []int, r *reference, rg Range, known bool) {
	at, _ := slices.BinarySearchFunc(claims, rg.First, func(i int, v uint64) int { return cmp.Compare(m.signals[i].muxValue, v) })
	end := at
	for end < len(claims) && m.signals[claims[end]].muxValue <= rg.Last {
		end++
	}
	if known && end == at+1 {
		p.depend(m, &m.signals[claims[at]], r, []Range{rg})
		return
	}
	for _, i := range claims[at:end] {
		page := m.signals[i].muxValue
		p.depend(m, &m.signals[i], r, []Range{{page, page}})
	}
	if rg.Last-rg.First >= uint64(end-at) {
		p.add(r.pos, Error, "give each signal its own name", "signal %s.%s: there are several: which of them has the other pages of %d-%d is unknown: none has them",
			m.Symbol, r.signal, rg.First, rg.Last)
	}
}

// depend makes a signal depend on the multiplexer a statement names. Of one that
// was left out that matters too: it is not the one on which others depend.
func (p *parser) depend(m *rawMessage, s *rawSignal, r *reference, ranges []Range) {
	if s.parent != "" && s.parent != r.text {
		if s.bad {
			return
		}
		p.add(r.pos, Error, "", "signal %s.%s already depends on %s: the statement is left out", m.Symbol, s.Symbol, s.parent)
		return
	}
	s.parent, s.parentPos = r.text, r.pos
	s.When = append(s.When, ranges...)
}

// uniqueSignals sees to it that no two signals that can meet in a frame have
// one name. It comes when all that refers to them has been applied. The
// multiplexers go first: what depends on one that is left out meets nobody.
func (p *parser) uniqueSignals(m *rawMessage) {
	for _, multiplexers := range []bool{true, false} {
		for i := range m.signals {
			if m.signals[i].next >= 0 && m.index[m.signals[i].Symbol] == i && m.anyMultiplexes(i) == multiplexers {
				p.uniqueSymbol(m, i)
			}
		}
	}
	p.uniqueNames(m)
}

func (m *rawMessage) anyMultiplexes(first int) bool {
	for i := first; i >= 0; i = m.signals[i].next {
		if m.signals[i].Multiplexes {
			return true
		}
	}
	return false
}

// uniqueSymbol leaves out the signals of a name that can meet an earlier one.
func (p *parser) uniqueSymbol(m *rawMessage, first int) {
	left := false
	for j := first; j >= 0; j = m.signals[j].next {
		for k := first; k != j && !m.signals[j].bad; k = m.signals[k].next {
			if !m.signals[k].bad && m.meet(k, j) {
				p.dropDuplicate(m, &m.signals[j])
				left = left || m.signals[j].Multiplexes
			}
		}
	}
	for left && p.checkMultiplexers(m) {
	}
}

// uniqueNames gives a signal its symbol back where its long name is that of a
// signal it can meet: of one that has the name as its symbol, or of an earlier
// one. Symbols are unique already.
func (p *parser) uniqueNames(m *rawMessage) {
	have := make(map[string][]int, len(m.signals))
	var demoted []int
	demote := func(i int) {
		s := &m.signals[i]
		p.add(s.pos, Warning, "give each signal its own long name", "signal %s.%s: its long name %s is another signal's too: it keeps the short one",
			m.Symbol, s.Symbol, s.Name)
		s.Name = s.Symbol
		demoted = append(demoted, i)
	}
	long := false
	for i := range m.signals {
		if s := &m.signals[i]; !s.bad && s.Name == s.Symbol {
			have[s.Name] = append(have[s.Name], i)
		} else {
			long = long || !s.bad
		}
	}
	if !long {
		return
	}
	for i := range m.signals {
		s := &m.signals[i]
		if s.bad || s.Name == s.Symbol {
			continue
		}
		if len(have[s.Name]) >= 2*maxHomonyms || slices.ContainsFunc(have[s.Name], func(j int) bool { return m.meet(i, j) }) {
			demote(i)
		} else {
			have[s.Name] = append(have[s.Name], i)
		}
		for len(demoted) > 0 { // it has its symbol before those that have it as a long name
			d := demoted[len(demoted)-1]
			demoted = demoted[:len(demoted)-1]
			name := m.signals[d].Symbol
			have[name] = slices.DeleteFunc(have[name], func(j int) bool {
				if m.signals[j].Symbol == name || !m.meet(d, j) {
					return false
				}
				demote(j)
				return true
			})
			have[name] = append(have[name], d)
		}
	}
}

// meet reports whether two signals can be in one frame. They cannot if the
// last multiplexer on which both depend, however indirectly, must have one value
// for the one and another for the other.
func (m *rawMessage) meet(i, j int) bool {
	a, b := &m.signals[i], &m.signals[j]
	for n := m.depth(a) - m.depth(b); n > 0; n-- {
		a = &m.signals[a.parentIndex]
	}
	for n := m.depth(b) - m.depth(a); n > 0; n-- {
		b = &m.signals[b.parentIndex]
	}
	for a != b && a.parentIndex != b.parentIndex {
		a, b = &m.signals[a.parentIndex], &m.signals[b.parentIndex]
	}
	return a == b || a.parentIndex < 0 || overlap(a.When, b.When)
}

// depth is how many multiplexers a signal depends on.
func (m *rawMessage) depth(s *rawSignal) (n int) {
	for ; s.parentIndex >= 0; n++ {
		s = &m.signals[s.parentIndex]
	}
	return n
}

// overlap reports whether two lists of sorted ranges have a value in common.
func overlap(a, b []Range) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Last < b[0].First:
			a = a[1:]
		case b[0].Last < a[0].First:
			b = b[1:]
		default:
			return true
		}
	}
	return false
}
