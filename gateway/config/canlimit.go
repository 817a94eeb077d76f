package config

import (
	"maps"
	"slices"
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
				report("is not a signal of "+messages[0].Name, fix)
			} else {
				report("is not a signal of the DBC files", fix)
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
	f.at("messages").canMessages(c)
	var all []*dbc.Message
	if c.DBC != nil {
		all = c.DBC.Messages()
		c.Bus.Pages = c.DBC
	}
	c.Bus.Limit = f.at("limit").canLimit(c.DBC, all)
	if c.DBC != nil && c.DBC.J1939() && (c.Bus.Limit != can.Limit{} || len(c.Bus.Limits) > 0) {
		c.Bus.Limits = append(c.Bus.Limits, transportIDs...)
	}
}

// transportIDs are those of J1939's transport protocol (TP.CM, TP.DT). Their
// frames are never limited: a long message that lacks one is none.
var transportIDs = []can.MessageLimit{
	{ID: 0x00EC0000 | canEFF, Mask: 0x03FF0000 | canEFF},
	{ID: 0x00EB0000 | canEFF, Mask: 0x03FF0000 | canEFF},
}
