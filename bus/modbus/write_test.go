package modbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/permit"
)

// permitted is a permit of line1 for any words.
func permitted(t *testing.T, unit uint8, coil bool, address uint16, count int) permit.Register {
	t.Helper()
	p, err := permit.ForRegister(permit.RegisterScope{Line: "line1", Unit: unit, Coil: coil, Address: address, Count: count,
		Limits: func([]uint16) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// give makes an order's Words of words.
func give(words ...uint16) func([]uint16) ([]uint16, error) {
	return func([]uint16) ([]uint16, error) { return words, nil }
}

// logged is what the slave was asked to write, in short.
func logged(b *bench) (list []string) {
	synctest.Wait()
	for _, w := range b.slave.Writes() {
		list = append(list, fmt.Sprintf("%d/%d %d %v", w.Unit, w.Function, w.Address, w.Words))
	}
	return list
}

func TestWriteChoosesTheFunction(t *testing.T) {
	for name, c := range map[string]struct {
		refuses []byte
		coil    bool
		words   []uint16
		want    []string
	}{
		"one register":                   {nil, false, []uint16{7}, []string{"1/6 5 [7]", "1/6 5 [7]"}},
		"one register only by 16":        {[]byte{6}, false, []uint16{7}, []string{"1/6 5 [7]", "1/16 5 [7]", "1/16 5 [7]"}},
		"two registers":                  {nil, false, []uint16{7, 8}, []string{"1/16 5 [7 8]", "1/16 5 [7 8]"}},
		"two registers, never in halves": {[]byte{16}, false, []uint16{7, 8}, []string{"1/16 5 [7 8]", "1/16 5 [7 8]"}},
		"none at all":                    {[]byte{6, 16}, false, []uint16{7}, []string{"1/6 5 [7]", "1/16 5 [7]", "1/6 5 [7]", "1/16 5 [7]"}},
		"one coil":                       {nil, true, []uint16{1}, []string{"1/5 5 [1]", "1/5 5 [1]"}},
		"one coil only by 15":            {[]byte{5}, true, []uint16{1}, []string{"1/5 5 [1]", "1/15 5 [1]", "1/15 5 [1]"}},
		"some coils":                     {nil, true, []uint16{1, 0, 1, 1, 0, 0, 1, 0, 1}, []string{"1/15 5 [1 0 1 1 0 0 1 0 1]", "1/15 5 [1 0 1 1 0 0 1 0 1]"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unit := &modbustest.Unit{Holding: words(0, 20), Coils: map[uint16]bool{}, Refuses: c.refuses}
				for i := range uint16(20) {
					unit.Coils[i] = false
				}
				b := newBench(t, LineConfig{Retries: 2}, map[byte]*modbustest.Unit{1: unit})
				b.live()
				for range 2 {
					got, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 1, c.coil, 5, len(c.words)), Words: give(c.words...), Before: true, After: true})
					var exception *rtu.ExceptionError
					switch refused := errors.As(err, &exception); {
					case len(c.refuses) == 0 && err != nil, err != nil && (!refused || exception.Code != 1):
						t.Error(err)
					case err == nil && !slices.Equal(got.Read, c.words), !got.Sent, len(got.Held) != len(c.words):
						t.Errorf("%+v", got)
					}
				}
				if got := logged(b); !slices.Equal(got, c.want) {
					t.Errorf("got  %q\nwant %q", got, c.want)
				}
			})
		})
	}
}

// No permit, no byte on the line.
func TestWriteNeedsItsPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{}, map[byte]*modbustest.Unit{1: {Holding: words(0, 20)}})
		b.live()
		scope := permit.RegisterScope{Line: "line1", Unit: 1, Address: 5, Count: 1, Limits: func(words []uint16) error {
			if words[0] > 100 {
				return errors.New("above 100")
			}
			return nil
		}}
		other := scope
		other.Line = "line2"
		for name, c := range map[string]struct {
			scope permit.RegisterScope
			words []uint16
		}{"none": {}, "of another line": {other, []uint16{7}}, "beyond its limits": {scope, []uint16{101}}, "too many words": {scope, []uint16{1, 2}}} {
			p, _ := permit.ForRegister(c.scope)
			if got, err := b.line.Write(t.Context(), Order{Permit: p, Words: give(c.words...), After: true}); err == nil || got.Sent {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if asked := b.requests(); len(asked) != 0 {
			t.Errorf("sent %v", asked)
		}
		p, _ := permit.ForRegister(scope)
		if _, err := b.line.Write(t.Context(), Order{Permit: p, Words: give(100)}); err != nil {
			t.Error(err)
		}
		if got := logged(b); !slices.Equal(got, []string{"1/6 5 [100]"}) {
			t.Errorf("%q", got)
		}
		// The path of the polls cannot write, whatever is asked of it.
		if _, err := b.line.wire.SendContext(t.Context(), rtu.AppendWriteRequest(nil, 1, 6, 5, []uint16{1})); !errors.Is(err, rtu.ErrRequest) {
			t.Errorf("reading has written: %v", err)
		}
	})
}

// Whatever becomes of the reply, the request goes out once.
func TestWriteIsNeverSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		change func(u *modbustest.Unit)
		read   []uint16 // what is read back; nil: nothing
	}{
		"lost reply":            {func(u *modbustest.Unit) { u.WriteDelay = time.Hour }, []uint16{77}},
		"late reply":            {func(u *modbustest.Unit) { u.WriteDelay = 700 * ms }, []uint16{77}},
		"damaged":               {func(u *modbustest.Unit) { u.Faults.BadCRC = 1 }, nil},
		"silent":                {func(u *modbustest.Unit) { u.Silent = true }, nil},
		"another unit's":        {func(u *modbustest.Unit) { u.Faults.WrongUnit = 1 }, nil},
		"the target is away":    {func(u *modbustest.Unit) { u.Faults.Exception, u.Faults.ExceptionCode = 1, 11 }, nil},
		"an endless excuse (5)": {func(u *modbustest.Unit) { u.Faults.Exception, u.Faults.ExceptionCode = 1, 5 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unit := &modbustest.Unit{Holding: words(0, 20)}
				c.change(unit)
				b := newBench(t, LineConfig{Retries: 3, Timeout: 300 * ms}, map[byte]*modbustest.Unit{1: unit})
				b.live()
				got, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 1, false, 5, 1), Words: give(77), After: true})
				var uncertain *UncertainError
				if !got.Sent || !slices.Equal(got.Read, c.read) || (got.ReadErr == nil) != (c.read != nil) {
					t.Errorf("%+v, %v", got, err)
				}
				if c.read != nil && !errors.As(err, &uncertain) || err == nil && name != "an endless excuse (5)" {
					t.Errorf("it passes for certain: %v", err)
				}
				time.Sleep(10 * time.Second)
				if got := logged(b); !slices.Equal(got, []string{"1/6 5 [77]"}) {
					t.Errorf("written %q", got)
				}
			})
		})
	}
}

// Equal confirmations of different writes, and refusals one after the other, are
// what a copying radio would make, too: nothing is sent a second time for that.
func TestWritesInARowAreOneRequestEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{}, map[byte]*modbustest.Unit{1: {Holding: words(0, 20)}})
		b.live()
		for i := range uint16(12) {
			address := 5 + 100*(i%4/3) // each fourth is refused
			_, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 1, false, address, 2), Words: give(0, i)})
			if (err != nil) != (address > 5) || errors.As(err, new(*UncertainError)) {
				t.Errorf("write %d: %v", i, err)
			}
		}
		if got := logged(b); len(got) != 12 {
			t.Errorf("12 writes were %d requests: %q", len(got), got)
		}
	})
}

// A late confirmation is neither a read's reply nor another write's, also of a
// far end that does not answer in order.
func TestLateConfirmationsConfirmNothingElse(t *testing.T) {
	for late := 320 * ms; late < 2500*ms; late += 90 * ms {
		synctest.Test(t, func(t *testing.T) {
			unit := &modbustest.Unit{Holding: words(0, 200)}
			b := newBench(t, LineConfig{Timeout: 300 * ms, Devices: []Device{scattered(1, 10, time.Second)}}, map[byte]*modbustest.Unit{1: unit})
			b.live()
			for i := range uint16(4) {
				b.slave.Do(func(map[byte]*modbustest.Unit) {
					unit.WriteDelay, unit.Forgetful = 0, true
					if i%2 == 0 {
						unit.WriteDelay = late
					}
				})
				got, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 1, false, 105, 2), Words: give(1000, i), After: true})
				if i%2 == 0 && !errors.As(err, new(*UncertainError)) || i%2 == 1 && err != nil {
					t.Errorf("late by %v, write %d: %v", late, i, err)
				}
				if len(got.Read) > 0 && !slices.Equal(got.Read, []uint16{105, 106}) {
					t.Errorf("late by %v: read back %v", late, got.Read)
				}
			}
			for _, r := range b.book.readings {
				for _, v := range r.Values {
					if fmt.Sprint("r", v.Uint/10) != v.Name {
						t.Fatalf("late by %v: %s is %d", late, v.Name, v.Uint)
					}
				}
			}
			if got := logged(b); len(got) != 4 {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestWriteToADeviceThatIsOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Devices: []Device{scattered(1, 1, time.Second)}}, map[byte]*modbustest.Unit{1: {Silent: true, Holding: words(0, 9)}})
		if _, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 1, false, 5, 1), Words: give(1)}); !errors.Is(err, ErrNotOpen) {
			t.Errorf("before Run: %v", err)
		}
		b.live()
		time.Sleep(20 * time.Second)
		start := time.Now()
		if got, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 1, false, 5, 1), Words: give(1)}); !errors.Is(err, ErrOffline) || got.Sent || time.Since(start) != 0 {
			t.Errorf("%+v, %v after %v", got, err, time.Since(start))
		}
		if got := logged(b); len(got) != 0 {
			t.Errorf("%q", got)
		}
	})
}

// An order is one turn: no poll comes between its requests, unless it waits.
func TestAnOrderIsOneTurn(t *testing.T) {
	for _, delay := range []time.Duration{0, 100 * ms} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, LineConfig{Devices: []Device{scattered(1, 20, 100*ms)}},
				map[byte]*modbustest.Unit{1: {Holding: words(0, 300), Delay: 20 * ms}, 2: {Holding: words(0, 300), Delay: 20 * ms}})
			b.live()
			time.Sleep(75 * ms)
			from := len(b.requests())
			got, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 2, false, 7, 1), Before: true, After: true, Delay: delay,
				Words: func(held []uint16) ([]uint16, error) { return []uint16{held[0] + 1}, nil }})
			if err != nil || got.Held[0] != 7 || got.Words[0] != 8 || got.Read[0] != 8 {
				t.Fatalf("%+v, %v", got, err)
			}
			asked := b.requests()[from:]
			want := []seen{{2, 3, 7, 1}, {2, 6, 7, 8}, {2, 3, 7, 1}}
			if delay == 0 && !slices.Equal(asked, want) {
				t.Errorf("asked %v", asked)
			}
			if last := len(asked) - 1; delay > 0 && (!slices.Equal(asked[:2], want[:2]) || asked[last] != want[2] || last < 5) {
				t.Errorf("with a delay, asked %v", asked)
			}
		})
	}
}

func TestOrdersWaitOnlySoMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Timeout: time.Second}, map[byte]*modbustest.Unit{1: {Holding: words(0, 9), WriteDelay: 900 * ms}})
		b.live()
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range mostQueries + 1 { // one is on the wire, the others wait
			group.Go(func() {
				got, err := b.line.Write(ctx, Order{Permit: permitted(t, 1, false, 5, 1), Words: give(1), After: true})
				if got.Sent != (err == nil) || got.Sent && !errors.Is(got.ReadErr, context.Canceled) {
					t.Errorf("%+v, %v", got, err)
				}
			})
			synctest.Wait()
		}
		if _, err := b.line.Write(ctx, Order{Permit: permitted(t, 1, false, 5, 1), Words: give(1)}); !errors.Is(err, ErrQueueFull) {
			t.Error(err)
		}
		cancel()
		group.Wait()
		time.Sleep(10 * time.Second)
		if got := logged(b); len(got) != 1 || len(b.line.orders) != 0 {
			t.Errorf("%q, and %d wait", got, len(b.line.orders))
		}
	})
}

// A port that vanishes ends the order on the wire and those that wait.
func TestOrdersEndWithThePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Timeout: time.Second}, map[byte]*modbustest.Unit{1: {Silent: true}})
		b.live()
		type result struct {
			Written
			err error
		}
		results := make(chan result, 2)
		for range 2 {
			go func() {
				got, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 1, false, 5, 1), Words: give(1), After: true})
				results <- result{got, err}
			}()
			synctest.Wait()
		}
		time.Sleep(100 * ms)
		b.far.Unplug(syscall.EIO)
		first, second := <-results, <-results
		if second.Sent {
			first, second = second, first
		}
		if !first.Sent || !errors.As(first.err, new(*UncertainError)) || first.ReadErr == nil || second.Sent || !errors.Is(second.err, ErrNotOpen) {
			t.Errorf("%+v\n%+v", first, second)
		}
	})
}

// At 95 % load a write begins within the exchange in progress and 20 ms, and the
// polls keep 80 % of their rate, however fast writes come.
func TestOrdersAndPollsOnABusyLine(t *testing.T) {
	run := func(t *testing.T, every time.Duration) (polls, writes int, p99, longest time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, LineConfig{BaudRate: 19200, Devices: []Device{scattered(1, 40, time.Second)}}, // 40 exchanges of 23.7 ms
				map[byte]*modbustest.Unit{1: {Holding: words(0, 500), Delay: 21600 * time.Microsecond}, 2: {Holding: words(0, 500), Delay: 20 * ms}})
			b.live()
			time.Sleep(5 * time.Second)
			from, busy := len(b.requests()), b.line.Busy()
			start := time.Now()
			var waits []time.Duration
			for i := 0; every > 0 && time.Since(start) < time.Minute; i++ {
				asked, n := time.Now(), len(b.slave.Writes())
				_, err := b.line.Write(t.Context(), Order{Permit: permitted(t, 2, false, uint16(i%400), 1), Words: give(uint16(i)), Before: i%2 == 0, After: true})
				if err != nil {
					t.Error(err)
				}
				w := b.slave.Writes()[n]
				wait := w.At.Sub(asked)
				if i%2 == 0 { // the first byte is that of the read before
					wait -= 23 * ms
				}
				waits = append(waits, wait)
				time.Sleep(every + time.Duration(i%37)*ms)
			}
			time.Sleep(time.Minute - time.Since(start))
			for _, q := range b.requests()[from:] {
				if q.unit == 1 {
					polls++
				}
			}
			load := float64(b.line.Busy()-busy) / float64(time.Minute)
			t.Logf("a write every %v: %d requests of polls, %d writes, load %.3f", every, polls, len(waits), load)
			for _, e := range b.line.Exchanges() {
				longest = max(longest, e.Took)
			}
			if writes = len(waits); writes > 0 {
				slices.Sort(waits)
				p99 = waits[writes*99/100]
				t.Logf("request to wire: median %v, p99 %v, longest %v; longest exchange %v", waits[writes/2], p99, waits[writes-1], longest)
			}
		})
		return polls, writes, p99, longest
	}
	alone, _, _, _ := run(t, 0)
	for _, c := range []struct {
		every time.Duration
		timed bool
	}{{280 * ms, true}, {980 * ms, true}, {ms, false}} {
		polls, writes, p99, longest := run(t, c.every)
		if polls*100 < alone*80 {
			t.Errorf("a write every %v: %d requests of polls, %d without writes", c.every, polls, alone)
		}
		if c.timed && p99 > longest+20*ms || writes < 50 {
			t.Errorf("a write every %v: p99 %v with exchanges of %v, %d writes", c.every, p99, longest, writes)
		}
	}
}
