package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/can/link"
	"fieldferry/bus/modbus"
	decimal "fieldferry/bus/scalar"
)

// registerPoint finds the register of a point. Faults elsewhere in the file may
// have left it out; then nothing is said about it here.
func (f fields) registerPoint(line value, cfg *Config, point *Point) {
	p := &RegisterPoint{
		ReadBack:  f.at("readback").choice("exact", "none") == "exact",
		Tolerance: f.at("tolerance").decimal(),
		Delay:     f.at("delay").duration(readBackDelay, 0),
	}
	name := line.text("")
	k := slices.IndexFunc(cfg.Modbus, func(c modbus.LineConfig) bool { return c.Name == name })
	if k < 0 {
		line.unknownOf("Modbus line", name, listOf(cfg.Modbus, func(c modbus.LineConfig) string { return c.Name }))
		return
	}
	devices := cfg.Modbus[k].Devices
	device := f.need("device", "write the name of a device of this line")
	deviceName := device.text("")
	d := slices.IndexFunc(devices, func(d modbus.Device) bool { return d.Name == deviceName })
	if d < 0 {
		device.unknownOf("device of line "+name, deviceName, listOf(devices, func(d modbus.Device) string { return d.Name }))
		return
	}
	register := f.need("register", "write the name of a register of this device")
	r := register.registerOf(&devices[d])
	point.OnlyIf = f.at("only_if").onlyIf(&devices[d])
	if r == nil {
		return
	}
	p.Device, p.Unit, p.Register = deviceName, devices[d].UnitID, *r
	before := len(f.l.problems)
	p.Limits = f.limits()
	f.checkRegister(register, p)
	point.Register = p
	f.checkPermit(point, before)
}

// registerOf finds a register of a device by its name; nil: there is none.
func (v value) registerOf(d *modbus.Device) *modbus.Register {
	name := v.text("")
	for i := range d.Registers {
		if r := &d.Registers[i]; r.Name == name {
			return r
		}
	}
	v.unknownOf("register of "+d.Name, name, listOf(d.Registers, func(r modbus.Register) string { return r.Name }))
	return nil
}

// onlyIf reads what has to be so that the point is written.
func (v value) onlyIf(d *modbus.Device) *OnlyIf {
	if !v.has {
		return nil
	}
	f := v.fields("register", "value")
	name, want := f.need("register", "write the name of a register of this device"), f.need("value", "write value: true")
	c := &OnlyIf{Value: want.jsonValue()}
	r := name.registerOf(d)
	if r == nil {
		return c
	}
	c.Register = *r
	isBool := r.Table == modbus.Coil || r.Table == modbus.Discrete || r.Type == modbus.Bool || r.Type == modbus.Bit
	_, number := decimal.ParseNumber(c.Value)
	switch {
	case r.HasScaleRegister:
		name.fail(shown(r.Name)+" has a scale in another register, which may change meanwhile", "choose another register")
	case c.Value == "" || r.Type == modbus.String:
	case isBool:
		want.boolean(false)
	case !number:
		want.fail(shown(r.Name)+" is a number", "write one, also for what enum names")
	}
	return c
}

// checkRegister says what cannot be written.
func (f fields) checkRegister(at value, p *RegisterPoint) {
	switch r := &p.Register; {
	case r.Table != modbus.Holding && r.Table != modbus.Coil:
		at.fail(fmt.Sprintf("%s is in the table %s, which is read-only", shown(r.Name), tableName(r.Table)), "choose a holding register or a coil")
	case r.HasScaleRegister:
		at.fail(shown(r.Name)+" has a scale in another register, which may change between reading and writing", "choose another register, or write the raw value by a register without scale_register")
	case p.Switch():
	case p.Limits.Min == "" || p.Limits.Max == "":
		for _, key := range []string{"min", "max"} {
			if !f.at(key).has {
				f.limitFault(decimal.Missing(key))
			}
		}
	}
	if round := f.at("rounding"); round.has && (p.Switch() || p.Register.Type == modbus.String) {
		round.fail("is of a number, and this is not one", "remove the key")
	}
	if p.Tolerance != "" && !p.ReadBack {
		f.at("tolerance").fail("nothing is read back", "remove it, or readback: none")
	}
}

// unknownOf says that there is nothing of that name.
func (v value) unknownOf(what, name string, there []string) {
	if name == "" || v.n.bad {
		return // reported
	}
	v.fail(unknown(what, name, there))
}

// unknown is the text of unknownOf.
func unknown(what, name string, there []string) (text, fix string) {
	const most = 20
	switch n := len(there); {
	case n == 0:
		fix = "there is none"
	case n > most:
		fix = fmt.Sprintf("there are %s and %d more", strings.Join(there[:most], ", "), n-most)
	default:
		fix = "there are " + strings.Join(there, ", ")
	}
	if near := nearestName(name, there); near != "" {
		fix = "did you mean " + near + "?"
	}
	return fmt.Sprintf("there is no %s with the name %s", what, shown(name)), fix
}

func listOf[T any](list []T, name func(T) string) []string {
	names := make([]string, 0, len(list))
	for _, item := range list {
		names = append(names, name(item))
	}
	return names
}

// framePoint finds the message of a point.
func (f fields) framePoint(bus value, cfg *Config, point *Point) {
	name := bus.text("")
	k := slices.IndexFunc(cfg.CAN, func(c CAN) bool { return c.Name == name })
	if k < 0 {
		bus.unknownOf("CAN source", name, listOf(cfg.CAN, func(c CAN) string { return c.Name }))
		return
	}
	c := &cfg.CAN[k]
	switch src, err := can.ParseInterface(c.Bus.Interface); {
	case err != nil: // reported
	case src.Kind != can.Device:
		bus.fail(shown(name)+" is not an interface that frames can be sent to", "name a CAN interface, such as can0")
	case c.Bus.Link != nil && c.Bus.Link.Mode&link.ListenOnly != 0:
		bus.fail(shown(name)+" is listen-only, so nothing can be sent", "write listen_only: false at the interface, if it may take part in the bus")
	}
	p := &FramePoint{Interface: c.Bus.Interface, FD: c.Bus.FD, BRS: c.Bus.DataBitrate > 0, Repeat: f.at("repeat").duration(repeatEvery, 0)}
	before := len(f.l.problems)
	switch message, id := f.at("message"), f.at("id"); {
	case message.has && id.has:
		id.fail("there is a message too", "remove one of them")
	case message.has:
		f.refuse([]string{"length"}, "is that of the message", "remove the key")
		f.signalPoint(p, message, c)
	case id.has:
		f.refuse([]string{"signals", "min", "max", "step"}, "is of a message that a DBC file describes", "remove the key, or write message: NAME in the place of id")
		f.rawPoint(p, id)
	default:
		f.fail("says no frame", "write message: NAME of a DBC file, or id: 0x123 and length: 8")
	}
	point.Frame = p
	f.checkPermit(point, before)
}

// maxStandardID is the highest arbitration id of 11 bits.
const maxStandardID = 0x7FF

// rawPoint is a frame by its arbitration id: all of its bytes may be written.
func (f fields) rawPoint(p *FramePoint, id value) {
	text := id.text("")
	n, err := strconv.ParseUint(text, 0, 32)
	hex := strings.TrimPrefix(strings.ToLower(text), "0x")
	p.Extended = len(hex) == 8 && hex != strings.ToLower(text)
	switch {
	case text == "":
	case err != nil || n > can.MaxExtendedID:
		id.fail(shown(text)+" is not an arbitration id", "write 0x123, or 0x18FEF100 with eight digits for one of 29 bits")
	case n > maxStandardID:
		p.Extended = true
	}
	p.ID = uint32(n)
	most := int64(8)
	if p.FD {
		most = can.MaxDataLen
	}
	p.Length = int(f.need("length", "write how many bytes the frame has").integer(0, most, 0))
}

// signalPoint is a message of a DBC file; what is not named in signals is sent
// with its start value, or 0.
func (f fields) signalPoint(p *FramePoint, message value, c *CAN) {
	name := message.text("")
	if c.DBC == nil {
		message.fail(shown(c.Name)+" has no DBC file that could describe it", "add dbc: [FILE] at the interface, or write id and length")
		return
	}
	list := c.DBC.Messages()
	k := slices.IndexFunc(list, func(m *dbc.Message) bool { return m.Name == name || m.Symbol == name })
	if k < 0 {
		message.unknownOf("message in the DBC files of "+c.Name, name, nil)
		return
	}
	m := list[k]
	p.Message, p.ID, p.Extended, p.Length = m, m.ID, m.Extended, m.Size
	shared := f.limits()
	items := f.need("signals", "list the signals that may be written").list()
	for _, item := range items {
		signalOf(p, item, shared, len(items))
	}
}

func signalOf(p *FramePoint, item value, shared Limits, many int) {
	s := SignalPoint{Limits: shared}
	at := item
	if item.n.kind == object {
		limited := item.fields("name", "min", "max", "step")
		at = limited.need("name", "write the name of a signal")
		s.Limits = limited.limits()
	} else if many > 1 {
		s.Limits = Limits{}
	}
	s.Name = at.text("")
	k := slices.IndexFunc(p.Message.Signals, func(d dbc.Signal) bool { return d.Name == s.Name || d.Symbol == s.Name })
	if k < 0 {
		at.unknownOf("signal of "+p.Message.Name, s.Name, listOf(p.Message.Signals, func(d dbc.Signal) string { return d.Name }))
		return
	}
	d := &p.Message.Signals[k]
	if s.Limits.Min == "" && s.Limits.Max == "" && d.Min < d.Max { // the file's own
		s.Limits.Min, s.Limits.Max = strconv.FormatFloat(d.Min, 'f', -1, 64), strconv.FormatFloat(d.Max, 'f', -1, 64)
	}
	if d.Length > 1 && (s.Limits.Min == "" || s.Limits.Max == "") {
		at.fail(shown(s.Name)+" has no limits, here or in the DBC file: nobody could say which numbers are safe",
			fmt.Sprintf("write {name: %s, min: 0, max: 100}", s.Name))
	}
	p.Signals = append(p.Signals, s)
}
