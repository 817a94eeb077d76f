package config

import (
	"fmt"
	"slices"
	"strconv"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// canMessages reads what is said of single messages, by arbitration id or by
// the name a DBC file gives them.
func (v value) canMessages(c *CAN) {
	if !v.is(object) {
		return
	}
	v.l.places[v.path] = v.n.at
	if len(v.n.fields) > can.MaxIDs {
		v.fail(fmt.Sprintf("%d messages are more than the %d that are kept account of", len(v.n.fields), can.MaxIDs), "remove some")
		return
	}
	var byID, byName []can.MessageLimit
	known := saidMessages{messageNames{c.DBC}, map[uint32]string{}, map[*dbc.Message]string{}}
	for _, fd := range v.n.fields {
		path := join(v.path, printable(fd.key))
		m, what, fix := known.find(fd.key)
		if what != "" {
			v.l.report(fd.at, fd.set, path, what, fix, false)
			continue
		}
		f := value{v.l, path, fd.value, true}.fields("limit", "not_available", "signals")
		f.canNumbers(m.messages)
		if !f.at("limit").has {
			continue
		}
		if !m.isID && slices.ContainsFunc(m.messages, func(d *dbc.Message) bool { return isLong(c.DBC, d) }) {
			f.at("limit").warn("is of no use: the message is longer than a frame, and what arrives in several frames is not limited", "remove it")
		}
		l := can.MessageLimit{ID: m.id, Mask: exact, Limit: f.at("limit").canLimit(c.DBC, m.messages)}
		if m.isID {
			byID = append(byID, l)
			continue
		}
		l.ID, l.Mask, l.Only = 0, 0, namedIDs{c.DBC, m.messages}
		byName = append(byName, l)
	}
	c.Bus.Limits = append(byID, byName...) // the first that matches counts
}

// canNumbers reads which values of a message are numbers though J1939 reserves
// them, of all signals or of single ones.
func (f fields) canNumbers(messages []*dbc.Message) {
	if v := f.at("not_available"); v.has {
		v.keepReserved(messages, "")
	}
	signals := f.at("signals")
	if !signals.is(object) {
		return
	}
	signals.l.places[signals.path] = signals.n.at
	for _, fd := range signals.n.fields {
		path := join(signals.path, printable(fd.key))
		item := value{signals.l, path, fd.value, true}.fields("not_available").at("not_available")
		if item.has {
			item.keepReserved(messages, fd.key)
		}
	}
}

// keepReserved reads one not_available.
func (v value) keepReserved(messages []*dbc.Message, signal string) {
	if len(messages) == 0 {
		v.fail("is for what a DBC file describes, but none describes this", "correct the id, or remove it")
		return
	}
	if v.boolean(true) {
		return
	}
	found := false
	for _, m := range messages {
		found = m.KeepReserved(signal) || found
	}
	if !found && signal != "" {
		v.fail(shown(signal)+" is not a signal of "+messages[0].Name, "the names stand behind SG_")
	}
}

// exact is the mask of a single id, standard or extended.
const exact = canEFF | can.MaxExtendedID

const (
	canEFF = 1 << 31 // extended frame format (linux/can.h)
	canRTR = 1 << 30 // remote transmission request
)

// messageID reads an arbitration id as candump writes it.
func messageID(text string) (id uint32, ok bool) {
	n, err := strconv.ParseUint(text, 16, 32)
	id = uint32(n)
	switch {
	case err != nil:
	case len(text) == 3:
		return id, id <= can.MaxID
	case len(text) == 8:
		return id | canEFF, id <= can.MaxExtendedID
	}
	return 0, false
}

// namedIDs are the ids whose frames get the name of a message: those by which
// the database finds it, however it does that.
type namedIDs struct {
	db       *dbc.Database
	messages []*dbc.Message
}

// Has implements [can.IDs].
func (n namedIDs) Has(id uint32) bool {
	m := n.db.Lookup(id&can.MaxExtendedID, id&canEFF != 0)
	return m != nil && !isLong(n.db, m) && slices.Contains(n.messages, m)
}

// isLong reports whether the frames of a message are only parts of it.
func isLong(db *dbc.Database, m *dbc.Message) bool { return db.IsPart(m, 0) }

// messageKey is what stands for messages in the configuration.
type messageKey struct {
	isID     bool
	id       uint32
	messages []*dbc.Message // by the id or the name
}

// saidMessages are the messages of which something has been said.
type saidMessages struct {
	messageNames
	ids   map[uint32]string
	named map[*dbc.Message]string
}

// find returns what a key stands for, or what is wrong with it.
func (s *saidMessages) find(text string) (m messageKey, what, fix string) {
	if m, what, fix = s.messageNames.find(text); what != "" {
		return m, what, fix
	}
	first, twice := "", false
	if m.isID {
		first, twice = s.ids[m.id]
		for _, d := range m.messages { // a name that stands for this id alone
			if name, named := s.named[d]; named && s.single(d) {
				first, twice = name, true
			}
		}
		s.ids[m.id] = printable(text)
	} else {
		for _, d := range m.messages {
			if name, named := s.named[d]; named {
				first, twice = name, true
			} else if id, said := s.ids[keyOf(d)]; said && len(m.messages) == 1 && s.single(d) {
				first, twice = id, true
			}
		}
		for _, d := range m.messages {
			s.named[d] = printable(text)
		}
	}
	if twice {
		return m, "says the same as " + first, "remove one of them"
	}
	return m, "", ""
}

func keyOf(d *dbc.Message) uint32 {
	if d.Extended {
		return d.ID | canEFF
	}
	return d.ID
}

// messageNames finds the messages of DBC files.
type messageNames struct {
	db *dbc.Database // nil: there are none
}

// single reports whether only frames of one id get the name of a message.
func (n messageNames) single(d *dbc.Message) bool { return !n.db.ByGroup(d) }

// find returns what a key stands for: an id, or the messages of a name. Their
// own names go before the short ones in the file.
func (n messageNames) find(text string) (m messageKey, what, fix string) {
	const idFix = "write 3 hexadecimal digits for a standard id, such as 1A0, 8 for an extended one, such as 0CF00400"
	if m.id, m.isID = messageID(text); m.isID {
		if n.db != nil {
			if d := n.db.Lookup(m.id&can.MaxExtendedID, m.id&canEFF != 0); d != nil {
				m.messages = []*dbc.Message{d}
			}
		}
		return m, "", ""
	}
	if n.db == nil {
		return m, "is not an arbitration id", idFix + "; a name needs dbc"
	}
	var names []string
	var short []*dbc.Message
	for _, d := range n.db.Messages() {
		switch text {
		case d.Name:
			m.messages = append(m.messages, d)
		case d.Symbol:
			short = append(short, d)
		default:
			names = append(names, d.Name)
		}
	}
	if len(m.messages) == 0 {
		m.messages = short
	}
	if len(m.messages) > 0 {
		return m, "", ""
	}
	if near := nearestName(text, names); near != "" {
		return m, "is not a message of the DBC files", "did you mean " + near + "?"
	}
	return m, "is not a message of the DBC files, nor an arbitration id", idFix
}
