package dbc

import (
	"math"

	"fieldferry/bus/can"
)

// Band is how far a value may move before that is a change: by no more than
// Width, in the signal's unit, or in percent of the value it is compared with.
// The zero Band makes every other value a change.
type Band struct {
	Width   float64 // not negative
	Percent bool
}

// Deadband says which frames say something new, by the values they decode to.
// It implements [can.Change]. These are changes:
//
//   - a value that moved further than its band
//   - a value that got, lost or changed its label, whatever its band
//   - a value that becomes a number or ceases to be one, or has another reason not to be one
//   - a signal that appears or disappears: another value of a multiplexer, or
//     a frame of another length
//   - any other data, of a frame the database does not describe
//
// Bits that no signal describes are not looked at. A Deadband allocates nothing
// and is not changed by its use: two that were made alike are deeply equal.
type Deadband struct {
	db    *Database
	every Band
	named map[messageKey][]Band // of messages that have such a signal: a band for each of their signals
}

// NewDeadband makes a deadband of the messages of db. named are the bands of
// signals by name, in these messages; the others have the band every.
func NewDeadband(db *Database, every Band, named map[string]Band, messages []*Message) *Deadband {
	d := &Deadband{db: db, every: every, named: make(map[messageKey][]Band)}
	for _, m := range messages {
		var bands []Band
		for i := range m.Signals {
			band, ok := named[m.Signals[i].Name]
			if !ok {
				continue
			}
			if bands == nil {
				bands = make([]Band, len(m.Signals))
				for j := range bands {
					bands[j] = every
				}
				d.named[messageKey{m.ID, m.Extended}] = bands
			}
			bands[i] = band
		}
	}
	return d
}

// Changed implements [can.Change].
func (d *Deadband) Changed(last, now *can.Frame) bool {
	m := d.db.Find(now.ID, now.Flags)
	if m == nil {
		return last.Len != now.Len || last.Data != now.Data
	}
	p, bands := &m.plan, d.named[messageKey{m.ID, m.Extended}]
	was, is := last.Payload(), now.Payload()
	before, after := load(was), load(is)
	for i := range p.ops {
		o := &p.ops[i]
		has := p.hold(o, is, after)
		if has != p.hold(o, was, before) {
			return true
		}
		if !has {
			continue
		}
		raw, old := o.read(is, after), o.read(was, before)
		if raw == old {
			continue
		}
		band := d.every
		if bands != nil {
			band = bands[i]
		}
		v, w := o.value(raw), o.value(old)
		if v.beyond(&w, band) {
			return true
		}
	}
	return false
}

// hold reports whether data hold a signal.
func (pl *plan) hold(o *op, data []byte, w words) bool {
	for int(o.end) <= len(data) {
		if o.mux < 0 {
			return true
		}
		mux := &pl.ops[pl.muxes[o.mux]]
		if int(mux.end) > len(data) || !inRanges(o.when, mux.read(data, w)) {
			return false
		}
		o = mux
	}
	return false
}

// beyond reports whether v is further from w, another value of its signal,
// than the band.
func (v *Value) beyond(w *Value, band Band) bool {
	switch missing := v.Missing(); {
	case missing != w.Missing(), v.label() != w.label():
		return true
	case missing != "":
		return false
	}
	width := band.Width
	if band.Percent {
		width *= math.Abs(w.Float()) / 100
	}
	return v.distance(w) > width
}

// distance is how far two finite values of one signal are apart, rounded once.
func (v *Value) distance(w *Value) float64 {
	if v.Kind == w.Kind && v.Kind <= KindDecimal {
		d := v.bits - w.bits // right modulo 2^64, and it is not negative if v is the greater
		if v.Kind == KindUint && v.bits < w.bits || v.Kind != KindUint && int64(v.bits) < int64(w.bits) {
			d = -d
		}
		if v.Kind == KindDecimal {
			return float64(d) / pow10[v.Signal.decimals]
		}
		return float64(d)
	}
	return math.Abs(v.Float() - w.Float())
}
