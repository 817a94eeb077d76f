package rtu

import (
	"errors"
	"slices"
	"testing"

	"fieldferry/bus/permit"
)

// What a permit is asked about is what the frame has, whoever made it.
func TestCheckWrite(t *testing.T) {
	var asked []uint16
	mint := func(coil bool, count int) permit.Register {
		p, err := permit.ForRegister(permit.RegisterScope{Line: "l", Unit: 3, Coil: coil, Address: 0x160, Count: count,
			Limits: func(words []uint16) error { asked = slices.Clone(words); return nil }})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		function byte
		coil     bool
		words    []uint16
	}{
		{WriteSingleRegister, false, []uint16{0xFFFF}}, {WriteSingleRegister, false, []uint16{0}},
		{WriteRegisters, false, []uint16{1}}, {WriteRegisters, false, []uint16{0x1234, 0, 0xFFFF, 0x8000}},
		{WriteSingleCoil, true, []uint16{1}}, {WriteSingleCoil, true, []uint16{0}},
		{WriteCoils, true, []uint16{1}}, {WriteCoils, true, []uint16{1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 1}},
	} {
		p, frame := mint(c.coil, len(c.words)), AppendWriteRequest(nil, 3, c.function, 0x160, c.words)
		if err := CheckWrite(p, frame); err != nil || !slices.Equal(asked, c.words) {
			t.Errorf("function %d, %v: asked about %v, %v", c.function, c.words, asked, err)
		}
		for name, other := range map[string][]byte{
			"unit":     AppendWriteRequest(nil, 4, c.function, 0x160, c.words),
			"address":  AppendWriteRequest(nil, 3, c.function, 0x161, c.words),
			"read":     AppendReadRequest(nil, 3, 3, 0x160, 1),
			"function": AppendCRC(append([]byte{3, 22}, frame[2:len(frame)-2]...)),
			"one byte": AppendCRC(append(slices.Clone(frame[:len(frame)-2]), 0)),
			"short":    frame[:len(frame)-1],
			"damaged":  append(slices.Clone(frame[:len(frame)-1]), frame[len(frame)-1]^1),
		} {
			if err := CheckWrite(p, other); err == nil {
				t.Errorf("function %d: another %s passes", c.function, name)
			}
		}
		if err := CheckWrite(mint(!c.coil, len(c.words)), frame); !errors.Is(err, permit.ErrNotPermitted) {
			t.Errorf("function %d: of the other table: %v", c.function, err)
		}
		if err := CheckWrite(mint(c.coil, len(c.words)+1), frame); !errors.Is(err, permit.ErrNotPermitted) {
			t.Errorf("function %d: of more: %v", c.function, err)
		}
		if err := CheckWrite(permit.Register{}, frame); !errors.Is(err, permit.ErrNotPermitted) {
			t.Errorf("function %d: by none: %v", c.function, err)
		}
	}
	// No other function passes in the form of a single write.
	for function := range 256 {
		frame := AppendCRC([]byte{3, byte(function), 1, 0x60, 0, 1})
		if err := CheckWrite(mint(false, 1), frame); (err == nil) != (function == WriteSingleRegister) {
			t.Errorf("function %d: %v", function, err)
		}
	}
}
