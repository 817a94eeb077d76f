package modbus

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// farEnd is what a line is connected to in these tests: the connections so
// far, and what it does with a request on one of them.
type farEnd struct {
	dials  int
	refuse func(dial int) bool
	// answer takes the number of the connection and of the request on it, from 0.
	answer func(conn, n int, q modbustest.TCPRequest) []modbustest.Step
}

// over runs a line over Modbus TCP against far for a while, as a supervisor
// does: again whenever it ends.
func (far *farEnd) over(t *testing.T, d time.Duration, cfg LineConfig) (*eventBook, []error) {
	t.Helper()
	cfg.Name, cfg.Port = "l", "tcp://memory"
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	line, err := newLine(cfg, Endpoint{Framing: TCP}, discard, func(context.Context) (rtu.Port, error) {
		conn := far.dials
		far.dials++
		if far.refuse != nil && far.refuse(conn) {
			return nil, syscall.ECONNREFUSED
		}
		master, end := modbustest.NewWire()
		go modbustest.ServeMBAP(ctx, end, func(n int, q modbustest.TCPRequest) []modbustest.Step { return far.answer(conn, n, q) })
		return master, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	book, errs := &eventBook{}, []error(nil)
	for ctx.Err() == nil {
		if err := line.Run(ctx, book); err != nil {
			errs = append(errs, err)
			_ = sleep(ctx, time.Second)
		}
	}
	synctest.Wait()
	return book, errs
}

// right answers each register with its address.
func right(q modbustest.TCPRequest) []byte { return q.Frame(holds(q.RTU())) }

func at(d time.Duration, p []byte) []modbustest.Step { return []modbustest.Step{{At: d, Send: p}} }

func closing(p []byte) []modbustest.Step {
	return []modbustest.Step{{At: 5 * ms, Send: p}, {At: 6 * ms, Unplug: io.EOF}}
}

func devices(units int, addresses ...int) (ds []Device) {
	for u := range units {
		ds = append(ds, Device{Name: fmt.Sprint("d", u+1), UnitID: byte(u + 1), Registers: registers(addresses...)})
	}
	return ds
}

// sound fails on a value that is not its register's, and returns how many
// readings of a device have only values.
func sound(t *testing.T, b *eventBook, device string) (whole int) {
	t.Helper()
	for _, r := range b.readings {
		for _, v := range r.Values {
			if v.Name != fmt.Sprint("r", v.Uint) {
				t.Fatalf("WRONG VALUE %s = %d", v.Name, v.Uint)
			}
		}
		if r.Device == device && len(r.Failures) == 0 {
			whole++
		}
	}
	return whole
}

// A gateway asks one unit at a time and is busy with a dead one for longer
// than our timeout. The others must not seem dead for that.
func TestDeadUnitBehindAGateway(t *testing.T) {
	for _, c := range []struct {
		timeout, gateway time.Duration
		mute             bool
		retries          int
	}{
		{300 * ms, time.Second, false, 1}, {300 * ms, time.Second, true, 1}, {300 * ms, 500 * ms, false, 0},
		{0, 3 * time.Second, false, 1}, {0, 3 * time.Second, true, 0}, {0, 500 * ms, false, 2}, {2 * time.Second, time.Second, false, 1},
	} {
		for dead := byte(1); dead <= 3; dead++ {
			t.Run(fmt.Sprintf("%v of %v, mute %v, unit %d", c.timeout, c.gateway, c.mute, dead), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					gateway := &modbustest.Gateway{Timeout: c.gateway, Mute: c.mute}
					far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
						if q.Unit == dead {
							return gateway.Steps(q, nil, 0)
						}
						return gateway.Steps(q, holds(q.RTU()), 60*ms)
					}}
					b, errs := far.over(t, 2*time.Minute, LineConfig{Timeout: c.timeout, Retries: c.retries, Devices: devices(3, 0)})
					if len(errs) > 0 || far.dials != 1 {
						t.Errorf("%d connections, %v", far.dials, errs)
					}
					// An overrun is explained by the silent device, for who has both.
					b.events = slices.DeleteFunc(b.events, func(e string) bool { return strings.HasPrefix(e, bus.PollOverrun) })
					if want := []string{fmt.Sprintf("slave_offline d%d raised", dead)}; !slices.Equal(b.events, want) {
						t.Errorf("events %q, want %q", b.events, want)
					}
					for u := byte(1); u <= 3; u++ {
						if n := sound(t, b, fmt.Sprint("d", u)); u != dead && n < 75 {
							t.Errorf("unit %d was read %d times in 120 s", u, n)
						}
					}
				})
			})
		}
	}
}

// All units behind a gateway are gone: that is found out in reasonable time,
// and their return as well.
func TestAllUnitsBehindAGatewayAreDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, start := &modbustest.Gateway{Timeout: time.Second, Mute: true}, time.Now()
		far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
			if time.Since(start) < 2*time.Minute {
				return gateway.Steps(q, nil, 0)
			}
			return gateway.Steps(q, holds(q.RTU()), 60*ms)
		}}
		b, _ := far.over(t, 150*time.Second, LineConfig{Retries: 1, Devices: devices(5, 0)})
		b.whole = slices.DeleteFunc(b.whole, func(e bus.Event) bool { return e.Code == bus.PollOverrun })
		for _, e := range b.whole {
			since := e.Time.Sub(start)
			if e.State == bus.Raised && since > time.Minute || e.State == bus.Cleared && since > 2*time.Minute+15*time.Second {
				t.Errorf("%s %s after %v", e.Subject, e.State, since)
			}
		}
		if len(b.whole) != 10 {
			t.Errorf("%d events, want one for each unit and its end", len(b.whole))
		}
	})
}

// A repaired unit is read again in about ten seconds, with several dead ones
// beside it, which do not hold up the healthy ones.
func TestRepairedUnitIsReadSoon(t *testing.T) {
	for _, dead := range []int{1, 2, 4} {
		synctest.Test(t, func(t *testing.T) {
			units := map[byte]*modbustest.Unit{9: {Holding: words(0, 1)}}
			cfg := LineConfig{Retries: 1, Devices: []Device{{Name: "ok", UnitID: 9, Registers: registers(0)}}}
			cfg.Devices = append(cfg.Devices, devices(dead, 0)...)
			for u := range dead {
				units[byte(u+1)] = &modbustest.Unit{Holding: words(0, 1), Silent: true}
			}
			b := newBench(t, cfg, units)
			if err := b.run(10 * time.Minute); err != nil {
				t.Fatal(err)
			}
			if n := b.book.count("ok"); n < 590 {
				t.Errorf("%d dead units: the healthy one was read %d times in 600 s", dead, n)
			}
			b.slave.Do(func(units map[byte]*modbustest.Unit) { units[1].Silent = false })
			repaired := time.Now()
			if err := b.run(15 * time.Second); err != nil {
				t.Fatal(err)
			}
			k := slices.IndexFunc(b.book.readings, func(r Reading) bool { return r.Device == "d1" && len(r.Values) > 0 })
			if k < 0 || b.book.readings[k].Time.Sub(repaired) > 11*time.Second {
				t.Errorf("%d dead units: not read within 11 s of its repair", dead)
			}
		})
	}
}

// A connection on which nothing is answered any more is replaced.
func TestHungConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		far := &farEnd{}
		far.answer = func(conn, _ int, q modbustest.TCPRequest) []modbustest.Step {
			if conn == 0 && time.Since(start) > 3*time.Second {
				return nil
			}
			return at(5*ms, right(q))
		}
		b, errs := far.over(t, time.Minute, LineConfig{Retries: 1, Devices: devices(1, 0)})
		if n := sound(t, b, "d1"); n < 40 || far.dials != 2 || len(errs) > 0 {
			t.Errorf("%d readings, %d connections, %v", n, far.dials, errs)
		}
	})
}

// One unit of several being silent does not cost the connection, and a far end
// that never answers is not connected to without end.
func TestSilenceAndConnections(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(q modbustest.TCPRequest) []modbustest.Step
		most   int
	}{
		{"one of two", func(q modbustest.TCPRequest) []modbustest.Step {
			if q.Unit == 1 {
				return nil
			}
			return at(5*ms, right(q))
		}, 1},
		{"late", func(q modbustest.TCPRequest) []modbustest.Step { return at(1400*ms, right(q)) }, 1},
		{"all", func(modbustest.TCPRequest) []modbustest.Step { return nil }, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step { return c.answer(q) }}
				b, errs := far.over(t, 15*time.Minute, LineConfig{Retries: 1, Devices: devices(2, 0)})
				if far.dials > c.most || len(errs) > 0 {
					t.Errorf("%d connections in 15 minutes, %v", far.dials, errs)
				}
				if slices.ContainsFunc(b.events, func(e string) bool { return strings.HasPrefix(e, bus.PortLost) }) {
					t.Errorf("events %q", b.events)
				}
			})
		})
	}
}

// A far end that closes the connection after each reply, or when idle, costs
// no value and raises nothing; nor does one that is slow to take another one.
func TestClosedBetweenReplies(t *testing.T) {
	for name, far := range map[string]*farEnd{
		"after each reply": {answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step { return closing(right(q)) }},
		"when idle": {answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
			return []modbustest.Step{{At: 5 * ms, Send: right(q)}, {At: 200 * ms, Unplug: io.EOF}}
		}},
		"reset": {answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
			return []modbustest.Step{{At: 5 * ms, Send: right(q)}, {At: 6 * ms, Unplug: syscall.ECONNRESET}}
		}},
		"in place of the tenth": {answer: func(_, n int, q modbustest.TCPRequest) []modbustest.Step {
			if n == 9 {
				return []modbustest.Step{{At: 5 * ms, Unplug: io.EOF}}
			}
			return at(5*ms, right(q))
		}},
		"refused for a moment": {refuse: func(dial int) bool { return dial%2 == 1 },
			answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step { return closing(right(q)) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, errs := far.over(t, 30*time.Second, LineConfig{Devices: devices(1, 0, 1, 100)})
				if n := sound(t, b, "d1"); n != 30 || b.count("d1") != 30 || len(b.events) > 0 || len(errs) > 0 {
					t.Errorf("%d whole readings of %d in 30 s, %q, %v", n, b.count("d1"), b.events, errs)
				}
			})
		})
	}
}

// A far end that ends the connection when it is asked for one register in
// particular is not lost for the others.
func TestClosesForOneRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
			if first, n := int(q.PDU[2]), int(q.PDU[4]); first <= 20 && 20 < first+n {
				return []modbustest.Step{{At: 5 * ms, Unplug: io.EOF}}
			}
			return at(5*ms, right(q))
		}}
		b, errs := far.over(t, 2*time.Minute, LineConfig{Retries: 1, Devices: devices(1, 0, 10, 20, 30)})
		if len(errs) > 0 {
			t.Errorf("%v", errs)
		}
		sound(t, b, "d1")
		got := b.last(t, "d1")
		if got["r0"] != "0" || got["r10"] != "10" || got["r30"] != "30" || got["r20"] == "20" {
			t.Errorf("%v", got)
		}
		if fmt.Sprint(b.events) != "[register_refused d1 raised]" {
			t.Errorf("events %q", b.events)
		}
	})
}

// A far end that throws out who asks at once is lost, once, with a hint; with
// a pause after connecting it is read.
func TestAskedTooEarly(t *testing.T) {
	asked := func(t *testing.T, delay time.Duration) (*eventBook, []error) {
		connected := map[int]time.Time{}
		far := &farEnd{}
		far.refuse = func(dial int) bool { connected[dial] = time.Now(); return false }
		far.answer = func(conn, _ int, q modbustest.TCPRequest) []modbustest.Step {
			if time.Since(connected[conn]) < time.Second {
				return []modbustest.Step{{At: ms, Unplug: io.EOF}}
			}
			return at(5*ms, right(q))
		}
		return far.over(t, 30*time.Second, LineConfig{ConnectDelay: delay, Devices: devices(1, 0)})
	}
	synctest.Test(t, func(t *testing.T) {
		b, errs := asked(t, 0)
		if len(errs) == 0 || !strings.Contains(errs[0].Error(), "set connect_delay: 1s") || strings.Contains(errs[0].Error(), "serial port") {
			t.Errorf("%v", errs)
		}
		if !slices.Equal(b.events, []string{"port_lost  raised"}) {
			t.Errorf("events %q", b.events)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if b, errs := asked(t, time.Second); sound(t, b, "d1") < 28 || len(b.events) > 0 || len(errs) > 0 {
			t.Errorf("%d readings, %q, %v", sound(t, b, "d1"), b.events, errs)
		}
	})
}

// A new connection that is closed before it has brought anything is not
// replaced for the sake of the same request: it would never end.
func TestOneConnectionForARequestThatBringsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &farEnd{answer: func(_, _ int, _ modbustest.TCPRequest) []modbustest.Step {
			return []modbustest.Step{{At: ms, Unplug: io.EOF}}
		}}
		if _, errs := far.over(t, 10*time.Second, LineConfig{Devices: devices(1, 0)}); len(errs) < 5 || far.dials != len(errs) {
			t.Errorf("%d connections for %d failed starts", far.dials, len(errs))
		}
	})
}

// The end of a line's context ends a pause after connecting.
func TestStopWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step { return at(ms, right(q)) }}
		if _, errs := far.over(t, 300*ms, LineConfig{ConnectDelay: 10 * time.Second, Devices: devices(1, 0)}); len(errs) > 0 || time.Since(start) > 350*ms {
			t.Errorf("after %v: %v", time.Since(start), errs)
		}
	})
}

// A far end that cannot be connected to says so in its own words.
func TestCannotConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &farEnd{refuse: func(dial int) bool { return dial < 3 },
			answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step { return at(ms, right(q)) }}
		b, errs := far.over(t, 10*time.Second, LineConfig{Devices: devices(1, 0)})
		if !slices.Equal(b.events, []string{"port_lost  raised", "port_lost  cleared"}) || len(errs) != 3 || strings.Contains(errs[0].Error(), "serial") {
			t.Errorf("%q, %v", b.events, errs)
		}
	})
}

// A device that always answers with transaction id 0 is read if that is
// allowed, and its late replies are never another register's.
func TestAnyTransactionID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := 0
		far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step {
			q.ID = 0
			if i++; i%7 == 0 {
				return at(1300*ms, right(q))
			}
			return at(5*ms, right(q))
		}}
		b, errs := far.over(t, 2*time.Minute, LineConfig{Retries: 1, AnyTransactionID: true, Devices: devices(2, 0, 50, 100)})
		if n := sound(t, b, "d1"); n < 60 || len(errs) > 0 || far.dials < 5 {
			t.Errorf("%d whole readings, %d connections, %v", n, far.dials, errs)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step { q.ID = 0; return at(5*ms, right(q)) }}
		b, _ := far.over(t, 20*time.Second, LineConfig{Devices: devices(1, 0)})
		if len(b.whole) != 1 || !strings.Contains(fmt.Sprint(b.whole[0].Detail["error"]), "reply with transaction id 0; if") {
			t.Errorf("%v", b.whole)
		}
	})
}

// The alarm of a device that answers, but late, says so.
func TestOfflineSaysThatItAnswersLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step { return at(450*ms, right(q)) }}
		b, _ := far.over(t, 20*time.Second, LineConfig{Timeout: 200 * ms, Retries: 1, Devices: devices(1, 0)})
		if len(b.whole) == 0 || !strings.Contains(fmt.Sprint(b.whole[0].Detail["error"]), "answered after 450ms, timeout is 200ms") {
			t.Errorf("%v", b.whole)
		}
	})
	synctest.Test(t, func(t *testing.T) { // and with the default timeout it is read
		far := &farEnd{answer: func(_, _ int, q modbustest.TCPRequest) []modbustest.Step { return at(450*ms, right(q)) }}
		if b, _ := far.over(t, 20*time.Second, LineConfig{Devices: devices(1, 0)}); sound(t, b, "d1") != 20 {
			t.Errorf("%d whole readings in 20 s", sound(t, b, "d1"))
		}
	})
}

// However many devices are silent, asking for them takes a fifth of the line's
// time at most.
func TestProbesOfManySilentDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		units := map[byte]*modbustest.Unit{99: {Holding: words(0, 1)}}
		cfg := LineConfig{Devices: append(devices(12, 0), Device{Name: "ok", UnitID: 99, Registers: registers(0)})}
		b := newBench(t, cfg, units)
		if err := b.run(time.Minute); err != nil {
			t.Fatal(err)
		}
		b.asked = nil
		if err := b.run(10 * time.Minute); err != nil {
			t.Fatal(err)
		}
		probes := 0
		for _, q := range b.asked {
			if q.unit != 99 {
				probes++
			}
		}
		if spent := time.Duration(probes) * SerialTimeout; spent > 2*time.Minute || spent < time.Minute {
			t.Errorf("%d probes took %v of ten minutes", probes, spent)
		}
	})
}
