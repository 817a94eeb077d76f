package config

import (
	"testing"
	"time"

	"fieldferry/bus/modbus"

	"github.com/google/go-cmp/cmp"
)

func TestRegisterValues(t *testing.T) {
	cfg := load(t, "testdata/good/modbus-values.yaml", surroundings())
	line := cfg.Modbus[0]
	if line.Port != "tcp://192.0.2.1" || line.Devices[0].Timeout != 2*time.Second || cfg.Modbus[1].Port != "rtu+tcp://[2001:db8::1]:4001" {
		t.Errorf("%+v", cfg.Modbus)
	}
	want := []modbus.Register{
		{Name: "b0", Type: modbus.Bit},
		{Name: "b15", Type: modbus.Bit, BitLow: 15},
		{Name: "mode", BitLow: 4, BitCount: 4, Enum: map[int64]string{0: "off", 1: "on", 2: "auto"}},
		{Name: "low", Address: 1, Type: modbus.Int8},
		{Name: "high", Address: 1, Type: modbus.Uint8, HighByte: true},
		{Name: "half", Address: 2, Type: modbus.Float16, Invalid: modbus.Invalid{NaN: true}},
		{Name: "serial", Address: 3, Type: modbus.String, Length: 15, ByteOrder: modbus.BADC},
		{Name: "year", Address: 20, Type: modbus.BCD16},
		{Name: "count", Address: 21, Type: modbus.BCD32, Scale: 0.01},
		{Name: "power", Address: 30, Type: modbus.Int16, ScaleRegister: 31, HasScaleRegister: true,
			Invalid: modbus.Invalid{Bits: []uint64{0x8000, 1<<64 - 1}},
			Limit:   modbus.Limit{Deadband: 1, Percent: true, MinInterval: 10 * time.Second, MaxInterval: time.Minute}},
		{Name: "temperature", Address: 40, Type: modbus.Float32,
			Invalid: modbus.Invalid{NaN: true, Floats: []float64{-999.9}, Bits: []uint64{0x7F800000}}, Limit: modbus.Limit{Deadband: 0.5}},
		{Name: "state", Address: 50, Type: modbus.Uint32, Flags: map[int]string{0: "run", 31: "fault"}, OnChange: true, Limit: modbus.Limit{MaxInterval: time.Hour}},
		{Name: "door", Table: modbus.Discrete, Type: modbus.Bool, Enum: map[int64]string{0: "closed", 1: "open"}},
	}
	for i := range want {
		want[i].Interval = time.Second
		if want[i].Scale == 0 {
			want[i].Scale = 1
		}
	}
	if diff := cmp.Diff(want, line.Devices[0].Registers); diff != "" {
		t.Errorf("registers (-want +got):\n%s", diff)
	}
}
