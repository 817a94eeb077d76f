package config

import (
	"fmt"
	"math"
	"time"

	"fieldferry/bus/modbus"
)

// Simulation is a register map of simulated Modbus slaves.
type Simulation struct {
	Units []SimulatedUnit
}

// SimulatedUnit is one slave.
type SimulatedUnit struct {
	UnitID       uint8
	Delay        time.Duration // before each answer
	MaxRegisters int           // it gives at once
	Faults       SimulatedFaults
	Registers    []SimulatedRegister
}

// SimulatedFaults are what the slave does wrong; the numbers are shares of
// its replies, from 0 to 1.
type SimulatedFaults struct {
	_ [0]func() // nobody compares them: saves the code for it

	Silent, Late, BadCRC, Truncate, WrongUnit, Duplicate, Noise, Exception float64

	LateBy, ByteGap time.Duration
	ExceptionCode   uint8
	Echo            bool
}

// SimulatedRegister is a value of a slave and how it moves. Its value is the
// one that is read: scale and offset are applied backwards.
type SimulatedRegister struct {
	modbus.Register
	Value     float64
	Text      string   // of a string
	Words     []uint16 // instead of a value: registers as they are, from the address on
	Moves     string   // "", sine, ramp, counter, random or toggle
	Amplitude float64  // sine, random: to both sides of Value; ramp: above it
	Period    time.Duration
	Rate      float64 // counter: per second
}

// LoadSimulation reads and checks a register map. It returns nil and at least
// one error, or a simulation and possibly warnings.
func LoadSimulation(path string, opts Options) (*Simulation, []Problem) {
	l := newLoader(path, opts)
	data, _, err := readRegular(path, maxFileSize)
	if err != nil {
		what, fix := fileTrouble("the register map", err)
		return nil, []Problem{{File: path, What: what, Fix: fix}}
	}
	var s *Simulation
	if text, ok := l.normalize(data); ok {
		if root := l.parse(text); root != nil {
			top := value{l, "", root, true}
			top.expandAll()
			s = l.simulation(top)
		}
	}
	problems := sorted(l.problems)
	if HasErrors(problems) {
		return nil, problems
	}
	return s, problems
}

func (l *loader) simulation(root value) *Simulation {
	if root.n.kind != object {
		l.failAt(place{1, 1}, "", "this is not a register map", "write units: [{unit_id: 1, registers: [{register: holding, address: 0, value: 1}]}]")
		return nil
	}
	s := &Simulation{}
	seen := map[uint8]value{}
	f := root.fields("units", "address_base", "address_format")
	in := inherited{}.addresses(f)
	for _, item := range f.need("units", "list the slaves under units:").list() {
		u, id := l.simulatedUnit(item, in)
		if first, ok := seen[u.UnitID]; ok {
			id.fail(fmt.Sprintf("the unit %s has this id too", first.where()), "give it an id of its own")
		}
		seen[u.UnitID] = id
		s.Units = append(s.Units, u)
	}
	return s
}

var unitKeys = []string{"unit_id", "delay", "max_registers", "byte_order", "address_base", "address_format", "registers", "faults"}

func (l *loader) simulatedUnit(v value, in inherited) (u SimulatedUnit, id value) {
	f := v.fields(unitKeys...)
	delay := span{low: time.Microsecond, high: time.Minute, zero: true, example: "20ms"}
	id = f.need("unit_id", "write unit_id: 1")
	u = SimulatedUnit{
		UnitID:       id.unitID(true),
		Delay:        f.at("delay").duration(delay, 0),
		MaxRegisters: int(f.at("max_registers").integer(1, 125, 125)),
		Faults:       f.at("faults").simulatedFaults(),
	}
	in = in.addresses(f)
	in.byteOrder = f.at("byte_order").byteOrder(modbus.ABCD)
	for _, item := range f.need("registers", "list what it holds under registers:").list() {
		u.Registers = append(u.Registers, l.simulatedRegister(item, in))
	}
	return u, id
}

func (v value) simulatedFaults() SimulatedFaults {
	f := v.fields("silent", "late", "late_by", "bad_crc", "truncate", "wrong_unit", "duplicate", "noise", "exception", "exception_code", "byte_gap", "echo")
	s := span{low: time.Microsecond, high: time.Minute, zero: true, example: "500ms"}
	return SimulatedFaults{
		Silent: f.at("silent").share(0, 1, 0), Late: f.at("late").share(0, 1, 0), BadCRC: f.at("bad_crc").share(0, 1, 0), Truncate: f.at("truncate").share(0, 1, 0),
		WrongUnit: f.at("wrong_unit").share(0, 1, 0), Duplicate: f.at("duplicate").share(0, 1, 0), Noise: f.at("noise").share(0, 1, 0), Exception: f.at("exception").share(0, 1, 0),
		LateBy: f.at("late_by").duration(s, time.Second), ByteGap: f.at("byte_gap").duration(s, 0),
		ExceptionCode: uint8(f.at("exception_code").integer(0, 255, 4)), Echo: f.at("echo").boolean(false),
	}
}

var simulatedKeys = []string{
	"name", "register", "address", "address_base", "address_format", "type", "byte_order", "scale", "offset", "unit", "bit", "bits", "byte", "length",
	"value", "values", "moves", "amplitude", "period", "rate",
}

func (l *loader) simulatedRegister(v value, in inherited) (r SimulatedRegister) {
	f := v.fields(simulatedKeys...)
	if !v.is(object) {
		return r
	}
	p := placed{at: f.need("address", "write address: 0")}
	var addressOK bool
	p.Table, p.Address, addressOK = f.address(in.addresses(f))
	if !p.setType(f) || !addressOK {
		return r
	}
	p.ByteOrder = f.at("byte_order").byteOrder(in.byteOrder)
	p.setParts(f)
	p.setScale(f)
	p.checkExtent(math.MaxInt)
	r.Register = p.Register
	r.Period = f.at("period").duration(span{low: time.Millisecond, high: 168 * time.Hour, example: "10s"}, 10*time.Second)
	r.Amplitude, r.Rate = f.at("amplitude").number(1), f.at("rate").number(1)
	if moves := f.at("moves"); moves.has {
		r.Moves = moves.choice("sine", "ramp", "counter", "random", "toggle")
	}
	l.simulatedValue(&r, f)
	return r
}

func (l *loader) simulatedValue(r *SimulatedRegister, f fields) {
	v := f.at("value")
	switch {
	case f.at("values").has:
		for _, item := range f.at("values").list() {
			r.Words = append(r.Words, uint16(item.integer(0, math.MaxUint16, 0)))
		}
		if int(r.Address)+len(r.Words) > 1<<16 {
			f.at("values").fail("reach past the last address 65535", "correct the address")
		}
		for _, key := range []string{"value", "moves", "type"} {
			if f.at(key).has {
				f.at(key).fail("does not go with values, which are registers as they are", "remove one of them")
			}
		}
	case r.Type == modbus.String:
		r.Text = v.text("")
	case !v.has:
	case r.Type == modbus.Bool || r.Type == modbus.Bit:
		if v.is(scalar) && (v.n.text == "0" || v.n.text == "1") {
			r.Value = float64(v.n.text[0] - '0')
		} else if v.boolean(false) {
			r.Value = 1
		}
	default:
		r.Value = v.number(0)
		if _, err := r.Encode(r.Value, nil); err != nil {
			v.fail(err.Error(), "correct the value or the type")
		}
	}
}
