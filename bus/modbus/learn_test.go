package modbus

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// A gap is read only where that is cheaper than a second request.
func TestGapsByWireTime(t *testing.T) {
	for _, c := range []struct {
		baud, gap int
		want      int // requests
	}{
		{9600, 8, 1}, {9600, 10, 1}, {9600, 11, 2}, {1200, 10, 1}, {1200, 11, 2}, {115200, 30, 1}, {115200, 40, 2},
	} {
		plan := Plan(LineConfig{Port: "x", BaudRate: c.baud, Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 100, Registers: registers(0, c.gap+1)}}})
		if len(plan.Requests) != c.want {
			t.Errorf("%d baud, gap of %d: %d requests, want %d", c.baud, c.gap, len(plan.Requests), c.want)
		}
		// The plan that was chosen is the cheaper one, with two ms to answer.
		mode := rtu.Mode{BaudRate: c.baud, DataBits: 8, Parity: 'E', StopBits: 1}
		one := mode.WireTime(3, c.gap+2)
		two := 2*mode.WireTime(3, 1) + 2*ms
		if (one <= two) != (c.want == 1) {
			t.Errorf("%d baud, gap of %d: one request takes %v, two take %v", c.baud, c.gap, one, two)
		}
	}
	if plan := Plan(LineConfig{Port: "tcp://x", Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 100, Registers: registers(0, 99)}}}); len(plan.Requests) != 1 {
		t.Errorf("TCP: %d requests", len(plan.Requests))
	}
}

// scriptedLine runs a line against a script for a while.
func scriptedLine(t *testing.T, d time.Duration, cfg LineConfig, answer func(n int, q []byte) []modbustest.Step) (*book, []bus.Event) {
	t.Helper()
	cfg.Name, cfg.Port = "l", "memory"
	var served sync.WaitGroup
	line, err := newLine(cfg, Endpoint{}, discard, func(context.Context) (rtu.Port, error) {
		master, far := modbustest.NewWire()
		served.Go(func() { modbustest.Serve(t.Context(), far, answer) })
		return master, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	b := &eventBook{}
	if err := line.Run(ctx, b); err != nil {
		t.Fatal(err)
	}
	served.Wait()
	return &b.book, b.whole
}

type eventBook struct {
	book
	whole []bus.Event
}

func (b *eventBook) Event(e bus.Event) { b.book.Event(e); b.whole = append(b.whole, e) }

// holds answers each register with its address.
func holds(q []byte) []byte {
	words := make([]uint16, q[5])
	for i := range words {
		words[i] = uint16(q[3]) + uint16(i)
	}
	return modbustest.Reply(q, words...)
}

func soon(p []byte) []modbustest.Step { return []modbustest.Step{{At: 5 * ms, Send: p}} }

// A device that gives few registers at once is asked for few from then on,
// also elsewhere.
func TestLearnsTheDevicesLimit(t *testing.T) {
	for _, code := range []byte{2, 3} {
		synctest.Test(t, func(t *testing.T) {
			var late []int
			start := time.Now()
			cfg := LineConfig{Devices: []Device{{Name: "d", UnitID: 1, Registers: registers(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 22, 23, 24, 25, 26, 27)}}}
			b, _ := scriptedLine(t, 6*time.Second, cfg, func(_ int, q []byte) []modbustest.Step {
				if time.Since(start) > 3*time.Second {
					late = append(late, int(q[5]))
				}
				if q[5] > 5 {
					return soon(modbustest.Exception(q, code))
				}
				return soon(holds(q))
			})
			for _, n := range late {
				if n > 5 {
					t.Errorf("exception %d: still asks for %d registers: %v", code, n, late)
					break
				}
			}
			for name, v := range b.last(t, "d") {
				if name != "r"+v {
					t.Errorf("%s = %s", name, v)
				}
			}
		})
	}
}

func TestExceptionsThatAskForPatience(t *testing.T) {
	cfg := LineConfig{Devices: []Device{{Name: "d", UnitID: 1, Registers: registers(7)}, {Name: "other", UnitID: 2, Registers: registers(9)}}}
	synctest.Test(t, func(t *testing.T) { // 5: asked again, and the value comes in the same poll
		b, _ := scriptedLine(t, 500*ms, cfg, func(n int, q []byte) []modbustest.Step {
			if n < 2 {
				return soon(modbustest.Exception(q, 5))
			}
			return soon(holds(q))
		})
		if got := b.last(t, "d")["r7"]; got != "7" || b.count("d") != 1 {
			t.Errorf("exception 5: %v in %d readings", got, b.count("d"))
		}
	})
	synctest.Test(t, func(t *testing.T) { // 6: left alone, longer each time
		asked := 0
		b, _ := scriptedLine(t, 60*time.Second, cfg, func(_ int, q []byte) []modbustest.Step {
			if q[0] == 1 {
				asked++
				return soon(modbustest.Exception(q, 6))
			}
			return soon(holds(q))
		})
		if asked > 12 || asked < 4 || b.count("other") < 55 {
			t.Errorf("exception 6: asked %d times in a minute, the other device was read %d times", asked, b.count("other"))
		}
		if got := b.last(t, "d")["r7"]; got != "exception 6: server device busy" {
			t.Error(got)
		}
	})
	for _, code := range []byte{10, 11} { // the gateway says that it is gone: that counts like a timeout
		synctest.Test(t, func(t *testing.T) {
			b, events := scriptedLine(t, 3500*ms, cfg, func(_ int, q []byte) []modbustest.Step {
				if q[0] == 1 {
					return soon(modbustest.Exception(q, code))
				}
				return soon(holds(q))
			})
			if len(events) != 1 || events[0].Code != bus.SlaveOffline || !strings.HasPrefix(fmt.Sprint(events[0].Detail["error"]), fmt.Sprintf("exception %d", code)) {
				t.Errorf("exception %d: %v, %v", code, events, b.last(t, "d"))
			}
		})
		synctest.Test(t, func(t *testing.T) { // but now and then it is the line's noise
			retried := cfg
			retried.Retries = 1
			b, events := scriptedLine(t, 60*time.Second, retried, func(n int, q []byte) []modbustest.Step {
				if n%10 == 0 {
					return soon(modbustest.Exception(q, code))
				}
				return soon(holds(q))
			})
			for _, r := range b.readings {
				if len(r.Failures) > 0 {
					t.Fatalf("exception %d: %v", code, r.Failures)
				}
			}
			if len(events) > 0 || b.count("d") != 60 {
				t.Errorf("exception %d: %v, %d readings", code, events, b.count("d"))
			}
		})
	}
}

// The alarm names the fault, not what followed from it.
func TestOfflineNamesTheFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := LineConfig{Devices: []Device{{Name: "d", UnitID: 1, Registers: registers(7)}}}
		_, events := scriptedLine(t, 20*time.Second, cfg, func(int, []byte) []modbustest.Step { return nil })
		if len(events) != 1 || events[0].Detail["error"] != "timeout: no reply within 300ms" {
			t.Errorf("%v", events)
		}
	})
}

func TestTimeoutOfADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := LineConfig{Timeout: 100 * ms, Devices: []Device{
			{Name: "slow", UnitID: 1, Timeout: 2 * time.Second, Registers: registers(7)}, {Name: "quick", UnitID: 2, Registers: registers(9)},
		}}
		b, events := scriptedLine(t, 20*time.Second, cfg, func(_ int, q []byte) []modbustest.Step {
			if q[0] == 1 {
				return []modbustest.Step{{At: 900 * ms, Send: holds(q)}}
			}
			return nil
		})
		if got := b.last(t, "slow")["r7"]; got != "7" {
			t.Error(got)
		}
		if len(events) != 1 || events[0].Subject != "quick" || events[0].Detail["error"] != "timeout: no reply within 100ms" {
			t.Errorf("%v", events)
		}
	})
}
