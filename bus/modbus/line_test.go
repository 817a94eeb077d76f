package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"fieldferry/bus"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

const ms = time.Millisecond

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book keeps what a line delivers.
type book struct {
	readings []Reading
	events   []string
	detail   map[string]any // of the last condition that was raised
}

func (b *book) Reading(r *Reading) {
	b.readings = append(b.readings, Reading{r.Time, r.Device, r.Answered, r.Whole, slices.Clone(r.Values), slices.Clone(r.Failures)})
}

func (b *book) Event(e bus.Event) {
	b.events = append(b.events, fmt.Sprint(e.Code, " ", e.Subject, " ", e.State))
	if e.State == bus.Raised {
		b.detail = e.Detail
	}
}

// of is the values and failures of a device's reading by name.
func of(r Reading) map[string]string {
	m := map[string]string{}
	for _, v := range r.Values {
		switch v.Kind {
		case KindInt:
			m[v.Name] = fmt.Sprint(v.Int)
		case KindFloat:
			m[v.Name] = fmt.Sprint(v.Float)
		default:
			m[v.Name] = fmt.Sprint(v.Uint)
		}
	}
	for _, f := range r.Failures {
		m[f.Name] = f.Err
	}
	return m
}

func (b *book) last(t *testing.T, device string) map[string]string {
	t.Helper()
	for _, r := range slices.Backward(b.readings) {
		if r.Device == device {
			return of(r)
		}
	}
	t.Fatalf("no reading of %s", device)
	return nil
}

func (b *book) count(device string) (n int) {
	for _, r := range b.readings {
		if r.Device == device {
			n++
		}
	}
	return n
}

// seen records the requests a slave gets.
type seen struct {
	unit, function byte
	address, count int
}

// bench runs a line against a far end for a while.
type bench struct {
	t     *testing.T
	line  *Line
	book  *book
	mu    sync.Mutex // of asked
	asked []seen
	units map[byte]*modbustest.Unit
	slave *modbustest.Slave
	far   *modbustest.SlaveEnd
}

func newBench(t *testing.T, cfg LineConfig, units map[byte]*modbustest.Unit) *bench {
	b := &bench{t: t, book: &book{}, units: units, slave: modbustest.NewSlave(units)}
	cfg.Name, cfg.Port = "line1", "memory"
	line, err := newLine(cfg, Endpoint{}, discard, func(context.Context) (rtu.Port, error) {
		master, far := modbustest.NewWire()
		b.far = far
		go b.slave.Run(t.Context(), spy{far, b})
		return master, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.line = line
	return b
}

// spy notes the requests that reach the far end.
type spy struct {
	*modbustest.SlaveEnd
	b *bench
}

func (s spy) Read(p []byte) (int, error) {
	n, err := s.SlaveEnd.Read(p)
	if n == 8 {
		s.b.mu.Lock()
		defer s.b.mu.Unlock()
		s.b.asked = append(s.b.asked, seen{p[0], p[1], int(p[2])<<8 | int(p[3]), int(p[4])<<8 | int(p[5])})
	}
	return n, err
}

// requests are those so far, for a line that runs meanwhile.
func (b *bench) requests() []seen {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

func (b *bench) run(d time.Duration) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), d)
	defer cancel()
	err := b.line.Run(ctx, b.book)
	synctest.Wait()
	return err
}

func words(from, n int) map[uint16]uint16 {
	m := map[uint16]uint16{}
	for i := range n {
		m[uint16(from+i)] = uint16(from + i)
	}
	return m
}

func registers(addresses ...int) (r []Register) {
	for _, a := range addresses {
		r = append(r, Register{Name: fmt.Sprint("r", a), Address: uint16(a)})
	}
	return r
}

func TestLineReadsWhatIsConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unit := &modbustest.Unit{Holding: words(0, 50), Input: map[uint16]uint16{}, Coils: map[uint16]bool{3: true, 4: false, 9: true}}
		for i := range uint16(10) {
			unit.Coils[i] = i == 3 || i == 9
		}
		modbustest.SetFloat32(unit.Input, 0, 230.1)
		modbustest.SetUint32(unit.Input, 2, 1234567)
		b := newBench(t, LineConfig{Devices: []Device{{Name: "meter", UnitID: 1, MaxGap: 8, Registers: []Register{
			{Name: "u", Table: Input, Type: Float32},
			{Name: "e", Table: Input, Address: 2, Type: Uint32, Scale: 0.01},
			{Name: "h", Address: 7},
			{Name: "k", Address: 12, Scale: 0.1},
			{Name: "c3", Table: Coil, Address: 3, Type: Bool},
			{Name: "c4", Table: Coil, Address: 4, Type: Bool},
			{Name: "c9", Table: Coil, Address: 9, Type: Bool},
		}}}}, map[byte]*modbustest.Unit{1: unit})
		if err := b.run(500 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"u": "230.1", "e": "12345.67", "h": "7", "k": "1.2", "c3": "1", "c4": "0", "c9": "1"}
		if got := b.book.last(t, "meter"); !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if wantAsked := []seen{{1, 3, 7, 6}, {1, 4, 0, 4}, {1, 1, 3, 7}}; !slices.Equal(b.asked, wantAsked) {
			t.Errorf("asked %v, want %v", b.asked, wantAsked)
		}
	})
}

func TestIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 10, Registers: []Register{
			{Name: "fast", Address: 0, Interval: time.Second},
			{Name: "slow", Address: 5, Interval: 10 * time.Second},
		}}}}, map[byte]*modbustest.Unit{1: {Holding: words(0, 10)}})
		if err := b.run(100*time.Second + 500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		slow := 0
		for _, r := range b.book.readings {
			if _, ok := of(r)["slow"]; ok {
				slow++
			}
		}
		if len(b.asked) != 101 || slow != 11 || len(b.book.readings) != 101 {
			t.Errorf("%d requests, %d readings, %d with the slow one; want 101, 101, 11", len(b.asked), len(b.book.readings), slow)
		}
		if s := b.line.Stats(); s.Overruns != 0 {
			t.Errorf("%d overruns on an idle line", s.Overruns)
		}
	})
}

func TestOverrunsAreCountedNotQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, LineConfig{Devices: []Device{{Name: "d", UnitID: 1, Registers: []Register{{Name: "r0", Interval: 10 * time.Millisecond}}}}},
			map[byte]*modbustest.Unit{1: {Holding: words(0, 1), Delay: 95 * time.Millisecond}})
		if err := b.run(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		s := b.line.Stats()
		if s.Polls < 85 || s.Polls > 105 || s.Polls+s.Overruns < 950 || s.Polls+s.Overruns > 1010 {
			t.Errorf("%d polls and %d overruns in 1000 intervals of which a tenth fits", s.Polls, s.Overruns)
		}
	})
}

func TestDeadUnitDoesNotStallTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		units := map[byte]*modbustest.Unit{}
		cfg := LineConfig{Retries: 1}
		for id := byte(1); id <= 4; id++ {
			units[id] = &modbustest.Unit{Holding: words(0, 10)}
			cfg.Devices = append(cfg.Devices, Device{Name: fmt.Sprint("d", id), UnitID: id, Registers: registers(0, 5)})
		}
		units[2].Silent = true
		b := newBench(t, cfg, units)
		if err := b.run(120 * time.Second); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{"d1", "d3", "d4"} {
			if n := b.book.count(d); n < 119 {
				t.Errorf("%s was read %d times in 120 s", d, n)
			}
		}
		asked := 0
		for _, a := range b.asked {
			if a.unit == 2 {
				asked++
			}
		}
		if asked > 15 {
			t.Errorf("the dead unit was asked %d times in 120 s", asked)
		}
		if got := b.book.last(t, "d2"); got["r0"] == "" || got["r0"] == "0" {
			t.Errorf("the dead unit's failure is not told: %v", got)
		}
		units[2].Silent = false
		if err := b.run(70 * time.Second); err != nil {
			t.Fatal(err)
		}
		want := []string{"slave_offline d2 raised", "slave_offline d2 cleared"}
		if !slices.Equal(b.book.events, want) {
			t.Errorf("events %v, want %v", b.book.events, want)
		}
		if got := b.book.last(t, "d2"); got["r0"] != "0" || got["r5"] != "5" {
			t.Errorf("after its return: %v", got)
		}
		if s := b.line.Stats(); s.Offline != 0 {
			t.Errorf("%d devices offline", s.Offline)
		}
	})
}

func TestBadRegisterDoesNotKillItsNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		holding := words(0, 40)
		delete(holding, 13)
		b := newBench(t, LineConfig{Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 4, Registers: registers(10, 11, 12, 13, 14, 15, 16, 17, 18)}}},
			map[byte]*modbustest.Unit{1: {Holding: holding}})
		if err := b.run(500 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got := b.book.last(t, "d")
			for _, a := range []int{10, 11, 12, 14, 15, 16, 17, 18} {
				if got[fmt.Sprint("r", a)] != fmt.Sprint(a) {
					t.Errorf("r%d = %q", a, got[fmt.Sprint("r", a)])
				}
			}
			if got["r13"] != "exception 2: illegal data address" {
				t.Errorf("r13 = %q", got["r13"])
			}
			b.asked = nil
			if err := b.run(500 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if want := []seen{{1, 3, 10, 3}, {1, 3, 14, 5}}; !slices.Equal(b.asked, want) {
				t.Errorf("asked %v after learning, want %v", b.asked, want)
			}
		}
	})
}

func TestHoleInAGapIsLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		holding := words(0, 40)
		delete(holding, 12)
		b := newBench(t, LineConfig{Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 8, Registers: registers(10, 15, 16)}}},
			map[byte]*modbustest.Unit{1: {Holding: holding}})
		for range 2 {
			b.asked = nil
			if err := b.run(500 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if got := b.book.last(t, "d"); got["r10"] != "10" || got["r15"] != "15" || got["r16"] != "16" {
				t.Errorf("%v", got)
			}
		}
		if want := []seen{{1, 3, 10, 1}, {1, 3, 15, 2}}; !slices.Equal(b.asked, want) {
			t.Errorf("asked %v after learning, want %v", b.asked, want)
		}
	})
}

// TestSilentlyRefusedBlock: some devices do not answer at all for an address
// they do not have.
func TestSilentlyRefusedBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, book: &book{}}
		line, err := newLine(LineConfig{Name: "l", Port: "memory", Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 4, Registers: registers(10, 11, 12, 13, 14)}}},
			Endpoint{}, discard, func(context.Context) (rtu.Port, error) {
				master, far := modbustest.NewWire()
				go modbustest.Serve(t.Context(), far, func(_ int, q []byte) []modbustest.Step {
					first, n := int(q[3]), int(q[5])
					if first <= 13 && 13 < first+n {
						return nil
					}
					values := make([]uint16, n)
					for i := range values {
						values[i] = uint16(first + i)
					}
					return []modbustest.Step{{At: 5 * time.Millisecond, Send: modbustest.Reply(q, values...)}}
				})
				return master, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		b.line = line
		if err := b.run(120 * time.Second); err != nil {
			t.Fatal(err)
		}
		got := b.book.last(t, "d")
		for _, a := range []int{10, 11, 12, 14} {
			if got[fmt.Sprint("r", a)] != fmt.Sprint(a) {
				t.Errorf("r%d = %q", a, got[fmt.Sprint("r", a)])
			}
		}
		if got["r13"] == "" || got["r13"] == "13" {
			t.Errorf("r13 = %q", got["r13"])
		}
		if len(b.book.events) > 4 {
			t.Errorf("the alarm flaps: %v", b.book.events)
		}
	})
}

func TestPortLostIsRaisedAndClearedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, book: &book{}, slave: modbustest.NewSlave(map[byte]*modbustest.Unit{1: {Holding: words(0, 2)}})}
		missing := 3
		line, err := newLine(LineConfig{Name: "l", Port: "memory", Devices: []Device{{Name: "d", UnitID: 1, Registers: registers(0)}}}, Endpoint{}, discard, func(context.Context) (rtu.Port, error) {
			if missing > 0 {
				missing--
				return nil, syscall.ENOENT
			}
			master, far := modbustest.NewWire()
			b.far = far
			go b.slave.Run(t.Context(), far)
			return master, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b.line = line
		for range 3 {
			if err := b.run(time.Minute); !errors.Is(err, syscall.ENOENT) {
				t.Fatal(err)
			}
		}
		for _, reason := range []error{syscall.EIO, syscall.ENODEV, io.EOF} {
			timer := time.AfterFunc(2500*time.Millisecond, func() { b.far.Unplug(reason) })
			err := b.run(time.Minute)
			if !errors.Is(err, reason) {
				t.Fatalf("%v, want %v", err, reason)
			}
			timer.Stop()
			var lost *rtu.PortLostError
			if got := b.book.last(t, "d"); got["r0"] == "0" {
				t.Errorf("a value although the port is gone")
			} else if !errors.As(err, &lost) {
				t.Errorf("%v", got)
			}
		}
		if err := b.run(time.Second); err != nil {
			t.Fatal(err)
		}
		want := []string{}
		for range 4 {
			want = append(want, "port_lost  raised", "port_lost  cleared")
		}
		if !slices.Equal(b.book.events, want) {
			t.Errorf("events %q\nwant %q", b.book.events, want)
		}
	})
}

// TestSlowDeviceNeverMixesRegisters: a device that answers everything, but
// later than the timeout, in order.
func TestSlowDeviceNeverMixesRegisters(t *testing.T) {
	for _, delay := range []time.Duration{310 * ms, 450 * ms, 700 * ms, 1000 * ms, 1900 * ms, 2400 * ms} {
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, LineConfig{Retries: 1, Devices: []Device{
					{Name: "slow", UnitID: 1, Registers: registers(0, 20, 40)},
					{Name: "other", UnitID: 2, Registers: registers(0, 20, 40)},
				}}, map[byte]*modbustest.Unit{
					1: {Holding: words(0, 50), Delay: delay},
					2: {Holding: words(0, 50)},
				})
				if err := b.run(90 * time.Second); err != nil {
					t.Fatal(err)
				}
				for _, r := range b.book.readings {
					for _, v := range r.Values {
						if v.Name != fmt.Sprint("r", v.Uint) {
							t.Fatalf("%s: WRONG VALUE %s = %d", r.Device, v.Name, v.Uint)
						}
					}
				}
				if n := b.book.count("other"); n < 85 {
					t.Errorf("the other device was read %d times in 90 s", n)
				}
			})
		})
	}
}
