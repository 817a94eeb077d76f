package live

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/payload/native"
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
		Count: r.Count, Min: ms(r.Min), Mean: ms(r.Mean), Max: ms(r.Max), Last: time.Unix(0, f.Time).UTC(),
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

// Value is the last value of one register, for people and programs.
type Value struct {
	Device string          `json:"device"`
	Name   string          `json:"name"`
	Value  json.RawMessage `json:"value"` // as in a record; null if it was never read
	Unit   string          `json:"unit,omitempty"`
	Type   string          `json:"type"`
	Error  string          `json:"error,omitempty"` // why the last reading failed
	At     time.Time       `json:"at,omitzero"`     // of the value; zero: never read
	Every  float64         `json:"every_s"`
}

// Table returns every register with its last value.
func (v *Values) Table() []Value {
	points := v.Points()
	table := make([]Value, len(points))
	for i := range points {
		p := &points[i]
		table[i] = Value{Device: p.Device, Name: p.Name, Unit: p.Unit, Type: p.Type, Error: p.Error, At: p.Good.UTC(), Every: p.Interval.Seconds(), Value: json.RawMessage("null")}
		if !p.Good.IsZero() {
			table[i].Value = native.AppendValue(nil, &p.Value)
		} else {
			table[i].At = time.Time{}
		}
	}
	return table
}

// Signal finds the newest frame that carries a signal and returns its value. It
// returns false if no frame does, or if the value is not a number.
func (b Bus) Signal(name string) (value float64, at time.Time, ok bool) {
	rows, _ := b.Frames.Rows(nil)
	for i := range rows {
		f := &rows[i].Frame
		m := b.message(f)
		if m == nil || ok && !time.Unix(0, f.Time).After(at) {
			continue
		}
		for _, v := range m.Decode(f.Payload(), nil) {
			if v.Signal.Name == name && v.Missing() == "" {
				value, at, ok = v.Float(), time.Unix(0, f.Time), true
			}
		}
	}
	return value, at, ok
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

// Line is what can be looked at of a Modbus source.
type Line struct {
	*Values
	Plan Plan
	Wire func() []modbus.Exchange // the last exchanges, oldest first
}

// Plan is how a line is polled.
type Plan struct {
	Port     string    `json:"port"`
	Serial   bool      `json:"serial"` // the time on the wire is known
	Rate     float64   `json:"requests_per_s"`
	Load     float64   `json:"load"` // share of the line's time before any device has taken time to answer
	Requests []Request `json:"requests"`
	Warnings []string  `json:"warnings"`
}

// Request is one request of a plan.
type Request struct {
	Device   string   `json:"device"`
	Unit     uint8    `json:"unit"`
	Register string   `json:"register"`
	Address  uint16   `json:"address"`
	Count    int      `json:"count"`
	Every    float64  `json:"every_s"`
	Bytes    int      `json:"bytes"`
	Wire     float64  `json:"wire_ms"` // 0: not known
	Values   []string `json:"values"`
}

// NewLine prepares what can be looked at of a line.
func NewLine(c *modbus.LineConfig, wire func() []modbus.Exchange) Line {
	report := modbus.Plan(*c)
	endpoint, _ := modbus.ParseEndpoint(c.Port)
	p := Plan{Port: c.Port, Serial: endpoint.Framing == modbus.Serial, Rate: report.RequestsPerSecond, Load: report.Load,
		Requests: []Request{}, Warnings: append([]string{}, report.Warnings...)}
	for _, r := range report.Requests {
		p.Requests = append(p.Requests, Request{Device: r.Device, Unit: r.UnitID, Register: r.Table.String(), Address: r.Address, Count: r.Count,
			Every: r.Interval.Seconds(), Bytes: r.Bytes, Wire: r.Wire.Seconds() * 1000, Values: r.Registers})
	}
	return Line{Values: NewValues(c), Plan: p, Wire: wire}
}

// Exchange is one request on a line and what came of it, in upper-case hex.
type Exchange struct {
	At      time.Time `json:"at"`
	Unit    uint8     `json:"unit"`
	Request string    `json:"request"`
	Reply   string    `json:"reply,omitempty"`
	Error   string    `json:"error,omitempty"`
	Took    float64   `json:"took_ms"`
}

// Exchanges returns the last exchanges on the line, oldest first.
func (l Line) Exchanges() []Exchange {
	list := []Exchange{}
	for _, e := range l.Wire() {
		list = append(list, Exchange{At: e.At.UTC(), Unit: e.Unit, Error: e.Err, Took: ms(e.Took),
			Request: strings.ToUpper(hex.EncodeToString(e.Request)), Reply: strings.ToUpper(hex.EncodeToString(e.Reply))})
	}
	return list
}
