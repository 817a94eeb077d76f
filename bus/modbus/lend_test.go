package modbus

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// lending is a bench whose unit 1 also answers at 19200 baud with even parity.
func lending(t *testing.T) *bench {
	b := newBench(t, LineConfig{Timeout: 100 * ms, Devices: []Device{scattered(1, 1, 100*ms)}}, map[byte]*modbustest.Unit{1: {Holding: words(0, 10), Delay: ms}})
	b.line.openIn = func(_ context.Context, mode rtu.Mode) (rtu.Port, error) {
		master, far := modbustest.NewWire()
		if mode == (rtu.Mode{BaudRate: 19200, DataBits: 8, Parity: 'E', StopBits: 1}) {
			go b.slave.Run(t.Context(), spy{far, b})
		}
		if mode.BaudRate == 1 {
			return nil, errors.New("no such rate")
		}
		return master, nil
	}
	return b
}

var both = []Try{{9600, 'N', 1, 1}, {19200, 'E', 1, 1}, {19200, 'E', 1, 2}}

// The right setting is found, only reading requests go out, the line is not polled
// meanwhile and says so, and then it is as before, without an alarm.
func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := lending(t)
		b.live()
		time.Sleep(time.Second)
		before := len(b.requests())
		var got []Tried
		lent := false
		err := b.line.Find(t.Context(), both, func(r Tried) { got, lent = append(got, r), lent || b.line.Stats().Lent })
		if err != nil || len(got) != 3 || got[0].Err == nil || got[1].Err != nil || got[2].Err == nil || !lent {
			t.Fatalf("%v, %+v, lent %v", err, got, lent)
		}
		asked := b.requests()[before:]
		if len(asked) < 2 || !slices.Equal(asked[:2], []seen{{1, rtu.ReadHoldingRegisters, 0, 1}, {2, rtu.ReadHoldingRegisters, 0, 1}}) {
			t.Errorf("asked %v", asked)
		}
		time.Sleep(time.Second)
		if n := len(b.requests()) - before; n < 8 {
			t.Errorf("%d requests in the second after it", n)
		}
		if s := b.line.Stats(); s.Lent || s.PortLost || s.Offline > 0 || s.Overruns > 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A search ends with its context, with the first way in which the port cannot be
// opened, and with the line; the line is polled again, or has ended.
func TestFindEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := lending(t)
		if err := b.line.Find(t.Context(), both, func(Tried) {}); !errors.Is(err, ErrNotOpen) {
			t.Errorf("before the line runs: %v", err)
		}
		b.live()
		for _, tries := range [][]Try{nil, make([]Try, MostTries+1)} {
			if err := b.line.Find(t.Context(), tries, nil); err == nil {
				t.Errorf("%d tries are taken", len(tries))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		if err := b.line.Find(ctx, both, func(Tried) { n++; cancel() }); err != nil || n != 1 {
			t.Errorf("%d tries after it was stopped: %v", n, err)
		}
		if err := b.line.Find(t.Context(), []Try{{1, 'N', 1, 1}}, func(Tried) { n++ }); err == nil || n != 1 {
			t.Errorf("a rate that is not there: %v", err)
		}
		before := len(b.requests())
		time.Sleep(time.Second)
		if got := len(b.requests()) - before; got < 8 || b.line.Stats().PortLost {
			t.Errorf("%d requests in the second after it", got)
		}
		long := make([]Try, MostTries)
		for i := range long {
			long[i] = Try{9600, 'N', 1, uint8(i + 1)}
		}
		begin := time.Now()
		if err := b.line.Find(t.Context(), long, func(Tried) {}); err != nil || time.Since(begin) > lendTime+time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}
