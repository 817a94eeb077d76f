package config

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"fieldferry/bus/modbus"
)

// The defaults of a line: what Modbus over Serial Line V1.02, 2.5.1 asks of
// every device, and times that suit most.
const (
	defaultParity   = "E"
	defaultRetries  = 1
	defaultMaxGap   = 8
	defaultInterval = time.Second
)

var timeoutSpan = span{low: 10 * time.Millisecond, high: modbus.MaxTimeout, example: "300ms"}

// inherited are the settings a register takes from its device, and a device
// from its line, unless it has its own.
type inherited struct {
	interval     time.Duration
	byteOrder    modbus.ByteOrder
	maxGap       int
	maxRegisters int
	addressBase  int64
	modicon      bool
	again        repetition
	wire         bool // said so: an address like 40001 is meant as it is
	tcp          bool // Modbus TCP, where 0 means the far end itself
}

var inheritedKeys = []string{"interval", "byte_order", "max_gap", "max_registers", "address_base", "address_format"}

var lineKeys = append([]string{
	"name", "port", "baud_rate", "data_bits", "parity", "stop_bits", "timeout", "retries", "turnaround", "rs485", "devices",
	"connect_delay", "any_reply_unit", "any_transaction_id",
}, inheritedKeys...)

func (l *loader) modbus(v value, taken sources) []modbus.LineConfig {
	var out []modbus.LineConfig
	ports := ports{}
	for _, item := range v.list() {
		out = append(out, l.line(item, taken, ports))
	}
	return out
}

func (l *loader) line(v value, taken sources, ports ports) modbus.LineConfig {
	f := v.fields(lineKeys...)
	if !v.is(object) {
		return modbus.LineConfig{}
	}
	port := f.need("port", "write port: /dev/ttyS1")
	c := modbus.LineConfig{
		Port:       port.serialPort(),
		BaudRate:   f.at("baud_rate").baudRate(),
		DataBits:   f.at("data_bits").dataBits(),
		Parity:     f.at("parity").choice(defaultParity, "N", "O")[0],
		StopBits:   int(f.at("stop_bits").integer(1, 2, 1)),
		Timeout:    f.at("timeout").duration(timeoutSpan, 0),
		Retries:    int(f.at("retries").integer(0, modbus.MaxRetries, defaultRetries)),
		Turnaround: f.at("turnaround").duration(span{low: time.Microsecond, high: modbus.MaxTurnaround, zero: true, example: "5ms"}, 0),
		RS485:      f.at("rs485").rs485(),

		ConnectDelay:     f.at("connect_delay").duration(span{low: time.Millisecond, high: modbus.MaxConnectDelay, zero: true, example: "1s"}, 0),
		AnyReplyUnit:     f.at("any_reply_unit").boolean(false),
		AnyTransactionID: f.at("any_transaction_id").boolean(false),
	}
	if c.Timeout == 0 {
		c.Timeout = modbus.DefaultTimeout(c.Port)
	}
	f.warnMeaningless(c.Port)
	name := f.at("name")
	c.Name = name.level("")
	if !name.has && c.Port != "" {
		name, c.Name = port, filepath.Base(c.Port)
		if what := levelTrouble(c.Name); what != "" {
			port.fail(fmt.Sprintf("cannot stand for the name: %s %s", shown(c.Name), what), "add name: NAME")
		}
	}
	taken.add(c.Name, name)
	ports.add(c.Port, port)
	in := inherited{
		interval: defaultInterval, maxGap: defaultMaxGap, maxRegisters: modbus.DefaultMaxRegisters,
		tcp: strings.HasPrefix(c.Port, "tcp://"),
	}.from(f)
	c.Devices = l.devices(f.need("devices", "list what is on the line under devices:"), in)
	return c
}

// from returns the settings with those of f in place of what is inherited.
func (in inherited) from(f fields) inherited {
	in.interval = f.at("interval").duration(span{low: 10 * time.Millisecond, high: 168 * time.Hour, example: "1s"}, in.interval)
	in.byteOrder = f.at("byte_order").byteOrder(in.byteOrder)
	in.maxGap = int(f.at("max_gap").integer(0, modbus.MaxGap, int64(in.maxGap)))
	in.maxRegisters = int(f.at("max_registers").integer(1, modbus.MaxRegisters, int64(in.maxRegisters)))
	return in.addresses(f)
}

// addresses is from for how addresses are written alone.
func (in inherited) addresses(f fields) inherited {
	in.addressBase = f.at("address_base").integer(0, 1, in.addressBase)
	if format := f.at("address_format"); format.has {
		in.modicon = format.choice("wire", "modicon") == "modicon"
		in.wire = !in.modicon
	}
	if in.modicon && in.addressBase == 1 && (f.at("address_base").has || f.at("address_format").has) {
		v := f.at("address_format")
		if !v.has {
			v = f.at("address_base")
		}
		v.fail("address_base: 1 and address_format: modicon contradict each other", "remove address_base: 40001 is the first register by itself")
	}
	return in
}

func (v value) byteOrder(def modbus.ByteOrder) modbus.ByteOrder {
	if !v.is(scalar) {
		return def
	}
	if o, err := modbus.ParseByteOrder(v.n.text); err == nil {
		return o
	}
	fix := "write ABCD (most significant byte first), CDAB (words reversed), BADC (bytes swapped) or DCBA (both)"
	if _, err := modbus.ParseByteOrder(strings.ToUpper(v.n.text)); err == nil {
		fix = "write " + strings.ToUpper(v.n.text)
	}
	v.fail(shown(v.n.text)+" is not a byte order", fix)
	return def
}

func (v value) rs485() modbus.RS485 {
	keys := []string{"enabled", "delay_before_send", "delay_after_send", "rts_high_during_send", "rx_during_tx", "by_application"}
	f := v.fields(keys...)
	f.unused(keys[0], "enabled: true", keys[1:]...)
	// struct serial_rs485 has milliseconds, and the kernel takes at most 100.
	delay := span{low: time.Millisecond, high: 100 * time.Millisecond, zero: true, step: time.Millisecond, example: "1ms"}
	return modbus.RS485{
		Enabled:           f.at("enabled").boolean(false),
		DelayBeforeSend:   f.at("delay_before_send").duration(delay, 0),
		DelayAfterSend:    f.at("delay_after_send").duration(delay, 0),
		RTSHighDuringSend: f.at("rts_high_during_send").boolean(true),
		ReceiveOwnEcho:    f.at("rx_during_tx").boolean(false),
		ByApplication:     f.at("by_application").boolean(false),
	}
}

func (l *loader) devices(v value, in inherited) []modbus.Device {
	items := v.list()
	if v.has && v.n.kind == list && len(v.n.items) == 0 {
		v.fail("the line has no device", "add one, or remove the line")
	}
	names, units := map[string]value{}, map[uint8]value{}
	var out []modbus.Device
	var polled []placed
	for _, item := range items {
		d, registers := l.device(item, in, names, units)
		out = append(out, d)
		polled = append(polled, registers...)
	}
	warnOverlaps(polled)
	return out
}

var deviceKeys = append([]string{"name", "unit_id", "template", "registers", "timeout"}, inheritedKeys...)

func (l *loader) device(v value, in inherited, names map[string]value, units map[uint8]value) (modbus.Device, []placed) {
	f := v.fields(deviceKeys...)
	if !v.is(object) {
		return modbus.Device{}, nil
	}
	t := f.fromTemplate()
	timeout := time.Duration(0)
	if t != nil {
		in = in.from(t.root)
		timeout = t.root.at("timeout").duration(timeoutSpan, 0)
	}
	in = in.from(f)
	name, unit := f.need("name", "write name: meter"), f.need("unit_id", "write unit_id: 1")
	d := modbus.Device{
		Name: name.level(""), UnitID: unit.unitID(in.tcp), MaxGap: in.maxGap, MaxRegisters: in.maxRegisters,
		Timeout: f.at("timeout").duration(timeoutSpan, timeout),
	}
	if first, ok := names[d.Name]; ok && d.Name != "" {
		name.fail(fmt.Sprintf("another device %s of this line has the name %s", first.where(), shown(d.Name)), "give it a name of its own")
	} else {
		names[d.Name] = name
	}
	if first, ok := units[d.UnitID]; ok && d.UnitID != 0 {
		unit.warn(fmt.Sprintf("the device %s has unit id %d too", first.where(), d.UnitID), "give both one device if it is one")
	} else {
		units[d.UnitID] = unit
	}
	outputs := map[string]value{}
	var polled []placed
	whole := l // which bounds the repetitions of all
	add := func(l *loader, list []value) {
		for _, item := range list {
			members, in := l.group(item, in)
			for _, member := range members {
				for _, r := range whole.repeated(l.register(member, in)) {
					r.claim(outputs)
					d.Registers = append(d.Registers, r.Register)
					if r.width > 0 {
						r.unit = d.UnitID
						polled = append(polled, r)
					}
				}
			}
		}
	}
	registers := f.at("registers")
	if t == nil && !f.at("template").has {
		registers = f.need("registers", "list what to read under registers:, or name a template:")
	}
	if t == nil && registers.has && registers.n.kind == list && len(registers.n.items) == 0 {
		registers.fail("the device has no register", "add one, or remove the device")
	}
	own := registers.list()
	if t != nil {
		add(t.l, t.registers(own))
		l.problems = append(l.problems, t.l.problems...)
	}
	add(l, own)
	return d, polled
}

func (v value) unitID(tcp bool) uint8 {
	fix := "write the device's unit id, 1 to 247"
	if tcp {
		fix = "write the device's unit id, 0 to 255"
	}
	v.boundedInteger(0, math.MaxInt32)
	n := v.wholeSuch(0, math.MaxInt32, -1, fix)
	if tcp && n >= 0 && n <= 255 {
		return uint8(n)
	}
	switch {
	case n < 0: // absent, or reported
		return 0
	case n == 0:
		v.fail("0 is the broadcast address, which nobody answers", fix)
	case n <= 247:
		return uint8(n)
	case n <= 255: // Serial Line V1.02, 2.2; some devices have one
		v.warn(fmt.Sprintf("%d is a reserved unit id", n), "make sure that the device has it; most have 1 to 247")
		return uint8(n)
	default:
		v.fail(fmt.Sprintf("%d is not a unit id", n), fix)
	}
	return 0
}
