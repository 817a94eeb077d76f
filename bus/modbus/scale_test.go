package modbus

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

// shifting is a device whose values are 1234 at every instant, but written
// with another power of ten from time to time: 1234 and 0, or 12340 and -1.
type shifting struct {
	factors map[int]int // by the address of the value
	hole    int         // refused, also within a block; -1 for none
	change  func() time.Duration
	next    time.Time
	odd     bool
}

func (s *shifting) answer(_ int, q []byte) []modbustest.Step {
	for now := time.Now(); !now.Before(s.next); s.odd = !s.odd {
		if s.next.IsZero() {
			s.next = now
		}
		s.next = s.next.Add(s.change())
	}
	first, n := int(binary.BigEndian.Uint16(q[2:])), int(binary.BigEndian.Uint16(q[4:]))
	words := make([]uint16, n)
	if first <= s.hole && s.hole < first+n {
		return soon(modbustest.Exception(q, 2))
	}
	for value, factor := range s.factors {
		raw, power := uint16(1234), uint16(0)
		if s.odd {
			raw, power = 12340, 0xFFFF
		}
		if i := value - first; i >= 0 && i < n {
			words[i] = raw
		}
		if i := factor - first; i >= 0 && i < n {
			words[i] = power
		}
	}
	return soon(modbustest.Reply(q, words...))
}

// readShifting reads the values of a shifting device for some time and counts those
// that are right; a wrong one fails the test.
func readShifting(t *testing.T, s *shifting, device Device, d time.Duration) (right, all int, failures map[string]bool) {
	t.Helper()
	device.Name, device.UnitID = "d", 1
	for value, factor := range s.factors {
		device.Registers = append(device.Registers, Register{Name: fmt.Sprint("r", value), Address: uint16(value), Type: Int16,
			Interval: 70 * time.Millisecond, HasScaleRegister: true, ScaleRegister: uint16(factor)})
	}
	failures = map[string]bool{}
	b, _ := scriptedLine(t, d, LineConfig{Devices: []Device{device}}, s.answer)
	for _, r := range b.readings {
		for _, v := range r.Values {
			all, right = all+1, right+1
			if got := v.number(); got != 1234 {
				t.Fatalf("%s is %v", v.Name, got)
			}
		}
		for _, f := range r.Failures {
			all++
			failures[f.Err] = true
		}
	}
	return right, all, failures
}

func every(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func TestAValueAndItsScaleRegisterAgree(t *testing.T) {
	for _, c := range []struct {
		name          string
		value, factor int
		hole          int
		maxRegisters  int
		change        time.Duration
		least         int // of 100 values that must be right
	}{
		{"one request, across a gap", 83, 103, -1, 0, 7 * ms, 100},
		{"one request, the factor first", 103, 83, -1, 0, 7 * ms, 100},
		{"one request, just so", 83, 103, -1, 21, 7 * ms, 100},
		{"too far apart", 83, 103, -1, 20, 200 * ms, 90},
		{"too far apart, the factor first", 103, 83, -1, 20, 200 * ms, 90},
		{"too far apart for one request at all", 83, 403, -1, 0, 200 * ms, 90},
		{"too far apart, always changing", 83, 103, -1, 20, 30 * ms, 0},
		{"a hole between them", 83, 103, 90, 0, 200 * ms, 80},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &shifting{factors: map[int]int{c.value: c.factor}, hole: c.hole, change: every(c.change)}
			right, all, failures := readShifting(t, s, Device{MaxRegisters: c.maxRegisters}, 20*time.Second)
			if all < 200 || right*100 < all*c.least {
				t.Errorf("%s: %d of %d, %v", c.name, right, all, failures)
			}
			for f := range failures {
				if !strings.HasPrefix(f, "scale factor: ") {
					t.Errorf("%s: %s", c.name, f)
				}
			}
		})
	}
}

// TestNoValueIsTorn reads many values with scale registers anywhere, in
// requests of any length, across a hole, while the powers change at any time.
func TestNoValueIsTorn(t *testing.T) {
	right, all := 0, 0
	for seed := range modbustest.ChaosSeeds(40, os.Getenv) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 5))
			s := &shifting{factors: map[int]int{}, hole: rnd.IntN(400)}
			common := 2*rnd.IntN(150) + 1
			for range 1 + rnd.IntN(8) {
				factor := common
				if rnd.IntN(3) == 0 {
					factor = 2*rnd.IntN(150) + 1
				}
				s.factors[2*rnd.IntN(150)] = factor
			}
			s.change = func() time.Duration { return time.Duration(800+rnd.IntN(900)) * ms }
			r, n, _ := readShifting(t, s, Device{MaxGap: rnd.IntN(9), MaxRegisters: 1 + rnd.IntN(125)}, 10*time.Second)
			right, all = right+r, all+n
		})
	}
	t.Logf("%d of %d", right, all)
	if right*2 < all {
		t.Errorf("only %d values of %d", right, all)
	}
}

// The plan names the scale registers that are read a second time.
func TestPlanCountsScaleRegistersReadTwice(t *testing.T) {
	for most, want := range map[int]int{21: 1, 20: 3} {
		plan := Plan(LineConfig{Port: "x", Devices: []Device{{Name: "d", UnitID: 1, MaxRegisters: most, Registers: []Register{
			{Name: "power", Address: 83, HasScaleRegister: true, ScaleRegister: 103}}}}})
		if len(plan.Requests) != want {
			t.Errorf("%d registers at most: %d requests, want %d", most, len(plan.Requests), want)
		}
	}
}
