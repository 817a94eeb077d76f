package dbc

import (
	"cmp"
	"sort"
	"strings"
)

// resolve applies what refers to messages and signals, and makes the messages.
func (p *parser) resolve() {
	for _, m := range p.messages {
		m.Name = m.Symbol
		p.indexSignals(m)
		p.dropDuplicates(m)
	}
	p.applyAttributes()
	for i := range p.refs {
		p.applyReference(&p.refs[i])
	}
	p.countLines()
	names := make(map[string]*rawMessage, len(p.messages))
	for _, m := range p.messages {
		if m.bad {
			continue
		}
		if old := names[m.Name]; old != nil {
			p.add(m.pos, Error, "give each message its own name", "message %s: message %X has this name too", m.Name, old.ID)
		}
		names[m.Name] = m
		p.finish(m)
		p.file.Messages = append(p.file.Messages, m.Message)
	}
	for i, n := range p.file.Nodes {
		p.file.Nodes[i] = p.nodeName(n)
	}
}

func (p *parser) nodeName(symbol string) string {
	switch long := p.longNodes[symbol]; {
	case symbol == "Vector__XXX":
		return ""
	case long != "":
		return long
	}
	return symbol
}

// applyReference applies a statement to what it is about: to all signals of
// the name it gives, because each of them has it.
func (p *parser) applyReference(r *reference) {
	m, first := p.find(r, "the statement")
	switch {
	case m == nil:
	case r.apply == nil:
		if m.pages == nil {
			m.pages = make(map[int][]*reference)
		}
		m.pages[first] = append(m.pages[first], r)
	case r.signal == "":
		r.apply(p, r, m, nil)
	default:
		for i := first; i >= 0; i = m.signals[i].next {
			if s := &m.signals[i]; !s.bad {
				r.apply(p, r, m, s)
			}
		}
	}
}

// find returns what a reference is about: a message, and the first signal of
// the name or -1. That it does not exist is a warning; that it was left out has
// been said already.
func (p *parser) find(r *reference, what string) (m *rawMessage, first int) {
	m = p.byID[r.key]
	switch {
	case m == nil:
		id := r.key.id
		p.add(r.pos, Warning, "", "%s is about message %X, which does not exist", what, id)
		return nil, -1
	case m.bad:
		return nil, -1
	case r.signal == "":
		return m, -1
	}
	first, ok := m.index[r.signal]
	if !ok {
		p.add(r.pos, Warning, "", "%s is about signal %s.%s, which does not exist", what, m.Symbol, r.signal)
		return nil, -1
	}
	return m, first
}

// applyLabels applies VAL_. The bits of a signal have one label, whether the
// file gives their value signed or not.
func (p *parser) applyLabels(r *reference, m *rawMessage, s *rawSignal) {
	list := r.labels
	if r.text != "" {
		var ok bool
		if list, ok = p.tables[r.text]; !ok {
			p.add(r.pos, Error, "", "signal %s.%s: there is no VAL_TABLE_ %s: it has no labels", m.Symbol, s.Symbol, r.text)
			return
		}
	}
	// A list stands in the file once, yet each of several signals has it.
	if r.text != "" || m.signals[m.index[s.Symbol]].next >= 0 {
		if p.details += len(list); p.details > p.o.MaxDetails {
			p.add(r.pos, Error, "", "signal %s.%s: more than %d value descriptions in all: it has no labels", m.Symbol, s.Symbol, p.o.MaxDetails)
			return
		}
	}
	mask := s.mask()
	labels := make([]Label, 0, len(list))
	for _, l := range list {
		// Fits as unsigned, or as a negative number.
		if l.raw > mask && int64(l.raw) < 0 && ^l.raw > mask>>1 || l.raw > mask && int64(l.raw) >= 0 {
			p.add(r.pos, Warning, "", "signal %s.%s: value %d does not fit into its %d bits: the label is left out",
				m.Symbol, s.Symbol, int64(l.raw), s.Length)
			continue
		}
		quoted, text := quote(l.text)
		labels = append(labels, Label{l.raw & mask, text, quoted})
	}
	sort.SliceStable(labels, func(i, j int) bool {
		a, b := &labels[i], &labels[j]
		return cmp.Compare(a.Raw, b.Raw) < 0
	})
	n := 0
	for i := range labels {
		if n > 0 && labels[n-1].Raw == labels[i].Raw {
			if labels[n-1].Text != labels[i].Text {
				p.add(r.pos, Warning, "", "signal %s.%s: value %d has several labels: the first one counts", m.Symbol, s.Symbol, labels[i].Raw)
			}
			continue
		}
		labels[n] = labels[i]
		n++
	}
	s.Labels = labels[:n:n]
}

func (s *Signal) mask() uint64 { return ^uint64(0) >> (64 - s.Length) }

// finish gives a message its signals and compiles it.
func (p *parser) finish(m *rawMessage) {
	p.assignPages(m)
	p.linkMultiplexers(m)
	p.uniqueSignals(m)
	p.overlaps(m)
	m.quoted, m.Name = quote(m.Name)
	m.Sender = p.nodeName(m.Sender)
	m.J1939, m.fd = p.isJ1939(m), strings.HasSuffix(m.frame, "_FD")
	n := 0
	for i := range m.signals {
		if !m.signals[i].bad {
			n++
		}
	}
	m.Signals = make([]Signal, 0, n)
	place := make([]int, len(m.signals)) // in Signals
	for i := range m.signals {
		s := &m.signals[i]
		if s.bad {
			continue
		}
		for j, r := range s.Receivers {
			s.Receivers[j] = p.nodeName(r)
		}
		s.key, s.Name = quoteKey(s.Name)
		place[i] = len(m.Signals)
		m.Signals = append(m.Signals, s.Signal)
	}
	for i := range m.signals {
		if s := &m.signals[i]; !s.bad && s.parentIndex >= 0 {
			m.Signals[place[i]].Multiplexer = &m.Signals[place[s.parentIndex]]
		}
	}
	p.compile(m)
	m.signals, m.index, m.pages = nil, nil, nil
}

// countLines gives the messages their lines.
func (p *parser) countLines() {
	line, at := 1, 0
	for _, m := range p.messages {
		for ; at < m.pos; at++ {
			if c := p.data[at]; c == '\n' || c == '\r' && p.data[at+1] != '\n' {
				line++
			}
		}
		m.line = line
	}
}
