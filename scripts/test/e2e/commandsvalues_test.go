package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fieldferry/bus/modbus/modbustest"
)

// Registers for values at their ends.
const signed, wide, ratio, label = 110, 120, 130, 140

const valueRegisters = `          - {name: signed, register: holding, address: 110, type: int16}
          - {name: wide, register: holding, address: 120, type: uint64}
          - {name: ratio, register: holding, address: 130, type: float32}
          - {name: label, register: holding, address: 140, type: string, length: 2}
`

const valuePoints = `commands:
  enabled: true
  max_ttl: 5m
  max_per_minute: 6000
  points:
    - {name: setpoint, line: line1, device: boiler, register: setpoint, min: 40, max: 75, step: 0.5}
    - {name: pump, line: line1, device: boiler, register: pump}
    - {name: signed, line: line1, device: boiler, register: signed, min: -100, max: 100}
    - {name: wide, line: line1, device: boiler, register: wide, min: 0, max: 18446744073709551615}
    - {name: ratio, line: line1, device: boiler, register: ratio, min: -1, max: 1}
`

// badValues are values as they may stand in a request, and how each is refused.
var badValues = []struct{ point, value, code string }{
	{"setpoint", `NaN`, "invalid"}, {"setpoint", `Infinity`, "invalid"}, {"setpoint", `-Infinity`, "invalid"},
	{"setpoint", `nan`, "invalid"}, {"setpoint", `0x32`, "invalid"}, {"setpoint", `+50`, "invalid"}, {"setpoint", `050`, "invalid"},
	{"setpoint", `50.`, "invalid"}, {"setpoint", `.5e2`, "invalid"}, {"setpoint", `5_0`, "invalid"}, {"setpoint", `50,5`, "invalid"},
	{"setpoint", `'50'`, "invalid"}, {"setpoint", `True`, "invalid"}, {"setpoint", ``, "invalid"}, {"setpoint", `50 60`, "invalid"},
	{"setpoint", `"NaN"`, "type"}, {"setpoint", `"1"`, "type"}, {"setpoint", `"50"`, "type"}, {"setpoint", `""`, "type"},
	{"setpoint", `null`, "type"}, {"setpoint", `true`, "type"}, {"setpoint", `[50]`, "type"}, {"setpoint", `{"value":50}`, "type"},
	{"setpoint", `1e400`, "type"}, {"setpoint", `1e-400`, "type"}, {"setpoint", `1e999999999`, "type"}, {"setpoint", `9007199254740993`, "type"},
	{"setpoint", `50.000000000000000001`, "type"},
	{"setpoint", `75.5`, "range"}, {"setpoint", `39.5`, "range"}, {"setpoint", `-50`, "range"}, {"setpoint", `1e300`, "range"}, {"setpoint", `0`, "range"},
	{"setpoint", `9007199254740992`, "range"}, {"setpoint", `62.3`, "step"}, {"setpoint", `62.25`, "step"}, {"setpoint", `50.0000001`, "step"},
	{"pump", `2`, "type"}, {"pump", `256`, "type"}, {"pump", `0.5`, "type"}, {"pump", `"true"`, "type"}, {"pump", `null`, "type"},
	{"signed", `-101`, "range"}, {"signed", `0.5`, "type"}, {"signed", `65535`, "range"},
	{"wide", `18446744073709551615`, "type"}, {"wide", `"18446744073709551616"`, "range"}, {"wide", `"-1"`, "type"}, {"wide", `-1`, "range"}, {"wide", `0.5`, "type"},
	{"ratio", `0.1000000001`, "type"}, {"ratio", `1.5`, "range"}, {"ratio", `"0.5"`, "type"},
}

// No bad value puts a byte of a write on the line; those at the ends of a type
// arrive bit by bit.
func TestValuesFromTheBroker(t *testing.T) {
	t.Parallel()
	unit := &modbustest.Unit{Holding: map[uint16]uint16{setpoint: 600, signed: 1, ratio: 0, ratio + 1: 0}, Coils: map[uint16]bool{pump: true}}
	for i := range uint16(4) {
		unit.Holding[wide+i], unit.Holding[label+i] = 1, 0
	}
	p := newPlantWith(t, plantOptions{protocol: "5", registers: valueRegisters, commands: valuePoints, unit: unit})
	alice := p.listen("alice")
	e := p.epoch()
	v := p.voice("alice")
	request := func(id, point, value string) string {
		return fmt.Sprintf(`{"id":%q,"point":%q,"epoch":%q,"value":%s}`, id, point, e, value)
	}
	for i, b := range badValues {
		v.say(t, request(fmt.Sprint("bad", i), b.point, b.value))
	}
	for i, b := range badValues {
		id := fmt.Sprint("bad", i)
		if b.code == "invalid" { // of what is not JSON the id may be unknown
			continue
		}
		if r := p.answered(alice, id, 1); r.State != "rejected" || r.Code != b.code {
			t.Errorf("%s %s: %+v, want %s", b.point, b.value, r, b.code)
		}
	}
	invalid := slices.DeleteFunc(slices.Clone(badValues), func(b struct{ point, value, code string }) bool { return b.code != "invalid" })
	p.daemon.Until("an answer to each that is not JSON", func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		n := 0
		for _, payload := range alice.payloads {
			n += strings.Count(string(payload), `"code":"invalid"`)
		}
		return n >= len(invalid)
	})
	if w := p.slave.Writes(); len(w) > 0 {
		t.Errorf("written: %+v", w)
	}
	good := []struct {
		point, value string
		function     byte
		address      uint16
		words        []uint16
	}{
		{"pump", `false`, 5, pump, []uint16{0}},
		{"pump", `1`, 5, pump, []uint16{1}},
		{"signed", `0`, 6, signed, []uint16{0}},
		{"signed", `-1`, 6, signed, []uint16{0xffff}},
		{"wide", `"18446744073709551615"`, 16, wide, []uint16{0xffff, 0xffff, 0xffff, 0xffff}},
		{"wide", `"9007199254740993"`, 16, wide, []uint16{0x0020, 0, 0, 1}},
		{"wide", `0`, 16, wide, []uint16{0, 0, 0, 0}},
		{"ratio", `-0.5`, 16, ratio, []uint16{0xbf00, 0}},
		{"setpoint", `40`, 6, setpoint, []uint16{400}},
		{"setpoint", `7.5e1`, 6, setpoint, []uint16{750}},
	}
	for i, g := range good {
		id := fmt.Sprint("good", i)
		v.say(t, request(id, g.point, g.value))
		if r := p.answered(alice, id, 1); r.Code != "ok" {
			t.Errorf("%s %s: %+v", g.point, g.value, r)
		}
	}
	writes := p.slave.Writes()
	if len(writes) != len(good) {
		t.Fatalf("written: %+v", writes)
	}
	for i, g := range good {
		if w := writes[i]; w.Function != g.function || w.Address != g.address || !slices.Equal(w.Words, g.words) {
			t.Errorf("%s %s arrived as %+v", g.point, g.value, w)
		}
	}
	t.Logf("%d bad values, no write; %d good ones", len(badValues), len(good))
}
