// Package source makes sources of buses: what is read becomes records of one
// stream, and each says how it fares in words that do not depend on the kind of
// bus. A further kind of bus is a package below bus and a file here.
//
// # Nouns
//
// A source is one bus with a name and a stream of its own. A sink is the stream's
// way into the buffer.
//
// # Caveats
//
// The bus's goroutine must never wait, and does not allocate per frame: a sink
// only appends to memory.
package source

import (
	"time"

	"fieldferry/bus"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/record"
)

// Sink takes what a source reads. Append and Lose are called from one goroutine,
// Event from any.
type Sink interface {
	// Clock says whether the machine's clock is trusted now.
	Clock() clock.Reading
	// Append takes the body of a record of time t, in nanoseconds since 1970. It
	// keeps none of the body.
	Append(t int64, body []byte)
	// Lose takes account of n records that were lost before they were read.
	Lose(n uint64)
	// Event takes a condition of the bus or of a device on it.
	Event(bus.Event)
	// Doubtful reports whether there are alarms of before the start of which it is
	// not known whether they still hold.
	Doubtful() bool
}

// Description is what can be said of a source before it has read anything, and
// the settings of a bus as far as they are known. Its members are those of the
// meta message.
type Description struct {
	Source string `json:"source"`
	Type   string `json:"type"` // "can" or "modbus"

	Interface   string    `json:"interface,omitempty"`  // of a CAN bus
	Timestamps  string    `json:"timestamps,omitempty"` // where times come from; not known before the first frame
	Bitrate     uint32    `json:"bitrate,omitempty"`    // bit/s
	DataBitrate uint32    `json:"dbitrate,omitempty"`   // bit/s, of CAN FD
	Messages    []Message `json:"messages,omitempty"`   // of the DBC files

	Port    string   `json:"port,omitempty"`   // of a Modbus line
	Devices []Device `json:"devices,omitzero"` // of a Modbus line; nil of others
}

// Message describes the frames of one arbitration id.
type Message struct {
	Name    string   `json:"name"`
	ID      string   `json:"id"` // arbitration id in hex, as in records
	Signals []Signal `json:"signals"`
}

// Signal describes a value in a message.
type Signal struct {
	Name   string            `json:"name"`
	Unit   string            `json:"unit,omitempty"`
	Min    *float64          `json:"min,omitempty"` // the limits, where the DBC file gives them
	Max    *float64          `json:"max,omitempty"`
	Labels map[string]string `json:"labels,omitempty"` // by raw value
}

// Device describes a slave of a Modbus line.
type Device struct {
	Device string  `json:"device"`
	UnitID uint8   `json:"unit_id"`
	Values []Value `json:"values"`
}

// Value describes a register or coil of a device.
type Value struct {
	Name   string           `json:"name"`
	Type   string           `json:"type"`
	Unit   string           `json:"unit,omitempty"`
	Labels map[int64]string `json:"labels,omitempty"` // by value
	Flags  map[int]string   `json:"flags,omitempty"`  // by bit, 0 is the lowest
}

// Begin begins the body of a record of time t in dst: with an origin if the clock
// was not trusted.
func Begin(dst []byte, at clock.Reading, t int64) []byte {
	if origin, doubted := at.Doubt(t); doubted {
		return record.AppendOrigin(dst[:0], origin)
	}
	return dst[:0]
}

// cleared says that a condition of before the start does not hold any more.
func cleared(at time.Time, code, subject string) bus.Event {
	return bus.Event{Time: at, Code: code, Subject: subject, State: bus.Cleared}
}
