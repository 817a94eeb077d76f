package modbus

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

// spans reports whether a request reads register a.
func spans(q modbustest.TCPRequest, a int) bool {
	first, n := int(q.PDU[2]), int(q.PDU[4])
	return first <= a && a < first+n
}

func refusal(q modbustest.TCPRequest, code byte) []byte {
	return q.Frame(modbustest.Exception(q.RTU(), code))
}

// One register a device does not have never spoils its block, whatever the
// device says, or does not say, to a request that reaches across it.
func TestOneBadRegisterNeverSpoilsItsBlock(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse func(q modbustest.TCPRequest) []modbustest.Step
	}{
		{"exception 1", func(q modbustest.TCPRequest) []modbustest.Step { return at(5*ms, refusal(q, 1)) }},
		{"exception 2", func(q modbustest.TCPRequest) []modbustest.Step { return at(5*ms, refusal(q, 2)) }},
		{"exception 3", func(q modbustest.TCPRequest) []modbustest.Step { return at(5*ms, refusal(q, 3)) }},
		{"exception 4", func(q modbustest.TCPRequest) []modbustest.Step { return at(5*ms, refusal(q, 4)) }},
		{"silence", func(modbustest.TCPRequest) []modbustest.Step { return nil }},
	} {
		for _, bad := range []int{0, 3, 5} {
			t.Run(fmt.Sprint(c.name, " register ", bad), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					other := 0 // requests that another device got
					far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
						if q.Unit == 2 {
							other++
						}
						if q.Unit == 1 && spans(q, bad) {
							return c.refuse(q)
						}
						return at(5*ms, right(q))
					}}
					b, _ := far.over(t, 5*time.Minute, LineConfig{Retries: 1, Devices: devices(2, 0, 1, 2, 3, 4, 5)})
					sound(t, b, "d1")
					got := b.last(t, "d1")
					for a := range 6 {
						if value := got[fmt.Sprint("r", a)]; (value == fmt.Sprint(a)) != (a != bad) {
							t.Errorf("r%d = %q", a, value)
						}
					}
					if other < 250 {
						t.Errorf("the other device was read %d times in 300 s", other)
					}
				})
			})
		}
	}
}

// What is refused is reported once, however often it is tried, and withdrawn when
// it can be read: of one register, of several, of all, and of one that is asked for
// rarely. A device that can be read is not talked about.
func TestRefusedRegistersAreReported(t *testing.T) {
	rare := devices(1, 0, 1, 2)
	rare[0].Registers[2].Interval = 40 * time.Second
	for name, c := range map[string]struct {
		devices []Device
		refused []int
	}{
		"none":   {devices(1, 0, 1, 2), nil},
		"one":    {devices(1, 0, 1, 2), []int{1}},
		"two":    {devices(1, 0, 1, 2, 10), []int{1, 10}},
		"all":    {devices(1, 0, 1, 2), []int{0, 1, 2}},
		"rarely": {rare, []int{2}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
					if time.Since(start) < 3*time.Minute && slices.ContainsFunc(c.refused, func(a int) bool { return spans(q, a) }) {
						return at(5*ms, refusal(q, 2))
					}
					return at(5*ms, right(q))
				}}
				b, _ := far.over(t, 6*time.Minute, LineConfig{Devices: c.devices})
				want := "[register_refused d1 raised register_refused d1 cleared]"
				if c.refused == nil {
					want = "[]"
				}
				if got := fmt.Sprint(b.events); got != want {
					t.Errorf("events %s, want %s", got, want)
				}
				var at []string
				for _, a := range c.refused {
					at = append(at, fmt.Sprint("holding:", a))
				}
				if c.refused != nil && fmt.Sprint(b.detail["addresses"], b.detail["refused"]) != fmt.Sprint(at, len(at)) {
					t.Errorf("detail %v, want %v", b.detail, at)
				}
			})
		})
	}
}

// A device that refuses everything for a while is read again at the next poll
// or two, and together as before.
func TestRecoversFromRefusingEverything(t *testing.T) {
	for _, code := range []byte{1, 2, 3, 4} {
		for _, first := range []bool{true, false} { // from the start, or after it worked
			synctest.Test(t, func(t *testing.T) {
				start, asleep := time.Now(), 0
				var late []int
				far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
					switch since := time.Since(start); {
					case (first || since > 10*time.Second) && since < 100*time.Second:
						asleep++
						return at(5*ms, refusal(q, code))
					case since > 103*time.Second:
						late = append(late, int(q.PDU[4]))
					}
					return at(5*ms, right(q))
				}}
				var all []int
				for a := range 30 {
					all = append(all, a)
				}
				b, _ := far.over(t, 110*time.Second, LineConfig{Devices: devices(1, all...)})
				for _, r := range b.readings {
					if since := r.Time.Sub(start); since > 103*time.Second && len(r.Failures) > 0 {
						t.Fatalf("exception %d: after %v still %v", code, since, r.Failures[0])
					}
				}
				for _, n := range late {
					if n != 30 {
						t.Errorf("exception %d: reads %d registers at once: %v", code, n, late)
						break
					}
				}
				if asleep > 130 { // one at each of 100 polls, and the search at first
					t.Errorf("exception %d: asked %d times while it refused everything", code, asleep)
				}
			})
		}
	}
}

// A register that was refused and whose next try is not answered is left
// alone for longer, as if refused again: each try may cost a timeout.
func TestRefusedThenSilentRegisterIsTriedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tried []time.Time
		b, _ := scriptedLine(t, 5*time.Minute, LineConfig{Retries: 1, Devices: devices(1, 0, 3)}, func(_ int, q []byte) []modbustest.Step {
			switch {
			case q[3] > 3 || q[3]+q[5] <= 3:
				return soon(holds(q))
			case len(tried) == 0 && q[5] == 1:
				tried = append(tried, time.Now())
				return soon(modbustest.Exception(q, 2))
			case len(tried) == 0:
				return soon(modbustest.Exception(q, 2))
			}
			tried = append(tried, time.Now())
			return nil
		})
		if len(tried) < 3 {
			t.Fatalf("tried at %v", tried)
		}
		for i := range tried[1:] {
			if pause := tried[i+1].Sub(tried[i]); pause < firstRefused {
				t.Errorf("try %d only %v after the one before", i+1, pause)
			}
		}
		if got := b.last(t, "d1"); got["r0"] != "0" {
			t.Errorf("%v", got)
		}
	})
}

// A damaged reply to the next try of a refused register is no refusal: it is
// tried again at the next poll.
func TestDamagedReplyIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, damaged := time.Now(), time.Time{}
		b, _ := scriptedLine(t, time.Minute, LineConfig{Devices: devices(1, 0, 3)}, func(_ int, q []byte) []modbustest.Step {
			switch {
			case q[3] > 3 || q[3]+q[5] <= 3:
			case time.Since(start) < 10*time.Second:
				return soon(modbustest.Exception(q, 2))
			case damaged.IsZero():
				damaged = time.Now()
				p := holds(q)
				p[len(p)-1] ^= 1
				return soon(p)
			}
			return soon(holds(q))
		})
		for _, r := range b.readings {
			if since := r.Time.Sub(damaged); since > 1500*ms && len(r.Failures) > 0 {
				t.Fatalf("%v after the damaged reply: %v", since, r.Failures)
			}
		}
	})
}

// A reply that does not come says nothing of the registers asked for: all are
// read at the next poll, and together.
func TestOneMissedReplyIsNoRefusal(t *testing.T) {
	for _, c := range []struct {
		registers []int
		atOnce    byte
	}{{[]int{0, 1, 2, 3}, 4}, {[]int{0, 200}, 1}} {
		synctest.Test(t, func(t *testing.T) {
			var asked []byte // registers at once, after the missed reply
			missed := time.Time{}
			far := &farEnd{answer: func(_, n int, q modbustest.TCPRequest) []modbustest.Step {
				if n == 6 {
					missed = time.Now()
					return nil
				}
				if n > 6 {
					asked = append(asked, q.PDU[4])
				}
				return at(5*ms, right(q))
			}}
			b, _ := far.over(t, 20*time.Second, LineConfig{Timeout: 300 * ms, Devices: devices(1, c.registers...)})
			for _, r := range b.readings {
				if since := r.Time.Sub(missed); since > 1500*ms && len(r.Failures) > 0 {
					t.Fatalf("%v: %v after the missed reply: %v", c.registers, since, r.Failures)
				}
			}
			if slices.ContainsFunc(asked, func(n byte) bool { return n != c.atOnce }) || len(asked) < 5 {
				t.Errorf("%v: asked for %v at once", c.registers, asked)
			}
		})
	}
}

// What was learned to be unreadable together is tried again in time.
func TestLearnedCutsAreUnlearned(t *testing.T) {
	for name, refuses := range map[string]func(q modbustest.TCPRequest) bool{
		"a hole":            func(q modbustest.TCPRequest) bool { return spans(q, 3) && q.PDU[4] > 1 },
		"few at once":       func(q modbustest.TCPRequest) bool { return q.PDU[4] > 4 },
		"a single register": func(q modbustest.TCPRequest) bool { return spans(q, 4) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, last := time.Now(), []int(nil)
				far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
					since := time.Since(start)
					if since < time.Minute && refuses(q) {
						return at(5*ms, refusal(q, 2))
					}
					if since > 12*time.Minute {
						last = append(last, int(q.PDU[4]))
					}
					return at(5*ms, right(q))
				}}
				b, _ := far.over(t, 12*time.Minute+10*time.Second, LineConfig{Devices: []Device{
					{Name: "d1", UnitID: 1, MaxGap: 8, Registers: registers(0, 1, 2, 4, 5, 6, 7, 8)}}})
				for _, n := range last {
					if n != 9 {
						t.Fatalf("reads %v registers", last)
					}
				}
				if sound(t, b, "d1") < 600 {
					t.Errorf("%d whole readings", sound(t, b, "d1"))
				}
			})
		})
	}
}

// What stays unreadable together is tried rarely, and costs no value.
func TestLastingCutsCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
			if spans(q, 3) {
				refused++
				return at(5*ms, refusal(q, 4))
			}
			return at(5*ms, right(q))
		}}
		b, _ := far.over(t, 4*time.Hour, LineConfig{Devices: []Device{{Name: "d1", UnitID: 1, MaxGap: 8, Registers: registers(0, 1, 2, 4, 5)}}})
		if n := sound(t, b, "d1"); n != 4*3600 || refused > 12 {
			t.Errorf("%d whole readings in four hours, %d requests were refused", n, refused)
		}
	})
}

// A silent device is asked more often than it is read; its failure is told no
// more often than its interval.
func TestProbesTellNoMoreThanPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &farEnd{answer: func(int, int, modbustest.TCPRequest) []modbustest.Step { return nil }}
		cfg := LineConfig{Devices: devices(1, 0)}
		cfg.Devices[0].Registers[0].Interval = time.Minute
		b, _ := far.over(t, 20*time.Minute, cfg)
		if n := b.count("d1"); n < 15 || n > 22 {
			t.Errorf("%d readings in 20 minutes, one a minute is configured", n)
		}
	})
}
