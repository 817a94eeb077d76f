package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fieldferry/bus/modbus"
)

// What a type may be combined with.
var (
	unsignedTypes = []modbus.Type{modbus.Uint8, modbus.Uint16, modbus.Uint24, modbus.Uint32, modbus.Uint48, modbus.Uint64}
	integerTypes  = append([]modbus.Type{modbus.Int8, modbus.Int16, modbus.Int24, modbus.Int32, modbus.Int48, modbus.Int64,
		modbus.BCD8, modbus.BCD16, modbus.BCD32, modbus.BCD64, modbus.SignMagnitude16, modbus.SignMagnitude32, modbus.Modulo10000}, unsignedTypes...)
	floatTypes = []modbus.Type{modbus.Float16, modbus.Float32, modbus.Float64}
)

func isOneOf(t modbus.Type, types []modbus.Type) bool {
	for _, u := range types {
		if t == u {
			return true
		}
	}
	return false
}

// a is the type with its article.
func (p *placed) a() string {
	if strings.HasPrefix(p.typ, "i") {
		return "an " + p.typ
	}
	return "a " + p.typ
}

// setParts says which part of a register a value is.
func (p *placed) setParts(f fields) {
	if v := f.at("bit"); v.has {
		p.BitLow = int(v.integer(0, 15, 0))
		if p.Type != modbus.Bit && (f.at("type").has || p.Table.Bits()) {
			v.fail(p.a()+" has no bit to choose", "write type: bit, or bits: 0-3 for several")
		} else {
			p.Type, p.typ = modbus.Bit, "bit"
		}
	}
	if v := f.at("bits"); v.has {
		p.setBits(v)
	}
	if v := f.at("byte"); v.has {
		p.HighByte = v.choice("low", "high") == "high"
		p.PerRegister = p.Type == modbus.String
		if !p.PerRegister && !p.Type.InByte() {
			v.fail(p.a()+" has no byte to choose", "write type: int8, uint8 or bcd8, or string for one character in each register; or remove the key")
		}
	}
	switch v := f.at("length"); {
	case p.Type == modbus.String:
		if !v.has {
			f.at("type").fail("a string needs its length", "write length: 16, the number of its characters")
		}
		most := int64(250)
		if p.PerRegister {
			most = 125
		}
		p.Length = int(v.integer(1, most, 2))
		p.width = p.Register.Width()
	case p.Type == modbus.Modulo10000:
		if !v.has {
			f.at("type").fail("a modulo10000 needs its length", "write length: 2, the number of its registers")
		}
		p.Length = int(v.integer(1, 4, 2))
		p.width = p.Length
	case v.has:
		v.fail(p.a()+" has a length of its own", "remove the key")
	}
}

var aBitRange = regexp.MustCompile(`^([0-9]{1,2})-([0-9]{1,2})$`)

func (p *placed) setBits(v value) {
	if !v.is(scalar) {
		return
	}
	top := p.Type.Size() - 1
	m := aBitRange.FindStringSubmatch(v.n.text)
	if m == nil {
		v.fail(shown(v.n.text)+" is not a range of bits", "write the lowest and the highest bit, such as 4-7")
		return
	}
	low, _ := strconv.Atoi(m[1])
	high, _ := strconv.Atoi(m[2])
	switch {
	case !isOneOf(p.Type, unsignedTypes):
		v.fail("only unsigned numbers have bits to choose, not "+p.a(), "write type: uint16, uint32 or uint64")
	case low > high:
		v.fail(v.n.text+" begins with the higher bit", fmt.Sprintf("write %d-%d", high, low))
	case high > top:
		v.fail(fmt.Sprintf("%s has bits 0 to %d", p.a(), top), "correct the bits or the type")
	default:
		p.BitLow, p.BitCount = low, high-low+1
	}
}

// setLabels reads enum and flags.
func (p *placed) setLabels(f fields) {
	if v := f.at("enum"); v.has {
		if !isOneOf(p.Type, integerTypes) && p.Type != modbus.Bool && p.Type != modbus.Bit {
			v.fail(p.a()+" has no labels", "remove the key, or read it as a whole number")
			return
		}
		p.Enum = map[int64]string{}
		v.labels("0: off", math.MinInt64, math.MaxInt64, func(n int64, label string) { p.Enum[n] = label })
	}
	if v := f.at("flags"); v.has {
		if !isOneOf(p.Type, unsignedTypes) {
			v.fail(p.a()+" has no flags", "write type: uint16 or uint32")
			return
		}
		if f.at("enum").has {
			v.fail("a value has an enum or flags, not both", "remove one of them")
			return
		}
		top := int64(p.Type.Size() - 1)
		if p.BitCount > 0 {
			top = int64(p.BitCount - 1)
		}
		p.Flags = map[int]string{}
		v.labels("0: running", 0, top, func(n int64, label string) { p.Flags[int(n)] = label })
	}
}

// labels reads a map of numbers to words.
func (v value) labels(example string, low, high int64, add func(int64, string)) {
	if !v.is(object) {
		return
	}
	seen := map[int64]bool{}
	for _, fd := range v.n.fields {
		key := value{v.l, v.path, &node{kind: scalar, at: fd.at, set: fd.set, text: fd.key}, true}
		item := value{v.l, join(v.path, printable(fd.key)), fd.value, true}
		if !wholeNumber.MatchString(fd.key) || leadingZero.MatchString(fd.key) {
			key.fail(shown(fd.key)+" is not a whole number", "write {"+example+"}")
			continue
		}
		before := len(v.l.problems)
		n := key.integer(low, high, 0)
		if len(v.l.problems) > before {
			continue
		}
		if seen[n] {
			key.fail(fd.key+" has a label already", "remove one of them")
			continue
		}
		seen[n] = true
		add(n, item.label(""))
	}
}

// setInvalid reads the raw values that mean not available.
func (p *placed) setInvalid(v value) {
	if !v.has {
		return
	}
	if !isOneOf(p.Type, integerTypes) && !isOneOf(p.Type, floatTypes) {
		v.fail(p.a()+" has no invalid values", "remove the key")
		return
	}
	items := []value{v}
	if v.n.kind == list {
		items = v.list()
	}
	for _, item := range items {
		p.addInvalid(item)
	}
}

func (p *placed) addInvalid(v value) {
	if !v.is(scalar) {
		return
	}
	text, isFloat := v.n.text, isOneOf(p.Type, floatTypes)
	size := p.Type.Size()
	if p.Type == modbus.Modulo10000 {
		size = 16 * p.width
	}
	switch lower := strings.ToLower(strings.TrimPrefix(text, ".")); {
	case lower == "nan" && isFloat:
		p.Invalid.NaN = true
	case lower == "nan":
		v.fail(p.a()+" is never NaN", "write a number such as 0x8000")
	case isFloat && !strings.HasPrefix(text, "0x"):
		p.Invalid.Floats = append(p.Invalid.Floats, v.number(0))
	case !wholeNumber.MatchString(text) || leadingZero.MatchString(text):
		v.fail(shown(text)+" is not a whole number", "write the raw value, such as 0x8000 or -32768")
	case strings.HasPrefix(text, "-"):
		n, err := strconv.ParseInt(text, 0, size)
		if err != nil {
			v.fail(fmt.Sprintf("%s does not fit into %s", text, p.a()), "write the raw value, such as -32768")
			return
		}
		p.Invalid.Bits = append(p.Invalid.Bits, uint64(n))
	default:
		n, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 0, size)
		if err != nil {
			v.fail(fmt.Sprintf("%s does not fit into %s", text, p.a()), "write the raw value, such as 0x8000")
			return
		}
		p.Invalid.Bits = append(p.Invalid.Bits, n)
	}
}

// setScaleRegister reads where the power of ten is.
func (p *placed) setScaleRegister(v value, in inherited) {
	if !v.has {
		return
	}
	if !isOneOf(p.Type, integerTypes) {
		v.fail(p.a()+" has no scale register", "remove the key")
		return
	}
	p.HasScaleRegister = true
	if in.modicon {
		table, address, ok := v.modicon(value{v.l, v.path, v.n, false}, p.Table, true)
		if ok && table != p.Table {
			v.fail("the scale register is in another table than the value", "name a register of the table "+tableName(p.Table))
		}
		p.ScaleRegister = address
		return
	}
	n := v.integer(in.addressBase, 65535+in.addressBase, in.addressBase)
	if !in.wire {
		v.warnModicon(p.Table, n)
	}
	p.ScaleRegister = uint16(n - in.addressBase)
}

// setLimit reads what holds values back.
func (p *placed) setLimit(f fields) {
	p.OnChange = f.at("on_change").boolean(false)
	span := span{low: time.Millisecond, high: 168 * time.Hour, zero: true, example: "10s"}
	p.Limit.MinInterval = f.at("min_interval").duration(span, 0)
	p.Limit.MaxInterval = f.at("max_interval").duration(span, 0)
	if v := f.at("deadband"); v.has {
		if isOneOf(p.Type, integerTypes) || isOneOf(p.Type, floatTypes) {
			p.Limit.Deadband, p.Limit.Percent = v.deadband()
		} else {
			v.fail(p.a()+" has no deadband", "remove the key; on_change: true sends only changes")
		}
		if on := f.at("on_change"); on.has && !p.OnChange {
			on.fail("a deadband sends only changes", "remove on_change or deadband")
		}
	}
	if v := f.at("max_interval"); v.has && !p.OnChange && !f.at("deadband").has {
		v.fail("says how long an unchanged value is held back, but every value is sent", "add on_change: true or a deadband, or remove the key")
	}
	if limit := p.Limit; limit.MaxInterval > 0 && limit.MaxInterval < limit.MinInterval {
		f.at("max_interval").fail("is shorter than min_interval", "make it longer")
	}
}

// deadband reads 0.5 or 1%.
func (v value) deadband() (band float64, percent bool) {
	if !v.is(scalar) {
		return 0, false
	}
	n := v
	if text, ok := strings.CutSuffix(v.n.text, "%"); ok {
		copied := *v.n
		copied.text, copied.quoted = strings.TrimSpace(text), false // "1%" is as good as 1%
		n.n, percent = &copied, true
	}
	const such = "write a number such as 0.5, or 1% of the value sent last"
	before := len(v.l.problems)
	band = n.numberSuch(1, such)
	if band <= 0 && len(v.l.problems) == before {
		v.fail(v.n.text+" is not above zero", such)
		return 0, false
	}
	return band, percent
}
