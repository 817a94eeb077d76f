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
)

// live runs a bench's line in the background until the end of the test.
func (b *bench) live() {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.line.Run(ctx, b.book) }()
	b.t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
}

// scattered is a device whose registers take a request each.
func scattered(id uint8, n int, every time.Duration) Device {
	d := Device{Name: fmt.Sprint("d", id), UnitID: id}
	for i := range n {
		d.Registers = append(d.Registers, Register{Name: fmt.Sprint("r", i), Address: uint16(10 * i), Interval: every})
	}
	return d
}

// A one-shot read waits for the exchange on the wire, not for the poll.
func TestOneShotGoesAheadOfPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Devices: []Device{scattered(1, 20, time.Second)}},
			map[byte]*modbustest.Unit{1: {Holding: words(0, 300), Delay: 20 * ms}, 2: {Input: words(0, 300)}})
		b.live()
		time.Sleep(75 * ms) // in the middle of the poll
		before := len(b.requests())
		got, err := b.line.Read(t.Context(), Query{Unit: 2, Table: Input, Address: 40, Count: 3})
		if err != nil || !slices.Equal(got, []uint16{40, 41, 42}) {
			t.Fatalf("%v, %v", got, err)
		}
		if asked := b.requests(); len(asked) != before+1 || asked[before] != (seen{2, 4, 40, 3}) {
			t.Errorf("asked %v before and %v after the call", asked[:before], asked[before:])
		}
		time.Sleep(500 * ms)
		if asked := b.requests(); len(asked) != 21 || len(b.book.last(t, "d1")) != 20 {
			t.Errorf("%d requests, and the poll brought %v", len(asked), b.book.last(t, "d1"))
		}
		if s := b.line.Stats(); s.OneShots != 1 || s.Overruns != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// However many one-shot reads there are, every other request is a poll's.
func TestOneShotsDoNotStarvePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Devices: []Device{scattered(1, 5, 100*ms)}}, // 5 x 23 ms: more than there is time for
			map[byte]*modbustest.Unit{1: {Holding: words(0, 100), Delay: 20 * ms}, 2: {Holding: words(0, 100), Delay: 20 * ms}})
		b.live()
		ctx, cancel := context.WithCancel(t.Context())
		var (
			group      sync.WaitGroup
			mu         sync.Mutex
			done, full int
		)
		for range 40 {
			group.Go(func() {
				for ctx.Err() == nil {
					_, err := b.line.Read(ctx, Query{Unit: 2, Count: 1})
					mu.Lock()
					switch {
					case err == nil:
						done++
					case errors.Is(err, ErrQueueFull):
						full++
					}
					mu.Unlock()
					if err != nil {
						time.Sleep(ms)
					}
				}
			})
		}
		time.Sleep(3 * time.Second)
		cancel()
		group.Wait()
		polls, inRow := 0, 0
		for _, q := range b.requests() {
			if q.unit == 1 {
				polls, inRow = polls+1, 0
			} else if inRow++; inRow > 1 {
				t.Fatal("two one-shot reads in a row while polls are due")
			}
		}
		if polls < 60 || done < 50 || full == 0 {
			t.Errorf("%d requests of polls, %d one-shot reads, %d refused", polls, done, full)
		}
	})
}

func TestOneShotOnAnIdleLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unit := &modbustest.Unit{Holding: words(0, 10), Coils: map[uint16]bool{7: true, 8: false, 9: true}}
		b := newBench(t, LineConfig{}, map[byte]*modbustest.Unit{1: unit})
		if _, err := b.line.Read(t.Context(), Query{Unit: 1, Count: 1}); !errors.Is(err, ErrNotOpen) {
			t.Errorf("before Run: %v", err)
		}
		b.live()
		for range 3 {
			if got, err := b.line.Read(t.Context(), Query{Unit: 1, Table: Coil, Address: 7, Count: 3}); err != nil || !slices.Equal(got, []uint16{1, 0, 1}) {
				t.Errorf("%v, %v", got, err)
			}
		}
		var exception *rtu.ExceptionError
		if _, err := b.line.Read(t.Context(), Query{Unit: 1, Address: 9, Count: 2}); !errors.As(err, &exception) || exception.Code != 2 {
			t.Errorf("%v", err)
		}
		asked := len(b.requests())
		for _, q := range []Query{{Unit: 0, Count: 1}, {Unit: 1}, {Unit: 1, Count: 126}, {Unit: 1, Table: Coil, Count: 2001},
			{Unit: 1, Address: 65535, Count: 2}, {Unit: 1, Table: 9, Count: 1}, {Unit: 1, Count: -1}} {
			if got, err := b.line.Read(t.Context(), q); err == nil {
				t.Errorf("%+v: %v", q, got)
			}
		}
		if len(b.requests()) != asked {
			t.Error("a query nobody can answer was sent")
		}
	})
}

// A query that nobody answers is tried as often as a poll; a second of the
// same shape waits until no late reply can be taken for its own, and the polls
// of others go on meanwhile.
func TestOneShotOfASilentUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Retries: 1, Devices: []Device{scattered(1, 1, 100*ms)}},
			map[byte]*modbustest.Unit{1: {Holding: words(0, 10)}, 2: {Holding: words(0, 10), Silent: true}})
		b.live()
		for k := range 2 {
			start, from := time.Now(), len(b.requests())
			var timeout *rtu.TimeoutError
			if _, err := b.line.Read(t.Context(), Query{Unit: 2, Address: uint16(k), Count: 1}); !errors.As(err, &timeout) {
				t.Fatal(err)
			}
			took, polls, tries := time.Since(start), 0, 0
			for _, q := range b.requests()[from:] {
				if q.unit == 1 {
					polls++
				} else {
					tries++
				}
			}
			if tries != 2 || k == 0 && took > 800*ms || k == 1 && (took < 2*time.Second || polls < 15) {
				t.Errorf("read %d: %d tries and %d polls in %v", k, tries, polls, took)
			}
		}
	})
}

func TestOneShotEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Retries: 10}, map[byte]*modbustest.Unit{2: {Silent: true}})
		b.live()
		ctx, cancel := context.WithTimeout(t.Context(), 450*ms)
		defer cancel()
		start := time.Now()
		if _, err := b.line.Read(ctx, Query{Unit: 2, Count: 1}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 450*ms {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.Sleep(5 * time.Second)
		if n := len(b.requests()); n != 2 {
			t.Errorf("asked %d times, although nobody waited any more", n)
		}
		var group sync.WaitGroup
		ctx, cancel = context.WithCancel(t.Context())
		for range mostQueries + 1 { // one is on the wire, the others wait
			group.Go(func() { b.line.Read(ctx, Query{Unit: 2, Count: 1}) })
			synctest.Wait()
		}
		if _, err := b.line.Read(ctx, Query{Unit: 2, Count: 1}); !errors.Is(err, ErrQueueFull) {
			t.Error(err)
		}
		cancel()
		group.Wait()
		if len(b.line.queries) != 0 {
			t.Errorf("%d wait although nobody waits for them", len(b.line.queries))
		}
	})
}

func TestOneShotOfAUnitThatWorksOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, book: &book{}}
		line, err := newLine(LineConfig{Name: "l", Port: "memory"}, Endpoint{}, discard, func(context.Context) (rtu.Port, error) {
			master, far := modbustest.NewWire()
			go modbustest.Serve(t.Context(), far, func(n int, q []byte) []modbustest.Step {
				if n < 3 {
					return soon(modbustest.Exception(q, 5))
				}
				return soon(holds(q))
			})
			return master, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b.line = line
		b.live()
		if got, err := line.Read(t.Context(), Query{Unit: 1, Address: 7, Count: 1}); err != nil || got[0] != 7 {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// A port that vanishes ends the query on the wire and those that wait.
func TestOneShotsEndWithThePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Timeout: time.Second}, map[byte]*modbustest.Unit{1: {Silent: true}, 2: {Silent: true}})
		b.live()
		errs := make(chan error, 3)
		for i := range 3 {
			go func() {
				_, err := b.line.Read(t.Context(), Query{Unit: 1 + byte(i)%2, Count: 1 + i})
				errs <- err
			}()
		}
		time.Sleep(100 * ms)
		b.far.Unplug(syscall.EIO)
		var lost *rtu.PortLostError
		closed := 0
		for range 3 {
			if err := <-errs; errors.Is(err, ErrNotOpen) {
				closed++
			} else if !errors.As(err, &lost) {
				t.Error(err)
			}
		}
		if closed != 2 {
			t.Errorf("%d of 3 had not been asked", closed)
		}
	})
}

// A unit that answers somebody is no longer left alone.
func TestOneShotFindsAUnitThatIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unit := &modbustest.Unit{Holding: words(0, 10), Silent: true}
		b := newBench(t, LineConfig{Devices: []Device{scattered(1, 1, time.Second)}}, map[byte]*modbustest.Unit{1: unit})
		b.live()
		time.Sleep(50 * time.Second) // it is asked rarely now
		b.slave.Do(func(map[byte]*modbustest.Unit) { unit.Silent = false })
		if _, err := b.line.Read(t.Context(), Query{Unit: 1, Count: 2}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if want := []string{"slave_offline d1 raised", "slave_offline d1 cleared"}; !slices.Equal(b.book.events, want) {
			t.Errorf("%v", b.book.events)
		}
	})
}
