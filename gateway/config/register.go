package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"fieldferry/bus/modbus"
)

// typeWords are what other programs call a type.
var typeWords = words{
	{"float", "float32"}, {"real", "float32"}, {"double", "float64"}, {"int", "int16"}, {"uint", "uint16"}, {"short", "int16"}, {"word", "uint16"},
	{"dint", "int32"}, {"udint", "uint32"}, {"dword", "uint32"}, {"long", "int32"}, {"boolean", "bool"}, {"byte", "uint8"}, {"bcd", "bcd16"},
}

type tableRow struct {
	name  string
	table modbus.Table
	digit byte
}

// tables by their names in the configuration, with the first digit of their
// modicon addresses.
var tables = []tableRow{
	{"holding", modbus.Holding, '4'},
	{"input", modbus.Input, '3'},
	{"coil", modbus.Coil, '0'},
	{"discrete", modbus.Discrete, '1'},
}

func tableName(t modbus.Table) string {
	for _, row := range tables {
		if row.table == t {
			return row.name
		}
	}
	return "unknown"
}

// placed is a register with its place, for checks across registers.
type placed struct {
	modbus.Register
	at    value // its address
	typ   string
	width int // 0: it is not right
	unit  uint8
	name  value
	again repetition
}

var registerKeys = []string{
	"name", "register", "address", "type", "scale", "offset", "unit", "on_change",
	"interval", "byte_order", "address_base", "address_format",
	"bit", "bits", "byte", "length", "enum", "flags", "invalid", "scale_register", "deadband", "min_interval", "max_interval",
	"repeat",
}

func (l *loader) register(v value, in inherited) placed {
	f := v.fields(registerKeys...)
	if !v.is(object) {
		return placed{}
	}
	in = in.from(f)
	p := placed{name: f.need("name", "write name: voltage"), at: f.need("address", "write address: 0"), again: in.again}
	p.Name = p.name.label("")
	p.setRepeat(f.at("repeat"))
	var addressOK, typeOK bool
	p.Table, p.Address, addressOK = f.address(in)
	p.Base = int(in.addressBase)
	if in.modicon && addressOK {
		n, _ := strconv.Atoi(p.at.n.text)
		p.Base = n - int(p.Address)
	}
	typeOK = p.setType(f)
	p.ByteOrder, p.Interval = in.byteOrder, in.interval
	p.Unit = f.at("unit").label("")
	if typeOK {
		p.setParts(f)
		p.setScale(f)
		p.setInvalid(f.at("invalid"))
		p.setScaleRegister(f.at("scale_register"), in)
		p.setLabels(f)
		p.setLimit(f)
	}
	if !addressOK || !typeOK {
		p.width = 0
		return p
	}
	p.checkExtent(in.maxRegisters)
	return p
}

// table returns the table a register is in, by name.
func (v value) table() (modbus.Table, bool) {
	names := make([]string, len(tables))
	for i, row := range tables {
		names[i] = row.name
	}
	if !v.has || v.n.bad {
		return modbus.Holding, !v.has
	}
	before := len(v.l.problems)
	name := v.choice(names...)
	return tables[slices.Index(names, name)].table, len(v.l.problems) == before
}

// setType sets the type; without one, a bit is a bool and a register a uint16.
func (p *placed) setType(f fields) bool {
	bit := p.Table == modbus.Coil || p.Table == modbus.Discrete
	v := f.at("type")
	if !v.has {
		p.Type, p.typ, p.width = modbus.Uint16, "uint16", 1
		if bit {
			p.Type, p.typ = modbus.Bool, "bool"
		}
		return true
	}
	if !v.is(scalar) {
		return false
	}
	t, err := modbus.ParseType(v.n.text)
	if ours := typeWords.of(strings.ToLower(v.n.text)); err != nil && ours != "" {
		v.fail(shown(v.n.text)+" is not known", "write "+ours)
		return false
	}
	if err != nil {
		v.unknownType()
		return false
	}
	p.Type, p.typ, p.width = t, v.n.text, t.Registers()
	if bit && p.Type != modbus.Bool {
		v.fail(fmt.Sprintf("a %s is one bit and cannot be %s", tableName(p.Table), p.typ), "write type: bool, or register: holding or input")
		return false
	}
	return true
}

// unknownType proposes a type only where it would read as many registers: to
// read others instead of a number of another width is no help.
func (v value) unknownType() {
	fix := "write one of " + strings.Join(modbus.Types(), ", ")
	if near := nearest(v.n.text, modbus.Types()); near != "" && digits(near) == digits(v.n.text) {
		fix = "write " + near
	}
	v.fail(shown(v.n.text)+" is not known", fix)
}

// digits are those of a word.
func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

func (p *placed) setScale(f fields) {
	scale, offset := f.at("scale"), f.at("offset")
	p.Scale, p.Offset = scale.number(1), offset.number(0)
	if p.Scale == 0 {
		scale.fail("zero would make every value the same", "write a number such as 0.1, or remove the key")
		p.Scale = 1
	}
	if p.typ == "bool" || p.typ == "bit" || p.typ == "string" {
		for _, v := range []value{scale, offset} {
			if v.has {
				v.fail(p.a()+" has no scale or offset", "remove the key, or read it as uint16")
			}
		}
	}
}

// checkExtent refuses a value that reaches past the address space or does not
// fit into one request.
func (p *placed) checkExtent(maxRegisters int) {
	if last := int(p.Address) + p.width - 1; last > 65535 {
		p.at.fail(fmt.Sprintf("a %s at %d reaches to %d, past the last address 65535", p.typ, p.Address, last), "correct the address or the type")
		p.width = 0
	} else if p.width > maxRegisters {
		p.at.fail(fmt.Sprintf("a %s takes %d registers, and max_registers is %d", p.typ, p.width, maxRegisters), "raise max_registers")
		p.width = 0
	}
}

var modiconAddress = regexp.MustCompile(`^[0-9]{5,6}$`)

// address returns where a register is, as on the wire.
func (f fields) address(in inherited) (modbus.Table, uint16, bool) {
	table, ok := f.at("register").table()
	v := f.at("address")
	if in.modicon {
		t, a, found := v.modicon(f.at("register"), table, ok)
		return t, a, found && ok
	}
	before := len(v.l.problems)
	if v.modiconOnWire(table, in) {
		return table, 0, false
	}
	n := v.integer(in.addressBase, 65535+in.addressBase, in.addressBase)
	if !v.has || v.n.bad || len(v.l.problems) > before {
		return table, 0, false
	}
	if !in.wire {
		v.warnModicon(table, n)
	}
	return table, uint16(n - in.addressBase), ok
}

// modiconOnWire refuses 00002 for a coil, which a manual means by one less than
// a number that only lost its zeros, and 400001, which no wire has.
func (v value) modiconOnWire(table modbus.Table, in inherited) bool {
	if !v.has || v.n.kind != scalar || in.wire || in.addressBase != 0 || !modiconAddress.MatchString(v.n.text) {
		return false
	}
	of, address, ok := modbus.ParseModicon(v.n.text)
	switch {
	case ok && of == modbus.Coil && table == modbus.Coil:
		v.fail(v.n.text+" begins with zero and could be octal", fmt.Sprintf("write %s if it is the wire's, or address_format: modicon, where %s is coil %d", trimZeros(v.n.text), v.n.text, address))
	case ok && len(v.n.text) == 6 && of == table:
		v.fail(fmt.Sprintf("%s is out of range, but looks like the %s register at %d", v.n.text, tableName(of), address),
			fmt.Sprintf("write address: %d or address_format: modicon", address))
	default:
		return false
	}
	return true
}

// warnModicon warns of an address that looks like 40001 where that is not the
// format.
func (v value) warnModicon(table modbus.Table, n int64) {
	first := map[modbus.Table]int64{modbus.Holding: 40001, modbus.Input: 30001, modbus.Discrete: 10001}[table]
	if first == 0 || n < first || n > first+9998 {
		return
	}
	v.warn(fmt.Sprintf("%d is taken as it is on the wire, but looks like the %s register at %d", n, tableName(table), n-first),
		fmt.Sprintf("write address: %d or address_format: modicon, or address_format: wire if it is right", n-first))
}

// modicon reads 40001 or 400001: the first digit is the table, the rest counts
// from 1. A leading zero means a coil there, and no octal number.
func (v value) modicon(register value, table modbus.Table, tableOK bool) (modbus.Table, uint16, bool) {
	if !v.is(scalar) {
		return table, 0, false
	}
	text := v.n.text
	of, address, ok := modbus.ParseModicon(text)
	switch {
	case ok && register.has && tableOK && of != table:
		v.fail(fmt.Sprintf("%s is in the table %s by its first digit, but register says %s", text, tableName(of), tableName(table)), "correct one of them, or remove register")
		return table, 0, false
	case ok:
		return of, address, true
	case modiconAddress.MatchString(text) && strings.IndexByte("0134", text[0]) < 0:
		v.fail(fmt.Sprintf("no table has modicon addresses that begin with %c", text[0]), "begin with 0 (coil), 1 (discrete), 3 (input) or 4 (holding)")
		return table, 0, false
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 || number > 9999 {
		number = 1
	}
	digit := tables[slices.IndexFunc(tables, func(row tableRow) bool { return row.table == table })].digit
	v.fail(shown(text)+" is not a modicon address", fmt.Sprintf("write five or six digits such as %[1]c%04[2]d or %[1]c%05[2]d, or address_format: wire", digit, number))
	return table, 0, false
}

// isPart says that others may read the same register too.
func (p *placed) isPart() bool {
	return p.Type == modbus.Bit || p.BitCount > 0 || p.Type.InByte()
}

// warnOverlaps names registers of one unit and table that share addresses but
// not type and place: one of them is likely wrong. A bool reads what a number
// may hold too, so it is left out.
func warnOverlaps(registers []placed) {
	registers = slices.DeleteFunc(registers, func(p placed) bool { return p.typ == "bool" || p.isPart() })
	sort.SliceStable(registers, func(i, j int) bool {
		a, b := &registers[i], &registers[j]
		return cmp.Or(cmp.Compare(a.unit, b.unit), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Address, b.Address)) < 0
	})
	end := func(p placed) int { return int(p.Address) + p.width }
	for i := 1; i < len(registers); i++ {
		p := registers[i]
		// A number is at most 4 registers wide: only a few can reach to p.
		for j := i - 1; j >= 0; j-- {
			q := registers[j]
			if q.unit != p.unit || q.Table != p.Table || int(q.Address)+4 <= int(p.Address) {
				break
			}
			if end(q) > int(p.Address) && (q.Type != p.Type || q.Address != p.Address) {
				p.at.warn(fmt.Sprintf("%s (%s at %d) overlaps %s (%s at %d)", p.Name, p.typ, p.Address, q.Name, q.typ, q.Address), "correct an address or a type")
				break
			}
		}
	}
}
