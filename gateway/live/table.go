package live

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// ID is the last frame of one arbitration id, for people and programs.
type ID struct {
	ID       string    `json:"id"` // upper-case hex, 3 digits standard, 8 extended
	Name     string    `json:"name,omitempty"`
	Len      int       `json:"len"`
	Data     string    `json:"data"` // upper-case hex; of a remote frame empty
	Remote   bool      `json:"rtr,omitempty"`
	FD       bool      `json:"fd,omitempty"`
	Changed  []int     `json:"changed,omitempty"` // bytes that changed within two seconds, from 0
	Count    uint64    `json:"count"`
	Min      float64   `json:"min_ms"` // between neighbours; 0: not known
	Mean     float64   `json:"mean_ms"`
	Max      float64   `json:"max_ms"`
	Delta    float64   `json:"delta_ms"` // between the last two; 0: not known
	Last     time.Time `json:"last"`
	Describe bool      `json:"described,omitempty"` // a DBC file says what its signals are
}

// Signal is a signal of a frame, for people and programs.
type Signal struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"` // as in a record; null if it has none
	Text  string          `json:"text"`  // the number alone
	Unit  string          `json:"unit,omitempty"`
	Label string          `json:"label,omitempty"`
	Error string          `json:"error,omitempty"`        // why it has no value: "not available", ...
	Out   bool            `json:"out_of_range,omitempty"` // beyond the limits of the DBC file
}

// Bus is what can be looked at of a CAN source: its frames, and what the DBC
// files say of them. DB may be nil.
type Bus struct {
	Frames *Frames
	DB     *dbc.Database
}

// Table returns the last frame of every id, and how many frames belong to ids
// without a row.
func (b Bus) Table() (table []ID, others uint64) {
	rows, others := b.Frames.Rows(nil)
	table = make([]ID, len(rows))
	for i := range rows {
		table[i] = b.row(&rows[i])
	}
	return table, others
}

func (b Bus) row(r *Row) ID {
	f := &r.Frame
	out := ID{
		ID: FormatID(f), Len: int(f.Len), Data: strings.ToUpper(hex.EncodeToString(f.Payload())),
		Remote: f.Flags&can.Remote != 0, FD: f.Flags&can.FD != 0,
		Count: r.Count, Min: ms(r.Min), Mean: ms(r.Mean), Max: ms(r.Max), Delta: ms(r.Delta), Last: time.Unix(0, f.Time).UTC(),
	}
	for i := range int(min(f.Len, can.MaxDataLen)) {
		if r.Changed>>i&1 != 0 {
			out.Changed = append(out.Changed, i)
		}
	}
	if m := b.message(f); m != nil {
		out.Name, out.Describe = m.Name, true
	}
	return out
}

func (b Bus) message(f *can.Frame) *dbc.Message {
	if b.DB == nil || f.Flags&can.Remote != 0 {
		return nil
	}
	return b.DB.Lookup(f.ID, f.Flags&can.Extended != 0)
}

// Signals decodes the last frame of an id, written as [FormatID] does. It
// returns false if no such frame was seen.
func (b Bus) Signals(id string) (ID, []Signal, bool) {
	rows, _ := b.Frames.Rows(nil)
	for i := range rows {
		if FormatID(&rows[i].Frame) == id {
			return b.row(&rows[i]), b.decode(&rows[i].Frame), true
		}
	}
	return ID{}, nil, false
}

func (b Bus) decode(f *can.Frame) []Signal {
	m := b.message(f)
	if m == nil {
		return []Signal{}
	}
	values := m.Decode(f.Payload(), nil)
	signals := make([]Signal, len(values))
	for i := range values {
		v := &values[i]
		label, _ := v.Label()
		out := Signal{Name: v.Signal.Name, Unit: v.Signal.Unit, Label: label, Error: v.Missing(), Value: json.RawMessage("null")}
		if out.Error == "" {
			out.Value = v.AppendJSON(nil)
			out.Text, out.Out = string(out.Value), v.OutOfRange()
		}
		signals[i] = out
	}
	return signals
}

// FormatID is the arbitration id of a frame as candump writes it: 3 digits
// standard, 8 digits extended, upper-case hex.
func FormatID(f *can.Frame) string {
	if f.Flags&can.Extended != 0 {
		return fmt.Sprintf("%08X", f.ID)
	}
	return fmt.Sprintf("%03X", f.ID)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// maxPoints bounds the signals of a bus that are listed together.
const maxPoints = 2000

// Points returns the last value of every signal of the frames seen so far, in the
// order in which their ids came, at most 2000. One that the last frame of its
// message does not carry, as it is multiplexed, has an error in place of a value.
func (b Bus) Points() []Value {
	list := []Value{}
	rows, _ := b.Frames.Rows(nil)
	for i := range rows {
		m := b.message(&rows[i].Frame)
		if m == nil {
			continue
		}
		if list = b.points(list, m, &rows[i]); len(list) >= maxPoints {
			return list[:maxPoints]
		}
	}
	return list
}

func (b Bus) points(list []Value, m *dbc.Message, r *Row) []Value {
	at, begin := time.Unix(0, r.Frame.Time).UTC(), len(list)
	for i := range m.Signals {
		s := &m.Signals[i]
		list = append(list, Value{Device: m.Name, Name: s.Name, Unit: s.Unit, Every: r.Mean.Seconds(), At: at, Error: notCarried, Value: json.RawMessage("null")})
	}
	for _, v := range m.Decode(r.Frame.Payload(), nil) {
		n := slices.IndexFunc(m.Signals, func(s dbc.Signal) bool { return s.Name == v.Signal.Name })
		if n < 0 {
			continue
		}
		p := &list[begin+n]
		if p.Error = v.Missing(); p.Error == "" {
			p.Value, p.Out = v.AppendJSON(nil), v.OutOfRange()
			if label, ok := v.Label(); ok {
				p.Value, _ = json.Marshal(map[string]any{"value": json.RawMessage(p.Value), "label": label})
			}
		}
	}
	return list
}

const notCarried = "not in the last frame"

// Lines calls yield with the frames from the number from on, at most the newest
// most of them, as candump writes them but without the name of the bus, and
// returns the number that the next frame will have. See [Frames.Since].
func (b Bus) Lines(from uint64, most int, yield func(line string)) (next uint64) {
	return b.Frames.Since(from, most, func(f *can.Frame) {
		line := fmt.Appendf(nil, "%d.%06d ", f.Time/1e9, f.Time%1e9/1000)
		yield(string(f.Append(line)))
	})
}

// Log calls yield with the newest frames from since on, oldest first, as lines of
// candump -l with the given name of the bus, until it returns false. A line is
// valid only during the call.
func (b Bus) Log(name string, since time.Time, yield func(line []byte) bool) {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, name)
	var line []byte
	b.Frames.Newest(func(f *can.Frame) bool {
		if f.Time < since.UnixNano() {
			return true
		}
		line = fmt.Appendf(line[:0], "(%d.%06d) %s ", f.Time/1e9, f.Time%1e9/1000, name)
		line = append(f.Append(line), '\n')
		return yield(line)
	})
}
