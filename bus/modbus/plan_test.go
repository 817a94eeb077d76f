package modbus

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPlanMerges(t *testing.T) {
	u16 := func(addresses ...int) []Register { return registers(addresses...) }
	wide := func(addresses ...int) []Register {
		r := u16(addresses...)
		for i := range r {
			r[i].Type = Uint32
		}
		return r
	}
	bits := func(addresses ...int) []Register {
		r := u16(addresses...)
		for i := range r {
			r[i].Table, r[i].Type = Coil, Bool
		}
		return r
	}
	run := func(from, n, step int) (a []int) {
		for i := range n {
			a = append(a, from+i*step)
		}
		return a
	}
	for _, c := range []struct {
		name   string
		gap    int
		max    int
		r      []Register
		blocks string
	}{
		{"adjacent", 0, 125, u16(0, 1, 2), "0+3"},
		{"out of order", 0, 125, u16(2, 0, 1), "0+3"},
		{"gap not allowed", 0, 125, u16(0, 2), "0+1 2+1"},
		{"gap allowed", 1, 125, u16(0, 2), "0+3"},
		{"gap too wide", 1, 125, u16(0, 3), "0+1 3+1"},
		{"limit", 0, 4, u16(0, 1, 2, 3, 4, 5), "0+4 4+2"},
		{"never through a value", 0, 5, wide(0, 2, 4, 6), "0+4 4+4"},
		{"overlap", 0, 125, append(wide(0), Register{Name: "low", Address: 1}), "0+2"},
		{"126 registers", 0, 125, u16(run(0, 126, 1)...), "0+125 125+1"},
		{"end of the table", 8, 125, u16(65535, 65530), "65530+6"},
		{"bits", 8, 125, bits(0, 5, 300), "0+6 300+1"},
		{"2001 bits", 8, 125, bits(run(0, 2001, 1)...), "0+2000 2000+1"},
		{"the limit falls into a gap", 2, 8, u16(0, 1, 2, 3, 6, 7, 8, 9), "0+4 6+4"},
		{"the limit does not fall into a gap", 2, 6, u16(0, 1, 2, 3, 6, 7, 8, 9, 10, 11), "0+4 6+6"},
		{"tables apart", 8, 125, append(u16(0), bits(1)...), "0+1 1+1"},
	} {
		report := Plan(LineConfig{Devices: []Device{{Name: "d", UnitID: 1, MaxGap: c.gap, MaxRegisters: c.max, Registers: c.r}}})
		var got []string
		for _, r := range report.Requests {
			got = append(got, fmt.Sprintf("%d+%d", r.Address, r.Count))
		}
		if strings.Join(got, " ") != c.blocks {
			t.Errorf("%s: %v, want %s", c.name, got, c.blocks)
		}
	}
}

func TestPlanReckonsTheWire(t *testing.T) {
	cfg := LineConfig{BaudRate: 9600, Parity: 'N', Devices: []Device{{Name: "d", UnitID: 1, Registers: registers(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)}}}
	report := Plan(cfg)
	r := report.Requests[0]
	// 8 + 25 characters of 10 bits and two silences of 3.5 characters: 24 a second.
	if r.Bytes != 33 || r.Wire.Round(10*time.Microsecond) != 41670*time.Microsecond || len(report.Warnings) != 0 {
		t.Errorf("%d bytes, %v, %v", r.Bytes, r.Wire, report.Warnings)
	}
	if report.RequestsPerSecond != 1 || report.Load < 0.041 || report.Load > 0.042 {
		t.Errorf("%v requests a second, load %v", report.RequestsPerSecond, report.Load)
	}
	for i := range cfg.Devices[0].Registers {
		cfg.Devices[0].Registers[i].Interval = 45 * time.Millisecond
	}
	if w := Plan(cfg).Warnings; len(w) != 1 || !strings.Contains(w[0], "93 %") {
		t.Errorf("at 93 %%: %v", w)
	}
	cfg.BaudRate = 1200
	if w := Plan(cfg).Warnings; !slices.ContainsFunc(w, func(s string) bool { return strings.Contains(s, "cannot keep the intervals") }) {
		t.Errorf("at 1200 baud: %v", w)
	}
}

func BenchmarkPlan200Scattered(b *testing.B) {
	var r []Register
	for i := range 200 {
		r = append(r, Register{Name: fmt.Sprint(i), Address: uint16(i * i % 5003), Type: Type(i % 3)})
	}
	d := newDevice(&Device{Name: "d", UnitID: 1, MaxGap: 8, MaxRegisters: 125, Registers: r}, Endpoint{}.costOf(LineConfig{}))
	var all []int
	for i := range d.points {
		all = append(all, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		d.merge(all)
	}
	b.ReportMetric(float64(len(d.merge(all))), "requests")
}
