package dbc

import (
	"math"
	"time"
)

// attributes are what BA_DEF_, BA_DEF_DEF_ and BA_ say about the few
// attributes that matter here. A value may stand before its definition, so
// all are applied at the end.
type attributes struct {
	enum     map[string][]string // names of the values of an ENUM
	defaults map[string]attributeValue
	values   []attributeRef
}

type attributeValue struct {
	text   string
	quoted bool
}

type attributeRef struct {
	reference
	name  string
	about string // "", BO_, SG_
	value attributeValue
}

// The attributes that matter.
const (
	attrProtocol    = "ProtocolType"
	attrFrameFormat = "VFrameFormat"
	attrCycleTime   = "GenMsgCycleTime"
	attrStartValue  = "GenSigStartValue"
	attrLongMessage = "SystemMessageLongSymbol"
	attrLongSignal  = "SystemSignalLongSymbol"
	attrLongNode    = "SystemNodeLongSymbol"
)

func matters(name string) bool {
	switch name {
	case attrProtocol, attrFrameFormat, attrCycleTime, attrStartValue, attrLongMessage, attrLongSignal, attrLongNode:
		return true
	}
	return false
}

// attributeDefinition reads what follows BA_DEF_: [OBJECT] NAME TYPE and the
// limits or the names of the values.
func (p *parser) attributeDefinition() bool {
	if w := p.peekNumber(); isKeyword(w) {
		p.word()
	}
	raw, ok := p.lineString()
	if !ok {
		return p.fail("", "BA_DEF_: expected the attribute's name in quotation marks: it is left out")
	}
	name := string(raw)
	p.space()
	at := p.pos
	switch t := string(p.word()); t {
	case "ENUM":
		if !matters(name) {
			break
		}
		values, ok := p.enumeration()
		if !ok {
			return p.fail("", "BA_DEF_: the values of %q cannot be read: the statement is left out", name)
		}
		if p.attrs.enum == nil {
			p.attrs.enum = make(map[string][]string)
		}
		p.attrs.enum[name] = values
	case "INT", "HEX", "FLOAT", "STRING":
	default:
		p.add(at, Warning, "types are INT, HEX, FLOAT, STRING and ENUM", "attribute %.40q: unknown type %.20q", toUTF8(raw), t)
	}
	p.skip(p.pos)
	return true
}

// enumeration reads the names of the values of an ENUM. Half a list would give
// the wrong name to a value written by its number.
func (p *parser) enumeration() (values []string, ok bool) {
	for len(values) < 4096 {
		v, ok := p.lineString()
		if !ok {
			return nil, len(values) == 0
		}
		values = append(values, p.internText(v))
		if !p.mark(',') {
			return values, true
		}
	}
	return nil, false
}

// attributeDefault reads what follows BA_DEF_DEF_: NAME VALUE.
func (p *parser) attributeDefault() bool {
	raw, ok := p.lineString()
	if !ok {
		return p.fail("", "BA_DEF_DEF_: expected the attribute's name in quotation marks: it is left out")
	}
	name := string(raw)
	v, ok := p.attributeValue(matters(name))
	if !ok || !p.end("BA_DEF_DEF_") {
		return false
	}
	if matters(name) {
		if p.attrs.defaults == nil {
			p.attrs.defaults = make(map[string]attributeValue)
		}
		p.attrs.defaults[name] = v
	}
	return true
}

// attribute reads what follows BA_: NAME [OBJECT] VALUE.
func (p *parser) attribute() bool {
	raw, ok := p.lineString()
	if !ok {
		return p.fail("", "BA_: expected the attribute's name in quotation marks: it is left out")
	}
	a := attributeRef{name: string(raw)}
	if a.about, ok = p.object("BA_", &a.reference); !ok {
		return false
	}
	if a.value, ok = p.attributeValue(matters(a.name)); !ok || !p.end("BA_") {
		return false
	}
	if matters(a.name) {
		p.details++
		p.attrs.values = append(p.attrs.values, a)
	}
	return true
}

func (p *parser) attributeValue(keep bool) (v attributeValue, ok bool) {
	p.space()
	if p.peek() == '"' {
		raw, ok := p.text()
		if !ok {
			return v, p.fail("", "attribute: a text that is not closed: it is left out")
		}
		v.quoted = true
		if keep {
			v.text = p.internText(raw)
		}
		return v, true
	}
	w := p.word()
	if len(w) == 0 || len(w) > maxNameLen {
		return v, p.fail("", "attribute: expected a value: it is left out")
	}
	if keep {
		v.text = p.intern(w)
	}
	return v, true
}

// applyAttributes applies the defaults first, then the values.
func (p *parser) applyAttributes() {
	a := &p.attrs
	p.file.Protocol = a.defaults[attrProtocol].text
	cycle, _ := parseNumber([]byte(a.defaults[attrCycleTime].text))
	format, formatted := a.defaults[attrFrameFormat]
	start, started := startValue(a.defaults[attrStartValue].text)
	for _, m := range p.messages {
		m.CycleTime = milliseconds(cycle.float)
		if formatted {
			m.frame = a.enumName(attrFrameFormat, format)
		}
		for i := range m.signals {
			m.signals[i].Initial, m.signals[i].HasInitial = start, started
		}
	}
	for i := range a.values {
		p.applyAttribute(&a.values[i])
	}
}

func (p *parser) applyAttribute(a *attributeRef) {
	switch a.about {
	case "":
		if a.name == attrProtocol {
			p.file.Protocol = a.value.text
		}
	case "BO_":
		if m, _ := p.find(&a.reference, a.name); m != nil {
			p.attributeOfMessage(a, m)
		}
	case "SG_":
		for m, i := p.find(&a.reference, a.name); i >= 0; i = m.signals[i].next {
			if s := &m.signals[i]; !s.bad {
				s.attribute(a)
			}
		}
	case "BU_":
		if a.name == attrLongNode && a.value.text != "" {
			p.longNode(a.signal, a.value.text)
		}
	}
}

func (p *parser) attributeOfMessage(a *attributeRef, m *rawMessage) {
	n, isNumber := parseNumber([]byte(a.value.text))
	switch {
	case a.name == attrFrameFormat:
		format := p.attrs.enumName(attrFrameFormat, a.value)
		if format == "" {
			p.add(a.pos, Error, "", "message %s: %s has no value %.40q: the statement is left out", m.Symbol, a.name, a.value.text)
			return
		}
		m.frame, m.framed = format, true
	case a.name == attrCycleTime && isNumber:
		m.CycleTime = milliseconds(n.float)
	case a.name == attrLongMessage && a.value.text != "":
		m.Name = a.value.text
	}
}

func (s *rawSignal) attribute(a *attributeRef) {
	switch a.name {
	case attrLongSignal:
		if a.value.text != "" {
			s.Name = a.value.text
		}
	case attrStartValue:
		if start, ok := startValue(a.value.text); ok {
			s.Initial, s.HasInitial = start, true
		}
	}
}

func startValue(text string) (float64, bool) {
	n, ok := parseNumber([]byte(text))
	if !ok || math.IsNaN(n.float) {
		return 0, false
	}
	return n.float, true
}

// enumName returns the name of an enumeration's value, which files give by
// name or by index. Without a definition the usual one is assumed.
func (a *attributes) enumName(attr string, v attributeValue) string {
	n, ok := parseUint([]byte(v.text))
	if v.quoted || !ok {
		return v.text
	}
	names := a.enum[attr]
	if len(names) == 0 && attr == attrFrameFormat {
		names = []string{"StandardCAN", "ExtendedCAN", "reserved", frameJ1939, 14: "StandardCAN_FD", 15: frameFD}
	}
	if n >= uint64(len(names)) {
		return ""
	}
	return names[n]
}

const (
	frameJ1939 = "J1939PG"
	frameFD    = "ExtendedCAN_FD"
)

// isJ1939 decides whether a message is matched by its parameter group: its own
// VFrameFormat says it, else the network's ProtocolType, else the default of
// VFrameFormat. Only extended ids have a parameter group.
//
// VFrameFormat has no value for a parameter group in a CAN FD frame. There the
// network's ProtocolType counts where the id is one of any sender: no node sends
// from the null address.
func (p *parser) isJ1939(m *rawMessage) bool {
	network := p.file.Protocol == "J1939"
	switch anySender := network && SourceAddress(m.ID) == NullAddress; {
	case !m.Extended:
	case m.frame == frameJ1939, network && !m.framed, anySender && m.frame == frameFD:
		return true
	case anySender:
		p.add(m.pos, Warning, "set VFrameFormat to "+frameJ1939, "message %s: VFrameFormat %s says that it is found by its exact id %08X, which no node sends in J1939",
			m.Symbol, m.frame, m.ID)
	}
	return false
}

func milliseconds(ms float64) time.Duration {
	if !(ms > 0 && ms < math.MaxInt32) {
		return 0
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// longNode renames a node everywhere.
func (p *parser) longNode(symbol, name string) {
	if p.longNodes == nil {
		p.longNodes = make(map[string]string)
	}
	p.longNodes[symbol] = name
}
