package dbc

import "bytes"

// reference is a statement about a message or a signal. The statement may
// stand before what it is about, so references are applied at the end.
type reference struct {
	pos    int
	key    messageKey
	signal string // empty: about the message
	// apply applies it to each signal of that name. Without, it is SG_MUL_VAL_,
	// which says of several signals of a name which is on which page.
	apply func(p *parser, r *reference, m *rawMessage, s *rawSignal)

	labels []tableLabel
	text   string // a name, or a text
	number uint64
	ranges []Range

	refused bool // it could not be read
}

// refer keeps a reference for the end.
func (p *parser) refer(r reference) {
	p.details++
	p.refs = append(p.refs, r)
}

// target reads ID SIGNAL.
func (p *parser) target(what string, r *reference) (ok bool) {
	p.space()
	r.pos = p.pos
	if r.key, ok = p.id(what); !ok {
		return false
	}
	r.signal, ok = p.name(what)
	return ok
}

// refuse keeps that a statement without which a signal cannot be understood
// could not be read.
func (p *parser) refuse(r reference) bool {
	r.refused = true
	p.refer(r)
	return false
}

// values reads what follows VAL_: ID SIGNAL with a list of values and labels
// or the name of a table. That of an environment variable has no id.
func (p *parser) values() bool {
	if _, ok := parseUint(p.peekNumber()); !ok {
		p.skip(p.pos)
		return true
	}
	r := reference{apply: (*parser).applyLabels}
	if !p.target("VAL_", &r) {
		return false
	}
	p.space()
	if w := p.peekWord(); len(w) > 0 {
		if _, number := parseInt(w); !number {
			p.pos += len(w)
			r.text = p.intern(w)
			if !p.end("VAL_") {
				return false
			}
			p.refer(r)
			return true
		}
	}
	var ok bool
	if r.labels, ok = p.labelList("VAL_"); len(r.labels) > 0 {
		p.refer(r)
	}
	return ok && p.endOfList("VAL_")
}

// valueTable reads what follows VAL_TABLE_: NAME and a list.
func (p *parser) valueTable() bool {
	name, ok := p.name("VAL_TABLE_")
	if !ok {
		return false
	}
	labels, ok := p.labelList("VAL_TABLE_")
	p.tables[name] = labels
	return ok && p.endOfList("VAL_TABLE_")
}

// labelList reads pairs of value and label. What was read before a fault is
// returned with it.
func (p *parser) labelList(what string) (labels []tableLabel, ok bool) {
	for p.details <= p.o.MaxDetails {
		p.space()
		w := p.peekWord()
		if len(w) == 0 || isKeyword(w) {
			break
		}
		raw, ok := parseInt(w)
		if !ok {
			return labels, p.fail("", "%s: %.40q is not an integer: the rest of the list is left out", what, toUTF8(w[:min(len(w), 40)]))
		}
		p.pos += len(w)
		text, ok := p.text()
		if !ok {
			return labels, p.fail("", "%s: expected a text in quotation marks: the rest of the list is left out", what)
		}
		p.details++
		labels = append(labels, tableLabel{raw, p.internText(text)})
	}
	return labels, true
}

// valueType reads what follows SIG_VALTYPE_: ID SIGNAL [':'] TYPE.
func (p *parser) valueType() bool {
	r := reference{apply: (*parser).applyType}
	if !p.target("SIG_VALTYPE_", &r) {
		return false
	}
	p.mark(':')
	var ok bool
	if r.number, ok = parseUint(p.peekNumber()); !ok {
		p.fail("", "SIG_VALTYPE_: expected 0 (integer), 1 (float) or 2 (double)")
		return p.refuse(r)
	}
	if p.word(); !p.end("SIG_VALTYPE_") {
		return p.refuse(r)
	}
	p.refer(r)
	return true
}

// multiplexValues reads what follows SG_MUL_VAL_: ID SIGNAL MULTIPLEXER and a
// list of ranges. Ranges that are none are left out; without any the pages of
// the signal are not known, and the mark in its SG_ statement does not say them.
func (p *parser) multiplexValues() bool {
	var r reference
	if !p.target("SG_MUL_VAL_", &r) {
		return false
	}
	var ok bool
	if r.text, ok = p.name("SG_MUL_VAL_"); !ok {
		return p.refuse(r)
	}
	var bad []report
	for p.details <= p.o.MaxDetails {
		p.space()
		if c := p.peek(); c-'0' > 9 {
			break
		}
		start := p.pos
		rg, ok := p.valueRange()
		if p.details++; ok {
			r.ranges = append(r.ranges, rg)
		} else {
			bad = append(bad, report{pos: start, what: toUTF8(bytes.TrimSpace(p.data[start:min(p.pos, start+40)]))})
		}
		p.mark(',')
	}
	if len(r.ranges) == 0 {
		p.fail("", "SG_MUL_VAL_: expected ranges like 0-3: the statement is left out")
		return p.refuse(r)
	}
	for _, b := range bad {
		p.add(b.pos, Error, "write the lower value first", "SG_MUL_VAL_: %s is not a range like 0-3: it is left out", b.what)
	}
	p.refer(r)
	return p.endOfList("SG_MUL_VAL_")
}

// valueRange reads FIRST-LAST, or a single value.
func (p *parser) valueRange() (r Range, ok bool) {
	first := p.digits()
	if r.First, ok = parseUint(first); !ok {
		return r, false
	}
	r.Last = r.First
	p.space()
	if p.peek() == '-' {
		p.pos++
		p.space()
		r.Last, ok = parseUint(p.digits())
	}
	return r, ok && r.First <= r.Last
}

func (p *parser) digits() []byte {
	start := p.pos
	for !p.eof() && p.peek()-'0' <= 9 {
		p.pos++
	}
	return p.data[start:p.pos]
}

// comment reads what follows CM_: [BU_ NODE | BO_ ID | SG_ ID SIGNAL | EV_ NAME] TEXT.
func (p *parser) comment() bool {
	r := reference{apply: (*parser).applyComment}
	about, ok := p.object("CM_", &r)
	if !ok {
		return false
	}
	raw, ok := p.text()
	if !ok {
		return p.fail("close the text with a quotation mark and a semicolon", "CM_: no text, or one that is not closed: it is left out")
	}
	if !p.end("CM_") {
		return false
	}
	if p.comments += len(raw); p.comments > maxCommentText {
		return true
	}
	switch r.text = unquote(raw); about {
	case "":
		if p.file.Comment == "" {
			p.file.Comment = r.text
		}
	case "BO_", "SG_":
		p.refer(r)
	}
	return true
}

// object reads what a comment or an attribute is about; nothing means the
// network.
func (p *parser) object(what string, r *reference) (about string, ok bool) {
	p.space()
	r.pos = p.pos
	switch w := string(p.peekWord()); w {
	case "BO_":
		p.word()
		p.space()
		r.pos = p.pos
		r.key, ok = p.id(what)
		return w, ok
	case "SG_":
		p.word()
		return w, p.target(what, r)
	case "BU_", "EV_":
		p.word()
		r.signal, ok = p.name(what)
		return w, ok
	}
	return "", true
}

// applyComment keeps the text of CM_.
func (p *parser) applyComment(r *reference, m *rawMessage, s *rawSignal) {
	if s != nil {
		s.Comment = r.text
	} else {
		m.Comment = r.text
	}
}

// applyType applies SIG_VALTYPE_.
func (p *parser) applyType(r *reference, m *rawMessage, s *rawSignal) {
	switch {
	case r.refused:
		s.bad = !p.leaveOut(m, s, "correct its SIG_VALTYPE_ statement", "whether it is an integer is not known")
	case r.number == 0:
	case r.number == 1 && s.Length == 32:
		s.Type = Float32
	case r.number == 2 && s.Length == 64:
		s.Type = Float64
	default:
		p.add(r.pos, Error, "type 1 needs 32 bits, type 2 needs 64", "signal %s.%s: %d bits of type %d are not a number: it is left out",
			m.Symbol, s.Symbol, s.Length, r.number)
		s.bad = true
	}
}
