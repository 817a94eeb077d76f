package dbc

import (
	"bytes"
	"math"
	"strings"
)

// independent is the id of the message that holds the signals of no message:
// 0xC0000000 in the file. CANdb++ names it VECTOR__INDEPENDENT_SIG_MSG.
var independent = messageKey{0x40000000, true}

// message reads what follows BO_: ID NAME ':' SIZE [SENDER].
func (p *parser) message() bool {
	p.space()
	m := &rawMessage{Message: &Message{file: p.file.Name}, pos: p.pos, bad: true}
	p.current = m // of a faulty message, the signals are left out too
	idPos := p.pos
	key, ok := p.id("message")
	if !ok {
		return false
	}
	written, _ := parseUint(p.data[idPos:p.pos])
	m.ID, m.Extended = key.id, key.extended
	old := p.byID[key]
	if old != nil && old.bad && !old.ignored { // one that was left out does not keep another from being used
		old = nil
	}
	if old == nil {
		p.byID[key] = m
		p.messages = append(p.messages, m)
	}
	if m.Symbol, ok = p.name("message"); !ok {
		return false
	}
	m.ignored = key == independent || m.Symbol == "VECTOR__INDEPENDENT_SIG_MSG"
	if !p.mark(':') {
		return p.fail("", "message %s: expected ':': it is left out", m.Symbol)
	}
	size, ok := parseUint(p.peekNumber())
	if !ok {
		return p.fail("", "message %s: expected its size in bytes: it is left out", m.Symbol)
	}
	p.word()
	p.blank()
	if w := p.peekWord(); !p.eof() && !isNewline(p.peek()) && len(w) > 0 && len(w) <= maxNameLen && !isReserved(w) {
		p.pos += len(w)
		m.Sender = p.intern(w)
	}
	if old != nil {
		p.add(idPos, Error, "give each message its own id", "message %s has the id of message %s: it is left out", m.Symbol, old.Symbol)
		return true
	}
	m.bad = m.ignored || !p.checkMessage(m, idPos, uint32(written), size)
	return true
}

// peekNumber returns the word at the position.
func (p *parser) peekNumber() []byte {
	p.space()
	return p.peekWord()
}

// checkMessage reports whether a message can be used.
func (p *parser) checkMessage(m *rawMessage, pos int, written uint32, size uint64) bool {
	switch {
	case m.ID > 0x1FFFFFFF:
		p.add(pos, Error, "", "message %s: id %X has more than 29 bits: it is left out", m.Symbol, m.ID)
		return false
	case written < 1<<31 && m.ID > 0x7FF:
		p.add(pos, Error, "add 2147483648 to the id", "message %s: id %X has more than 11 bits but is not marked as extended: taken as extended",
			m.Symbol, m.ID)
	case size > maxMessageSize:
		p.add(pos, Warning, "", "message %s: %d bytes are more than CAN can carry", m.Symbol, size)
	}
	m.Size = int(min(size, 1<<20))
	return true
}

// signal reads what follows SG_: NAME [MULTIPLEXING] ':' LAYOUT.
func (p *parser) signal() bool {
	p.space()
	s := rawSignal{pos: p.pos, bad: true, next: -1}
	m := p.current
	if m == nil {
		return p.fail("put it behind its BO_ statement", "a signal outside of any message: it is left out")
	}
	p.signals++
	var ok bool
	if s.Symbol, ok = p.name("signal"); !ok {
		return false
	}
	s.Name = s.Symbol
	if ok = p.multiplexing(&s) && p.layout(&s); ok {
		p.receivers(&s)
	}
	if m.bad {
		return ok
	}
	s.unread = !ok
	s.bad = !ok || !p.checkSignal(m, &s)
	if len(m.signals) == maxMessageSignals {
		if !m.full {
			p.add(s.pos, Error, "", "message %s has more than %d signals: the rest is left out", m.Symbol, maxMessageSignals)
			m.full = true
		}
		return ok
	}
	m.signals = append(m.signals, s)
	return ok
}

// markFix says how multiplexing is marked.
const markFix = "write M, m0 or m0M between name and colon"

// multiplexing reads M, m0 or m0M, if there, and the colon. Of m alone the
// number may stand in SG_MUL_VAL_.
func (p *parser) multiplexing(s *rawSignal) bool {
	bad := func(w []byte) bool {
		// What is left out may have been a multiplexer, see linkMultiplexers.
		s.Multiplexes = s.Multiplexes || len(w) > 0 && w[0] == 'M'
		return p.fail(markFix, "signal %s: multiplexing %.20q: it is left out", s.Symbol, toUTF8(w[:min(len(w), 20)]))
	}
	for range 2 {
		if p.mark(':') {
			return true
		}
		p.space()
		w := p.peekWord()
		if len(w) == 0 || s.muxed || s.Multiplexes {
			break
		}
		rest := w
		if rest[0] == 'm' {
			digits := bytes.TrimRight(rest[1:], "M")
			u, ok := parseUint(digits)
			if !ok && len(digits) > 0 || len(rest)-len(digits) > 2 {
				return bad(w)
			}
			s.muxed, s.numbered, s.muxValue, s.markPos = true, ok, u, p.pos
			rest = rest[1+len(digits):]
		}
		s.Multiplexes = len(rest) == 1 && rest[0] == 'M'
		if len(rest) > 0 && !s.Multiplexes {
			return bad(w)
		}
		p.pos += len(w)
	}
	if p.mark(':') {
		return true
	}
	return p.fail("", "signal %s: expected ':': it is left out", s.Symbol)
}

// layout reads START|LENGTH@ORDER SIGN (FACTOR,OFFSET) [MIN|MAX] "UNIT".
func (p *parser) layout(s *rawSignal) bool {
	bad := func(what string) bool {
		return p.fail(`a signal is SG_ NAME : START|LENGTH@ORDER+ (FACTOR,OFFSET) [MIN|MAX] "UNIT" RECEIVERS`,
			"signal %s: expected %s: it is left out", s.Symbol, what)
	}
	start, ok := parseUint(p.peekNumber())
	if !ok || start > 1<<20 {
		return bad("its start bit")
	}
	if p.word(); !p.mark('|') {
		return bad("'|'")
	}
	length, ok := parseUint(p.peekNumber())
	if !ok || length > 1<<20 {
		return bad("its length in bits")
	}
	if p.word(); !p.mark('@') {
		return bad("'@'")
	}
	s.Start, s.Length = int(start), int(length)
	p.space()
	if c := p.peek(); c != '0' && c != '1' {
		return bad("the byte order, 0 (Motorola) or 1 (Intel)")
	}
	s.BigEndian = p.peek() == '0'
	p.pos++
	p.space()
	if c := p.peek(); c != '+' && c != '-' {
		return bad("'+' or '-'")
	}
	s.Signed = p.peek() == '-'
	p.pos++
	if !p.mark('(') {
		return bad("'('")
	}
	if s.factor, ok = p.number(); !ok || !p.mark(',') {
		return bad("factor and offset")
	}
	if s.offset, ok = p.number(); !ok || !p.mark(')') {
		return bad("the offset")
	}
	s.Factor, s.Offset = s.factor.float, s.offset.float
	if !p.limits(s) {
		return bad("the limits")
	}
	p.space()
	if p.peek() == '"' {
		unit, ok := p.lineString()
		if !ok {
			return bad("the end of the unit")
		}
		s.Unit = p.internText(unit)
	}
	return true
}

// limits reads [MIN|MAX], if there. No number depends on them, so that a
// signal is of use without; but where no bracket closes them, more may be missing.
func (p *parser) limits(s *rawSignal) bool {
	if !p.mark('[') {
		return true
	}
	start := p.pos
	lower, ok1 := p.number()
	sep := p.mark('|')
	upper, ok2 := p.number()
	if ok1 && sep && ok2 && p.mark(']') {
		switch s.Min, s.Max = lower.float, upper.float; {
		case math.IsNaN(s.Min) || math.IsNaN(s.Max): // none; as they are, a file would differ from itself
			s.Min, s.Max = 0, 0
		case s.Min > s.Max:
			p.add(start, Warning, "write the lower limit first", "signal %s: its lower limit is above the upper one: they are not used", s.Symbol)
		}
		return true
	}
	end := bytes.IndexAny(p.data[start:min(len(p.data), start+maxNameLen)], "]\"\r\n")
	if end < 0 || p.data[start+end] != ']' {
		return false
	}
	p.pos = start + end + 1
	p.add(start, Warning, "limits are [MIN|MAX]", "signal %s: its limits cannot be read: they are not used", s.Symbol)
	return true
}

// number reads a number.
func (p *parser) number() (number, bool) {
	w := p.peekNumber()
	n, ok := parseNumber(w)
	if ok {
		p.pos += len(w)
	}
	return n, ok
}

func (p *parser) internText(raw []byte) string {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return unquote(raw)
	}
	return p.intern(raw)
}

// receivers reads the names of the receivers: to the end of the line, or on
// after a comma.
func (p *parser) receivers(s *rawSignal) {
	for {
		p.blank()
		if isNewline(p.peek()) || p.eof() {
			return
		}
		w := p.peekWord()
		if len(w) == 0 || len(w) > maxNameLen || isReserved(w) {
			return
		}
		p.pos += len(w)
		if name := p.intern(w); name != "Vector__XXX" && len(s.Receivers) < maxReceivers {
			p.details++
			s.Receivers = append(s.Receivers, name)
		}
		if p.blank(); p.peek() == ',' {
			p.pos++
			p.space()
		}
	}
}

// checkSignal reports whether a signal can be used.
func (p *parser) checkSignal(m *rawMessage, s *rawSignal) bool {
	bad := func(fix, format string, args ...any) bool {
		return p.leaveOut(m, s, fix, format, args...)
	}
	switch {
	case s.Length == 0:
		return bad("", "it has no bits")
	case notFinite(s.Factor) || notFinite(s.Offset):
		return bad("", "factor or offset is not a number")
	}
	if s.Length > 64 {
		p.add(s.pos, Warning, "", "signal %s.%s: %d bits are not a number: it is left out", m.Symbol, s.Symbol, s.Length)
		return false
	}
	if s.lastBit() >= 8*min(m.Size, maxMessageSize) {
		return bad("correct the size in BO_, or the signal's start and length",
			"bits %d|%d lie outside of its %d bytes", s.Start, s.Length, m.Size)
	}
	if s.Factor == 0 {
		p.add(s.pos, Warning, "", "signal %s.%s: the factor is 0: its value is always %v", m.Symbol, s.Symbol, s.Offset)
	}
	return true
}

// leaveOut notes why a signal is left out, and returns false.
func (p *parser) leaveOut(m *rawMessage, s *rawSignal, fix, format string, args ...any) bool {
	var what strings.Builder
	what.WriteString("signal %s.%s: ")
	what.WriteString(format)
	what.WriteString(": it is left out")
	p.add(s.pos, Error, fix, what.String(), append([]any{m.Symbol, s.Symbol}, args...)...)
	return false
}

// first is the signal's first bit as it is on the wire: counted from the most
// significant bit of each byte if big-endian, else from the least.
func (s *Signal) first() int {
	if s.BigEndian {
		return s.Start&^7 | 7 - s.Start&7
	}
	return s.Start
}

func (s *Signal) lastBit() int { return s.first() + s.Length - 1 }

func notFinite(f float64) bool { return math.IsNaN(f) || math.IsInf(f, 0) }
