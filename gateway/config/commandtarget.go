package config

import (
	"fmt"

	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	"fieldferry/bus/permit"
	decimal "fieldferry/bus/scalar"
	"fieldferry/gateway/command"
)

// codec makes the values of the register, within its limits; round says that
// they may be rounded.
func (r *RegisterPoint) codec(round bool) (*modbus.Codec, error) {
	var limits decimal.Limits
	if r.Limits != (Limits{}) {
		var err error
		if limits, err = decimal.NewLimits(r.Limits.Min, r.Limits.Max, r.Limits.Step); err != nil {
			return nil, err
		}
	}
	limits.Round = round
	return modbus.NewCodec(r.Register, limits)
}

// OnLine is the register of a point on its line, with the permit to write it: the
// only place where one is made.
func (p *Point) OnLine(line command.ModbusLine) (command.Target, error) {
	r := p.Register
	codec, err := r.codec(p.Rounding)
	if err != nil {
		return nil, err
	}
	permitted, err := permit.ForRegister(codec.Scope(p.Source, r.Unit))
	if err != nil {
		return nil, err
	}
	tolerance, _ := decimal.ParseNumber(r.Tolerance)
	m := &command.ModbusPoint{Line: line, Codec: codec, Permit: permitted, ReadBack: r.ReadBack, Tolerance: tolerance, Delay: r.Delay}
	if c := p.OnlyIf; c != nil {
		m.OnlyIf = &command.Condition{Name: c.Register.Name, Codec: modbus.NewDecoder(c.Register), Value: c.Value}
	}
	return m, nil
}

// codec makes the data of the frame, within its limits. What the point does not
// name has its start value.
func (p *FramePoint) codec() (command.FrameCodec, error) {
	if p.Message == nil {
		return command.RawFrame(p.Length, nil, nil)
	}
	limits := map[string]decimal.Limits{}
	var names []string
	for _, s := range p.Signals {
		names = append(names, s.Name)
		if s.Limits == (Limits{}) {
			continue
		}
		l, err := decimal.NewLimits(s.Limits.Min, s.Limits.Max, s.Limits.Step)
		if err != nil {
			return nil, fmt.Errorf("signal %s: %w", s.Name, err)
		}
		limits[s.Name] = l
	}
	encoder, err := dbc.NewEncoder(p.Message, names, limits, p.Message.Start())
	if err != nil {
		return nil, err // not encoder: a nil one is not a nil FrameCodec
	}
	return encoder, nil
}

// On is the frame on its interface, with the permit to send it: the only place
// where one is made. failed hears why a repetition was left out.
func (p *FramePoint) On(failed func(error)) (*command.CANPoint, error) {
	codec, err := p.codec()
	if err != nil {
		return nil, err
	}
	fd := p.Length > classicLength
	permitted, err := permit.ForFrame(permit.FrameScope{
		Interface: p.Interface, ID: p.ID, Extended: p.Extended, FD: fd, BRS: fd && p.BRS, Length: p.Length, Limits: codec.Within,
	})
	if err != nil {
		return nil, err
	}
	return command.NewCANPoint(permitted, codec, p.Repeat, failed), nil
}

// classicLength is how many bytes a frame carries that is not of CAN FD.
const classicLength = 8

// Readable are the registers that may be read on demand beside the points, by
// name; on says which line has a name.
func (c *Config) Readable(on func(line string) command.ModbusLine) command.Reads {
	reads := command.Reads{MaxPerMinute: command.DefaultPerMinute}
	r := c.Commands.Read
	if r == nil {
		return reads
	}
	reads.Allow, reads.MaxPerMinute = r.Allow, r.MaxPerMinute
	reads.Registers, reads.Sources = map[string]command.Register{}, map[string]string{}
	twice := map[string]bool{}
	for i := range c.Modbus {
		line := &c.Modbus[i]
		for k := range line.Devices {
			d := &line.Devices[k]
			for j := range d.Registers {
				register := &command.ModbusRegister{Line: on(line.Name), Unit: d.UnitID, Codec: modbus.NewDecoder(d.Registers[j])}
				short := d.Name + "." + d.Registers[j].Name
				for _, name := range []string{line.Name + "." + short, short} {
					if twice[name] = reads.Registers[name] != nil; !twice[name] {
						reads.Registers[name], reads.Sources[name] = register, line.Name
					}
				}
			}
		}
	}
	for name, is := range twice { // it would be one of two
		if is {
			delete(reads.Registers, name)
		}
	}
	return reads
}

// checker says why a value cannot be written.
type checker interface{ Check(value string) error }

// checkPermit says what of a point cannot be: a range that its type and scale
// cannot hold, a fallback outside of it. before is how many problems there were
// when its limits were not read yet: with one of them there is nothing to judge.
func (f fields) checkPermit(p *Point, before int) {
	if HasErrors(f.l.problems[before:]) {
		return
	}
	var codec checker
	var err error
	if p.Register != nil {
		codec, err = p.Register.codec(p.Rounding)
	} else {
		codec, err = p.Frame.codec()
	}
	if f.limitFault(err) {
		return
	}
	if err != nil {
		at := f.value
		for _, key := range []string{"min", "register", "signals", "id"} {
			if v := f.at(key); v.has {
				at = v
				break
			}
		}
		at.fail(err.Error(), "correct it")
		return
	}
	if p.Fallback != nil && p.Fallback.Value != "" {
		if err := codec.Check(p.Fallback.Value); err != nil {
			f.at("fallback").fail(fmt.Sprintf("its value cannot be written: %v", err), "write one that the point takes")
		}
	}
	if p.Register == nil {
		return
	}
	for _, key := range []struct{ name, value string }{{"max_change", p.MaxChange}, {"tolerance", p.Register.Tolerance}} {
		if key.value != "" && p.Register.Switch() {
			f.at(key.name).fail("is of a number, and this is true or false", "remove the key")
		}
	}
}
