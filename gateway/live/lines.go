package live

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/gateway/payload/native"
)

// Value is the last value of one register, or of one signal of a CAN message,
// for people and programs.
type Value struct {
	Device string          `json:"device"`       // or message
	ID     string          `json:"id,omitempty"` // of the message, as its records have it
	SA     *uint8          `json:"sa,omitempty"` // of a J1939 message: who sent it
	Name   string          `json:"name"`
	Value  json.RawMessage `json:"value"` // as in a record; null if it was never read
	Unit   string          `json:"unit,omitempty"`
	Type   string          `json:"type"`                   // empty for a signal
	Error  string          `json:"error,omitempty"`        // why the last reading failed, or the signal has no value
	Out    bool            `json:"out_of_range,omitempty"` // beyond the limits of the DBC file
	At     time.Time       `json:"at,omitzero"`            // of the value; zero: never read
	Every  float64         `json:"every_s"`                // 0: not known
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
	_ [0]func() // nobody compares them: saves the code for it

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
