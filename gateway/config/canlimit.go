package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

const maxNth = 1_000_000

// canLimit reads what keeps frames back, those of the messages that are given.
func (v value) canLimit(db *dbc.Database, messages []*dbc.Message) can.Limit {
	var l can.Limit
	if !v.has {
		return l
	}
	f := v.fields("on_change", "deadband", "min_interval", "max_interval", "every_nth")
	interval := func(key, example string) time.Duration {
		return f.at(key).duration(span{low: time.Millisecond, high: can.MaxLimitInterval, zero: true, example: example}, 0)
	}
	l.OnChange = f.at("on_change").boolean(false)
	if band := f.at("deadband"); band.has {
		if on := f.at("on_change"); on.has && !l.OnChange && on.n.text == "false" {
			on.fail("a deadband passes only changes", "remove on_change or deadband")
		}
		l.OnChange = true
		if d := band.canDeadband(db, messages); d != nil { // nil in an interface would not be nil
			l.Change = d
		}
	}
	l.MinInterval = interval("min_interval", "100ms")
	l.MaxInterval = interval("max_interval", "60s")
	l.EveryNth = uint32(f.at("every_nth").integer(1, maxNth, 0))
	switch {
	case l.MaxInterval == 0:
	case l.MaxInterval < l.MinInterval:
		f.at("max_interval").fail("is shorter than min_interval", "make it longer, or remove one of them")
	case !l.OnChange && l.EveryNth <= 1:
		f.at("max_interval").warn("does nothing by itself: every frame passes anyway after min_interval", "add on_change: true or a deadband, or remove it")
	}
	return l
}

// canDeadband reads 0.5 or 1% for all signals, or such a value for each of some.
func (v value) canDeadband(db *dbc.Database, messages []*dbc.Message) *dbc.Deadband {
	switch {
	case v.n.bad:
		return nil
	case db == nil:
		v.fail("is for the signals of a DBC file, but there is none", "add dbc: [FILE], or remove it; on_change: true compares the data")
		return nil
	case len(messages) == 0:
		v.fail("is for signals, but no DBC file describes this id", "correct the id, or remove it; on_change: true compares the data")
		return nil
	case v.n.kind == object:
		return dbc.NewDeadband(db, dbc.Band{}, v.signalBands(messages), messages)
	}
	return dbc.NewDeadband(db, v.band(), nil, nil)
}

func (v value) band() (b dbc.Band) {
	b.Width, b.Percent = v.deadband()
	return b
}

// signalBands reads a deadband for each of some signals.
func (v value) signalBands(messages []*dbc.Message) map[string]dbc.Band {
	v.l.places[v.path] = v.n.at
	signals := map[string]string{} // the long name by either one
	for _, m := range messages {
		for i := range m.Signals {
			s := &m.Signals[i]
			signals[s.Name] = s.Name
			if _, taken := signals[s.Symbol]; !taken {
				signals[s.Symbol] = s.Name
			}
		}
	}
	bands := map[string]dbc.Band{}
	for _, fd := range v.n.fields {
		item := value{v.l, join(v.path, printable(fd.key)), fd.value, true}
		report := func(what, fix string) { v.l.report(fd.at, fd.set, item.path, what, fix, false) }
		name, known := signals[fd.key]
		if !known {
			fix := "the names stand behind SG_"
			if near := nearestName(fd.key, slices.Sorted(maps.Keys(signals))); near != "" {
				fix = "did you mean " + near + "?"
			}
			if len(messages) == 1 {
				report("is no signal of "+messages[0].Name, fix)
			} else {
				report("is no signal of the DBC files", fix)
			}
			continue
		}
		if _, twice := bands[name]; twice {
			report("is given twice", "remove one of them")
			continue
		}
		bands[name] = item.band()
	}
	return bands
}

// canLimits reads what keeps frames of a bus back.
func (f fields) canLimits(c *CAN) {
	var all []*dbc.Message
	if c.DBC != nil {
		all = c.DBC.Messages()
	}
	c.Bus.Limit = f.at("limit").canLimit(c.DBC, all)
	names := messageNames{db: c.DBC, pgn: func(m *dbc.Message) bool { return m.J1939 }}
	if m := f.at("match"); m.has && m.n.kind == scalar && m.n.text != "auto" { // what it says was checked with the DBC files
		names.pgn = func(*dbc.Message) bool { return m.n.text == "pgn" }
	}
	c.Bus.Limits = f.at("messages").canMessages(names)
	if c.DBC != nil && c.DBC.J1939() && (c.Bus.Limit != can.Limit{} || len(c.Bus.Limits) > 0) {
		c.Bus.Limits = append(c.Bus.Limits, transportIDs...)
	}
}

// canMessages reads what is said of single messages, by arbitration id or by
// the name a DBC file gives them.
func (v value) canMessages(db messageNames) []can.MessageLimit {
	if !v.is(object) {
		return nil
	}
	v.l.places[v.path] = v.n.at
	if len(v.n.fields) > can.MaxIDs {
		v.fail(fmt.Sprintf("%d messages are more than the %d that are kept account of", len(v.n.fields), can.MaxIDs), "remove some")
		return nil
	}
	var byID, byName []can.MessageLimit
	seen := map[can.MessageLimit]string{}
	for _, fd := range v.n.fields {
		path := join(v.path, printable(fd.key))
		report := func(what, fix string) { v.l.report(fd.at, fd.set, path, what, fix, false) }
		m, isID := messageID(fd.key)
		if !isID {
			var what, fix string
			if m, what, fix = db.find(fd.key); what != "" {
				report(what, fix)
				continue
			}
		}
		if first, twice := seen[m]; twice {
			report("says the same as "+first, "remove one of them")
			continue
		}
		seen[m] = printable(fd.key)
		f := value{v.l, path, fd.value, true}.fields("limit")
		if !f.at("limit").has {
			continue
		}
		if m.Limit = f.at("limit").canLimit(db.db, db.of(m)); isID {
			byID = append(byID, m)
		} else {
			byName = append(byName, m)
		}
	}
	return append(byID, byName...) // the first that matches counts
}

// exact is the mask of a single id, standard or extended.
const exact = canEFF | can.MaxExtendedID

const canEFF = 1 << 31 // extended frame format (linux/can.h)

// messageID reads an arbitration id as candump writes it.
func messageID(text string) (m can.MessageLimit, ok bool) {
	n, err := strconv.ParseUint(text, 16, 32)
	id := uint32(n)
	switch {
	case err != nil:
	case len(text) == 3:
		return can.MessageLimit{ID: id, Mask: exact}, id <= can.MaxID
	case len(text) == 8:
		return can.MessageLimit{ID: id | canEFF, Mask: exact}, id <= can.MaxExtendedID
	}
	return m, false
}

// messageNames finds the messages of DBC files.
type messageNames struct {
	db  *dbc.Database // nil: there are none
	pgn func(*dbc.Message) bool
}

// of returns the messages that describe frames of some ids.
func (n messageNames) of(ids can.MessageLimit) []*dbc.Message {
	if n.db == nil {
		return nil
	}
	if ids.Mask == exact {
		if m := n.db.Lookup(ids.ID&can.MaxExtendedID, ids.ID&canEFF != 0); m != nil {
			return []*dbc.Message{m}
		}
		return nil
	}
	var of []*dbc.Message
	for _, m := range n.db.Messages() {
		if m.Extended && m.ID&ids.Mask == ids.ID&^canEFF&ids.Mask {
			of = append(of, m)
		}
	}
	return of
}

// find returns which ids a message has. One of J1939 has many: of any source
// address and priority, and any destination if it is sent to one.
func (n messageNames) find(name string) (m can.MessageLimit, what, fix string) {
	const idFix = "write 3 hexadecimal digits for a standard id, such as 1A0, 8 for an extended one, such as 0CF00400"
	if n.db == nil {
		return m, "is no arbitration id", idFix + "; a name needs dbc"
	}
	var names []string
	for _, d := range n.db.Messages() {
		if d.Name != name && d.Symbol != name {
			names = append(names, d.Name)
			continue
		}
		switch {
		case !d.Extended:
			return can.MessageLimit{ID: d.ID, Mask: exact}, "", ""
		case n.pgn(d):
			return can.MessageLimit{ID: d.ID&groupMask(d.ID) | canEFF, Mask: groupMask(d.ID) | canEFF}, "", ""
		}
		return can.MessageLimit{ID: d.ID | canEFF, Mask: exact}, "", ""
	}
	if near := nearestName(name, names); near != "" {
		return m, "is no message of the DBC files", "did you mean " + near + "?"
	}
	return m, "is no message of the DBC files, nor an arbitration id", idFix
}

// groupMask are the bits of the parameter group number in an id (SAE J1939-21,
// 5.1.3): a PDU format below 240 is followed by a destination.
func groupMask(id uint32) uint32 {
	if id>>16&0xff < 240 {
		return 0x03FF0000
	}
	return 0x03FFFF00
}

// transportIDs are those of J1939's transport protocol (TP.CM, TP.DT). Their
// frames are never limited: a long message that lacks one is none.
var transportIDs = []can.MessageLimit{
	{ID: 0x00EC0000 | canEFF, Mask: 0x03FF0000 | canEFF},
	{ID: 0x00EB0000 | canEFF, Mask: 0x03FF0000 | canEFF},
}
