package modbus

import (
	"math"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

func TestDecodeOtherTypes(t *testing.T) {
	words := func(s string) (w []uint16) {
		for i := 0; i < len(s); i += 2 {
			w = append(w, uint16(s[i])<<8|uint16(s[i+1]))
		}
		return w
	}
	for _, c := range []struct {
		name  string
		r     Register
		words []uint16
		want  Value
		fail  string
	}{
		{"bit 0", Register{Type: Bit}, []uint16{1}, Value{Kind: KindBool, Uint: 1}, ""},
		{"bit 15", Register{Type: Bit, BitLow: 15}, []uint16{0x7FFF}, Value{Kind: KindBool}, ""},
		{"bit 15 swapped", Register{Type: Bit, BitLow: 15, ByteOrder: BADC}, []uint16{0x0080}, Value{Kind: KindBool, Uint: 1}, ""},
		{"bits", Register{Type: Uint16, BitLow: 4, BitCount: 4}, []uint16{0xABCD}, Value{Uint: 0xC}, ""},
		{"all bits", Register{Type: Uint64, BitCount: 64}, []uint16{1, 2, 3, 4}, Value{Uint: 1<<48 | 2<<32 | 3<<16 | 4}, ""},
		{"bits scaled", Register{Type: Uint16, BitLow: 8, BitCount: 8, Scale: 0.1}, []uint16{0x17FF}, Value{Kind: KindFloat, Float: 2.3}, ""},
		{"int8 low", Register{Type: Int8}, []uint16{0x12FE}, Value{Kind: KindInt, Int: -2}, ""},
		{"int8 high", Register{Type: Int8, HighByte: true}, []uint16{0xFE12}, Value{Kind: KindInt, Int: -2}, ""},
		{"uint8 high", Register{Type: Uint8, HighByte: true}, []uint16{0xFE12}, Value{Uint: 0xFE}, ""},
		{"float16", Register{Type: Float16}, []uint16{0x4248}, Value{Kind: KindFloat, Float: 3.140625}, ""},
		{"float16 least", Register{Type: Float16}, []uint16{0x8001}, Value{Kind: KindFloat, Float: -5.9604645e-8}, ""},
		{"float16 infinite", Register{Type: Float16}, []uint16{0xFC00}, Value{Kind: KindFloat, Float: math.Inf(-1)}, ""},
		{"float16 scaled", Register{Type: Float16, Scale: 10}, []uint16{0x3C00}, Value{Kind: KindFloat, Float: 10}, ""},
		{"string", Register{Type: String, Length: 6}, words("abc \x00x"), Value{Kind: KindText, Text: "abc"}, ""},
		{"string, odd", Register{Type: String, Length: 3}, words("abcd"), Value{Kind: KindText, Text: "abc"}, ""},
		{"string swapped", Register{Type: String, Length: 4, ByteOrder: BADC}, words("badc"), Value{Kind: KindText, Text: "abcd"}, ""},
		{"string reversed", Register{Type: String, Length: 6, ByteOrder: DCBA}, words("fedcba"), Value{Kind: KindText, Text: "abcdef"}, ""},
		{"string of another coding", Register{Type: String, Length: 2}, []uint16{0x41E9}, Value{Kind: KindText, Text: "A\uFFFD"}, ""},
		{"string of nothing", Register{Type: String, Length: 4}, []uint16{0xFFFF, 0xFFFF}, Value{Kind: KindText}, ""},
		{"bcd16", Register{Type: BCD16}, []uint16{0x1234}, Value{Uint: 1234}, ""},
		{"bcd32", Register{Type: BCD32, Scale: 0.01}, []uint16{0x1234, 0x5678}, Value{Kind: KindFloat, Float: 123456.78}, ""},
		{"bcd32 words reversed", Register{Type: BCD32, ByteOrder: CDAB}, []uint16{0x5678, 0x1234}, Value{Uint: 12345678}, ""},
		{"no bcd", Register{Type: BCD16}, []uint16{0x12A4}, Value{}, "not a BCD number: 0x12A4"},
		{"int24", Register{Type: Int24}, []uint16{0x12FF, 0xFFFE}, Value{Kind: KindInt, Int: -2}, ""},
		{"uint24", Register{Type: Uint24}, []uint16{0x12FF, 0xFFFE}, Value{Uint: 0xFFFFFE}, ""},
		{"uint24 words reversed", Register{Type: Uint24, ByteOrder: CDAB}, []uint16{0x3456, 0x0012}, Value{Uint: 0x123456}, ""},
		{"int48", Register{Type: Int48}, []uint16{0xFFFF, 0xFFFF, 0xFFFE}, Value{Kind: KindInt, Int: -2}, ""},
		{"uint48", Register{Type: Uint48}, []uint16{0x0012, 0x3456, 0x789A}, Value{Uint: 0x123456789A}, ""},
		{"uint48 of Seneca, words reversed", Register{Type: Uint48, ByteOrder: CDAB}, []uint16{0x789A, 0x3456, 0x0012}, Value{Uint: 0x123456789A}, ""},
		{"uint48 both", Register{Type: Uint48, ByteOrder: DCBA}, []uint16{0x9A78, 0x5634, 0x1200}, Value{Uint: 0x123456789A}, ""},
		{"bcd8", Register{Type: BCD8}, []uint16{0xFF42}, Value{Uint: 42}, ""},
		{"bcd8 high", Register{Type: BCD8, HighByte: true}, []uint16{0x42FF}, Value{Uint: 42}, ""},
		{"no bcd8", Register{Type: BCD8}, []uint16{0x004A}, Value{}, "not a BCD number: 0x4A"},
		{"bcd64", Register{Type: BCD64}, []uint16{0x1234, 0x5678, 0x9012, 0x3456}, Value{Uint: 1234567890123456}, ""},
		{"sign_magnitude16", Register{Type: SignMagnitude16}, []uint16{0x8005}, Value{Kind: KindInt, Int: -5}, ""},
		{"sign_magnitude16 positive", Register{Type: SignMagnitude16, Scale: 0.1}, []uint16{0x0005}, Value{Kind: KindFloat, Float: 0.5}, ""},
		{"sign_magnitude32", Register{Type: SignMagnitude32}, []uint16{0x8001, 0x0000}, Value{Kind: KindInt, Int: -65536}, ""},
		{"sign_magnitude32, minus zero", Register{Type: SignMagnitude32}, []uint16{0x8000, 0}, Value{Kind: KindInt}, ""},
		{"modulo10000", Register{Type: Modulo10000, Length: 2}, []uint16{1234, 5678}, Value{Kind: KindInt, Int: 12345678}, ""},
		{"modulo10000 of Schneider, low word first", Register{Type: Modulo10000, Length: 3, ByteOrder: CDAB}, []uint16{5678, 1234, 9}, Value{Kind: KindInt, Int: 912345678}, ""},
		{"modulo10000 negative", Register{Type: Modulo10000, Length: 2}, []uint16{0xFFFF, 0xFFFE}, Value{Kind: KindInt, Int: -10002}, ""},
		{"no modulo10000", Register{Type: Modulo10000, Length: 2}, []uint16{1, 10000}, Value{}, "not a modulo 10000 number: 0x00012710"},
		{"modulo10000 of two signs", Register{Type: Modulo10000, Length: 2}, []uint16{1, 0xFFFF}, Value{}, "not a modulo 10000 number: 0x0001FFFF"},
		{"modulo10000 invalid", Register{Type: Modulo10000, Length: 4, Invalid: Invalid{Bits: []uint64{0x8000_8000_8000_8000}}}, []uint16{0x8000, 0x8000, 0x8000, 0x8000}, Value{}, notAvailable},
		{"invalid uint24", Register{Type: Uint24, Invalid: Invalid{Bits: []uint64{0xFFFFFF}}}, []uint16{0x00FF, 0xFFFF}, Value{}, notAvailable},
		{"string, one per register", Register{Type: String, Length: 8, PerRegister: true}, []uint16{'D', 'R', 'I', 'V', 'E', '7', 0, 0}, Value{Kind: KindText, Text: "DRIVE7"}, ""},
		{"string, one per register, high", Register{Type: String, Length: 2, PerRegister: true, HighByte: true}, []uint16{'O' << 8, 'K' << 8}, Value{Kind: KindText, Text: "OK"}, ""},
		{"string, right-aligned", Register{Type: String, Length: 6}, words("\x00\x00\x00abc"), Value{Kind: KindText, Text: "abc"}, ""},
		{"invalid int16", Register{Type: Int16, Invalid: Invalid{Bits: []uint64{0x8000}}}, []uint16{0x8000}, Value{}, notAvailable},
		{"invalid negative", Register{Type: Int32, Invalid: Invalid{Bits: []uint64{math.MaxUint64}}}, []uint16{0xFFFF, 0xFFFF}, Value{}, notAvailable},
		{"invalid of another width", Register{Type: Uint32, Invalid: Invalid{Bits: []uint64{0x8000}}}, []uint16{0, 0x8000}, Value{}, notAvailable},
		{"invalid NaN", Register{Type: Float32, Invalid: Invalid{NaN: true}}, []uint16{0x7FC0, 1}, Value{}, notAvailable},
		{"invalid float", Register{Type: Float32, Scale: 2, Invalid: Invalid{Floats: []float64{-999.9}}}, []uint16{0xC479, 0xF99A}, Value{}, notAvailable},
		{"enum", Register{Type: Uint16, Enum: map[int64]string{1: "on"}}, []uint16{1}, Value{Uint: 1, Label: "on"}, ""},
		{"enum unknown", Register{Type: Uint16, Enum: map[int64]string{1: "on"}}, []uint16{2}, Value{Uint: 2}, ""},
		{"enum negative", Register{Type: Int16, Enum: map[int64]string{-1: "none"}}, []uint16{0xFFFF}, Value{Kind: KindInt, Int: -1, Label: "none"}, ""},
		{"enum of a bool", Register{Type: Bool, Enum: map[int64]string{0: "open"}}, []uint16{0}, Value{Kind: KindBool, Label: "open"}, ""},
		{"flags", Register{Type: Uint16, Flags: map[int]string{0: "run", 2: "fault", 9: "x"}}, []uint16{7}, Value{Uint: 7, Flags: []string{"run", "fault"}}, ""},
		{"no flags", Register{Type: Uint16, Flags: map[int]string{0: "run"}}, []uint16{0}, Value{Flags: []string{}}, ""},
	} {
		got, err := c.r.Decode(c.words)
		fail := ""
		if err != nil {
			fail = err.Error()
		}
		if fail != c.fail || fail == "" && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %q, want %+v, %q", c.name, got, fail, c.want, c.fail)
		}
	}
	if _, err := (&Register{Type: Uint32}).Decode([]uint16{1}); err == nil {
		t.Error("one word for a uint32 was taken")
	}
}

func TestScaleRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unit := &modbustest.Unit{Holding: map[uint16]uint16{10: 2301, 11: 5, 14: 0xFFFF, 15: 0x8000, 16: 11}}
		b := newBench(t, LineConfig{Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 8, Registers: []Register{
			{Name: "v", Address: 10, HasScaleRegister: true, ScaleRegister: 14},
			{Name: "w", Address: 11, HasScaleRegister: true, ScaleRegister: 14, Scale: 0.1},
			{Name: "none", Address: 11, HasScaleRegister: true, ScaleRegister: 15},
			{Name: "wild", Address: 11, HasScaleRegister: true, ScaleRegister: 16},
			{Name: "gone", Address: 11, HasScaleRegister: true, ScaleRegister: 99},
		}}}}, map[byte]*modbustest.Unit{1: unit})
		b.run(3500 * ms)
		want := map[string]string{
			"v": "230.1", "w": "0.05", "none": "scale factor: not available", "wild": "scale factor: 10^11 is out of range",
			"gone": "scale factor: exception 2: illegal data address",
		}
		if got := b.book.last(t, "d"); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
	})
}

func TestLimits(t *testing.T) {
	at := func(v float64) *result { return &result{done: true, value: Value{Kind: KindFloat, Float: v}} }
	failed, other := &result{done: true, fail: "timeout"}, &result{done: true, fail: "not asked"}
	without := &result{done: true, fail: notAvailable, none: true}
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		name  string
		reg   Register
		steps []*result // one a second
		want  string    // which are told
	}{
		{"everything", Register{}, []*result{at(1), at(1), failed, failed, at(1)}, "+++++"},
		{"on change", Register{OnChange: true}, []*result{at(1), at(1), at(2), failed, failed, at(2), at(2)}, "+-++-+-"},
		{"another error", Register{OnChange: true}, []*result{at(1), failed, other, without, failed, at(1), without, other}, "++---++-"},
		{"another error and deadband", Register{Limit: Limit{Deadband: 1}}, []*result{at(1), failed, other, failed, at(1)}, "++--+"},
		{"another error, repeated", Register{OnChange: true, Limit: Limit{MaxInterval: 3 * time.Second}}, []*result{failed, other, failed, other, failed}, "+--+-"},
		{"every error", Register{}, []*result{failed, other, without}, "+++"},
		{"NaN once", Register{OnChange: true}, []*result{at(1), at(math.NaN()), at(math.NaN()), at(1)}, "++-+"},
		{"deadband", Register{Limit: Limit{Deadband: 0.5}}, []*result{at(1), at(1.5), at(1.51), at(1.2), at(0.9)}, "+-+-+"},
		{"creeping", Register{Limit: Limit{Deadband: 1}}, []*result{at(0), at(0.6), at(1.2), at(1.8), at(2.4)}, "+-+-+"},
		{"percent", Register{Limit: Limit{Deadband: 10, Percent: true}}, []*result{at(100), at(109), at(111), at(100), at(99.8)}, "+-+-+"},
		{"deadband and NaN", Register{Limit: Limit{Deadband: 1}}, []*result{at(1), at(math.NaN()), at(math.NaN()), at(1)}, "++-+"},
		{"least interval", Register{OnChange: true, Limit: Limit{MinInterval: 3 * time.Second}}, []*result{at(1), at(2), at(3), at(4), at(4), failed, at(4)}, "+--+-++"},
		{"greatest interval", Register{OnChange: true, Limit: Limit{MaxInterval: 3 * time.Second}}, []*result{at(1), at(1), at(1), at(1), at(1)}, "+--+-"},
	} {
		p, got := newPoint(&c.reg), ""
		for i, r := range c.steps {
			now := start.Add(time.Duration(i) * time.Second)
			if !p.tells(r, now) {
				got += "-"
				continue
			}
			got += "+"
			p.hasTold, p.told, p.toldFail, p.toldAt = true, r.value, r.fail != "", now
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
