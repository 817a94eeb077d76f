package main

import (
	"encoding/json"
	"fmt"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/commission"
)

// configured is a register of the configuration that is read by hand.
type configured struct {
	_ [0]func() // nobody compares them: saves the code for it

	device   string
	register *modbus.Register
}

// ofLine are the items of all registers of a line, or of one unit of it.
func (o *readOptions) ofLine(line *modbus.LineConfig) (items []commission.Item, err error) {
	for i := range line.Devices {
		d := &line.Devices[i]
		if o.unit >= 0 && int(d.UnitID) != o.unit {
			continue
		}
		for k := range d.Registers {
			r := &d.Registers[k]
			o.configured = append(o.configured, configured{device: d.Name, register: r})
			items = append(items, commission.Item{Unit: d.UnitID, Table: r.Table, Address: r.Address, Count: r.Width()})
		}
	}
	if len(items) == 0 {
		return nil, usageError("the line %s has no register of unit %d", line.Name, o.unit)
	}
	return items, nil
}

// configuredJSON is a value for machines.
type configuredJSON struct {
	Time      string          `json:"time,omitempty"`
	Device    string          `json:"device"`
	Name      string          `json:"name"`
	Value     json.RawMessage `json:"value,omitempty"`
	UnitName  string          `json:"unit,omitempty"`
	Error     string          `json:"error,omitempty"`
	Exception *byte           `json:"exception,omitempty"`
}

func (a *app) printConfigured(o *readOptions, c *configured, r *commission.Result) error {
	words := r.Words
	for _, bit := range r.Bits {
		word := uint16(0)
		if bit {
			word = 1
		}
		words = append(words, word)
	}
	d := decoded{err: r.Err}
	if d.err == nil {
		d.value, d.err = c.register.Decode(words)
		o.failed = o.failed || d.err != nil
	}
	if o.asJSON {
		j := configuredJSON{Time: o.jsonTime(), Device: c.device, Name: c.register.Name, UnitName: c.register.Unit}
		if d.err == nil {
			j.Value = d.json()
		} else {
			j.Error = d.err.Error()
		}
		if code, ok := r.Exception(); ok {
			j.Exception = &code
		}
		return a.printJSON(j)
	}
	text, unit := d.text(), c.register.Unit
	if unit != "" && d.err == nil {
		text += " " + unit
	}
	if c.register.HasScaleRegister && d.err == nil {
		text += fmt.Sprintf("  (times ten to the power of %v:%d)", c.register.Table, c.register.ScaleRegister)
	}
	_, err := fmt.Fprintf(a.stdout, "%s%-12s %-24s %s\n", o.stamp(), printable(c.device), printable(c.register.Name), printable(text))
	return err
}

// stamp begins a line of --every.
func (o *readOptions) stamp() string {
	if !o.stamped {
		return ""
	}
	return time.Now().Format("15:04:05.000") + "  "
}

func (o *readOptions) jsonTime() string {
	if !o.stamped {
		return ""
	}
	return time.Now().UTC().Format(time.RFC3339Nano)
}

// trace prints what passes on a line.
func (a *app) trace() func(sent bool, b []byte) {
	return func(sent bool, b []byte) {
		arrow := "<-"
		if sent {
			arrow = "->"
		}
		a.warn("%s %s % X", time.Now().Format("15:04:05.000000"), arrow, b)
	}
}
