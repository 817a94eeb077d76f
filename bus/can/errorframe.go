package can

import (
	"time"

	"go.einride.tech/can/pkg/socketcan"
	"golang.org/x/sys/unix"

	"fieldferry/bus"
)

// errorCounters is the class of error frames that carry the controller's
// counters in data[6] and data[7] (linux/can/error.h, since Linux 6.0).
const errorCounters = socketcan.ErrorClass(unix.CAN_ERR_CNT)

// errorClasses are the bits of an error frame's id with their names in
// [Stats]. The kernel's class is a mask: one frame may have several bits.
var errorClasses = [...]struct {
	bit  socketcan.ErrorClass
	name string
}{
	{socketcan.ErrorClassTxTimeout, "tx_timeout"},
	{socketcan.ErrorClassLostArbitration, "lost_arbitration"},
	{socketcan.ErrorClassController, "controller"},
	{socketcan.ErrorClassProtocolViolation, "protocol_violation"},
	{socketcan.ErrorClassTransceiver, "transceiver"},
	{socketcan.ErrorClassNoAck, "no_ack"},
	{socketcan.ErrorClassBusOff, "bus_off"},
	{socketcan.ErrorClassBusError, "bus_error"},
	{socketcan.ErrorClassRestarted, "restarted"},
}

// knownClasses is every bit that has a name, and the counters, which are none.
const knownClasses = socketcan.ErrorClassRestarted<<1 - 1 | errorCounters

// otherClass is the name under which bits unknown here are counted.
const otherClass = "other"

// The states a controller reports in data[1] of a controller error frame.
const (
	statePassive = socketcan.ControllerErrorRxPassive | socketcan.ControllerErrorTxPassive
	stateWarning = socketcan.ControllerErrorRxWarning | socketcan.ControllerErrorTxWarning
	stateActive  = socketcan.ControllerErrorActive
)

// recovered is how long after bus-off a frame from the wire shows that the
// controller is back although nobody said so: the report may have been lost,
// and a driver may queue frames received before a little late.
const recovered = 100 * time.Millisecond

// conditions are the lasting conditions of a bus, kept across calls of Run so
// that each is raised once and cleared once.
type conditions struct {
	linkDown, busOff, passive bool
	busOffAt                  int64
}

func (c *conditions) flag(code string) *bool {
	switch code {
	case bus.LinkDown:
		return &c.linkDown
	case bus.BusOff:
		return &c.busOff
	default:
		return &c.passive
	}
}

// errorFrame counts an error frame and follows the state of the controller.
func (d *delivery) errorFrame(f *Frame) {
	d.b.count.errorFrames.Add(1)
	class := socketcan.ErrorClass(f.ID)
	for i := range errorClasses {
		if class&errorClasses[i].bit != 0 {
			d.b.count.classes[i].Add(1)
		}
	}
	if class&^knownClasses != 0 {
		d.b.count.otherClass.Add(1)
	}

	c := &d.b.cond
	switch {
	case class&socketcan.ErrorClassBusOff != 0:
		c.busOffAt = f.Time
		d.condition(bus.BusOff, true, f, "")
	case class&socketcan.ErrorClassRestarted != 0:
		d.recovered(f, "restarted")
	}
	if class&socketcan.ErrorClassController == 0 {
		return
	}
	// The driver reports the worse of the two directions. Overflow bits say
	// nothing about the state.
	switch state := socketcan.ControllerError(f.Data[1]); {
	case state&statePassive != 0:
		d.condition(bus.ErrorPassive, true, f, "")
	case state&stateWarning != 0:
		d.condition(bus.ErrorPassive, false, f, "warning")
	case state&stateActive != 0:
		d.recovered(f, "active")
	}
}

// recovered notes that the controller takes part in the bus again, without errors.
func (d *delivery) recovered(f *Frame, by string) {
	d.condition(bus.BusOff, false, f, by)
	d.condition(bus.ErrorPassive, false, f, by)
}

// condition raises or clears a condition of the controller, once. f is the
// error frame that says so, nil if it was something else.
func (d *delivery) condition(code string, raise bool, f *Frame, by string) {
	if *d.b.cond.flag(code) == raise {
		return // a storm of error frames ends here and costs no more than counting
	}
	at := time.Now()
	detail := map[string]any{"interface": d.b.cfg.Interface}
	if f != nil {
		at = time.Unix(0, f.Time)
		if f.Flags&ErrorFrame != 0 && (socketcan.ErrorClass(f.ID)&errorCounters != 0 || f.Data[6]|f.Data[7] != 0) {
			detail["tx_errors"], detail["rx_errors"] = int(f.Data[6]), int(f.Data[7])
		}
	}
	if by != "" {
		detail["by"] = by
	}
	d.event(code, raise, at, detail)
}

// event hands over a change of a condition, after the frames before it.
func (d *delivery) event(code string, raise bool, at time.Time, detail map[string]any) {
	flag := d.b.cond.flag(code)
	if *flag == raise {
		return
	}
	*flag = raise
	d.flush()
	state := bus.Cleared
	if raise {
		state = bus.Raised
	}
	d.h.Event(bus.Event{Time: at, Code: code, State: state, Detail: detail})
}
