package live

import (
	"math"
	"strings"
	"time"

	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
)

// Number is the last value of a register or signal, as a number.
type Number struct {
	Value float64
	At    time.Time     // zero: there is no number
	Every time.Duration // how often it comes; 0: not known
}

// Numbers returns the last value of each name: SOURCE/DEVICE/NAME of a register,
// SOURCE/NAME of a signal of the newest frame that has it. A register that could
// not be read and a text have none.
func (l *Look) Numbers(names []string) []Number {
	found := make([]Number, len(names))
	signals := map[string]map[string]*Number{} // by source and name
	for i, name := range names {
		part := strings.Split(name, "/")
		if line, ok := l.Lines[part[0]]; ok && len(part) == 3 {
			found[i] = line.number(part[1], part[2])
		}
		if _, ok := l.Buses[part[0]]; ok && len(part) == 2 {
			if signals[part[0]] == nil {
				signals[part[0]] = map[string]*Number{}
			}
			signals[part[0]][part[1]] = &found[i]
		}
	}
	for source, wanted := range signals {
		l.Buses[source].numbers(wanted)
	}
	return found
}

// number is the last value of a register.
func (v *Values) number(device, name string) (n Number) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.point(device, name)
	if p == nil || p.At.IsZero() || p.Error != "" {
		return n
	}
	n = Number{At: p.At, Every: p.Interval}
	switch p.Value.Kind {
	case modbus.KindUint, modbus.KindBool:
		n.Value = float64(p.Value.Uint)
	case modbus.KindInt:
		n.Value = float64(p.Value.Int)
	case modbus.KindFloat:
		n.Value = p.Value.Float
	default:
		return Number{}
	}
	return n
}

// numbers fills in the signals that are wanted, by name. A message without one of
// them is not decoded.
func (b Bus) numbers(wanted map[string]*Number) {
	rows, _ := b.Frames.Rows(nil)
	for i := range rows {
		m, at := b.message(&rows[i].Frame), time.Unix(0, rows[i].Frame.Time)
		if m == nil || !carries(m, wanted) {
			continue
		}
		for _, v := range m.Decode(rows[i].Frame.Payload(), nil) {
			if n := wanted[v.Signal.Name]; n != nil && v.Missing() == "" && at.After(n.At) {
				*n = Number{v.Float(), at, rows[i].Mean}
			}
		}
	}
}

func carries(m *dbc.Message, wanted map[string]*Number) bool {
	for i := range m.Signals {
		if wanted[m.Signals[i].Name] != nil {
			return true
		}
	}
	return false
}

// Publish is [Board.Publish], and takes the values that are followed into the
// history, as figures value:NAME. One that has not come for three of its periods
// and ten seconds is a gap.
func (l *Look) Publish(s *Snapshot) {
	l.Board.Publish(s)
	if l.History == nil {
		return
	}
	for i, n := range l.Numbers(l.Follow) {
		if n.At.IsZero() || s.Taken.Sub(n.At) > 3*n.Every+10*time.Second {
			n.Value = math.NaN()
		}
		l.History.Add("value:"+l.Follow[i], s.Up, n.Value)
	}
}
