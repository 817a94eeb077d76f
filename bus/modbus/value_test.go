package modbus

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	f32 := func(f float32) []uint16 { b := math.Float32bits(f); return []uint16{uint16(b >> 16), uint16(b)} }
	for _, c := range []struct {
		name  string
		r     Register
		words []uint16
		want  any
	}{
		{"uint16", Register{Type: Uint16}, []uint16{0xFFFE}, uint64(65534)},
		{"uint16 BADC", Register{Type: Uint16, ByteOrder: BADC}, []uint16{0x1234}, uint64(0x3412)},
		{"uint16 DCBA", Register{Type: Uint16, ByteOrder: DCBA}, []uint16{0x1234}, uint64(0x3412)},
		{"uint16 CDAB", Register{Type: Uint16, ByteOrder: CDAB}, []uint16{0x1234}, uint64(0x1234)},
		{"int16", Register{Type: Int16}, []uint16{0xFFFE}, int64(-2)},
		{"uint32 ABCD", Register{Type: Uint32}, []uint16{0x0102, 0x0304}, uint64(0x01020304)},
		{"uint32 CDAB", Register{Type: Uint32, ByteOrder: CDAB}, []uint16{0x0304, 0x0102}, uint64(0x01020304)},
		{"uint32 BADC", Register{Type: Uint32, ByteOrder: BADC}, []uint16{0x0201, 0x0403}, uint64(0x01020304)},
		{"uint32 DCBA", Register{Type: Uint32, ByteOrder: DCBA}, []uint16{0x0403, 0x0201}, uint64(0x01020304)},
		{"int32", Register{Type: Int32}, []uint16{0xFFFF, 0xFFFE}, int64(-2)},
		{"uint64 ABCD", Register{Type: Uint64}, []uint16{0x0102, 0x0304, 0x0506, 0x0708}, uint64(0x0102030405060708)},
		{"uint64 CDAB", Register{Type: Uint64, ByteOrder: CDAB}, []uint16{0x0708, 0x0506, 0x0304, 0x0102}, uint64(0x0102030405060708)},
		{"uint64 BADC", Register{Type: Uint64, ByteOrder: BADC}, []uint16{0x0201, 0x0403, 0x0605, 0x0807}, uint64(0x0102030405060708)},
		{"uint64 DCBA", Register{Type: Uint64, ByteOrder: DCBA}, []uint16{0x0807, 0x0605, 0x0403, 0x0201}, uint64(0x0102030405060708)},
		{"int64", Register{Type: Int64}, []uint16{0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE}, int64(-2)},
		{"uint64 beyond 2^53 stays exact", Register{Type: Uint64}, []uint16{0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF}, uint64(math.MaxUint64)},
		{"float32", Register{Type: Float32}, f32(230.1), 230.1},
		{"float32 scaled", Register{Type: Float32, Scale: 0.1}, f32(230.1), 23.01},
		{"float32 tiny", Register{Type: Float32}, f32(1.5e-7), 1.5e-7},
		{"float32 big, scaled", Register{Type: Float32, Scale: 10}, f32(3e7), 3e8},
		{"float64", Register{Type: Float64}, []uint16{0x406C, 0xC333, 0x3333, 0x3333}, 230.1},
		{"scale 0.1", Register{Type: Uint16, Scale: 0.1}, []uint16{2301}, 230.1},
		{"scale 0.01", Register{Type: Uint32, Scale: 0.01}, []uint16{0x12, 0xD687}, 12345.67},
		{"scale -0.1", Register{Type: Int16, Scale: -0.1}, []uint16{0xFFFD}, 0.3},
		{"scale and offset", Register{Type: Int16, Scale: 0.1, Offset: -40}, []uint16{3}, -39.7},
		{"offset with more digits", Register{Type: Uint16, Scale: 0.1, Offset: 0.05}, []uint16{3}, 0.35},
		{"offset alone", Register{Type: Uint16, Offset: 0.1}, []uint16{2}, 2.1},
		{"scale 10", Register{Type: Uint16, Scale: 10}, []uint16{7}, 70.0},
		{"scale that is no short decimal", Register{Type: Uint16, Scale: 1.0 / 3}, []uint16{3}, 1.0},
		{"largest uint64 scaled", Register{Type: Uint64, Scale: 0.5}, []uint16{0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF}, float64(math.MaxUint64) / 2},
		{"bool of a register", Register{Type: Bool}, []uint16{0x0100}, true},
		{"bool of zero", Register{Type: Bool}, []uint16{0}, false},
	} {
		v, err := c.r.Decode(c.words)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got any
		switch v.Kind {
		case KindUint:
			got = v.Uint
		case KindInt:
			got = v.Int
		case KindFloat:
			got = v.Float
		case KindBool:
			got = v.Uint == 1
		}
		if got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	nan := Register{Type: Float32}
	if v, err := nan.Decode([]uint16{0x7FC0, 0}); err != nil || !math.IsNaN(v.Float) {
		t.Errorf("NaN became %v", v.Float)
	}
}

// TestNoSpuriousDigits: a raw value times a decimal scale prints with no more
// digits than the scale has.
func TestNoSpuriousDigits(t *testing.T) {
	for _, scale := range []float64{0.1, 0.01, 0.001, 0.0001, 0.5, 0.25} {
		c := newConversion(&Register{Type: Uint16, Scale: scale})
		allowed := len(strings.Split(text(scale), ".")[1])
		for raw := range 65536 {
			v, _ := c.value([]byte{byte(raw >> 8), byte(raw)})
			if _, digits, _ := strings.Cut(text(v.Float), "."); len(digits) > allowed {
				t.Fatalf("%d at %v is %v", raw, scale, text(v.Float))
			}
		}
	}
}

func text(f float64) string {
	b, _ := json.Marshal(f)
	return string(b)
}

func TestWordsReadBack(t *testing.T) {
	for i := range tableNames {
		if got, err := ParseTable(Table(i).String()); err != nil || got != Table(i) {
			t.Error(got, err)
		}
	}
	for i := range typeNames {
		if got, err := ParseType(Type(i).String()); err != nil || got != Type(i) {
			t.Error(got, err)
		}
	}
	for i := range byteOrderNames {
		if got, err := ParseByteOrder(ByteOrder(i).String()); err != nil || got != ByteOrder(i) {
			t.Error(got, err)
		}
	}
	for _, bad := range []string{"ABDC", "big", "abcd", ""} {
		if _, err := ParseByteOrder(bad); err == nil {
			t.Errorf("byte order %q was taken", bad)
		}
	}
}

func TestValidate(t *testing.T) {
	good := func() LineConfig {
		return LineConfig{Port: "/dev/ttyS1", Devices: []Device{{Name: "d", UnitID: 1, Registers: []Register{{Name: "r"}}}}}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*LineConfig)
		want   string
	}{
		{"7 bits", func(c *LineConfig) { c.DataBits = 7 }, "whole bytes"},
		{"parity", func(c *LineConfig) { c.Parity = 'X' }, "parity"},
		{"stop bits", func(c *LineConfig) { c.StopBits = 3 }, "stop bits"},
		{"unit 0", func(c *LineConfig) { c.Devices[0].UnitID = 0 }, "unit id 0"},
		{"max registers", func(c *LineConfig) { c.Devices[0].MaxRegisters = 126 }, "max registers"},
		{"past the end", func(c *LineConfig) {
			c.Devices[0].Registers[0] = Register{Name: "r", Address: 65535, Type: Uint32}
		}, "past 65535"},
		{"coil as a number", func(c *LineConfig) { c.Devices[0].Registers[0].Table = Coil }, "use bool"},
		{"NaN scale", func(c *LineConfig) { c.Devices[0].Registers[0].Scale = math.NaN() }, "use numbers"},
		{"interval", func(c *LineConfig) { c.Devices[0].Registers[0].Interval = -1 }, "interval"},
		{"same name twice", func(c *LineConfig) { c.Devices[0].Registers = append(c.Devices[0].Registers, Register{Name: "r"}) }, "used twice"},
		{"no port", func(c *LineConfig) { c.Port = "" }, "port: missing"},
	} {
		cfg := good()
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
		if _, err := NewLine(cfg, nil); err == nil {
			t.Errorf("%s: NewLine took it", c.name)
		}
	}
}
