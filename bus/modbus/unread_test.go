package modbus

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus/modbustest"
)

// failures are the ways in which a request for a register may fail while the
// device answers others.
var failures = map[string]func(q []byte) []modbustest.Step{
	"exception 1":  func(q []byte) []modbustest.Step { return soon(modbustest.Exception(q, 1)) },
	"exception 4":  func(q []byte) []modbustest.Step { return soon(modbustest.Exception(q, 4)) },
	"exception 5":  func(q []byte) []modbustest.Step { return soon(modbustest.Exception(q, 5)) },
	"exception 6":  func(q []byte) []modbustest.Step { return soon(modbustest.Exception(q, 6)) },
	"exception 7":  func(q []byte) []modbustest.Step { return soon(modbustest.Exception(q, 7)) },
	"exception 10": func(q []byte) []modbustest.Step { return soon(modbustest.Exception(q, 10)) },
	"exception 99": func(q []byte) []modbustest.Step { return soon(modbustest.Exception(q, 99)) },
	"silence":      func(q []byte) []modbustest.Step { return nil },
	"late":         func(q []byte) []modbustest.Step { return []modbustest.Step{{At: 700 * ms, Send: holds(q)}} },
	"too late":     func(q []byte) []modbustest.Step { return []modbustest.Step{{At: 3500 * ms, Send: holds(q)}} },
	"damaged": func(q []byte) []modbustest.Step {
		p := holds(q)
		p[len(p)-1] ^= 1
		return soon(p)
	},
	"cut short": func(q []byte) []modbustest.Step { return soon(holds(q)[:4]) },
	"too few":   func(q []byte) []modbustest.Step { return soon(modbustest.Reply(q, make([]uint16, q[5]-1)...)) },
	"too many":  func(q []byte) []modbustest.Step { return soon(modbustest.Reply(q, make([]uint16, q[5]+1)...)) },
	"another unit": func(q []byte) []modbustest.Step {
		return soon(modbustest.Reply(append([]byte{q[0] + 1}, q[1:]...), make([]uint16, q[5])...))
	},
	"two at once": func(q []byte) []modbustest.Step { return soon(append(holds(q)[:3], holds(q)...)) },
}

// What never comes although its device answers is an alarm, whichever way it fails
// and wherever it stands; what can be read is read, and so is it when it can be read
// again, which ends the alarm.
func TestWhatNeverComesIsAnAlarm(t *testing.T) {
	pair := []Register{{Name: "r0", Address: 0}, {Name: "r30", Address: 30, Type: Uint32}, {Name: "r60", Address: 60}}
	rare := registers(0, 30, 60)
	rare[0].Interval = time.Minute
	for shape, c := range map[string]struct {
		registers []Register
		bad       byte
	}{
		"in a block":                     {registers(0, 1, 2, 3, 4, 5), 3},
		"alone":                          {registers(0, 30, 60), 30},
		"a pair":                         {pair, 30},
		"first":                          {registers(0, 30, 31, 60), 0},
		"beside one that is read rarely": {rare, 60},
	} {
		for name, fail := range failures {
			t.Run(fmt.Sprint(name, " ", shape), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					b, events := scriptedLine(t, 11*time.Minute, LineConfig{Retries: 1, Devices: []Device{{Name: "d1", UnitID: 1, MaxGap: 8, Registers: c.registers}}}, func(_ int, q []byte) []modbustest.Step {
						if q[3] <= c.bad && c.bad < q[3]+q[5] && time.Since(start) < 6*time.Minute {
							return fail(q)
						}
						return soon(holds(q))
					})
					comes := false
					for _, r := range b.readings {
						comes = comes || r.Time.Sub(start) < 6*time.Minute && slices.ContainsFunc(r.Values, func(v Value) bool { return v.Name == fmt.Sprint("r", c.bad) })
					}
					events = slices.DeleteFunc(events, func(e bus.Event) bool { return e.Code != bus.RegisterRefused })
					if comes && len(events) == 0 {
						t.Log("it is read")
						return
					}
					if len(events) != 2 || events[0].State != bus.Raised || events[1].State != bus.Cleared {
						t.Fatalf("events %v", events)
					}
					bad := fmt.Sprintf("[holding:%d]", c.bad) // with 6 the device wants to be left alone: its block is not parted
					if e := events[0]; e.Time.Sub(start) > time.Minute || fmt.Sprint(e.Detail["addresses"]) != bad && name != "exception 6" || e.Detail["error"] == "" {
						t.Errorf("after %v: %v", e.Time.Sub(start), e.Detail)
					}
					good, all := 0, 0
					for _, r := range b.readings {
						for _, f := range r.Failures {
							if since := r.Time.Sub(start); f.Name != fmt.Sprint("r", c.bad) && since > time.Minute || since > 8*time.Minute {
								all++
							}
						}
						for range r.Values {
							good++
							all++
						}
					}
					if all-good > all/20 && name != "exception 6" {
						t.Errorf("%d of %d failed of those that can be read", all-good, all)
					}
					if strings.HasPrefix(name, "damaged") && !strings.Contains(fmt.Sprint(events[0].Detail["error"]), "CRC") {
						t.Errorf("%v", events[0].Detail)
					}
				})
			})
		}
	}
}

// A line that has time enough is not called overloaded because of what never comes:
// that is asked for rarely.
func TestWhatNeverComesIsNoOverload(t *testing.T) {
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := LineConfig{Retries: 2, Devices: []Device{{Name: "d1", UnitID: 1, Registers: registers(0, 30, 60, 90)}, {Name: "d2", UnitID: 2, Registers: registers(0, 1)}}}
				for i := range cfg.Devices[0].Registers {
					cfg.Devices[0].Registers[i].Interval = 500 * ms
				}
				_, events := scriptedLine(t, 10*time.Minute, cfg, func(_ int, q []byte) []modbustest.Step {
					if q[0] == 1 && q[3] > 0 {
						return fail(q)
					}
					return soon(holds(q))
				})
				for _, e := range events {
					if e.Code == bus.PollOverrun {
						t.Errorf("%v", e)
					}
				}
			})
		})
	}
}

// The alarm and the log name a register also as the configuration does.
func TestRefusedRegistersAreNamedAsWritten(t *testing.T) {
	for base, want := range map[int]string{0: "<nil>", 1: "[110]", 40001: "[40110]"} {
		synctest.Test(t, func(t *testing.T) {
			list := registers(0, 109)
			list[0].Base, list[1].Base = base, base
			_, events := scriptedLine(t, 20*time.Second, LineConfig{Devices: []Device{{Name: "d1", UnitID: 1, Registers: list}}}, func(_ int, q []byte) []modbustest.Step {
				if q[3] == 109 {
					return soon(modbustest.Exception(q, 2))
				}
				return soon(holds(q))
			})
			if len(events) != 1 || fmt.Sprint(events[0].Detail["addresses"]) != "[holding:109]" || fmt.Sprint(events[0].Detail["as_written"]) != want {
				t.Errorf("base %d: %v", base, events)
			}
		})
	}
}
