package modbus

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fieldferry/bus/permit"
	"fieldferry/bus/scalar"
)

func limits(t *testing.T, low, high, step string) scalar.Limits {
	t.Helper()
	l, err := scalar.NewLimits(low, high, step)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wide are limits that keep to no type's own.
var wide = func() scalar.Limits {
	l, err := scalar.NewLimits("-1e308", "1e308", "")
	if err != nil {
		panic(err)
	}
	return l
}()

// anything is a codec of a register within whatever its type can hold.
func anything(t *testing.T, r Register) *Codec {
	t.Helper()
	c := NewDecoder(r)
	c.limits, c.labels = wide, map[string]int64{}
	return c
}

// What is written is what is then read, bit by bit; all else is refused.
func TestEncodeExactly(t *testing.T) {
	for _, c := range []struct {
		reg         Register
		low, high   string
		step, value string
		want        string // the words in hex, or a code with a !
	}{
		{Register{Type: Uint16}, "0", "65535", "", "0", "0000"},
		{Register{Type: Uint16}, "0", "65535", "", "65535", "ffff"},
		{Register{Type: Uint16}, "0", "65535", "", "75.5", "!type"},
		{Register{Type: Uint16}, "0", "65535", "", "75.0", "004b"},
		{Register{Type: Uint16}, "0", "65535", "", "7.5e1", "004b"},
		{Register{Type: Uint16}, "0", "65535", "", "-1", "!range"},
		{Register{Type: Uint16}, "0", "65535", "", "256", "0100"},
		{Register{Type: Uint8}, "0", "255", "", "256", "!range"},
		{Register{Type: Int16}, "-100", "100", "", "-1", "ffff"},
		{Register{Type: Int16}, "-100", "100", "", "-0", "0000"},
		{Register{Type: Int16, Scale: 0.5}, "40", "75", "0.5", "62.5", "007d"},
		{Register{Type: Int16, Scale: 0.1}, "40", "75", "0.5", "62.3", "!step"},
		{Register{Type: Int16, Scale: 0.1}, "40", "75", "", "62.3", "026f"},
		{Register{Type: Int16, Scale: 0.1}, "40", "75", "", "62.35", "!type"},
		{Register{Type: Int16, Scale: 0.1, Offset: -40}, "-40", "75", "", "-39.9", "0001"},
		{Register{Type: Uint16, Scale: 0.1}, "0", "10", "", "0.3", "0003"}, // 0.3/0.1 is 2.9999999999999996
		{Register{Type: Uint64}, "0", "18446744073709551615", "", `"18446744073709551615"`, "ffffffffffffffff"},
		{Register{Type: Uint64}, "0", "18446744073709551615", "", "18446744073709551615", "!type"},
		{Register{Type: Uint64}, "0", "18446744073709551615", "", "9007199254740993", "!type"},
		{Register{Type: Uint64}, "0", "18446744073709551615", "", `"9007199254740993"`, "0020000000000001"},
		{Register{Type: Uint64}, "0", "18446744073709551615", "", `"9007199254740994"`, "0020000000000002"},
		{Register{Type: Uint64}, "0", "18446744073709551615", "", "9007199254740992", "0020000000000000"},
		{Register{Type: Uint64}, "0", "18446744073709551615", "", `"1"`, "!type"},
		{Register{Type: Int64}, "-9223372036854775808", "9223372036854775807", "", `"-9223372036854775808"`, "8000000000000000"},
		{Register{Type: Int64}, "-9223372036854775808", "9223372036854775807", "", `"9223372036854775808"`, "!range"},
		{Register{Type: Int32}, "-1e9", "1e9", "", "-1", "ffffffff"},
		{Register{Type: Int32, ByteOrder: CDAB}, "-1e9", "1e9", "", "65536", "00000001"},
		{Register{Type: Float32}, "0", "100", "", "62.3", "42793333"},
		{Register{Type: Float32}, "0", "100", "", "62.30000001", "!type"},
		{Register{Type: Float32}, "0", "100", "", "0", "00000000"},
		{Register{Type: Float32}, "0", "1e30", "", "16777217", "!type"},
		{Register{Type: Float64}, "0", "1e300", "", "9007199254740993", "!type"},
		{Register{Type: Float64}, "0", "1e300", "", "1e400", "!type"},
		{Register{Type: Float64}, "0", "1e300", "", "0.1", "3fb999999999999a"},
		{Register{Type: Float16}, "0", "100", "", "0.5", "3800"},
		{Register{Type: Float16}, "0", "100", "", "0.3", "!type"},
		{Register{Type: BCD16}, "0", "9999", "", "1234", "1234"},
		{Register{Type: BCD32}, "0", "99999999", "", "12345678", "12345678"},
		{Register{Type: Bool, Table: Coil}, "", "", "", "true", "0001"},
		{Register{Type: Bool, Table: Coil}, "", "", "", "false", "0000"},
		{Register{Type: Bool, Table: Coil}, "", "", "", "1", "0001"},
		{Register{Type: Bool, Table: Coil}, "", "", "", "0", "0000"},
		{Register{Type: Bool, Table: Coil}, "", "", "", "256", "!type"},
		{Register{Type: Bool, Table: Coil}, "", "", "", "null", "!type"},
		{Register{Type: Bool, Table: Coil}, "", "", "", `"true"`, "!type"},
		{Register{Type: Bool}, "", "", "", "true", "0001"},
		{Register{Type: Uint16, Enum: map[int64]string{2: "auto"}}, "0", "3", "", `"auto"`, "0002"},
		{Register{Type: Uint16, Enum: map[int64]string{9: "off"}}, "0", "3", "", `"off"`, "!range"},
		{Register{Type: Uint16, Enum: map[int64]string{2: "auto"}}, "0", "3", "", `"manual"`, "!type"},
		{Register{Type: Uint16, Invalid: Invalid{Bits: []uint64{0xFFFF}}}, "0", "65534", "", "65534", "fffe"},
		{Register{Type: String, Length: 4}, "", "", "", `"ab"`, "61620000"},
		{Register{Type: String, Length: 4}, "", "", "", `"abcde"`, "!range"},
		{Register{Type: String, Length: 4}, "", "", "", `" ab"`, "!type"},
		{Register{Type: String, Length: 4}, "", "", "", "12", "!type"},
	} {
		r := c.reg
		r.Name = "r"
		var l scalar.Limits
		if c.low != "" {
			l = limits(t, c.low, c.high, c.step)
		}
		codec, err := NewCodec(r, l)
		if err != nil {
			t.Errorf("%v %s: %v", r.Type, c.value, err)
			continue
		}
		words, err := codec.Encode(c.value, nil)
		got := ""
		for _, w := range words {
			got += fmt.Sprintf("%04x", w)
		}
		var no *scalar.Refusal
		if errors.As(err, &no) {
			got = "!" + no.Code
		} else if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v scale %v, %s: got %s (%v), want %s", r.Type, r.Scale, c.value, got, err, c.want)
		}
	}
}

// What is not a number of any kind is refused for every type, and so is what only looks like one.
func TestNothingElseIsEncoded(t *testing.T) {
	for name := range Types() {
		typ, err := ParseType(Types()[name])
		if err != nil {
			t.Fatal(err)
		}
		codec := anything(t, Register{Type: typ, Length: 8})
		for _, value := range []string{"", "NaN", "nan", "Infinity", "-Infinity", "null", "[]", "[1]", "{}", "+1", "01", "0x10", ".5", "5.", "1e", "1e400",
			"-1e400", "1e-400", "1e999999999", "1e-999999999", "--1", "1,5", "1 2", "tru", "True", "on", "'1'", `"`, "\"\x80\"", "\x00", "1\x00", "1_000",
			"9007199254740993", "0.1000000000000000055511151231257827", strings.Repeat("9", 400), strings.Repeat("1", 5000)} {
			if words, err := codec.Encode(value, nil); err == nil || !errors.As(err, new(*scalar.Refusal)) {
				t.Errorf("%v: %.40q is written as %x: %v", typ, value, words, err)
			}
		}
	}
}

func TestCodecRefusesLimitsNobodyCanKeep(t *testing.T) {
	for name, c := range map[string]struct {
		reg             Register
		low, high, step string
		want            string // empty: it is right
	}{
		"right":                {Register{Type: Int16, Scale: 0.5}, "40", "75", "0.5", ""},
		"beyond the type":      {Register{Type: Uint8}, "0", "256", "", "max"},
		"below the type":       {Register{Type: Uint16}, "-1", "5", "", "min"},
		"between the steps":    {Register{Type: Int16, Scale: 0.5}, "40.2", "75", "", "min"},
		"finer than the scale": {Register{Type: Int16}, "40", "75", "0.5", "step"},
		"max is not a step":    {Register{Type: Int16}, "40", "75", "2", "step"},
		"an input register":    {Register{Type: Int16, Table: Input}, "40", "75", "", "cannot be written"},
		"a scale register":     {Register{Type: Int16, HasScaleRegister: true, ScaleRegister: 3}, "40", "75", "", "scale register"},
		"a bool with limits":   {Register{Type: Bool}, "0", "1", "", "has no min"},
		"an invalid end":       {Register{Type: Uint16, Invalid: Invalid{Bits: []uint64{0xFFFF}}}, "0", "65535", "", "not available"},
		"two equal labels":     {Register{Type: Uint16, Enum: map[int64]string{1: "on", 2: "on"}}, "0", "3", "", "enum"},
	} {
		c.reg.Name = "r"
		if _, err := NewCodec(c.reg, limits(t, c.low, c.high, "")); name == "max is not a step" && err != nil {
			t.Error(err)
		}
		l := scalar.Limits{}
		l.Min, _ = scalar.ParseNumber(c.low)
		l.Max, _ = scalar.ParseNumber(c.high)
		l.Step, _ = scalar.ParseNumber(c.step)
		if _, err := NewCodec(c.reg, l); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewCodec(Register{Name: "r"}, scalar.Limits{}); err == nil {
		t.Error("a number without min and max")
	}
}

// Random words of every type, order, scale and place are encoded to themselves
// once they are decoded, and the text says the value that polls publish.
func TestDecodeThenEncode(t *testing.T) {
	rnd := rand.New(rand.NewPCG(14, 1))
	scales := []float64{0, 0.1, 0.5, 0.01, 0.001, 2, 10, 0.25, 3, -0.1, 1e-6}
	offsets := []float64{0, -40, 0.5, 273.15}
	kept := map[Type]int{}
	for range 60000 {
		r := Register{Name: "r", Type: Type(rnd.IntN(len(typeNames))), ByteOrder: ByteOrder(rnd.IntN(4)), Length: 1 + rnd.IntN(10), HighByte: rnd.IntN(2) == 0}
		if rnd.IntN(2) == 0 {
			r.Scale, r.Offset = scales[rnd.IntN(len(scales))], offsets[rnd.IntN(len(offsets))]
		}
		switch r.Type {
		case Bit:
			r.BitLow = rnd.IntN(16)
		case Uint16, Uint32:
			if rnd.IntN(3) == 0 {
				r.BitLow = rnd.IntN(8)
				r.BitCount = 1 + rnd.IntN(8)
			}
		}
		c := anything(t, r)
		words := make([]uint16, r.Width())
		for i := range words {
			words[i] = uint16(rnd.Uint32())
			switch { // random words are hardly ever many decimal digits
			case r.Type == BCD64:
				words[i] = uint16(toBCD(uint64(rnd.IntN(10000))))
			case r.Type == Modulo10000:
				words[i] = uint16(rnd.IntN(10000))
			}
			if rnd.IntN(4) == 0 {
				words[i] = []uint16{0, 1, 0xFFFF, 0x8000, 0x7FFF, 0x100}[rnd.IntN(6)]
			}
		}
		text, err := c.Decode(words)
		if err != nil { // not a number, not BCD
			continue
		}
		again, err := c.Encode(text, words)
		if err != nil {
			// Where scale and offset are not of the float's own grid there are values
			// that no float stands for; they are refused, not rounded.
			if c.float() || r.Type == String || len(text) > 30 {
				continue
			}
			t.Fatalf("%+v: %x is read as %s, which cannot be written: %v", r, words, text, err)
		}
		if !slices.Equal(words, again) && !sameMeaning(c, words, again) && !minusZero(&r, words) {
			t.Fatalf("%+v: %x is read as %s, which is written as %x", r, words, text, again)
		}
		kept[r.Type]++
		published(t, &r, words, text)
	}
	for i, name := range typeNames {
		if kept[Type(i)] < 50 {
			t.Errorf("%s: only %d values", name, kept[Type(i)])
		}
	}
}

// sameMeaning reports whether words differ only in what has no meaning: the
// sign of a zero, which bits of a bool are set, what pads a string.
func sameMeaning(c *Codec, a, b []uint16) bool {
	switch c.reg.Type {
	case Bool, Bit, String, Float16, Float32, Float64:
		x, errX := c.Decode(a)
		y, errY := c.Decode(b)
		return x == y && errX == nil && errY == nil
	}
	return false
}

// published compares a decoded text with what the poll of the same words says.
func published(t *testing.T, r *Register, words []uint16, text string) {
	t.Helper()
	v, err := r.Decode(words)
	if err != nil {
		t.Fatalf("%+v: %x: %v", r, words, err)
	}
	plain := strings.Trim(text, `"`)
	switch v.Kind {
	case KindBool:
		if text != strconv.FormatBool(v.Uint != 0) {
			t.Fatalf("%+v: %x: %s and %d", r, words, text, v.Uint)
		}
	case KindUint:
		if plain != strconv.FormatUint(v.Uint, 10) {
			t.Fatalf("%+v: %x: %s and %d", r, words, text, v.Uint)
		}
	case KindInt:
		if plain != strconv.FormatInt(v.Int, 10) {
			t.Fatalf("%+v: %x: %s and %d", r, words, text, v.Int)
		}
	case KindFloat:
		f, err := strconv.ParseFloat(plain, 64)
		near := 1e-15
		if r.Type == Float32 || r.Type == Float16 { // polls round some of them by way of a float64
			near = 1e-7
		}
		if math.Abs(f) < 1e-30 { // a float32 of few digits
			return
		}
		if err != nil || math.Abs(f-v.Float) > near*max(math.Abs(f), math.Abs(r.Offset)) {
			t.Fatalf("%+v: %x: %s and %v", r, words, text, v.Float)
		}
	}
}

// Whatever is encoded is within the limits when it is decoded again, and the
// permit sees it.
func TestPermitSeesWhatIsEncoded(t *testing.T) {
	c, err := NewCodec(Register{Name: "r", Type: Int16, Scale: 0.5, Address: 7}, limits(t, "40", "75", "0.5"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := permit.ForRegister(c.Scope("line1", 3))
	if err != nil {
		t.Fatal(err)
	}
	for raw := range 1 << 16 {
		words := []uint16{uint16(raw)}
		text, _ := c.Decode(words)
		_, no := c.Encode(text, nil)
		if within := raw >= 80 && raw <= 150; (p.Check(3, false, 7, words) == nil) != within || (no == nil) != within {
			t.Fatalf("%d, %s: permitted: %v, encoded: %v", raw, text, p.Check(3, false, 7, words), no)
		}
	}
}

// A part of a register leaves the rest as it is.
func TestEncodeAPart(t *testing.T) {
	c, err := NewCodec(Register{Name: "r", Type: Uint16, BitLow: 4, BitCount: 4}, limits(t, "0", "15", ""))
	if err != nil {
		t.Fatal(err)
	}
	words, err := c.Encode("10", []uint16{0xF5F5})
	if err != nil || words[0] != 0xF5A5 || !c.Partial() {
		t.Errorf("%x, %v", words, err)
	}
	if words, err := c.Encode("16", []uint16{0}); err == nil {
		t.Errorf("%x", words)
	}
}

// A limit that the type cannot hold is refused by its name, with how far it reaches;
// the extremes themselves are held.
func TestLimitsBeyondTheType(t *testing.T) {
	for _, c := range []struct {
		reg       Register
		low, high string
	}{
		{Register{Type: Int16, Scale: 0.1}, "-3276.8", "3276.7"}, {Register{Type: Uint16, Scale: -1, Offset: 5}, "-65530", "5"},
		{Register{Type: Uint64}, "0", "18446744073709551615"}, {Register{Type: Int64}, "-9223372036854775808", "9223372036854775807"},
		{Register{Type: Uint8}, "0", "255"}, {Register{Type: Int8}, "-128", "127"}, {Register{Type: Int24}, "-8388608", "8388607"},
		{Register{Type: Uint16, BitLow: 4, BitCount: 4}, "0", "15"}, {Register{Type: BCD16}, "0", "9999"},
		{Register{Type: SignMagnitude16}, "-32767", "32767"}, {Register{Type: Modulo10000, Length: 2}, "-99999999", "99999999"},
	} {
		c.reg.Name = "r"
		at := limits(t, c.low, c.high, "")
		if _, err := NewCodec(c.reg, at); err != nil {
			t.Errorf("%v: %s to %s: %v", c.reg.Type, c.low, c.high, err)
		}
		scale := big.NewRat(1, 1)
		if c.reg.Scale != 0 {
			scale = scalar.OfFloat(math.Abs(c.reg.Scale), 64)
		}
		for key, l := range map[string]scalar.Limits{
			"min": {Min: new(big.Rat).Sub(at.Min, scale), Max: at.Max}, "max": {Min: at.Min, Max: new(big.Rat).Add(at.Max, scale)},
		} {
			_, err := NewCodec(c.reg, l)
			var fault *scalar.Fault
			if !errors.As(err, &fault) || fault.Key != key || !strings.Contains(fault.What, "holds, "+c.low+" to "+c.high) {
				t.Errorf("%v: beyond its %s: %v", c.reg.Type, key, err)
			}
		}
	}
}
