package modbus

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

// Of what is due together, the value that must be there first is read first.
func TestEarliestDeadlineFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := LineConfig{Devices: []Device{
			scattered(1, 1, 60*time.Second), scattered(2, 1, 10*time.Second), scattered(3, 1, time.Second), scattered(4, 1, 2*time.Second),
		}}
		units := map[byte]*modbustest.Unit{}
		for id := byte(1); id <= 4; id++ {
			units[id] = &modbustest.Unit{Holding: words(0, 1)}
		}
		b := newBench(t, cfg, units)
		now := time.Now()
		b.line.schedule(now)
		var order []uint8
		for range 4 { // all of them are due long since
			d, _ := b.line.next(now.Add(time.Second))
			order = append(order, d.cfg.UnitID)
			for i := range d.groups {
				d.groups[i].due = now.Add(time.Hour)
			}
		}
		if want := []uint8{3, 4, 2, 1}; !slices.Equal(order, want) {
			t.Errorf("polled in the order %v, want %v", order, want)
		}
	})
}

// Devices of one interval are spread over it instead of all being due at once.
func TestPhasesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cfg LineConfig
		units := map[byte]*modbustest.Unit{}
		for id := uint8(1); id <= 10; id++ {
			cfg.Devices = append(cfg.Devices, scattered(id, 1, time.Second))
			units[id] = &modbustest.Unit{Holding: words(0, 1)}
		}
		b := newBench(t, cfg, units)
		start := time.Now()
		if err := b.run(30*time.Second - ms); err != nil {
			t.Fatal(err)
		}
		for i, r := range b.book.readings {
			phase := time.Duration(i%10) * 100 * ms
			if off := r.Time.Sub(start) % time.Second; off < phase || off > phase+25*ms {
				t.Fatalf("reading %d, of %s, %v after the second", i, r.Device, off)
			}
		}
		if len(b.book.readings) != 300 {
			t.Errorf("%d readings", len(b.book.readings))
		}
	})
}

// A silent unit costs the others one timeout for each probe.
func TestProbesCostOneTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := LineConfig{Retries: 3, Devices: []Device{scattered(1, 8, time.Second), scattered(2, 1, 100*ms)}}
		b := newBench(t, cfg, map[byte]*modbustest.Unit{1: {Silent: true}, 2: {Holding: words(0, 1)}})
		if err := b.run(10 * time.Second); err != nil { // until it is offline
			t.Fatal(err)
		}
		if b.line.Stats().Offline != 1 {
			t.Fatal("not offline")
		}
		b.asked, b.book.readings = nil, nil
		if err := b.run(5 * time.Minute); err != nil {
			t.Fatal(err)
		}
		probes, inRow := 0, 0
		for _, q := range b.asked {
			if q.unit == 2 {
				inRow = 0
				continue
			}
			probes++
			if inRow++; inRow > 1 {
				t.Fatal("two questions to a silent unit without one to another between them")
			}
		}
		if probes < 25 || probes > 35 { // one in ten seconds: so long somebody who has repaired it waits
			t.Errorf("%d probes in five minutes", probes)
		}
		last := time.Time{}
		for _, r := range b.book.readings {
			if r.Device != "d2" {
				continue
			}
			if gap := r.Time.Sub(last); !last.IsZero() && gap > SerialTimeout+100*ms+50*ms {
				t.Errorf("the other device was not read for %v", gap)
			}
			last = r.Time
		}
	})
}

// A line that cannot keep its intervals says so each minute, and when it can again.
func TestOverrunAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unit := &modbustest.Unit{Holding: words(0, 1), Delay: 20 * ms}
		b := newBench(t, LineConfig{Devices: []Device{scattered(1, 1, 50*ms), scattered(2, 1, 100*ms)}},
			map[byte]*modbustest.Unit{1: unit, 2: {Silent: true}})
		minute := func(want ...string) {
			t.Helper()
			if err := b.run(65 * time.Second); err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(slices.Clone(b.book.events), func(e string) bool { return strings.HasPrefix(e, "slave_offline") })
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		minute() // a silent unit is no overload
		unit.Delay = 60 * ms
		minute("poll_overrun  raised")
		minute("poll_overrun  raised", "poll_overrun  raised")
		unit.Delay = 20 * ms
		minute("poll_overrun  raised", "poll_overrun  raised", "poll_overrun  cleared")
	})
}

// A device that asks to be left alone does not make the line overloaded.
func TestBusyDeviceIsNoOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unit := &modbustest.Unit{Holding: words(0, 1), Faults: modbustest.Faults{Exception: 1, ExceptionCode: 6}}
		b := newBench(t, LineConfig{Devices: []Device{scattered(1, 1, 50*ms)}}, map[byte]*modbustest.Unit{1: unit})
		if err := b.run(5 * time.Minute); err != nil {
			t.Fatal(err)
		}
		if s := b.line.Stats(); s.Overruns != 0 || fmt.Sprint(b.book.events) != "[register_refused d1 raised]" || s.Polls > 30 {
			t.Errorf("%+v, %v", s, b.book.events)
		}
	})
}

// What the line learns of a device it says once, and asks accordingly, also
// after the port was lost; coils have holes too.
func TestLearnsOnceForTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		coils := map[uint16]bool{}
		for i := range uint16(40) {
			coils[i] = true
		}
		delete(coils, 20)
		holding := words(0, 40)
		delete(holding, 12)
		d := Device{Name: "d", UnitID: 1, MaxGap: 8, Registers: registers(10, 15, 16)}
		for _, a := range []uint16{17, 18, 21, 22} {
			d.Registers = append(d.Registers, Register{Name: fmt.Sprint("c", a), Table: Coil, Type: Bool, Address: a})
		}
		b := newBench(t, LineConfig{Devices: []Device{d}}, map[byte]*modbustest.Unit{1: {Holding: holding, Coils: coils}})
		var out bytes.Buffer
		b.line.log = slog.New(slog.NewTextHandler(&out, nil))
		for range 3 {
			b.asked = nil
			if err := b.run(10*time.Second + 500*ms); err != nil {
				t.Fatal(err)
			}
			for name, v := range b.book.last(t, "d") {
				if want := strings.TrimPrefix(name, "r"); v != want && !(name[0] == 'c' && v == "1") {
					t.Errorf("%s = %s", name, v)
				}
			}
			want := []seen{{1, 3, 10, 1}, {1, 3, 15, 2}, {1, 1, 17, 2}, {1, 1, 21, 2}}
			if last := b.asked[len(b.asked)-4:]; !slices.Equal(last, want) {
				t.Errorf("asked %v after learning, want %v", last, want)
			}
		}
		if n := strings.Count(out.String(), "read apart from now on"); n != 2 {
			t.Errorf("said %d times:\n%s", n, out.String())
		}
	})
}
