package can

import (
	"time"

	"fieldferry/bus"
)

// recovered is how long after bus-off a frame from the wire shows that the
// controller is back although nobody said so: the report may have been lost,
// and a driver may queue frames received before a little late.
const recovered = 100 * time.Millisecond

// settled is how long a condition that came back within this time must be gone
// before it counts as gone: a controller that goes bus-off ten times a second
// is one alarm, not ten a second.
const settled = 10 * time.Second

// condition is something that lasts, kept across calls of Run so that it is
// raised once and cleared once.
type condition struct {
	raised  bool
	causes  uint64 // error frames that said so since it was raised
	cleared int64  // when it was last cleared; 0: never
	held    bool   // it came back soon: it must be gone for a while
	gone    int64  // held: since when it is gone; 0: it is not
	why     cause  // held: what it is gone by
}

type conditions struct {
	linkDown, busOff, passive, warning condition
	busOffAt                           int64 // the last report of it
}

// restless says that a condition lasts which may end without a word.
func (c *conditions) restless() bool {
	return c.busOff.raised || c.passive.raised || c.warning.raised
}

func (c *conditions) of(code string) *condition {
	switch code {
	case bus.BusOff:
		return &c.busOff
	case bus.ErrorPassive:
		return &c.passive
	default:
		return &c.warning
	}
}

// cause is what a condition is raised or cleared by.
type cause struct {
	_ [0]func() // as in counters

	at        int64 // ns since 1970
	by        string
	reason    string
	hasErrors bool // tx and rx are the controller's counters
	tx, rx    uint16
}

func (c cause) because(by string) cause {
	c.by = by
	return c
}

// recovered notes that the controller takes part in the bus again, without errors.
func (d *delivery) recovered(why cause) {
	d.condition(bus.BusOff, false, why)
	d.condition(bus.ErrorPassive, false, why)
	d.condition(bus.ErrorWarning, false, why)
}

// condition raises or clears a condition of the controller, once.
func (d *delivery) condition(code string, raise bool, why cause) {
	c := d.b.cond.of(code)
	if c.raised == raise && c.gone == 0 {
		c.causes++
		return // a storm of error frames ends here and costs no more than counting
	}
	switch {
	case raise && c.raised: // it was gone, but not for long
		c.gone = 0
		c.causes++
	case raise:
		since := why.at - c.cleared
		c.held = c.cleared != 0 && since >= 0 && since < int64(settled)
		c.causes = 1
		d.report(c, code, true, why)
	case !c.raised || c.gone != 0:
	case c.held:
		c.gone, c.why = max(why.at, 1), why
	default:
		d.report(c, code, false, why)
	}
}

// settle clears the conditions that have been gone for long enough.
func (d *delivery) settle(now int64) {
	for _, code := range [...]string{bus.BusOff, bus.ErrorPassive, bus.ErrorWarning} {
		c := d.b.cond.of(code)
		if c.raised && c.gone != 0 && (now-c.gone >= int64(settled) || now < c.gone) {
			d.report(c, code, false, c.why)
		}
	}
}

// report hands over a change of a condition, after the frames before it.
func (d *delivery) report(c *condition, code string, raise bool, why cause) {
	detail := map[string]any{"interface": d.b.cfg.Interface}
	if why.hasErrors {
		detail["tx_errors"], detail["rx_errors"] = int(why.tx), int(why.rx)
	}
	if why.by != "" {
		detail["by"] = why.by
	}
	if why.reason != "" {
		detail["reason"] = why.reason
	}
	state := bus.Raised
	if !raise {
		state = bus.Cleared
		if c.causes > 1 {
			detail["times"] = c.causes
		}
		c.cleared, c.gone, c.held, c.causes = why.at, 0, false, 0
	}
	c.raised = raise
	d.flush()
	d.h.Event(bus.Event{Time: time.Unix(0, why.at), Code: code, State: state, Detail: detail})
}
