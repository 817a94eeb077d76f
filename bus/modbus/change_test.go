package modbus

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

func TestOnChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unit := &modbustest.Unit{Holding: words(0, 2)}
		b := newBench(t, LineConfig{Devices: []Device{{Name: "d", UnitID: 1, Registers: []Register{{Name: "r0", OnChange: true}}}}}, map[byte]*modbustest.Unit{1: unit})
		start := time.Now()
		unit.Update = func(u *modbustest.Unit, _ time.Duration) {
			u.Holding[0] = uint16(time.Since(start) / (10 * time.Second))
		}
		if err := b.run(35 * time.Second); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range b.book.readings {
			got = append(got, of(r)["r0"])
		}
		if want := []string{"0", "1", "2", "3"}; !slices.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
	})
}

// While a device is off its registers fail for one reason and then another: that
// it did not answer, that it was not asked. That is one change, not many.
func TestADeviceThatIsOffIsOneChange(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit Limit
		least int // readings in the hour in which it is off
		most  int
	}{
		{"on change", Limit{}, 1, 1},
		{"repeated", Limit{MaxInterval: 10 * time.Minute}, 6, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unit := &modbustest.Unit{Holding: words(0, 500)}
				device := Device{Name: "d", UnitID: 1}
				for _, address := range []uint16{0, 200, 400} { // a request each
					device.Registers = append(device.Registers, Register{Name: fmt.Sprint("r", address), Address: address, OnChange: true, Limit: c.limit})
				}
				b := newBench(t, LineConfig{Devices: []Device{device}}, map[byte]*modbustest.Unit{1: unit})
				run := func(d time.Duration) []Reading {
					b.book.readings = nil
					if err := b.run(d); err != nil {
						t.Fatal(err)
					}
					return b.book.readings
				}
				if got := run(30 * time.Second); len(got) != 1 || len(got[0].Values) != 3 {
					t.Fatalf("while it answers: %+v", got)
				}
				good := b.line.Stats().Good
				if good < 29 || good > 31 { // read each second, whatever is sent of it
					t.Errorf("%d polls brought a value", good)
				}
				unit.Silent = true
				got := run(time.Hour)
				if n := b.line.Stats().Good - good; n != 0 {
					t.Errorf("%d polls brought a value while it is off", n)
				}
				if len(got) < c.least || len(got) > c.most {
					t.Errorf("%d readings while it is off, want %d to %d", len(got), c.least, c.most)
				}
				for _, r := range got {
					if len(r.Failures) != 3 {
						t.Errorf("%+v", r)
					}
				}
				unit.Silent = false
				if got := run(2 * time.Minute); len(got) != 1 || len(got[0].Values) != 3 {
					t.Errorf("after its return: %+v", got)
				}
			})
		})
	}
}
