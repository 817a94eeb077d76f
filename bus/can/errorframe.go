package can

import (
	"golang.org/x/sys/unix"

	"fieldferry/bus"
)

// errorCounters is the class of error frames that carry the controller's
// counters in data[6] and data[7] (linux/can/error.h, since Linux 6.0).
const errorCounters = unix.CAN_ERR_CNT

// errorClasses are the bits of an error frame's id with their names in
// [Stats]. The kernel's class is a mask: one frame may have several bits.
var errorClasses = [...]struct {
	bit  uint32
	name string
}{
	{unix.CAN_ERR_TX_TIMEOUT, "tx_timeout"},
	{unix.CAN_ERR_LOSTARB, "lost_arbitration"},
	{unix.CAN_ERR_CRTL, "controller"},
	{unix.CAN_ERR_PROT, "protocol_violation"},
	{unix.CAN_ERR_TRX, "transceiver"},
	{unix.CAN_ERR_ACK, "no_ack"},
	{unix.CAN_ERR_BUSOFF, "bus_off"},
	{unix.CAN_ERR_BUSERROR, "bus_error"},
	{unix.CAN_ERR_RESTARTED, "restarted"},
}

// knownClasses is every bit that has a name, and the counters, which are none.
const knownClasses = unix.CAN_ERR_RESTARTED<<1 - 1 | errorCounters

// otherClass is the name under which bits unknown here are counted.
const otherClass = "other"

// The states a controller reports in data[1] of a controller error frame.
const (
	statePassive = unix.CAN_ERR_CRTL_RX_PASSIVE | unix.CAN_ERR_CRTL_TX_PASSIVE
	stateWarning = unix.CAN_ERR_CRTL_RX_WARNING | unix.CAN_ERR_CRTL_TX_WARNING
	stateActive  = unix.CAN_ERR_CRTL_ACTIVE
)

// stateClasses are the classes of error frames that tell the controller's state.
const stateClasses = unix.CAN_ERR_CRTL | unix.CAN_ERR_BUSOFF | unix.CAN_ERR_RESTARTED

// errorFrame counts an error frame and follows the state of the controller.
func (d *delivery) errorFrame(f *Frame) {
	d.b.count.errorFrames.Add(1)
	class := f.ID
	for i := range errorClasses {
		if class&errorClasses[i].bit != 0 {
			d.b.count.classes[i].Add(1)
		}
	}
	if class&^knownClasses != 0 {
		d.b.count.otherClass.Add(1)
	}
	if d.errors != nil {
		d.flush()
		d.errors.ErrorFrame(f)
	}
	if class&stateClasses == 0 {
		return
	}

	why := cause{at: f.Time}
	if class&errorCounters != 0 || f.Data[6]|f.Data[7] != 0 {
		why.hasErrors, why.tx, why.rx = true, uint16(f.Data[6]), uint16(f.Data[7])
	}
	switch {
	case class&unix.CAN_ERR_BUSOFF != 0:
		d.gap()
		d.b.cond.busOffAt = f.Time
		d.condition(bus.BusOff, true, why)
	case class&unix.CAN_ERR_RESTARTED != 0:
		d.recovered(why.because("restarted"))
	}
	if class&unix.CAN_ERR_CRTL == 0 {
		return
	}
	if f.Data[1]&unix.CAN_ERR_CRTL_RX_OVERFLOW != 0 {
		d.gap()
	}
	// The driver reports the worse of the two directions. Overflow bits say
	// nothing about the state.
	switch state := f.Data[1]; {
	case state&statePassive != 0:
		d.condition(bus.ErrorPassive, true, why)
	case state&stateWarning != 0:
		d.condition(bus.ErrorPassive, false, why.because("warning"))
		d.condition(bus.ErrorWarning, true, why)
	case state&stateActive != 0:
		d.recovered(why.because("active"))
	}
}

// ErrorClasses returns the names of the classes of an error frame, as
// [Stats].Errors has them.
func ErrorClasses(f *Frame) []string {
	names := []string{}
	for _, c := range errorClasses {
		if f.ID&c.bit != 0 {
			names = append(names, c.name)
		}
	}
	if f.ID&^knownClasses != 0 {
		names = append(names, otherClass)
	}
	return names
}
