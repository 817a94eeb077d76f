// Package bus is the vocabulary all buses share: what a bus reports besides
// its data. It does no I/O; [fieldferry/bus/can] and [fieldferry/bus/modbus]
// speak to the wires.
//
// A bus package reads one bus until its context ends or the bus is lost, and
// hands what it reads to a handler. It does not retry a lost bus, buffer or
// format anything: that is the gateway's.
package bus

import "time"

// State says whether a condition begins, ends, or merely happened.
type State uint8

// The states of an [Event].
const (
	Momentary State = iota // it happened; nothing lasts
	Raised                 // it holds from now on, or goes on with another detail
	Cleared                // it held and no longer does
)

// String returns the word the payload uses: "event", "raised" or "cleared".
func (s State) String() string {
	switch s {
	case Raised:
		return "raised"
	case Cleared:
		return "cleared"
	default:
		return "event"
	}
}

// Event is something an operator wants to know about a bus. Code and Subject
// together name a condition: a bus raises it once and clears it once, however
// often its cause repeats in between.
type Event struct {
	Time    time.Time      // when it happened, on the machine's clock
	Code    string         // what happened, one of the codes below
	Subject string         // what it happened to: the device's name; empty for the bus itself
	State   State          // begins, ends, or merely happened
	Detail  map[string]any // facts for the operator, JSON-encodable; may be nil
}

// The codes of the events a bus reports.
const (
	LinkDown     = "can_link_down"     // the CAN interface is down or gone
	BusOff       = "can_bus_off"       // the CAN controller has left the bus
	ErrorPassive = "can_error_passive" // the CAN controller counts 128 errors or more
	ErrorWarning = "can_error_warning" // the CAN controller counts 96 errors or more
	PortLost     = "port_lost"         // the serial port is gone or cannot be opened
	SlaveOffline = "slave_offline"     // a Modbus device does not answer
	PollOverrun  = "poll_overrun"      // the line cannot keep the configured intervals

	RegisterRefused = "register_refused" // a Modbus device answers, but not for registers that are configured
)
