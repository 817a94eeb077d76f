package modbus

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// No way to part the points into requests takes less time on the wire.
func TestPlanIsTheCheapest(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		cfg := Device{Name: "d", UnitID: 1, MaxGap: rnd.IntN(30), MaxRegisters: 5 + rnd.IntN(121)}
		at := 0
		for i := range 1 + rnd.IntN(60) {
			at += 1 + rnd.IntN(3)*rnd.IntN(10)
			cfg.Registers = append(cfg.Registers, Register{Name: fmt.Sprint(i), Address: uint16(at), Type: []Type{Uint16, Uint32, Uint64}[rnd.IntN(3)]})
		}
		line := LineConfig{BaudRate: []int{9600, 19200, 115200}[rnd.IntN(3)], Devices: []Device{cfg}}.withDefaults()
		d := newDevice(&line.Devices[0], Endpoint{}.costOf(line))
		all := make([]int, len(d.points))
		for i := range all {
			all[i] = i
		}
		took, members := time.Duration(0), []int{}
		for _, b := range d.merge(all) {
			took += d.cost.request + d.cost.of(b.count, b.table)
			members = append(members, b.members...)
			if b.count > cfg.MaxRegisters {
				t.Fatalf("%d registers in a request, %d are allowed", b.count, cfg.MaxRegisters)
			}
		}
		if best := cheapest(d, all); took != best || !slices.Equal(members, all) {
			t.Fatalf("%+v: takes %v, and %v is possible", cfg, took, best)
		}
	}
}

// cheapest is the least time on the wire that reading all points takes, by
// trying every way to part them.
func cheapest(d *device, points []int) time.Duration {
	best := make([]time.Duration, len(points)+1)
	for i := range points {
		best[i+1] = 1 << 62
		for from := i; from >= 0; from-- {
			b := d.sub(points[from : i+1])
			if b.count > d.limit(b.table) || d.points[points[from]].reg.Table != d.points[points[i]].reg.Table {
				break
			}
			if from < i && !gapsAllowed(d, points[from:i+1]) {
				continue
			}
			best[i+1] = min(best[i+1], best[from]+(d.cost.request+d.cost.of(b.count, b.table)))
		}
	}
	return best[len(points)]
}

func gapsAllowed(d *device, points []int) bool {
	end := 0
	for k, i := range points {
		p := d.points[i]
		if k > 0 && p.first-end > d.cfg.MaxGap {
			return false
		}
		end = max(end, p.first+p.width)
	}
	return true
}
