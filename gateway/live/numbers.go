package live

import (
	"math"
	"strconv"
	"strings"
	"time"

	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
)

// Number is the last value of a register or signal, as a number.
type Number struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name  string // that was asked for
	SA    *uint8 // of a signal of a J1939 message: who sent it
	Value float64
	At    time.Time     // zero: there is no number
	Every time.Duration // how often it comes; 0: not known
}

// Numbers returns the last value of each name: SOURCE/DEVICE/NAME of a register,
// SOURCE/NAME of a signal of the newest message that has it. A signal of J1939 has
// one from each sender. A register that could not be read and a text have none.
func (l *Look) Numbers(names []string) []Number {
	found := make([]Number, 0, len(names))
	signals := map[string]wanted{} // by source
	for _, name := range names {
		source, signal, _ := strings.Cut(name, "/")
		if _, ok := l.Buses[source]; ok {
			if signals[source] == nil {
				signals[source] = wanted{}
			}
			signals[source][signal] = nil
		}
	}
	for source, w := range signals {
		l.Buses[source].numbers(w)
	}
	for _, name := range names {
		one, part := Number{}, strings.Split(name, "/")
		if line, ok := l.Lines[part[0]]; ok && len(part) == 3 {
			one = line.number(part[1], part[2])
		} else if len(part) == 2 && len(signals[part[0]][part[1]]) > 0 {
			for _, n := range signals[part[0]][part[1]] {
				n.Name = name
				found = append(found, n)
			}
			continue
		}
		one.Name = name
		found = append(found, one)
	}
	return found
}

// wanted are numbers of one bus by the name of the signal.
type wanted map[string][]Number

// from is where the number of a sender stands.
func (w wanted) from(signal string, sa *uint8) *Number {
	list := w[signal]
	for i := range list {
		if n := &list[i]; n.SA == sa || n.SA != nil && sa != nil && *n.SA == *sa {
			return n
		}
	}
	w[signal] = append(list, Number{SA: sa})
	return &w[signal][len(list)]
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

// numbers fills in the signals that are wanted, from at most 2000 values. A message
// without one of them is not decoded.
func (b Bus) numbers(w wanted) {
	all, seen := b.heard(), 0
	for i := range all {
		h := all[i]
		if !w.any(h.Message) {
			continue
		}
		for _, s := range h.signals() {
			if _, ok := w[s.Name]; !ok || s.Error != "" {
				continue
			}
			if seen++; seen > maxPoints {
				return
			}
			if n := w.from(s.Name, h.sa); s.At.After(n.At) {
				n.Value, n.At, n.Every = s.number, s.At, time.Duration(s.Every*float64(time.Second))
			}
		}
	}
}

func (w wanted) any(m *dbc.Message) bool {
	for i := range m.Signals {
		if _, ok := w[m.Signals[i].Name]; ok {
			return true
		}
	}
	return false
}

// Publish is [Board.Publish], and takes the values that are followed into the
// history, as figures value:NAME, or of J1939 value:NAME@SA. One that has not come
// for three of its periods and ten seconds is a gap.
func (l *Look) Publish(s *Snapshot) {
	l.Board.Publish(s)
	if l.History == nil {
		return
	}
	for _, n := range l.Numbers(l.Follow) {
		name := "value:" + n.Name
		if n.SA != nil {
			name += "@" + strconv.Itoa(int(*n.SA))
		} else if source, _, _ := strings.Cut(n.Name, "/"); n.At.IsZero() && l.Buses[source].j1939() {
			continue // who sends it will be known
		}
		if n.At.IsZero() || s.Taken.Sub(n.At) > 3*n.Every+10*time.Second {
			n.Value = math.NaN()
		}
		l.History.Add(name, s.Up, n.Value)
	}
}
